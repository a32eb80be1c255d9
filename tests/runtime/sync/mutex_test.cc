// Mutex: exclusion, the order of handing over, guards, other threads, who may destroy it when. Cancellation:
// sync_cancellation_test.cc.

#include "runtime/sync/mutex.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <random>
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
class MutexTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, MutexTest, testing::MachinesOfOneWorker(), testing::MachineName);

constinit Mutex at_namespace_scope;  // needs no constructor to run

Task<void> LockAndRecord(Mutex* mutex, int number, std::vector<int>* order) {
  absl::StatusOr<MutexGuard> guard = co_await mutex->Lock();
  CO_ASSERT_OK(guard.status());
  order->push_back(number);
  co_await Yield();
}

Task<void> InOrder() {
  Mutex mutex;
  std::vector<int> order;
  std::vector<JoinHandle<void>> tasks;
  absl::StatusOr<MutexGuard> guard = co_await mutex.Lock();
  CO_ASSERT_OK(guard.status());
  for (int i = 0; i < 5; ++i) {
    tasks.push_back(co_await Spawn(LockAndRecord(&mutex, i, &order)));
    co_await Settle();
  }
  EXPECT_TRUE(order.empty());
  guard->Unlock();
  co_await JoinAll(&tasks);
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
  EXPECT_TRUE(mutex.TryLock());
}

TEST_P(MutexTest, WhoWaitsGetsItInTheOrderOfComing) { RunOk(InOrder()); }

Task<void> HandedOver() {
  Mutex mutex;
  std::vector<int> order;
  MutexGuard guard = mutex.TryLock();
  JoinHandle<void> waiter = co_await Spawn(LockAndRecord(&mutex, 0, &order));
  co_await Settle();
  guard.Unlock();
  EXPECT_FALSE(guard);
  EXPECT_FALSE(mutex.TryLock()) << "it is on its way to the waiter, who has not run yet";
  EXPECT_TRUE(order.empty());
  co_await LockAndRecord(&mutex, 1, &order);
  EXPECT_EQ(order, (std::vector<int>{0, 1}));
  co_await std::move(waiter);
}

TEST_P(MutexTest, NobodyGetsInBetween) { RunOk(HandedOver()); }

TEST(Mutex, GuardsOwnAndMove) {
  Mutex mutex;
  MutexGuard first = mutex.TryLock();
  EXPECT_TRUE(first);
  EXPECT_FALSE(mutex.TryLock());
  MutexGuard second = std::move(first);
  EXPECT_FALSE(first);  // NOLINT: what a guard is that was moved from
  EXPECT_TRUE(second);
  EXPECT_FALSE(mutex.TryLock());
  second.Unlock();
  second.Unlock();  // no effect
  EXPECT_TRUE(mutex.TryLock());

  Mutex other;
  MutexGuard of_other = other.TryLock();
  of_other = mutex.TryLock();  // lets the other go
  EXPECT_TRUE(other.TryLock());
  EXPECT_FALSE(mutex.TryLock());
  MutexGuard& same = of_other;
  of_other = std::move(same);
  EXPECT_TRUE(of_other);
}

class MutexSectionsTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, MutexSectionsTest, testing::Machines(), testing::MachineName);

// With a thread that is no worker.
class MutexEveryWorkerCount : public testing::EveryWorkerCount {};

struct Guarded {
  Mutex mutex;
  int64_t first = 0;  // equal outside of a section
  int64_t second = 0;
  std::atomic<int> inside{0};
};

Task<void> Hammer(Guarded* g, int rounds, uint32_t seed) {
  std::minstd_rand random(seed);
  for (int i = 0; i < rounds; ++i) {
    absl::StatusOr<MutexGuard> guard = co_await g->mutex.Lock();
    CO_ASSERT_OK(guard.status());
    EXPECT_EQ(g->inside.fetch_add(1, std::memory_order_relaxed), 0);
    EXPECT_EQ(g->first, g->second);
    ++g->first;
    if (random() % 4 == 0) co_await Yield();
    ++g->second;
    g->inside.fetch_sub(1, std::memory_order_relaxed);
    guard->Unlock();
    if (random() % 8 == 0) co_await Yield();
  }
}

Task<void> HammerAll(Guarded* g, int tasks, int rounds) {
  std::vector<JoinHandle<void>> handles;
  for (int i = 0; i < tasks; ++i) {
    handles.push_back(co_await Spawn(Hammer(g, rounds, static_cast<uint32_t>(i) + 1)));
  }
  co_await JoinAll(&handles);
}

TEST_P(MutexSectionsTest, SectionsExcludeEachOther) {
  Guarded guarded;
  const int rounds = Rounds(2000);
  RunOk(HammerAll(&guarded, 50, rounds));
  EXPECT_EQ(guarded.first, 50 * rounds);
  EXPECT_EQ(guarded.second, guarded.first);
}

// Threads that are no workers take part: they try, and hand over to waiting tasks when they unlock.
TEST_P(MutexEveryWorkerCount, OtherThreadsTryAndHandOver) {
  Guarded guarded;
  std::atomic<bool> end{false};
  int64_t by_threads = 0;
  std::thread thread([&] {
    while (!end.load(std::memory_order_relaxed)) {
      MutexGuard guard = guarded.mutex.TryLock();
      if (!guard) {
        std::this_thread::yield();
        continue;
      }
      EXPECT_EQ(guarded.first, guarded.second);
      ++guarded.first;
      std::this_thread::yield();  // let tasks queue
      ++guarded.second;
      ++by_threads;
    }
  });
  const int rounds = Scaled(2000);
  RunFor(GetParam(), HammerAll(&guarded, 8, rounds));
  end.store(true, std::memory_order_relaxed);
  thread.join();
  EXPECT_EQ(guarded.first, 8 * rounds + by_threads);
}

TEST_P(MutexEveryWorkerCount, TheLastHolderMayDestroyIt) {
  Rival rival;
  RunFor(GetParam(), testing::DestroyAfterHandOver<Mutex, MutexGuard>(&rival, Scaled(5000),
                                                                      [](auto* mutex) { return mutex->TryLock(); }));
}

INSTANTIATE_TEST_SUITE_P(Workers, MutexEveryWorkerCount, testing::WorkerCounts());

TEST(MutexDeathTest, IsNotDestroyedWhileHeld) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        auto mutex = std::make_unique<Mutex>();
        MutexGuard guard = mutex->TryLock();
        mutex.reset();
      },
      "a mutex is destroyed while it is held");
}

Task<void> HoldAtNamespaceScope() {
  absl::StatusOr<MutexGuard> guard = co_await at_namespace_scope.Lock();
  CO_ASSERT_OK(guard.status());
  EXPECT_FALSE(at_namespace_scope.TryLock());
}

TEST_P(MutexTest, AtNamespaceScope) { RunOk(HoldAtNamespaceScope()); }

}  // namespace
}  // namespace evring
