// Watch: versions, the latest value, closing, stops at each place in line, other threads, who may destroy it when.

#include "runtime/sync/watch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/runtime/machines.h"
#include "tests/runtime/sync/sync_test_util.h"

namespace evring {
namespace {

using testing::AwaitStop;
using testing::Code;
using testing::JoinAll;
using testing::Rival;
using testing::RunFor;
using testing::Scaled;
using testing::Settle;
using testing::Spin;

using absl::StatusCode;

// On one worker.
class WatchTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, WatchTest, testing::MachinesOfOneWorker(), testing::MachineName);

// The version, or an error.
Task<absl::StatusOr<uint64_t>> Next(Watch<int>* watch, uint64_t seen) {
  const absl::StatusOr<WatchValue<int>> next = co_await watch->Next(seen);
  if (!next.ok()) co_return next.status();
  EXPECT_EQ(*next->value, static_cast<int>(next->version) * 10);
  co_return next->version;
}
using Got = JoinHandle<absl::StatusOr<uint64_t>>;

TEST(Watch, VersionsCountWhatWasSet) {
  Watch<std::string> watch("one");
  EXPECT_EQ(*watch.Get().value, "one");
  EXPECT_EQ(watch.Get().version, 1u);
  EXPECT_EQ(watch.TryNext(0)->version, 1u);
  EXPECT_EQ(Code(watch.TryNext(1)), StatusCode::kUnavailable);
  const WatchValue<std::string> old = watch.Get();
  EXPECT_TRUE(watch.Set("two").ok());
  EXPECT_TRUE(watch.Set("three").ok());
  EXPECT_EQ(*watch.TryNext(1)->value, "three");
  EXPECT_EQ(watch.TryNext(1)->version, 3u);
  EXPECT_EQ(*old.value, "one") << "kept by who has it";
}

TEST(Watch, ClosedKeepsTheLast) {
  Watch<int> watch(10);
  EXPECT_TRUE(watch.Set(20).ok());
  watch.Close();
  watch.Close();
  EXPECT_EQ(Code(watch.Set(30)), StatusCode::kFailedPrecondition);
  EXPECT_EQ(*watch.Get().value, 20);
  EXPECT_EQ(*watch.TryNext(1)->value, 20);
  EXPECT_EQ(Code(watch.TryNext(2)), StatusCode::kOutOfRange);
}

TEST(Watch, KeepsOnlyTheLast) {
  std::atomic<int> alive{0};
  {
    Watch<testing::Counted> watch{testing::Counted(&alive)};
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(watch.Set(testing::Counted(&alive)).ok());
    EXPECT_EQ(alive.load(), 1);
  }
  EXPECT_EQ(alive.load(), 0);
}

Task<void> AllAreTold() {
  Watch<int> watch(10);
  std::vector<Got> tasks;
  for (int i = 0; i < 3; ++i) tasks.push_back(co_await Spawn(Next(&watch, 1)));
  co_await Settle();
  for (const Got& task : tasks) EXPECT_FALSE(task.done());
  CO_ASSERT_OK(watch.Set(20));
  CO_ASSERT_OK(watch.Set(30));
  tasks[0].RequestStop();  // too late: it is ready, and has not run
  for (Got& task : tasks) EXPECT_EQ((co_await std::move(task)).value(), 3u) << "the latest when it looks";
  EXPECT_EQ((co_await Next(&watch, 0)).value(), 3u);

  Got told = co_await Spawn(Next(&watch, 3));
  co_await Settle();
  watch.Close();
  EXPECT_EQ(Code(co_await std::move(told)), StatusCode::kOutOfRange);
  EXPECT_EQ((co_await Next(&watch, 1)).value(), 3u);
  EXPECT_EQ(Code(co_await Next(&watch, 3)), StatusCode::kOutOfRange);
}

TEST_P(WatchTest, AllThatWaitAreToldOfTheLatest) { RunOk(AllAreTold()); }

Task<void> StoppedAmongOthers(int place) {
  Watch<int> watch(10);
  std::vector<Got> tasks;
  for (int i = 0; i < 3; ++i) {
    tasks.push_back(co_await Spawn(Next(&watch, 1)));
    co_await Settle();
  }
  tasks[place].RequestStop();
  EXPECT_EQ(Code(co_await std::move(tasks[place])), StatusCode::kCancelled);
  CO_ASSERT_OK(watch.Set(20));
  for (int i = 0; i < 3; ++i) {
    if (i == place) continue;
    EXPECT_EQ((co_await std::move(tasks[i])).value(), 2u);
  }
}

TEST_P(WatchTest, AStopAtTheHeadOfTheQueue) { RunOk(StoppedAmongOthers(0)); }
TEST_P(WatchTest, AStopInTheMiddleOfTheQueue) { RunOk(StoppedAmongOthers(1)); }
TEST_P(WatchTest, AStopAtTheEndOfTheQueue) { RunOk(StoppedAmongOthers(2)); }

Task<absl::StatusOr<uint64_t>> NextWhenStopped(Watch<int>* watch) {
  co_await AwaitStop();
  co_return co_await Next(watch, 0);
}

Task<void> StoppedBefore() {
  Watch<int> watch(10);
  Got task = co_await Spawn(NextWhenStopped(&watch));
  co_await Settle();
  task.RequestStop();
  EXPECT_EQ(Code(co_await std::move(task)), StatusCode::kCancelled);
}

TEST_P(WatchTest, AStoppedTaskIsRefusedThoughThereIsALaterOne) { RunOk(StoppedBefore()); }

// --- Many at once

Task<void> Set(Watch<int>* watch, int n) {
  for (int version = 2; version <= n; ++version) {
    CO_ASSERT_OK(watch->Set(version * 10));
    if (version % 4 == 0) co_await Yield();
  }
  watch->Close();
}

// Versions go up, and the last one is seen by all. Waits as a child that is stopped now and then.
Task<void> Follow(Watch<int>* watch, uint64_t last, uint32_t seed) {
  std::minstd_rand random(seed);
  uint64_t seen = 0;
  for (;;) {
    Got child = co_await Spawn(Next(watch, seen));
    if (random() % 4 == 0) child.RequestStop();
    const absl::StatusOr<uint64_t> next = co_await std::move(child);
    if (next.ok()) {
      EXPECT_GT(*next, seen);
      seen = *next;
    } else if (absl::IsOutOfRange(next.status())) {
      break;
    }
  }
  EXPECT_EQ(seen, last);
}

Task<void> SetAndFollow(Watch<int>* watch, int n) {
  std::vector<JoinHandle<void>> tasks;
  for (uint32_t i = 0; i < 8; ++i) tasks.push_back(co_await Spawn(Follow(watch, static_cast<uint64_t>(n), i + 1)));
  tasks.push_back(co_await Spawn(Set(watch, n)));
  co_await JoinAll(&tasks);
}

class WatchFollowTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, WatchFollowTest, testing::Machines(), testing::MachineName);

TEST_P(WatchFollowTest, AllSeeTheLastAndNoneGoesBack) {
  Watch<int> watch(10);
  RunOk(SetAndFollow(&watch, Rounds(4000)));
}

// With a thread that is no worker.
class WatchEveryWorkerCount : public testing::EveryWorkerCount {};

// Whoever was told destroys it, while Set() or Close() may still be on its way back.
Task<void> DestroyWhenTold(Rival* rival, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    auto watch = std::make_unique<Watch<int>>(10);
    rival->Begin([raw = watch.get(), i] {
      Spin(static_cast<uint32_t>(i) % 512);
      if (i % 2 == 0) {
        EXPECT_TRUE(raw->Set(20).ok());
      } else {
        raw->Close();
      }
    });
    const absl::StatusOr<uint64_t> next = co_await Next(watch.get(), 1);
    EXPECT_EQ(Code(next), i % 2 == 0 ? StatusCode::kOk : StatusCode::kOutOfRange);
    watch.reset();
    rival->Join();
  }
}

TEST_P(WatchEveryWorkerCount, OtherThreadsSetAndWhoIsToldMayDestroyIt) {
  Rival rival;
  RunFor(GetParam(), DestroyWhenTold(&rival, Scaled(2000)));
}

INSTANTIATE_TEST_SUITE_P(Workers, WatchEveryWorkerCount, testing::WorkerCounts());

Task<void> DestroyWhileWaited() {
  auto watch = std::make_unique<Watch<int>>(10);
  Got waiter = co_await Spawn(Next(watch.get(), 1));
  co_await Settle();
  watch.reset();
  CO_ASSERT_OK((co_await std::move(waiter)).status());
}

TEST(WatchDeathTest, IsNotDestroyedWhileATaskWaits) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunFor(1, DestroyWhileWaited()), "a watched value is destroyed while a task waits for it");
}

TEST(WatchDeathTest, KnowsItsVersions) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Watch<int> watch(10);
  EXPECT_DEATH(watch.TryNext(2).IgnoreError(), "when all before it are known");
}

}  // namespace
}  // namespace evring
