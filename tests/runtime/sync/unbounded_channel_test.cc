// UnboundedChannel: order and blocks, closing, what is allocated, stops at each place in line, other threads, and that
// nothing is lost or doubled when many send, receive, are stopped and close at once.

#include "runtime/sync/unbounded_channel.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "tests/runtime/counted_new.h"
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
class UnboundedChannelTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, UnboundedChannelTest, testing::MachinesOfOneWorker(), testing::MachineName);

Task<absl::StatusOr<int>> Receive(UnboundedChannel<int>* channel) { co_return co_await channel->Receive(); }

// --- Without waiting

// Values of 300 bytes: three to a block, so that every way through the blocks is gone often.
struct Big {
  explicit Big(int n) : number(n) {}
  int number;
  std::array<char, 296> rest{};
};

TEST(UnboundedChannel, ValuesComeOutInOrderHoweverManyThereAre) {
  UnboundedChannel<Big> channel;
  std::minstd_rand random(1);
  int in = 0, out = 0;
  for (int i = 0; i < 2000; ++i) {
    for (uint32_t n = random() % 12; n != 0; --n) EXPECT_TRUE(channel.Send(Big(in++)).ok());
    EXPECT_EQ(channel.size(), static_cast<size_t>(in - out));
    for (uint32_t n = random() % 14; n != 0 && out != in; --n) {
      const absl::StatusOr<Big> value = channel.TryReceive();
      ASSERT_TRUE(value.ok());
      ASSERT_EQ(value->number, out++);
    }
  }
  for (; out != in; ++out) EXPECT_EQ(channel.TryReceive()->number, out);
  EXPECT_EQ(Code(channel.TryReceive()), StatusCode::kUnavailable);
}

TEST(UnboundedChannel, ClosedLetsOutWhatIsInside) {
  UnboundedChannel<std::unique_ptr<int>> channel;
  EXPECT_TRUE(channel.Send(std::make_unique<int>(1)).ok());
  channel.Close();
  channel.Close();
  auto kept = std::make_unique<int>(2);
  EXPECT_EQ(Code(channel.Send(std::move(kept))), StatusCode::kFailedPrecondition);
  EXPECT_NE(kept, nullptr);  // NOLINT: what was not sent was not moved from
  EXPECT_EQ(*channel.TryReceive().value(), 1);
  EXPECT_EQ(Code(channel.TryReceive()), StatusCode::kOutOfRange);
}

// Left inside: nothing, a part of one block, and parts of three.
TEST(UnboundedChannel, DestroysWhatNobodyReceived) {
  struct Line {
    explicit Line(std::atomic<int>* alive) : counted(alive) {}
    Counted counted;
    std::array<char, 400> rest{};
  };
  std::atomic<int> alive{0};
  for (const int left : {0, 1, 2, 5}) {
    UnboundedChannel<Line> channel;
    for (int i = 0; i < 3 + left; ++i) EXPECT_TRUE(channel.Send(Line(&alive)).ok());
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(channel.TryReceive().ok());
    EXPECT_EQ(alive.load(), left);
  }
  EXPECT_EQ(alive.load(), 0);
}

TEST(UnboundedChannel, KeepsOverAlignedValuesAligned) {
  struct alignas(64) Line {
    std::array<char, 64> bytes{};
  };
  UnboundedChannel<Line> channel;
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(channel.Send(Line()).ok());
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(channel.TryReceive().ok());
}

TEST(UnboundedChannel, AShortQueueAllocatesNothingAndALongOneGivesItsMemoryBack) {
  if (!kBlocksCounted) GTEST_SKIP() << "ThreadSanitizer's operator new cannot be counted";
  UnboundedChannel<Big> channel;
  int64_t news = 0;
  for (int i = 0; i < 1000; ++i) {
    if (i == 100) news = counted_news.load(std::memory_order_relaxed);
    EXPECT_TRUE(channel.Send(Big(i)).ok());
    EXPECT_TRUE(channel.Send(Big(i)).ok());
    EXPECT_TRUE(channel.TryReceive().ok());
    EXPECT_TRUE(channel.TryReceive().ok());
  }
  EXPECT_EQ(counted_news.load(std::memory_order_relaxed), news);
  const int64_t live = LiveBlocks();
  for (int i = 0; i < 300; ++i) EXPECT_TRUE(channel.Send(Big(i)).ok());
  EXPECT_GE(LiveBlocks(), live + 90);
  for (int i = 0; i < 300; ++i) EXPECT_TRUE(channel.TryReceive().ok());
  EXPECT_LE(LiveBlocks(), live + 1) << "all but the last and a spare one";
}

// --- Waiting

Task<void> ReceiversWait() {
  UnboundedChannel<int> channel;
  std::vector<JoinHandle<absl::StatusOr<int>>> receivers;
  for (int i = 0; i < 3; ++i) {
    receivers.push_back(co_await Spawn(Receive(&channel)));
    co_await Settle();
  }
  for (int i = 0; i < 4; ++i) CO_ASSERT_OK(channel.Send(i));
  EXPECT_EQ(channel.size(), 1u) << "three went straight to who waits";
  for (int i = 0; i < 3; ++i) EXPECT_EQ((co_await std::move(receivers[i])).value(), i);
  EXPECT_EQ(channel.TryReceive().value(), 3);
}

TEST_P(UnboundedChannelTest, ReceiversAreServedInTheOrderOfComing) { RunOk(ReceiversWait()); }

Task<void> CloseEndsWaits() {
  UnboundedChannel<int> channel;
  std::vector<JoinHandle<absl::StatusOr<int>>> receivers;
  for (int i = 0; i < 3; ++i) receivers.push_back(co_await Spawn(Receive(&channel)));
  co_await Settle();
  channel.Close();
  receivers[0].RequestStop();  // too late: it was told
  for (JoinHandle<absl::StatusOr<int>>& receiver : receivers) {
    EXPECT_EQ(Code(co_await std::move(receiver)), StatusCode::kOutOfRange);
  }
  EXPECT_EQ(Code(co_await channel.Receive()), StatusCode::kOutOfRange);
}

TEST_P(UnboundedChannelTest, CloseEndsAllWaits) { RunOk(CloseEndsWaits()); }

// --- Stops

Task<void> StoppedAmongOthers(int place) {
  UnboundedChannel<int> channel;
  std::vector<JoinHandle<absl::StatusOr<int>>> receivers;
  for (int i = 0; i < 3; ++i) {
    receivers.push_back(co_await Spawn(Receive(&channel)));
    co_await Settle();
  }
  receivers[place].RequestStop();
  EXPECT_EQ(Code(co_await std::move(receivers[place])), StatusCode::kCancelled);
  int next = 0;
  for (int i = 0; i < 3; ++i) {
    if (i == place) continue;
    CO_ASSERT_OK(channel.Send(next));
    EXPECT_EQ((co_await std::move(receivers[i])).value(), next++);
  }
  EXPECT_EQ(channel.size(), 0u);
}

TEST_P(UnboundedChannelTest, AStopAtTheHeadOfTheQueue) { RunOk(StoppedAmongOthers(0)); }
TEST_P(UnboundedChannelTest, AStopInTheMiddleOfTheQueue) { RunOk(StoppedAmongOthers(1)); }
TEST_P(UnboundedChannelTest, AStopAtTheEndOfTheQueue) { RunOk(StoppedAmongOthers(2)); }

Task<absl::StatusOr<int>> ReceiveWhenStopped(UnboundedChannel<int>* channel) {
  co_await AwaitStop();
  co_return co_await channel->Receive();
}

Task<void> StoppedBeforeAndAfter() {
  UnboundedChannel<int> channel;
  JoinHandle<absl::StatusOr<int>> served = co_await Spawn(Receive(&channel));
  co_await Settle();
  CO_ASSERT_OK(channel.Send(1));
  served.RequestStop();  // it is ready, and has not run
  EXPECT_EQ((co_await std::move(served)).value(), 1);

  CO_ASSERT_OK(channel.Send(2));
  JoinHandle<absl::StatusOr<int>> stopped = co_await Spawn(ReceiveWhenStopped(&channel));
  co_await Settle();
  stopped.RequestStop();
  EXPECT_EQ(Code(co_await std::move(stopped)), StatusCode::kCancelled);
  EXPECT_EQ(channel.size(), 1u);
}

TEST_P(UnboundedChannelTest, AStopBeforeTakesNothingAndOneAfterIsTooLate) { RunOk(StoppedBeforeAndAfter()); }

// --- Many at once

// What each sender sends in order, so that each receiver sees it in order.
struct Parcel {
  Parcel(int sender, int number) : sender(sender), number(number) {}
  int sender;
  int number;
};

struct Traffic {
  Traffic(int senders, int each) : senders(senders), each(each), arrived(static_cast<size_t>(senders * each)) {}
  const int senders;
  const int each;
  UnboundedChannel<Parcel> channel;
  std::vector<std::atomic<int>> arrived;
  std::atomic<int> cancelled{0};
};

Task<void> Sender(Traffic* t, int sender) {
  for (int i = 0; i < t->each; ++i) {
    CO_ASSERT_OK(t->channel.Send(Parcel(sender, i)));
    if (i % 16 == 0) co_await Yield();
  }
}

// False: closed.
Task<bool> ReceiveSome(Traffic* t, std::vector<int>* last) {
  for (;;) {
    const absl::StatusOr<Parcel> parcel = co_await t->channel.Receive();
    if (!parcel.ok()) {
      if (absl::IsCancelled(parcel.status())) t->cancelled.fetch_add(1, std::memory_order_relaxed);
      co_return absl::IsCancelled(parcel.status());
    }
    int& before = (*last)[static_cast<size_t>(parcel->sender)];
    EXPECT_LT(before, parcel->number) << "one sender's parcels come in order to each receiver";
    before = parcel->number;
    t->arrived[static_cast<size_t>(parcel->sender * t->each + parcel->number)].fetch_add(1, std::memory_order_relaxed);
  }
}

Task<void> Receiver(Traffic* t, uint32_t seed) {
  std::minstd_rand random(seed);
  std::vector<int> last(static_cast<size_t>(t->senders), -1);
  for (bool more = true; more;) {
    JoinHandle<bool> child = co_await Spawn(ReceiveSome(t, &last));
    for (uint32_t yields = random() % 50; yields != 0; --yields) co_await Yield();
    child.RequestStop();
    more = co_await std::move(child);
  }
}

Task<void> AllTraffic(Traffic* t) {
  std::vector<JoinHandle<void>> senders, receivers;
  for (int i = 0; i < 5; ++i) receivers.push_back(co_await Spawn(Receiver(t, static_cast<uint32_t>(i) + 1)));
  for (int i = 0; i < t->senders; ++i) senders.push_back(co_await Spawn(Sender(t, i)));
  co_await JoinAll(&senders);
  t->channel.Close();
  co_await JoinAll(&receivers);
}

class UnboundedChannelTrafficTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, UnboundedChannelTrafficTest, testing::Machines(), testing::MachineName);

TEST_P(UnboundedChannelTrafficTest, StopsLoseAndDoubleNothing) {
  RepeatUntil([&] {
    Traffic traffic(6, Rounds(4000));
    RunOk(AllTraffic(&traffic));
    for (const std::atomic<int>& times : traffic.arrived) EXPECT_EQ(times.load(), 1);
    return traffic.cancelled.load() > 0;
  });
}

// With threads that are no workers.
class UnboundedChannelEveryWorkerCount : public testing::EveryWorkerCount {};

Task<void> Sum(UnboundedChannel<int>* channel, std::atomic<int64_t>* sum) {
  for (;;) {
    const absl::StatusOr<int> value = co_await channel->Receive();
    if (!value.ok()) break;
    sum->fetch_add(*value, std::memory_order_relaxed);
  }
}

Task<void> SumAll(UnboundedChannel<int>* channel, std::atomic<int64_t>* sum) {
  std::vector<JoinHandle<void>> tasks;
  for (int i = 0; i < 3; ++i) tasks.push_back(co_await Spawn(Sum(channel, sum)));
  co_await JoinAll(&tasks);
}

TEST_P(UnboundedChannelEveryWorkerCount, ThreadsThatAreNoWorkersSendAndClose) {
  UnboundedChannel<int> channel;
  std::atomic<int> sending{2};
  std::atomic<int64_t> sum{0};
  const int n = Scaled(20'000);
  const auto send = [&] {
    for (int i = 0; i < n; ++i) EXPECT_TRUE(channel.Send(i).ok());
    if (sending.fetch_sub(1, std::memory_order_acq_rel) == 1) channel.Close();  // after what the other has sent
  };
  std::thread one(send), other(send);
  RunFor(GetParam(), SumAll(&channel, &sum));
  one.join();
  other.join();
  EXPECT_EQ(sum.load(), int64_t{n} * (n - 1));
}

TEST_P(UnboundedChannelEveryWorkerCount, WhoHasTheLastValueMayDestroyIt) {
  Rival rival;
  RunFor(GetParam(), testing::DestroyWhenReceived<UnboundedChannel<int>>(
                         &rival, Scaled(5000), [] { return std::make_unique<UnboundedChannel<int>>(); },
                         [](auto* channel, int value) { return channel->Send(value); }));
}

INSTANTIATE_TEST_SUITE_P(Workers, UnboundedChannelEveryWorkerCount, testing::WorkerCounts());

Task<void> DestroyWhileWaited() {
  auto channel = std::make_unique<UnboundedChannel<int>>();
  JoinHandle<absl::StatusOr<int>> waiter = co_await Spawn(Receive(channel.get()));
  co_await Settle();
  channel.reset();
  CO_ASSERT_OK((co_await std::move(waiter)).status());
}

TEST(UnboundedChannelDeathTest, IsNotDestroyedWhileATaskWaits) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunFor(1, DestroyWhileWaited()), "a channel is destroyed while a task waits for it");
}

}  // namespace
}  // namespace evring
