// Select, on this machine's kernel and on simulated ones: which case happens, that no other does, and that nobody is
// overtaken or held up by one that has chosen something else.

#include "runtime/sync/select.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/cancellation.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/channel.h"
#include "runtime/task_group.h"
#include "runtime/timeout.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

class SelectTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, SelectTest, Machines(), MachineName);

class SelectOrderTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, SelectOrderTest, MachinesOfOneWorker(), MachineName);

Task<absl::Status> SendLater(Channel<int>* channel, absl::Duration d, int value) {
  absl::Status status = co_await Sleep(d);
  if (status.ok()) status = co_await channel->Send(value);
  co_return status;
}
Task<absl::StatusOr<int>> ReceiveLater(Channel<int>* channel, absl::Duration d) {
  const absl::Status status = co_await Sleep(d);
  if (!status.ok()) co_return status;
  co_return co_await channel->Receive();
}

// --- What is ready at once
// --------------------------------------------------------------------------------------------

Task<> ReadyAtOnce() {
  Channel<int> a(2);
  Channel<int> b(2);
  CO_ASSERT_OK(co_await a.Send(1));
  CO_ASSERT_OK(co_await b.Send(2));
  auto first = co_await Select(a.Receive(), b.Receive(), Sleep(absl::ZeroDuration()));
  CO_ASSERT_EQ(first.index(), 0u);
  EXPECT_EQ(*std::get<0>(first), 1);
  auto second = co_await Select(a.Receive(), b.Receive(), Sleep(absl::Hours(1)));
  CO_ASSERT_EQ(second.index(), 1u);
  EXPECT_EQ(*std::get<1>(second), 2);
  auto third = co_await Select(a.Receive(), b.Send(3));
  CO_ASSERT_EQ(third.index(), 1u);
  EXPECT_TRUE(std::get<1>(third).ok());
  const absl::StatusOr<int> sent = b.TryReceive();
  EXPECT_TRUE(sent.ok() && *sent == 3);
  auto fourth = co_await Select(a.Receive(), b.Receive(), Sleep(absl::ZeroDuration()));
  EXPECT_EQ(fourth.index(), 2u) << "a poll";
}

TEST_P(SelectTest, OfWhatIsReadyTheFirstInOrderHappensAndNoOther) { RunOk(ReadyAtOnce()); }

// --- What becomes ready
// -----------------------------------------------------------------------------------------------

Task<> BecomesReady() {
  const absl::Duration d = absl::Milliseconds(1);
  Channel<int> a(0);
  Channel<int> b(0);
  JoinHandle<absl::Status> sender = co_await Spawn(SendLater(&b, d, 5));
  auto received = co_await Select(a.Receive(), b.Receive(), Sleep(absl::Hours(1)));
  CO_ASSERT_EQ(received.index(), 1u);
  EXPECT_EQ(*std::get<1>(received), 5);
  EXPECT_TRUE((co_await std::move(sender)).ok());

  JoinHandle<absl::StatusOr<int>> receiver = co_await Spawn(ReceiveLater(&b, d));
  auto sent = co_await Select(a.Send(6), b.Send(7), Sleep(absl::Hours(1)));
  CO_ASSERT_EQ(sent.index(), 1u);
  EXPECT_TRUE(std::get<1>(sent).ok());
  EXPECT_EQ(*co_await std::move(receiver), 7);

  const absl::Time start = TimerNow();
  auto timed = co_await Select(a.Receive(), Sleep(absl::Hours(1)), b.Send(8), Sleep(d));
  CO_ASSERT_EQ(timed.index(), 3u);
  EXPECT_TRUE(std::get<3>(timed).ok());
  EXPECT_GE(TimerNow() - start, d);
}

TEST_P(SelectTest, TheFirstThatBecomesReadyHappens) { RunOk(BecomesReady()); }

Task<absl::Status> CloseLater(Channel<int>* channel) {
  absl::Status status = co_await Sleep(absl::Milliseconds(1));
  channel->Close();
  co_return status;
}

Task<> Closing() {
  Channel<int> a(0);
  Channel<int> b(0);
  JoinHandle<absl::Status> closer = co_await Spawn(CloseLater(&b));
  auto waited = co_await Select(a.Receive(), b.Receive());
  CO_ASSERT_EQ(waited.index(), 1u);
  EXPECT_TRUE(absl::IsOutOfRange(std::get<1>(waited).status()));
  EXPECT_TRUE((co_await std::move(closer)).ok());
  auto closed = co_await Select(a.Send(1), b.Send(2), Sleep(absl::Hours(1)));
  CO_ASSERT_EQ(closed.index(), 1u);
  EXPECT_TRUE(absl::IsFailedPrecondition(std::get<1>(closed)));
}

TEST_P(SelectTest, AClosedChannelIsReadyAndTellsSo) { RunOk(Closing()); }

Task<> NotSent() {
  Channel<std::unique_ptr<int>> a(0);
  Channel<int> b(1);
  CO_ASSERT_OK(co_await b.Send(1));
  auto value = std::make_unique<int>(3);
  auto chosen = co_await Select(a.Send(std::move(value)), b.Receive());
  EXPECT_EQ(chosen.index(), 1u);
  EXPECT_NE(value, nullptr);
  auto timed = co_await Select(a.Send(std::move(value)), Sleep(absl::Microseconds(10)));
  EXPECT_EQ(timed.index(), 1u);
  EXPECT_NE(value, nullptr);
}

TEST_P(SelectTest, WhatWasNotSentIsStillThere) { RunOk(NotSent()); }

// --- Stops
// ------------------------------------------------------------------------------------------------------------

Task<> Stopped(Channel<int>* a, Channel<int>* b, Gate* waiting) {
  waiting->Open();
  auto meanwhile = co_await Select(a->Receive(), b->Send(1), Sleep(absl::Hours(1)));
  CO_ASSERT_EQ(meanwhile.index(), 0u);
  EXPECT_TRUE(absl::IsCancelled(std::get<0>(meanwhile).status()));
  CO_ASSERT_OK(a->TrySend(1));
  auto before = co_await Select(Sleep(absl::Hours(1)), a->Receive());  // ready, but it is too late
  CO_ASSERT_EQ(before.index(), 0u);
  EXPECT_TRUE(absl::IsCancelled(std::get<0>(before)));
  const absl::StatusOr<int> kept = a->TryReceive();
  EXPECT_TRUE(kept.ok());
}

Task<> StopIt() {
  Channel<int> a(1);
  Channel<int> b(0);
  Gate waiting;
  JoinHandle<> task = co_await Spawn(Stopped(&a, &b, &waiting));
  co_await waiting;
  CO_ASSERT_OK(co_await Sleep(absl::Milliseconds(1)));
  task.RequestStop();
  co_await std::move(task);
  EXPECT_TRUE(absl::IsUnavailable(b.TryReceive().status())) << "nobody waits there any more";
}

TEST_P(SelectTest, AStopEndsItAndNothingHappens) { RunOk(StopIt()); }

// --- Meetings
// ---------------------------------------------------------------------------------------------------------

Task<> MeetsItself() {
  Channel<int> channel(0);
  auto alone = co_await Select(channel.Send(1), channel.Receive(), Sleep(absl::Milliseconds(1)));
  EXPECT_EQ(alone.index(), 2u);
  CO_ASSERT_OK(co_await Sleep(absl::Milliseconds(1)));
  EXPECT_TRUE(absl::IsUnavailable(channel.TryReceive().status()));
  EXPECT_TRUE(absl::IsUnavailable(channel.TrySend(1)));
}

TEST_P(SelectTest, ItDoesNotMeetItself) { RunOk(MeetsItself()); }

// Either receives what the other sends, never both, never neither.
Task<int> EitherWay(Channel<int>* a, Channel<int>* b, int id) {
  auto chosen = co_await Select(a->Send(id), b->Receive());
  if (chosen.index() == 0) co_return std::get<0>(chosen).ok() ? 0 : -1;
  co_return *std::get<1>(chosen);
}

Task<> MeetEachOther(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    Channel<int> a(0);
    Channel<int> b(0);
    JoinHandle<int> one = co_await Spawn(EitherWay(&a, &b, 1));
    JoinHandle<int> two = co_await Spawn(EitherWay(&b, &a, 2));
    const int first = co_await std::move(one);
    const int second = co_await std::move(two);
    EXPECT_TRUE((first == 0 && second == 1) || (first == 2 && second == 0)) << first << " and " << second;
  }
}

TEST_P(SelectTest, TwoMeetOnce) { RunOk(MeetEachOther(Rounds(5000))); }

Task<int> ReceiveOne(Channel<int>* channel) { co_return *co_await channel->Receive(); }
Task<int> SelectOne(Channel<int>* channel, Channel<int>* other) {
  auto chosen = co_await Select(other->Receive(), channel->Receive(), channel->Receive());
  co_return chosen.index() == 1 ? *std::get<1>(chosen) : -1;
}

// One by one they come, plain receivers and selects, and one by one they are served. Every third leaves before.
Task<> InOrder() {
  Channel<int> channel(0);
  Channel<int> never(0);
  std::vector<JoinHandle<int>> waiting;
  for (int i = 0; i < 30; ++i) {
    if (i % 3 == 2) {
      JoinHandle<int> leaves = co_await Spawn([](Channel<int>* first, Channel<int>* second) -> Task<int> {
        auto chosen = co_await Select(first->Receive(), second->Receive());
        co_return absl::IsCancelled(std::get<0>(chosen).status()) ? 0 : 1;
      }(&channel, &never));
      co_await Yield();
      leaves.RequestStop();
      EXPECT_EQ(co_await std::move(leaves), 0);
    } else {
      Task<int> task = i % 3 == 0 ? ReceiveOne(&channel) : SelectOne(&channel, &never);
      waiting.push_back(co_await Spawn(std::move(task)));
      co_await Yield();
    }
  }
  const int n = static_cast<int>(waiting.size());
  for (int i = 0; i < n; ++i) EXPECT_TRUE(channel.TrySend(i).ok());
  EXPECT_TRUE(absl::IsUnavailable(channel.TrySend(n)));
  for (int i = 0; i < n; ++i) EXPECT_EQ(co_await std::move(waiting[i]), i);
}

TEST_P(SelectOrderTest, TheChannelsOrderIsKept) { RunOk(InOrder()); }

Task<> CountTurns(int* turns) {
  for (;;) {
    ++*turns;
    co_await Yield();
    const bool stopped = co_await StopRequested();
    if (stopped) co_return;
  }
}
Task<> AlwaysReady() {
  Channel<int> a(1);
  Channel<int> b(1);
  int turns = 0;
  JoinHandle<> other = co_await Spawn(CountTurns(&turns));
  for (int i = 0; i < 10'000; ++i) {
    auto sent = co_await Select(a.Send(i), b.Send(i));
    EXPECT_EQ(sent.index(), 0u);
    auto received = co_await Select(b.Receive(), a.Receive());
    EXPECT_EQ(received.index(), 1u);
  }
  EXPECT_GT(turns, 10);
  other.RequestStop();
  co_await std::move(other);
}

TEST_P(SelectOrderTest, OneThatIsAlwaysReadyGivesWay) { RunOk(AlwaysReady()); }

// --- Nothing is lost
// --------------------------------------------------------------------------------------------------

constexpr int kChannels = 3;
using Channels = std::array<Channel<int>*, kChannels>;

struct Tally {
  std::atomic<int> sent{0};
  std::atomic<int64_t> sent_sum{0};
  std::atomic<int> received{0};
  std::atomic<int64_t> received_sum{0};

  void Sent(int value) {
    ++sent;
    sent_sum += value;
  }
  void Received(int value) {
    ++received;
    received_sum += value;
  }
};

// Sends where there is room first, and gives up for a moment now and then.
Task<> Produce(Channels to, int from, int n, Tally* tally) {
  for (int value = from; value < from + n;) {
    auto chosen = co_await Select(to[value % kChannels]->Send(value), to[(value + 1) % kChannels]->Send(value),
                                  Sleep(absl::Microseconds(value % 40)));
    const bool sent =
        (chosen.index() == 0 && std::get<0>(chosen).ok()) || (chosen.index() == 1 && std::get<1>(chosen).ok());
    if (sent) tally->Sent(value++);
    const bool stopped = co_await StopRequested();
    if (stopped) co_return;
  }
}

Task<> Consume(Channels from, int first, Tally* tally) {
  for (;;) {
    auto chosen = co_await Select(from[first % kChannels]->Receive(), from[(first + 1) % kChannels]->Receive(),
                                  from[(first + 2) % kChannels]->Receive(), Sleep(absl::Microseconds(first % 60)));
    ++first;
    const absl::StatusOr<int>* received = std::get_if<0>(&chosen);
    if (received == nullptr) received = std::get_if<1>(&chosen);
    if (received == nullptr) received = std::get_if<2>(&chosen);
    if (received == nullptr) continue;
    if (!received->ok()) co_return;  // closed, or stopped
    tally->Received(**received);
  }
}

// Consumers, and stops for some of them in the middle; whoever is stopped has received what it was given.
Task<> Flow(size_t capacity, int n, Tally* tally) {
  Channel<int> a(capacity);
  Channel<int> b(0);
  Channel<int> c(1);
  const Channels channels = {&a, &b, &c};
  TaskGroup consumers;
  std::vector<JoinHandle<>> stopped;
  for (int i = 0; i < 4; ++i) co_await consumers.Spawn(Consume(channels, i, tally));
  for (int i = 0; i < 4; ++i) stopped.push_back(co_await Spawn(Consume(channels, i, tally)));
  {
    TaskGroup producers;
    for (int i = 0; i < 4; ++i) co_await producers.Spawn(Produce(channels, i * n, n, tally));
    JoinHandle<> given_up = co_await Spawn(Produce(channels, 4 * n, n, tally));
    for (JoinHandle<>& consumer : stopped) {
      const absl::Status slept = co_await Sleep(absl::Microseconds(100));
      EXPECT_TRUE(slept.ok());
      consumer.RequestStop();
    }
    given_up.RequestStop();
    co_await std::move(given_up);
    CO_ASSERT_OK(co_await producers.Join());
  }
  for (JoinHandle<>& consumer : stopped) co_await std::move(consumer);
  a.Close();
  b.Close();
  c.Close();
  CO_ASSERT_OK(co_await consumers.Join());
  // Consumers leave when the first of their channels tells that it is closed.
  for (Channel<int>* channel : channels) {
    for (;;) {
      const absl::StatusOr<int> left = channel->TryReceive();
      if (!left.ok()) break;
      tally->Received(*left);
    }
  }
}

TEST_P(SelectTest, EachValueThatWasSentIsReceivedOnce) {
  for (const size_t capacity : {0, 1, 7}) {
    Tally tally;
    const int n = Rounds(2000);
    RunOk(Flow(capacity, n, &tally));
    EXPECT_GE(tally.sent, 4 * n);
    EXPECT_EQ(tally.sent, tally.received);
    EXPECT_EQ(tally.sent_sum, tally.received_sum);
  }
}

// A timer, a value, a close and a stop come at about the same time: one of them it is.
Task<int> AnyOfFour(Channel<int>* a, Channel<int>* b, int us) {
  auto chosen = co_await Select(a->Receive(), b->Receive(), Sleep(absl::Microseconds(us)));
  if (chosen.index() == 0 && std::get<0>(chosen).ok()) co_return 1;
  co_return 0;
}
Task<> AllAtOnce(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    Channel<int> a(0);
    Channel<int> b(0);
    JoinHandle<int> task = co_await Spawn(AnyOfFour(&a, &b, i % 50));
    JoinHandle<absl::Status> closer = co_await Spawn(CloseLater(&b));
    const absl::Status slept = co_await Sleep(absl::Microseconds(i % 70));
    EXPECT_TRUE(slept.ok());
    if (i % 2 == 0) task.RequestStop();
    const bool sent = a.TrySend(1).ok();
    EXPECT_EQ(co_await std::move(task), sent ? 1 : 0);
    closer.RequestStop();
    static_cast<void>(co_await std::move(closer));
  }
}

TEST_P(SelectTest, EndsThatComeTogetherAreOneEnd) { RunOk(AllAtOnce(Rounds(3000))); }

// Threads that are no workers send, which a simulated machine has none of.
Task<int64_t> SumOf(Channel<int>* a, Channel<int>* b, int n) {
  int64_t sum = 0;
  for (int i = 0; i < n; ++i) {
    auto chosen = co_await Select(a->Receive(), b->Receive(), Sleep(absl::Hours(1)));
    sum += chosen.index() == 0 ? *std::get<0>(chosen) : *std::get<1>(chosen);
  }
  co_return sum;
}

TEST(SelectThreads, OtherThreadsMaySend) {
  Channel<int> a(1);
  Channel<int> b(0);
  constexpr int n = Scaled(20'000);
  const auto send = [](Channel<int>* channel) {
    for (int i = 0; i < n; ++i) {
      while (!channel->TrySend(1).ok()) std::this_thread::yield();
    }
  };
  std::thread to_a(send, &a);
  std::thread to_b(send, &b);
  EXPECT_EQ(RunValue(SumOf(&a, &b, 2 * n), WithWorkers(2)), 2 * n);
  to_a.join();
  to_b.join();
}

}  // namespace
}  // namespace evring
