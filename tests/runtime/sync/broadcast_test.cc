// Broadcast: who gets what, receivers that fall behind, closing, stops at each place in line, other threads, who may
// destroy it when.

#include "runtime/sync/broadcast.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
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
using testing::Rival;
using testing::RunFor;
using testing::Scaled;
using testing::Settle;
using testing::Spin;

using absl::StatusCode;

// On one worker.
class BroadcastTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, BroadcastTest, testing::MachinesOfOneWorker(), testing::MachineName);

void ExpectNext(BroadcastReceiver<int>* receiver, int value, uint64_t missed) {
  const absl::StatusOr<BroadcastValue<int>> next = receiver->TryReceive();
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(*next->value, value);
  EXPECT_EQ(next->missed, missed);
}

Task<absl::StatusOr<int>> Receive(BroadcastReceiver<int>* receiver) {
  const absl::StatusOr<BroadcastValue<int>> next = co_await receiver->Receive();
  if (!next.ok()) co_return next.status();
  EXPECT_EQ(next->missed, 0u);
  co_return *next->value;
}
using Got = JoinHandle<absl::StatusOr<int>>;

TEST(Broadcast, EachReceiverGetsWhatIsSentAfterItCame) {
  Broadcast<int> broadcast(4);
  BroadcastReceiver<int> first = broadcast.Subscribe();
  EXPECT_EQ(Code(first.TryReceive()), StatusCode::kUnavailable);
  EXPECT_TRUE(broadcast.Send(0).ok());
  BroadcastReceiver<int> second = broadcast.Subscribe();
  EXPECT_TRUE(broadcast.Send(1).ok());
  ExpectNext(&first, 0, 0);
  BroadcastReceiver<int> copy = first;
  ExpectNext(&first, 1, 0);
  ExpectNext(&second, 1, 0);
  ExpectNext(&copy, 1, 0);
  EXPECT_EQ(Code(second.TryReceive()), StatusCode::kUnavailable);
}

TEST(Broadcast, WhoFallsBehindIsToldHowManyItMissed) {
  Broadcast<int> broadcast(4);
  BroadcastReceiver<int> receiver = broadcast.Subscribe();
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(broadcast.Send(i).ok());
  ExpectNext(&receiver, 0, 0);
  for (int i = 4; i < 11; ++i) EXPECT_TRUE(broadcast.Send(i).ok());
  ExpectNext(&receiver, 7, 6);  // 1 to 6
  ExpectNext(&receiver, 8, 0);
  EXPECT_TRUE(broadcast.Send(11).ok());
  EXPECT_TRUE(broadcast.Send(12).ok());
  ExpectNext(&receiver, 9, 0);  // just in time
  EXPECT_TRUE(broadcast.Send(13).ok());
  EXPECT_TRUE(broadcast.Send(14).ok());
  ExpectNext(&receiver, 11, 1);
}

TEST(Broadcast, ClosedLetsOutWhatWasSent) {
  Broadcast<int> broadcast(2);
  BroadcastReceiver<int> receiver = broadcast.Subscribe();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(broadcast.Send(i).ok());
  broadcast.Close();
  broadcast.Close();
  EXPECT_EQ(Code(broadcast.Send(3)), StatusCode::kFailedPrecondition);
  ExpectNext(&receiver, 1, 1);
  ExpectNext(&receiver, 2, 0);
  EXPECT_EQ(Code(receiver.TryReceive()), StatusCode::kOutOfRange);
}

TEST(Broadcast, KeepsTheLastFew) {
  std::atomic<int> alive{0};
  {
    Broadcast<testing::Counted> broadcast(3);
    BroadcastReceiver<testing::Counted> receiver = broadcast.Subscribe();
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(broadcast.Send(testing::Counted(&alive)).ok());
    const auto held = receiver.TryReceive();
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(broadcast.Send(testing::Counted(&alive)).ok());
    EXPECT_EQ(alive.load(), 4) << "three, and the one that is held";
  }
  EXPECT_EQ(alive.load(), 0);
}

// --- Waiting and stops

Task<void> AllAreWoken() {
  Broadcast<int> broadcast(4);
  std::vector<BroadcastReceiver<int>> receivers(3, broadcast.Subscribe());
  std::vector<Got> tasks;
  for (BroadcastReceiver<int>& receiver : receivers) tasks.push_back(co_await Spawn(Receive(&receiver)));
  co_await Settle();
  for (const Got& task : tasks) EXPECT_FALSE(task.done());
  CO_ASSERT_OK(broadcast.Send(7));
  tasks[0].RequestStop();  // too late: it is ready, and has not run
  for (Got& task : tasks) EXPECT_EQ((co_await std::move(task)).value(), 7);
  Got told = co_await Spawn(Receive(&receivers[0]));
  co_await Settle();
  broadcast.Close();
  EXPECT_EQ(Code(co_await std::move(told)), StatusCode::kOutOfRange);
  EXPECT_EQ(Code(co_await Receive(&receivers[1])), StatusCode::kOutOfRange);
}

TEST_P(BroadcastTest, AllThatWaitAreWoken) { RunOk(AllAreWoken()); }

Task<void> StoppedAmongOthers(int place) {
  Broadcast<int> broadcast(4);
  std::vector<BroadcastReceiver<int>> receivers(3, broadcast.Subscribe());
  std::vector<Got> tasks;
  for (BroadcastReceiver<int>& receiver : receivers) {
    tasks.push_back(co_await Spawn(Receive(&receiver)));
    co_await Settle();
  }
  tasks[place].RequestStop();
  EXPECT_EQ(Code(co_await std::move(tasks[place])), StatusCode::kCancelled);
  CO_ASSERT_OK(broadcast.Send(7));
  for (int i = 0; i < 3; ++i) {
    if (i == place) continue;
    EXPECT_EQ((co_await std::move(tasks[i])).value(), 7);
  }
  EXPECT_EQ((co_await Receive(&receivers[place])).value(), 7) << "nothing was lost to the stop";
}

TEST_P(BroadcastTest, AStopAtTheHeadOfTheQueue) { RunOk(StoppedAmongOthers(0)); }
TEST_P(BroadcastTest, AStopInTheMiddleOfTheQueue) { RunOk(StoppedAmongOthers(1)); }
TEST_P(BroadcastTest, AStopAtTheEndOfTheQueue) { RunOk(StoppedAmongOthers(2)); }

Task<absl::StatusOr<int>> ReceiveWhenStopped(BroadcastReceiver<int>* receiver) {
  co_await AwaitStop();
  co_return co_await Receive(receiver);
}

Task<void> StoppedBefore() {
  Broadcast<int> broadcast(4);
  BroadcastReceiver<int> receiver = broadcast.Subscribe();
  CO_ASSERT_OK(broadcast.Send(7));
  Got task = co_await Spawn(ReceiveWhenStopped(&receiver));
  co_await Settle();
  task.RequestStop();
  EXPECT_EQ(Code(co_await std::move(task)), StatusCode::kCancelled);
  EXPECT_EQ((co_await Receive(&receiver)).value(), 7);
}

TEST_P(BroadcastTest, AStoppedTaskTakesNothingThoughItIsThere) { RunOk(StoppedBefore()); }

// --- Many at once

struct Counts {
  int64_t received = 0;
  int64_t missed = 0;
  std::vector<int> last;  // of each sender
};

// False: closed.
Task<bool> ReceiveSome(BroadcastReceiver<int>* receiver, int each, Counts* counts) {
  for (;;) {
    const absl::StatusOr<BroadcastValue<int>> next = co_await receiver->Receive();
    if (!next.ok()) co_return absl::IsCancelled(next.status());
    ++counts->received;
    counts->missed += static_cast<int64_t>(next->missed);
    int& last = counts->last[static_cast<size_t>(*next->value / each)];
    EXPECT_LT(last, *next->value) << "each sender's in order";
    last = *next->value;
  }
}

Task<void> ReceiveAll(BroadcastReceiver<int> receiver, int senders, int each, uint32_t seed) {
  std::minstd_rand random(seed);
  Counts counts;
  counts.last.assign(static_cast<size_t>(senders), -1);
  for (bool more = true; more;) {
    JoinHandle<bool> child = co_await Spawn(ReceiveSome(&receiver, each, &counts));
    for (uint32_t yields = random() % 20; yields != 0; --yields) co_await Yield();
    child.RequestStop();
    more = co_await std::move(child);
  }
  EXPECT_EQ(counts.received + counts.missed, int64_t{senders} * each);
}

Task<void> SendAll(Broadcast<int>* broadcast, int first, int n) {
  for (int i = 0; i < n; ++i) {
    CO_ASSERT_OK(broadcast->Send(first + i));
    if (i % 8 == 0) co_await Yield();
  }
}

Task<void> Traffic(int each, size_t capacity) {
  Broadcast<int> broadcast(capacity);
  std::vector<JoinHandle<void>> senders, receivers;
  for (uint32_t i = 0; i < 4; ++i) {
    receivers.push_back(co_await Spawn(ReceiveAll(broadcast.Subscribe(), 3, each, i + 1)));
  }
  for (int i = 0; i < 3; ++i) senders.push_back(co_await Spawn(SendAll(&broadcast, i * each, each)));
  co_await JoinAll(&senders);
  broadcast.Close();
  co_await JoinAll(&receivers);
}

class BroadcastTrafficTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, BroadcastTrafficTest, testing::Machines(), testing::MachineName);

TEST_P(BroadcastTrafficTest, EachValueIsReceivedOrCountedAsMissed) {
  for (const size_t capacity : {1, 7, 64}) {
    SCOPED_TRACE(capacity);
    RunOk(Traffic(Rounds(3000), capacity));
  }
}

// With a thread that is no worker.
class BroadcastEveryWorkerCount : public testing::EveryWorkerCount {};

// Whoever was told destroys it, while Send() or Close() may still be on its way back.
Task<void> DestroyWhenTold(Rival* rival, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    auto broadcast = std::make_unique<Broadcast<int>>(2);
    BroadcastReceiver<int> receiver = broadcast->Subscribe();
    rival->Begin([raw = broadcast.get(), i] {
      Spin(static_cast<uint32_t>(i) % 512);
      if (i % 2 == 0) {
        EXPECT_TRUE(raw->Send(i).ok());
      } else {
        raw->Close();
      }
    });
    const absl::StatusOr<int> value = co_await Receive(&receiver);
    EXPECT_EQ(Code(value), i % 2 == 0 ? StatusCode::kOk : StatusCode::kOutOfRange);
    broadcast.reset();
    rival->Join();
  }
}

TEST_P(BroadcastEveryWorkerCount, OtherThreadsSendAndWhoIsToldMayDestroyIt) {
  Rival rival;
  RunFor(GetParam(), DestroyWhenTold(&rival, Scaled(2000)));
}

INSTANTIATE_TEST_SUITE_P(Workers, BroadcastEveryWorkerCount, testing::WorkerCounts());

Task<void> DestroyWhileWaited() {
  auto broadcast = std::make_unique<Broadcast<int>>(1);
  BroadcastReceiver<int> receiver = broadcast->Subscribe();
  Got waiter = co_await Spawn(Receive(&receiver));
  co_await Settle();
  broadcast.reset();
  CO_ASSERT_OK((co_await std::move(waiter)).status());
}

TEST(BroadcastDeathTest, IsNotDestroyedWhileATaskWaits) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunFor(1, DestroyWhileWaited()), "a broadcast is destroyed while a task waits for it");
}

TEST(BroadcastDeathTest, KeepsOneAtLeast) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(Broadcast<int>(0), "a broadcast keeps one value at least");
}

}  // namespace
}  // namespace evring
