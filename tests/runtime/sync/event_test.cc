// Event: what Set, Reset and Wait do, from tasks and from threads that are no workers; who may destroy it when; and
// that resetting, looking and waiting misses nothing. Cancellation: sync_cancellation_test.cc.

#include "runtime/sync/event.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "tests/runtime/machines.h"
#include "tests/runtime/sync/sync_test_util.h"

namespace evring {
namespace {

using testing::JoinAll;
using testing::Rival;
using testing::RunFor;
using testing::Scaled;
using testing::Settle;
using testing::Spin;

// On one worker.
class EventTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, EventTest, testing::MachinesOfOneWorker(), testing::MachineName);

constinit Event at_namespace_scope;  // needs no constructor to run

Task<void> WaitAndRecord(Event* event, int number, std::vector<int>* woken) {
  CO_ASSERT_OK(co_await event->Wait());
  woken->push_back(number);
}

Task<void> SetLetsThrough() {
  Event event;
  std::vector<int> woken;
  std::vector<JoinHandle<void>> waiters;
  for (int i = 0; i < 4; ++i) {
    waiters.push_back(co_await Spawn(WaitAndRecord(&event, i, &woken)));
    co_await Settle();
  }
  EXPECT_FALSE(event.is_set());
  EXPECT_TRUE(woken.empty());
  event.Set();
  EXPECT_TRUE(event.is_set());
  co_await Settle();
  EXPECT_EQ(woken, (std::vector<int>{0, 1, 2, 3})) << "on one worker they run in the order in which they came";
  co_await WaitAndRecord(&event, 4, &woken);  // does not wait
  EXPECT_EQ(woken.size(), 5u);
  co_await JoinAll(&waiters);
}

TEST_P(EventTest, SetLetsThroughWhoWaitsAndWhoComesLater) { RunOk(SetLetsThrough()); }

// What is awaited may give the awaiter of something else.
struct Gate {
  Event open;
  auto operator co_await() { return open.Wait(); }
};

Task<void> Passes(Gate* gate, bool* passed) {
  CO_ASSERT_OK(co_await *gate);
  *passed = true;
}

Task<void> AwaitsByAnother() {
  Gate gate;
  bool passed = false;
  JoinHandle<void> waiter = co_await Spawn(Passes(&gate, &passed));
  co_await Settle();
  EXPECT_FALSE(passed);
  gate.open.Set();
  co_await std::move(waiter);
  EXPECT_TRUE(passed);
}

TEST_P(EventTest, AnotherTypeMayGiveItsAwaiter) { RunOk(AwaitsByAnother()); }

Task<void> ResetHolds() {
  Event event(true);
  std::vector<int> woken;
  co_await WaitAndRecord(&event, 0, &woken);
  event.Reset();
  event.Reset();
  EXPECT_FALSE(event.is_set());
  JoinHandle<void> waiter = co_await Spawn(WaitAndRecord(&event, 1, &woken));
  co_await Settle();
  EXPECT_FALSE(waiter.done());
  event.Set();
  event.Set();
  co_await std::move(waiter);
  EXPECT_EQ(woken, (std::vector<int>{0, 1}));
}

TEST_P(EventTest, ResetMakesWaitWaitAgain) { RunOk(ResetHolds()); }

Task<void> SetThenResetAtOnce() {
  Event event;
  std::vector<int> woken;
  JoinHandle<void> waiter = co_await Spawn(WaitAndRecord(&event, 0, &woken));
  co_await Settle();
  event.Set();
  event.Reset();
  JoinHandle<void> later = co_await Spawn(WaitAndRecord(&event, 1, &woken));
  co_await std::move(waiter);
  co_await Settle();
  EXPECT_FALSE(later.done()) << "it came after the reset";
  event.Set();
  co_await std::move(later);
}

TEST_P(EventTest, WhoWasLetThroughIsNotCalledBackByReset) { RunOk(SetThenResetAtOnce()); }

TEST(Event, AThreadThatIsNoWorkerSetsAtNamespaceScope) {
  std::thread thread;
  int result = 0;
  RunFor(2, [](std::thread* t, int* r) -> Task<void> {
    *t = std::thread([r] {
      *r = 7;
      at_namespace_scope.Set();
    });
    CO_ASSERT_OK(co_await at_namespace_scope.Wait());
    EXPECT_EQ(*r, 7);
  }(&thread, &result));
  thread.join();
}

class EventWaitersTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, EventWaitersTest, testing::Machines(), testing::MachineName);

// With a thread that is no worker.
class EventEveryWorkerCount : public testing::EveryWorkerCount {};

Task<void> WaitAndCount(Event* event, std::atomic<int>* through) {
  CO_ASSERT_OK(co_await event->Wait());
  through->fetch_add(1, std::memory_order_relaxed);
}

Task<void> ManyWait(int n, std::atomic<int>* through) {
  Event event;
  std::vector<JoinHandle<void>> waiters;
  for (int i = 0; i < n; ++i) waiters.push_back(co_await Spawn(WaitAndCount(&event, through)));
  event.Set();
  co_await JoinAll(&waiters);
}

TEST_P(EventWaitersTest, ManyAreLetThroughAtOnce) {
  std::atomic<int> through{0};
  const int n = Rounds(20'000);
  RunOk(ManyWait(n, &through));
  EXPECT_EQ(through.load(std::memory_order_relaxed), n);
}

// The waiter owns the event and destroys it as soon as it is through, while Set() may still be on its way back.
Task<void> DestroyWhenThrough(Rival* rival, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    auto event = std::make_unique<Event>();
    rival->Begin([raw = event.get(), spins = i % 512] {
      Spin(spins);
      raw->Set();
    });
    CO_ASSERT_OK(co_await event->Wait());
    event.reset();
    rival->Join();
  }
}

TEST_P(EventEveryWorkerCount, WhoIsThroughMayDestroyIt) {
  Rival rival;
  RunFor(GetParam(), DestroyWhenThrough(&rival, Scaled(5000)));
}

// The same by looking, which does not even meet the queue.
TEST(Event, WhoSeesItSetMayDestroyIt) {
  Rival rival;
  for (int i = 0; i < Scaled(5000); ++i) {
    auto event = std::make_unique<Event>();
    rival.Begin([raw = event.get()] { raw->Set(); });
    while (!event->is_set()) std::this_thread::yield();
    event.reset();
    rival.Join();
  }
}

// One takes numbers out of a box, another puts them in: a set event means that there may be some. Whoever misses a Set
// that came between its look and its wait waits for ever.
struct Box {
  std::atomic<int> put{0};
  Event filled;
};

Task<void> TakeAll(Box* box, int all) {
  for (int taken = 0; taken < all;) {
    CO_ASSERT_OK(co_await box->filled.Wait());
    box->filled.Reset();
    taken = box->put.load(std::memory_order_relaxed);
  }
}

Task<void> TakeAllFromARival(Box* box, Rival* rival, int all) {
  rival->Begin([=] {
    for (int i = 0; i < all; ++i) {
      box->put.fetch_add(1, std::memory_order_relaxed);
      box->filled.Set();
      Spin(i % 64);
    }
  });
  co_await TakeAll(box, all);
  rival->Join();
}

Task<void> PutAll(Box* box, int all) {
  for (int i = 0; i < all; ++i) {
    box->put.fetch_add(1, std::memory_order_relaxed);
    box->filled.Set();
    if (i % 3 == 0) co_await Yield();
    if (i % 7 == 0) CO_ASSERT_OK(co_await Sleep(absl::Microseconds(i % 20)));
  }
}

Task<void> TakeAllFromATask(int all) {
  Box box;
  JoinHandle<void> taker = co_await Spawn(TakeAll(&box, all));
  JoinHandle<void> putter = co_await Spawn(PutAll(&box, all));
  co_await std::move(putter);
  co_await std::move(taker);
}

TEST_P(EventWaitersTest, ResetLookAndWaitMissesNothingOfATask) { RunOk(TakeAllFromATask(Rounds(5000))); }

TEST_P(EventEveryWorkerCount, ResetLookAndWaitMissesNothing) {
  Box box;
  Rival rival;
  RunFor(GetParam(), TakeAllFromARival(&box, &rival, Scaled(200'000)));
}

INSTANTIATE_TEST_SUITE_P(Workers, EventEveryWorkerCount, testing::WorkerCounts());

Task<void> DestroyWhileWaited() {
  std::vector<int> woken;
  auto event = std::make_unique<Event>();
  JoinHandle<void> waiter = co_await Spawn(WaitAndRecord(event.get(), 0, &woken));
  co_await Settle();
  event.reset();
  co_await std::move(waiter);
}

TEST(EventDeathTest, IsNotDestroyedWhileATaskWaits) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunFor(1, DestroyWhileWaited()), "an event is destroyed while a task waits for it");
}

}  // namespace
}  // namespace evring
