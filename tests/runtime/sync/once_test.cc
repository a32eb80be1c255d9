// Once: one maker at a time, what a maker that fails, throws or is stopped does to those who wait, stops at each place
// in line, other threads.

#include "runtime/sync/once.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/runtime/machines.h"
#include "tests/runtime/sync/sync_test_util.h"

namespace evring {
namespace {

using testing::AwaitStop;
using testing::Code;
using testing::JoinAll;
using testing::RunFor;
using testing::Scaled;
using testing::Settle;
using testing::Spin;

using absl::StatusCode;
using Value = std::unique_ptr<int>;

// On one worker.
class OnceTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, OnceTest, testing::MachinesOfOneWorker(), testing::MachineName);

// Makes what it is told, when it is told.
struct Maker {
  enum class Does { kWait, kSucceed, kFail, kThrow };
  Does does = Does::kWait;
  int number = 0;
  int calls = 0;
};

Task<absl::StatusOr<Value>> Make(Maker* maker) {
  ++maker->calls;
  while (maker->does == Maker::Does::kWait) {
    absl::Status slept = co_await Sleep(absl::Milliseconds(1));
    if (!slept.ok()) co_return slept;
  }
  if (maker->does == Maker::Does::kThrow) throw std::runtime_error("no value");
  if (maker->does == Maker::Does::kFail) co_return absl::DataLossError("no value");
  co_return std::make_unique<int>(maker->number);
}

// The value, or an error.
Task<absl::StatusOr<int>> Get(Once<Value>* once, Maker* maker) {
  absl::StatusOr<Value*> value = co_await once->GetOrMake([maker] { return Make(maker); });
  if (!value.ok()) co_return value.status();
  co_return **value.value();
}

using Got = JoinHandle<absl::StatusOr<int>>;

// Three that ask, each with a maker of its own; the first one's runs.
struct Line {
  Once<Value> once;
  Maker makers[3];
  std::vector<Got> tasks;

  Task<void> Start() {
    for (int i = 0; i < 3; ++i) {
      makers[i].number = i;
      tasks.push_back(co_await Spawn(Get(&once, &makers[i])));
      co_await Settle();
    }
    EXPECT_EQ(makers[0].calls, 1);
    EXPECT_EQ(makers[1].calls + makers[2].calls, 0);
    EXPECT_EQ(once.TryGet(), nullptr);
  }
};

Task<void> OneMakes() {
  Line line;
  co_await line.Start();
  line.makers[0].does = Maker::Does::kSucceed;
  for (Got& task : line.tasks) EXPECT_EQ((co_await std::move(task)).value(), 0);
  EXPECT_EQ(line.makers[1].calls + line.makers[2].calls, 0);
  EXPECT_EQ(**line.once.TryGet(), 0);
  EXPECT_EQ((co_await Get(&line.once, &line.makers[1])).value(), 0) << "it stays";
}

TEST_P(OnceTest, OneMakesItForAll) { RunOk(OneMakes()); }

Task<void> FailureGoesOn() {
  Line line;
  co_await line.Start();
  line.makers[0].does = Maker::Does::kFail;
  EXPECT_EQ(Code(co_await std::move(line.tasks[0])), StatusCode::kDataLoss);
  co_await Settle();
  EXPECT_EQ(line.makers[1].calls, 1) << "the next in line";
  EXPECT_EQ(line.makers[2].calls, 0);
  line.makers[1].does = Maker::Does::kThrow;
  bool thrown = false;
  try {
    EXPECT_FALSE((co_await std::move(line.tasks[1])).ok());
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  EXPECT_TRUE(thrown);
  co_await Settle();
  EXPECT_EQ(line.makers[2].calls, 1);
  line.makers[2].does = Maker::Does::kSucceed;
  EXPECT_EQ((co_await std::move(line.tasks[2])).value(), 2);
}

TEST_P(OnceTest, AFailureLetsTheNextOneTry) { RunOk(FailureGoesOn()); }

Task<void> StoppedAt(int place) {
  Line line;
  co_await line.Start();
  line.tasks[place].RequestStop();
  EXPECT_EQ(Code(co_await std::move(line.tasks[place])), StatusCode::kCancelled);
  co_await Settle();
  const int makes = place == 0 ? 1 : 0;
  EXPECT_EQ(line.makers[makes].calls, 1);
  line.makers[makes].does = Maker::Does::kSucceed;
  for (int i = 0; i < 3; ++i) {
    if (i == place) continue;
    EXPECT_EQ((co_await std::move(line.tasks[i])).value(), makes);
  }
}

TEST_P(OnceTest, AStopOfTheMakerLetsTheNextOneTry) { RunOk(StoppedAt(0)); }
TEST_P(OnceTest, AStopAtTheHeadOfTheQueue) { RunOk(StoppedAt(1)); }
TEST_P(OnceTest, AStopAtTheEndOfTheQueue) { RunOk(StoppedAt(2)); }

Task<absl::StatusOr<int>> GetWhenStopped(Once<Value>* once, Maker* maker) {
  co_await AwaitStop();
  co_return co_await Get(once, maker);
}

Task<void> StoppedBefore() {
  Once<Value> once;
  Maker maker;
  maker.does = Maker::Does::kSucceed;
  Got task = co_await Spawn(GetWhenStopped(&once, &maker));
  co_await Settle();
  task.RequestStop();
  EXPECT_EQ(Code(co_await std::move(task)), StatusCode::kCancelled);
  EXPECT_EQ(maker.calls, 0);
  EXPECT_TRUE(once.TrySet(std::make_unique<int>(5)));
  Got late = co_await Spawn(GetWhenStopped(&once, &maker));
  co_await Settle();
  late.RequestStop();
  EXPECT_EQ((co_await std::move(late)).value(), 5) << "there is nothing to wait for";
}

TEST_P(OnceTest, AStoppedTaskMakesNothing) { RunOk(StoppedBefore()); }

TEST(Once, IsSetOnce) {
  Once<std::string> once;
  EXPECT_EQ(once.TryGet(), nullptr);
  EXPECT_TRUE(once.TrySet("one"));
  EXPECT_FALSE(once.TrySet("two"));
  EXPECT_EQ(*once.TryGet(), "one");
}

Task<void> SetWhileMaking() {
  Line line;
  co_await line.Start();
  EXPECT_FALSE(line.once.TrySet(std::make_unique<int>(9))) << "somebody makes one";
  line.makers[0].does = Maker::Does::kSucceed;
  for (Got& task : line.tasks) EXPECT_EQ((co_await std::move(task)).value(), 0);
}

TEST_P(OnceTest, AValueThatIsBeingMadeIsNotSet) { RunOk(SetWhileMaking()); }

// --- Many at once

struct Shared {
  Once<Value> once;
  std::atomic<int> making{0};
  std::atomic<int> made{0};
  std::atomic<int> failed{0};
};

Task<absl::StatusOr<Value>> MakeOrFail(Shared* s, int i) {
  EXPECT_EQ(s->making.fetch_add(1, std::memory_order_relaxed), 0) << "one at a time";
  if (i % 2 == 0) co_await Yield();
  s->making.fetch_sub(1, std::memory_order_relaxed);
  if (i % 3 != 0) co_return absl::DataLossError("no value");
  s->made.fetch_add(1, std::memory_order_relaxed);
  co_return std::make_unique<int>(i);
}

Task<void> GetOne(Shared* s, int i) {
  const absl::StatusOr<Value*> value = co_await s->once.GetOrMake([s, i] { return MakeOrFail(s, i); });
  if (!value.ok()) {
    s->failed.fetch_add(1, std::memory_order_relaxed);
    co_return;
  }
  EXPECT_EQ(***value % 3, 0);
}

Task<void> GetOften(int tasks, int rounds) {
  for (int r = 0; r < rounds; ++r) {
    Shared shared;
    std::vector<JoinHandle<void>> handles;
    for (int i = 0; i < tasks; ++i) handles.push_back(co_await Spawn(GetOne(&shared, i + r)));
    if (r % 2 == 0) handles[static_cast<size_t>(r) % handles.size()].RequestStop();
    co_await JoinAll(&handles);
    EXPECT_EQ(shared.made.load(), 1);
    EXPECT_LT(shared.failed.load(), tasks);
  }
}

class OnceRaceTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, OnceRaceTest, testing::Machines(), testing::MachineName);

TEST_P(OnceRaceTest, ManyAskAndOneMakesIt) { RunOk(GetOften(12, Rounds(1000))); }

// With a thread that is no worker.
class OnceEveryWorkerCount : public testing::EveryWorkerCount {};

Task<void> GetAll(std::vector<Shared>* all) {
  for (Shared& shared : *all) co_await GetOne(&shared, 3);
}

TEST_P(OnceEveryWorkerCount, OtherThreadsSetAndLook) {
  std::vector<Shared> all(static_cast<size_t>(Scaled(5000)));
  int set = 0;
  std::thread thread([&] {
    for (size_t i = 0; i < all.size(); ++i) {
      set += all[i].once.TrySet(std::make_unique<int>(6)) ? 1 : 0;
      Spin(static_cast<uint32_t>(i) % 64);
      const Value* value = all[i].once.TryGet();
      EXPECT_TRUE(value == nullptr || **value % 3 == 0);
    }
  });
  RunFor(GetParam(), GetAll(&all));
  thread.join();
  int made = 0;
  for (Shared& shared : all) made += shared.made.load();
  EXPECT_EQ(static_cast<size_t>(made + set), all.size());
}

INSTANTIATE_TEST_SUITE_P(Workers, OnceEveryWorkerCount, testing::WorkerCounts());

Task<void> DestroyWhileWaited() {
  auto once = std::make_unique<Once<Value>>();
  Maker maker;
  Got makes = co_await Spawn(Get(once.get(), &maker));
  Got waits = co_await Spawn(Get(once.get(), &maker));
  co_await Settle();
  once.reset();
  CO_ASSERT_OK((co_await std::move(makes)).status());
  CO_ASSERT_OK((co_await std::move(waits)).status());
}

TEST(OnceDeathTest, IsNotDestroyedWhileATaskWaits) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunFor(1, DestroyWhileWaited()), "is destroyed while a task waits for it");
}

}  // namespace
}  // namespace evring
