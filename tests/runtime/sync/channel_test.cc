// Channel: order, room, closing, hand-over with a capacity of 0, whose a value is at any time, other threads; and that
// nothing is lost or doubled when many send, receive, are stopped and close at once. More of cancellation:
// sync_cancellation_test.cc.

#include "runtime/sync/channel.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "tests/runtime/machines.h"
#include "tests/runtime/sync/sync_test_util.h"

namespace evring {
namespace {

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
class ChannelTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, ChannelTest, testing::MachinesOfOneWorker(), testing::MachineName);

Task<absl::Status> Send(Channel<int>* channel, int value) { co_return co_await channel->Send(value); }
Task<absl::StatusOr<int>> Receive(Channel<int>* channel) { co_return co_await channel->Receive(); }

// -1 for an error.
Task<int> ReceiveOr(Channel<int>* channel) {
  const absl::StatusOr<int> value = co_await channel->Receive();
  co_return value.value_or(-1);
}

// --- Without waiting
// ---------------------------------------------------------------------------------------------------

TEST(Channel, ValuesComeOutInOrderThroughManyLaps) {
  Channel<int> channel(3);
  EXPECT_EQ(channel.capacity(), 3u);
  int in = 0, out = 0;
  for (int lap = 0; lap < 7; ++lap) {
    EXPECT_EQ(Code(channel.TryReceive()), StatusCode::kUnavailable);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(channel.TrySend(in++).ok());
    EXPECT_EQ(Code(channel.TrySend(99)), StatusCode::kUnavailable);
    EXPECT_EQ(channel.TryReceive().value(), out++);
    EXPECT_TRUE(channel.TrySend(in++).ok());
    for (int i = 0; i < 3; ++i) EXPECT_EQ(channel.TryReceive().value(), out++);
  }
}

TEST(Channel, ClosedLetsOutWhatIsInside) {
  Channel<std::unique_ptr<int>> channel(2);
  EXPECT_TRUE(channel.TrySend(std::make_unique<int>(1)).ok());
  channel.Close();
  channel.Close();
  auto kept = std::make_unique<int>(2);
  EXPECT_EQ(Code(channel.TrySend(std::move(kept))), StatusCode::kFailedPrecondition);
  EXPECT_NE(kept, nullptr);  // NOLINT: what was not sent was not moved from
  EXPECT_EQ(*channel.TryReceive().value(), 1);
  EXPECT_EQ(Code(channel.TryReceive()), StatusCode::kOutOfRange);
}

TEST(Channel, WhatDoesNotFitIsNotTaken) {
  Channel<std::unique_ptr<int>> channel(1);
  EXPECT_TRUE(channel.TrySend(std::make_unique<int>(1)).ok());
  auto kept = std::make_unique<int>(2);
  EXPECT_EQ(Code(channel.TrySend(std::move(kept))), StatusCode::kUnavailable);
  EXPECT_NE(kept, nullptr);  // NOLINT: as above
}

TEST(Channel, WithNoRoomNothingGoesInByItself) {
  Channel<int> channel(0);
  EXPECT_EQ(channel.capacity(), 0u);
  EXPECT_EQ(Code(channel.TrySend(1)), StatusCode::kUnavailable);
  EXPECT_EQ(Code(channel.TryReceive()), StatusCode::kUnavailable);
}

TEST(Channel, DestroysWhatNobodyReceived) {
  std::atomic<int> alive{0};
  {
    Channel<Counted> channel(4);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(channel.TrySend(Counted(&alive)).ok());
    EXPECT_TRUE(channel.TryReceive().ok());
    EXPECT_TRUE(channel.TrySend(Counted(&alive)).ok());
    EXPECT_TRUE(channel.TrySend(Counted(&alive)).ok());  // in the slot before the first
    EXPECT_EQ(alive.load(), 4);
  }
  EXPECT_EQ(alive.load(), 0);
}

TEST(Channel, KeepsOverAlignedValuesAligned) {
  struct alignas(64) Line {
    std::array<char, 64> bytes{};
  };
  Channel<Line> channel(3);
  EXPECT_TRUE(channel.TrySend(Line()).ok());
  EXPECT_TRUE(channel.TryReceive().ok());
}

// --- Waiting
// -----------------------------------------------------------------------------------------------------------

Task<void> SendersWaitForRoom() {
  Channel<int> channel(2);
  std::vector<JoinHandle<absl::Status>> senders;
  for (int i = 0; i < 5; ++i) {
    senders.push_back(co_await Spawn(Send(&channel, i)));
    co_await Settle();
    EXPECT_EQ(senders.back().done(), i < 2);
  }
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(co_await ReceiveOr(&channel), i);
    co_await Settle();
    for (int s = 0; s < 5; ++s) EXPECT_EQ(senders[s].done(), s < 3 + i) << s;
  }
  for (JoinHandle<absl::Status>& sender : senders) CO_ASSERT_OK(co_await std::move(sender));
}

TEST_P(ChannelTest, SendersWaitForRoomInTheOrderOfComing) { RunOk(SendersWaitForRoom()); }

Task<void> ReceiversWaitForValues() {
  Channel<int> channel(2);
  std::vector<JoinHandle<int>> receivers;
  for (int i = 0; i < 3; ++i) {
    receivers.push_back(co_await Spawn(ReceiveOr(&channel)));
    co_await Settle();
  }
  for (int i = 0; i < 3; ++i) CO_ASSERT_OK(co_await channel.Send(i));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(co_await std::move(receivers[i]), i);
}

TEST_P(ChannelTest, ReceiversAreServedInTheOrderOfComing) { RunOk(ReceiversWaitForValues()); }

Task<void> HandedOver() {
  Channel<int> channel(0);
  JoinHandle<absl::Status> sender = co_await Spawn(Send(&channel, 1));
  co_await Settle();
  EXPECT_FALSE(sender.done()) << "nobody has taken it";
  EXPECT_EQ(channel.TryReceive().value(), 1);
  CO_ASSERT_OK(co_await std::move(sender));

  JoinHandle<int> receiver = co_await Spawn(ReceiveOr(&channel));
  co_await Settle();
  EXPECT_TRUE(channel.TrySend(2).ok());
  EXPECT_FALSE(channel.TrySend(3).ok()) << "one receiver, one value";
  EXPECT_EQ(co_await std::move(receiver), 2);
}

TEST_P(ChannelTest, WithNoRoomASenderWaitsForAReceiver) { RunOk(HandedOver()); }

Task<absl::Status> SendOwned(Channel<std::unique_ptr<int>>* channel, bool* still_there) {
  auto value = std::make_unique<int>(1);
  absl::Status status = co_await channel->Send(std::move(value));
  *still_there = value != nullptr;
  co_return status;
}

Task<void> CloseEndsWaits() {
  Channel<std::unique_ptr<int>> full(1);
  EXPECT_TRUE(full.TrySend(std::make_unique<int>(7)).ok());
  bool still_there[3] = {};
  std::vector<JoinHandle<absl::Status>> senders;
  for (bool& there : still_there) senders.push_back(co_await Spawn(SendOwned(&full, &there)));
  Channel<int> empty(1);
  std::vector<JoinHandle<absl::StatusOr<int>>> receivers;
  for (int i = 0; i < 3; ++i) receivers.push_back(co_await Spawn(Receive(&empty)));
  co_await Settle();
  full.Close();
  empty.Close();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Code(co_await std::move(senders[i])), StatusCode::kFailedPrecondition);
    EXPECT_TRUE(still_there[i]);
    EXPECT_EQ(Code(co_await std::move(receivers[i])), StatusCode::kOutOfRange);
  }
  EXPECT_EQ(*full.TryReceive().value(), 7) << "what was in comes out";
  EXPECT_EQ(Code(co_await full.Receive()), StatusCode::kOutOfRange);
  EXPECT_EQ(Code(co_await Send(&empty, 1)), StatusCode::kFailedPrecondition);
}

TEST_P(ChannelTest, CloseEndsAllWaitsAndSendersKeepTheirValues) { RunOk(CloseEndsWaits()); }

// A stop that comes to a task that Close() has woken, and that has not run: it is told of the close.
Task<void> StopAfterClose() {
  Channel<int> channel(1);
  JoinHandle<absl::StatusOr<int>> receiver = co_await Spawn(Receive(&channel));
  co_await Settle();
  channel.Close();
  receiver.RequestStop();
  EXPECT_EQ(Code(co_await std::move(receiver)), StatusCode::kOutOfRange);
}

TEST_P(ChannelTest, AStopAfterCloseIsTooLate) { RunOk(StopAfterClose()); }

// --- Whose a value is
// ----------------------------------------------------------------------------------------------------

Task<void> SendTemporaries(Channel<Counted>* channel, std::atomic<int>* alive, int n) {
  for (int i = 0; i < n; ++i) CO_ASSERT_OK(co_await channel->Send(Counted(alive)));
}

Task<void> SendAndReceive(std::atomic<int>* alive, size_t capacity) {
  Channel<Counted> channel(capacity);
  JoinHandle<void> sender = co_await Spawn(SendTemporaries(&channel, alive, 9));
  for (int i = 0; i < 9; ++i) {
    const absl::StatusOr<Counted> value = co_await channel.Receive();
    CO_ASSERT_OK(value.status());
    if (i % 3 == 0) co_await Settle();
  }
  co_await std::move(sender);
  EXPECT_EQ(alive->load(), 0);
}

TEST_P(ChannelTest, EachValueIsDestroyedOnce) {
  for (const size_t capacity : {0, 1, 5}) {
    std::atomic<int> alive{0};
    RunOk(SendAndReceive(&alive, capacity));
    EXPECT_EQ(alive.load(), 0) << "capacity " << capacity;
  }
}

static_assert(!std::is_copy_constructible_v<SendAwaiter<int>> && !std::is_move_constructible_v<SendAwaiter<int>>,
              "it is awaited where it was made, while the value lives");

// --- Many at once
// ------------------------------------------------------------------------------------------------------

// A value with its origin, on the heap: one that came out twice, or not whole, is seen by the sanitizers too.
struct Parcel {
  int sender;
  int number;
};
using Parcels = Channel<std::unique_ptr<Parcel>>;

struct Traffic {
  Traffic(size_t capacity, int s, int r, int n, int close)
      : channel(capacity), senders(s), receivers(r), each(n), close_after(close), arrived(static_cast<size_t>(s * n)) {}

  Parcels channel;
  const int senders, receivers, each;
  const int close_after;                  // this many have come out
  std::vector<std::atomic<int>> arrived;  // how often each parcel came out
  std::atomic<int> sent{0}, received{0}, cancelled{0}, refused{0};

  std::atomic<int>& Arrived(const Parcel& parcel) {
    return arrived[static_cast<size_t>(parcel.sender * each + parcel.number)];
  }
};

// Sends until it is done, stopped or closed. What was not sent is tried again by the caller.
Task<void> SendFrom(Traffic* t, int sender, int* next) {
  while (*next < t->each) {
    auto parcel = std::make_unique<Parcel>(Parcel{sender, *next});
    const absl::Status status = co_await t->channel.Send(std::move(parcel));
    EXPECT_EQ(parcel == nullptr, status.ok());
    if (!status.ok()) {
      (absl::IsCancelled(status) ? t->cancelled : t->refused).fetch_add(1, std::memory_order_relaxed);
      co_return;
    }
    t->sent.fetch_add(1, std::memory_order_relaxed);
    ++*next;
  }
}

// Receives until it is stopped or the channel is closed and empty. True: closed.
Task<bool> ReceiveSome(Traffic* t, std::vector<int>* last) {
  for (;;) {
    const absl::StatusOr<std::unique_ptr<Parcel>> parcel = co_await t->channel.Receive();
    if (!parcel.ok()) {
      if (!absl::IsCancelled(parcel.status())) co_return true;
      t->cancelled.fetch_add(1, std::memory_order_relaxed);
      co_return false;
    }
    if (t->received.fetch_add(1, std::memory_order_relaxed) + 1 == t->close_after) t->channel.Close();
    t->Arrived(**parcel).fetch_add(1, std::memory_order_relaxed);
    int& before = (*last)[static_cast<size_t>((*parcel)->sender)];
    EXPECT_LT(before, (*parcel)->number) << "one sender's parcels come in order to each receiver";
    before = (*parcel)->number;
  }
}

// Both start a child that does the work, stop it after a while, and start another.
Task<void> Sender(Traffic* t, int sender) {
  std::minstd_rand random(static_cast<uint32_t>(sender) + 1);
  for (int next = 0; next < t->each && t->refused.load(std::memory_order_relaxed) == 0;) {
    JoinHandle<void> child = co_await Spawn(SendFrom(t, sender, &next));
    for (uint32_t yields = random() % 50; yields != 0; --yields) co_await Yield();
    child.RequestStop();
    co_await std::move(child);
  }
}

Task<void> Receiver(Traffic* t, int receiver) {
  std::minstd_rand random(static_cast<uint32_t>(receiver) + 1000);
  std::vector<int> last(static_cast<size_t>(t->senders), -1);
  for (bool closed = false; !closed;) {
    JoinHandle<bool> child = co_await Spawn(ReceiveSome(t, &last));
    for (uint32_t yields = random() % 50; yields != 0; --yields) co_await Yield();
    child.RequestStop();
    closed = co_await std::move(child);
  }
}

Task<void> AllTraffic(Traffic* t) {
  std::vector<JoinHandle<void>> senders, receivers;
  for (int i = 0; i < t->senders; ++i) senders.push_back(co_await Spawn(Sender(t, i)));
  for (int i = 0; i < t->receivers; ++i) receivers.push_back(co_await Spawn(Receiver(t, i)));
  co_await JoinAll(&senders);
  t->channel.Close();
  co_await JoinAll(&receivers);
}

class ChannelTrafficTest : public testing::EveryMachine {
 protected:
  static void ExpectEachOnce(const Traffic& t) {
    EXPECT_EQ(t.sent.load(), t.received.load());
    int arrived = 0;
    for (const std::atomic<int>& times : t.arrived) {
      EXPECT_LE(times.load(), 1);
      arrived += times.load();
    }
    EXPECT_EQ(arrived, t.sent.load());
  }
};

TEST_P(ChannelTrafficTest, StopsLoseAndDoubleNothing) {
  for (const size_t capacity : {0, 1, 16}) {
    SCOPED_TRACE(capacity);
    RepeatUntil([&] {
      Traffic traffic(capacity, 6, 5, Rounds(4000), 0);
      RunOk(AllTraffic(&traffic));
      ExpectEachOnce(traffic);
      EXPECT_EQ(traffic.sent.load(), traffic.senders * traffic.each);
      EXPECT_EQ(traffic.refused.load(), 0);
      return traffic.cancelled.load() > 0;
    });
  }
}

TEST_P(ChannelTrafficTest, CloseInTheMiddleLosesAndDoublesNothing) {
  for (const size_t capacity : {0, 1, 16}) {
    SCOPED_TRACE(capacity);
    const int each = Rounds(4000);
    Traffic traffic(capacity, 6, 5, each, each);
    RunOk(AllTraffic(&traffic));
    ExpectEachOnce(traffic);
    EXPECT_GE(traffic.sent.load(), each);
    EXPECT_GT(traffic.refused.load(), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Machines, ChannelTrafficTest, testing::Machines(), testing::MachineName);

// With a thread that is no worker.
class ChannelEveryWorkerCount : public testing::EveryWorkerCount {};

// It feeds tasks, and takes their answers.
Task<void> Increment(Channel<int>* requests, Channel<int>* answers) {
  for (;;) {
    const absl::StatusOr<int> request = co_await requests->Receive();
    if (!request.ok()) break;
    CO_ASSERT_OK(co_await answers->Send(*request + 1));
  }
}

Task<void> Serve(Channel<int>* requests, Channel<int>* answers) {
  std::vector<JoinHandle<void>> servers;
  for (int i = 0; i < 3; ++i) servers.push_back(co_await Spawn(Increment(requests, answers)));
  co_await JoinAll(&servers);
  answers->Close();
}

TEST_P(ChannelEveryWorkerCount, AThreadThatIsNoWorkerTriesAndCloses) {
  Channel<int> requests(8), answers(4);
  int64_t sum = 0;
  const int n = Scaled(20'000);
  std::thread thread([&] {
    for (int sent = 0;;) {
      if (sent < n && requests.TrySend(sent).ok() && ++sent == n) requests.Close();
      const absl::StatusOr<int> answer = answers.TryReceive();
      if (answer.ok()) {
        sum += *answer;
      } else if (absl::IsOutOfRange(answer.status())) {
        return;
      } else if (sent == n) {
        std::this_thread::yield();
      }
    }
  });
  RunFor(GetParam(), Serve(&requests, &answers));
  thread.join();
  EXPECT_EQ(sum, int64_t{n} * (n + 1) / 2);
}

TEST_P(ChannelEveryWorkerCount, WhoHasTheLastValueMayDestroyIt) {
  Rival rival;
  RunFor(GetParam(), testing::DestroyWhenReceived<Channel<int>>(
                         &rival, Scaled(5000), [] { return std::make_unique<Channel<int>>(1); },
                         [](auto* channel, int value) { return channel->TrySend(value); }));
}

INSTANTIATE_TEST_SUITE_P(Workers, ChannelEveryWorkerCount, testing::WorkerCounts());

Task<void> DestroyWhileWaited() {
  auto channel = std::make_unique<Channel<int>>(1);
  JoinHandle<int> waiter = co_await Spawn(ReceiveOr(channel.get()));
  co_await Settle();
  channel.reset();
  EXPECT_EQ(co_await std::move(waiter), -1);
}

TEST(ChannelDeathTest, IsNotDestroyedWhileATaskWaits) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunFor(1, DestroyWhileWaited()), "a channel is destroyed while a task waits for it");
}

}  // namespace
}  // namespace evring
