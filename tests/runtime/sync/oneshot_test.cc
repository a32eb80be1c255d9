// Oneshot: the value, the ends that go away, stops, other threads, and whose the value is.

#include "runtime/sync/oneshot.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
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
using testing::Counted;
using testing::JoinAll;
using testing::Rival;
using testing::RunFor;
using testing::Scaled;
using testing::Settle;
using testing::Spin;

using absl::StatusCode;

// On one worker.
class OneshotTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, OneshotTest, testing::MachinesOfOneWorker(), testing::MachineName);

// -1 for an error, whose code is in *code.
Task<int> ReceiveOr(OneshotReceiver<int>* receiver, StatusCode* code) {
  const absl::StatusOr<int> value = co_await receiver->Receive();
  *code = Code(value);
  co_return value.value_or(-1);
}

TEST(Oneshot, ASentValueIsReceivedOnce) {
  auto [sender, receiver] = Oneshot<std::unique_ptr<int>>();
  EXPECT_TRUE(sender.wanted());
  EXPECT_EQ(Code(receiver.TryReceive()), StatusCode::kUnavailable);
  EXPECT_TRUE(sender.Send(std::make_unique<int>(7)).ok());
  auto second = std::make_unique<int>(8);
  EXPECT_EQ(Code(sender.Send(std::move(second))), StatusCode::kFailedPrecondition);
  EXPECT_NE(second, nullptr);  // NOLINT: what was not sent was not moved from
  sender = OneshotSender<std::unique_ptr<int>>();
  EXPECT_EQ(*receiver.TryReceive().value(), 7) << "though the sender has gone";
  EXPECT_EQ(Code(receiver.TryReceive()), StatusCode::kOutOfRange);
}

TEST(Oneshot, TheSenderLearnsThatTheReceiverHasGone) {
  auto [sender, receiver] = Oneshot<std::unique_ptr<int>>();
  receiver = OneshotReceiver<std::unique_ptr<int>>();
  EXPECT_FALSE(sender.wanted());
  auto kept = std::make_unique<int>(1);
  EXPECT_EQ(Code(sender.Send(std::move(kept))), StatusCode::kFailedPrecondition);
  EXPECT_NE(kept, nullptr);  // NOLINT: as above
}

TEST(Oneshot, TheReceiverLearnsThatTheSenderHasGone) {
  auto [sender, receiver] = Oneshot<int>();
  sender = OneshotSender<int>();
  EXPECT_EQ(Code(receiver.TryReceive()), StatusCode::kOutOfRange);
  EXPECT_FALSE(sender.wanted());
  EXPECT_EQ(Code(sender.Send(1)), StatusCode::kFailedPrecondition) << "it is connected to nothing";
}

TEST(Oneshot, DestroysWhatNobodyReceived) {
  std::atomic<int> alive{0};
  {
    auto [sender, receiver] = Oneshot<Counted>();
    EXPECT_TRUE(sender.Send(Counted(&alive)).ok());
    EXPECT_EQ(alive.load(), 1);
  }
  EXPECT_EQ(alive.load(), 0);
}

Task<void> WaitsForTheValue() {
  auto [sender, receiver] = Oneshot<int>();
  StatusCode code;
  JoinHandle<int> task = co_await Spawn(ReceiveOr(&receiver, &code));
  co_await Settle();
  EXPECT_FALSE(task.done());
  OneshotSender<int> moved = std::move(sender);
  CO_ASSERT_OK(moved.Send(7));
  EXPECT_EQ(co_await std::move(task), 7);
}

TEST_P(OneshotTest, TheReceiverWaitsForTheValue) { RunOk(WaitsForTheValue()); }

Task<void> WaitsInVain() {
  auto [sender, receiver] = Oneshot<int>();
  StatusCode code;
  JoinHandle<int> task = co_await Spawn(ReceiveOr(&receiver, &code));
  co_await Settle();
  sender = OneshotSender<int>();
  task.RequestStop();  // too late: it was told
  EXPECT_EQ(co_await std::move(task), -1);
  EXPECT_EQ(code, StatusCode::kOutOfRange);
}

TEST_P(OneshotTest, AWaitEndsWhenTheSenderGoes) { RunOk(WaitsInVain()); }

Task<absl::Status> UntilUnwanted(OneshotSender<int>* sender) { co_return co_await sender->Unwanted(); }

Task<void> SenderWaits() {
  std::optional<Oneshot<int>> ends(std::in_place);
  JoinHandle<absl::Status> stopped = co_await Spawn(UntilUnwanted(&ends->sender));
  JoinHandle<absl::Status> told = co_await Spawn(UntilUnwanted(&ends->sender));
  co_await Settle();
  EXPECT_FALSE(told.done());
  stopped.RequestStop();
  EXPECT_EQ(Code(co_await std::move(stopped)), StatusCode::kCancelled);
  ends->receiver = OneshotReceiver<int>();
  CO_ASSERT_OK(co_await std::move(told));
}

TEST_P(OneshotTest, ASenderMayWaitForTheReceiverToGo) { RunOk(SenderWaits()); }

// --- Stops

Task<void> StoppedWhileWaiting() {
  auto [sender, receiver] = Oneshot<int>();
  StatusCode code;
  JoinHandle<int> task = co_await Spawn(ReceiveOr(&receiver, &code));
  co_await Settle();
  task.RequestStop();
  EXPECT_EQ(co_await std::move(task), -1);
  EXPECT_EQ(code, StatusCode::kCancelled);
  CO_ASSERT_OK(sender.Send(5));
  EXPECT_EQ(co_await ReceiveOr(&receiver, &code), 5) << "it can still be received";
}

TEST_P(OneshotTest, AStopEndsTheWaitAndTakesNothing) { RunOk(StoppedWhileWaiting()); }

Task<int> ReceiveWhenStopped(OneshotReceiver<int>* receiver, StatusCode* code) {
  co_await AwaitStop();
  co_return co_await ReceiveOr(receiver, code);
}

Task<void> StoppedBefore() {
  auto [sender, receiver] = Oneshot<int>();
  CO_ASSERT_OK(sender.Send(5));
  StatusCode code;
  JoinHandle<int> task = co_await Spawn(ReceiveWhenStopped(&receiver, &code));
  co_await Settle();
  task.RequestStop();
  EXPECT_EQ(co_await std::move(task), -1);
  EXPECT_EQ(code, StatusCode::kCancelled);
  EXPECT_EQ(receiver.TryReceive().value(), 5);
}

TEST_P(OneshotTest, AStoppedTaskTakesNothingThoughItIsThere) { RunOk(StoppedBefore()); }

Task<void> StoppedWhenServed() {
  auto [sender, receiver] = Oneshot<int>();
  StatusCode code;
  JoinHandle<int> task = co_await Spawn(ReceiveOr(&receiver, &code));
  co_await Settle();
  CO_ASSERT_OK(sender.Send(5));
  task.RequestStop();  // it is ready, and has not run
  EXPECT_EQ(co_await std::move(task), 5);
}

TEST_P(OneshotTest, AStopAfterItWasSentIsTooLate) { RunOk(StoppedWhenServed()); }

// --- Many at once

struct Outcomes {
  std::atomic<int> alive{0};
  std::atomic<int> sent{0};
  std::atomic<int> received{0};
  std::atomic<int> cancelled{0};
  std::atomic<int> closed{0};
};

Task<void> Receive(OneshotReceiver<Counted> receiver, Outcomes* o) {
  absl::StatusOr<Counted> value = co_await receiver.Receive();
  ++(value.ok() ? o->received : Code(value) == StatusCode::kCancelled ? o->cancelled : o->closed);
}

Task<void> Send(OneshotSender<Counted> sender, Outcomes* o, bool sends, uint32_t spins) {
  for (uint32_t yields = spins % 3; yields != 0; --yields) co_await Yield();
  Spin(spins);
  if (!sends) co_return;
  const absl::Status status = sender.Send(Counted(&o->alive));
  if (status.ok()) ++o->sent;
}

Task<void> Rounds(Outcomes* o, int rounds, uint32_t seed) {
  std::minstd_rand random(seed);
  for (int i = 0; i < rounds; ++i) {
    auto [sender, receiver] = Oneshot<Counted>();
    JoinHandle<void> receives = co_await Spawn(Receive(std::move(receiver), o));
    const bool sends = random() % 8 != 0;
    const uint32_t spins = random() % 300;
    JoinHandle<void> sending = co_await Spawn(Send(std::move(sender), o, sends, spins));
    if (random() % 4 == 0) {
      for (uint32_t yields = random() % 4; yields != 0; --yields) co_await Yield();
      receives.RequestStop();
    }
    co_await std::move(receives);
    co_await std::move(sending);
  }
}

Task<void> RoundsOfAll(Outcomes* o, int tasks, int rounds) {
  std::vector<JoinHandle<void>> handles;
  for (int i = 0; i < tasks; ++i) handles.push_back(co_await Spawn(Rounds(o, rounds, static_cast<uint32_t>(i) + 1)));
  co_await JoinAll(&handles);
}

class OneshotRoundsTest : public testing::EveryMachine {
 protected:
  static int Each() { return Rounds(1000); }
};
INSTANTIATE_TEST_SUITE_P(Machines, OneshotRoundsTest, testing::Machines(), testing::MachineName);

TEST_P(OneshotRoundsTest, EachRoundHasOneEnd) {
  Outcomes outcomes;
  const int rounds = Each();
  RunOk(RoundsOfAll(&outcomes, 8, rounds));
  EXPECT_EQ(outcomes.received.load() + outcomes.cancelled.load() + outcomes.closed.load(), 8 * rounds);
  EXPECT_LE(outcomes.received.load(), outcomes.sent.load());
  if (!machine().simulated()) {
    EXPECT_GT(outcomes.received.load(), 0);
    EXPECT_GT(outcomes.closed.load(), 0);
  }
  EXPECT_EQ(outcomes.alive.load(), 0);
}

// With a thread that is no worker.
class OneshotEveryWorkerCount : public testing::EveryWorkerCount {};

// The thread sends, or goes away; the receiver goes away as soon as it knows, while the sender may be on its way back.
Task<void> ReceiveFromARival(Rival* rival, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    std::optional<Oneshot<int>> ends(std::in_place);
    OneshotSender<int> sender = std::move(ends->sender);
    rival->Begin([&sender, i] {
      Spin(static_cast<uint32_t>(i) % 512);
      OneshotSender<int> mine = std::move(sender);
      if (i % 2 == 0) {
        EXPECT_TRUE(mine.Send(i).ok());
      }
    });
    const absl::StatusOr<int> value = co_await ends->receiver.Receive();
    EXPECT_EQ(Code(value), i % 2 == 0 ? StatusCode::kOk : StatusCode::kOutOfRange);
    ends.reset();
    rival->Join();
  }
}

TEST_P(OneshotEveryWorkerCount, AThreadThatIsNoWorkerSends) {
  Rival rival;
  RunFor(GetParam(), ReceiveFromARival(&rival, Scaled(5000)));
}

INSTANTIATE_TEST_SUITE_P(Workers, OneshotEveryWorkerCount, testing::WorkerCounts());

Task<void> LetGoWhileWaited() {
  auto [sender, receiver] = Oneshot<int>();
  StatusCode code;
  JoinHandle<int> task = co_await Spawn(ReceiveOr(&receiver, &code));
  co_await Settle();
  receiver = OneshotReceiver<int>();
  EXPECT_EQ(co_await std::move(task), -1);
}

TEST(OneshotDeathTest, TheReceiverDoesNotGoWhileATaskWaits) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunFor(1, LetGoWhileWaited()), "goes away while a task waits for it");
}

TEST(OneshotDeathTest, AnEndThatIsConnectedToNothingReceivesNothing) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  OneshotReceiver<int> none;
  EXPECT_DEATH(none.TryReceive().IgnoreError(), "used that was moved from");
}

}  // namespace
}  // namespace evring
