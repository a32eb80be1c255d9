// Semaphore: counting, the order of serving, many at once, other threads, who may destroy it when. Cancellation:
// sync_cancellation_test.cc.

#include "runtime/sync/semaphore.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "tests/runtime/machines.h"
#include "tests/runtime/sync/sync_test_util.h"

namespace evring {
namespace {

using testing::Code;
using testing::JoinAll;
using testing::Rival;
using testing::RunFor;
using testing::Scaled;
using testing::Settle;
using testing::Spin;

// On one worker.
class SemaphoreTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, SemaphoreTest, testing::MachinesOfOneWorker(), testing::MachineName);

constinit Semaphore at_namespace_scope(1);  // needs no constructor to run

Task<absl::Status> Acquire(Semaphore* semaphore, uint64_t n) { co_return co_await semaphore->Acquire(n); }

Task<void> AcquireAndRecord(Semaphore* semaphore, uint64_t n, int number, std::vector<int>* order) {
  CO_ASSERT_OK(co_await semaphore->Acquire(n));
  order->push_back(number);
}

TEST(Semaphore, CountsPermits) {
  Semaphore semaphore(3);
  EXPECT_EQ(semaphore.permits(), 3u);
  EXPECT_TRUE(semaphore.TryAcquire(2));
  EXPECT_FALSE(semaphore.TryAcquire(2));
  EXPECT_TRUE(semaphore.TryAcquire());
  EXPECT_FALSE(semaphore.TryAcquire());
  EXPECT_TRUE(semaphore.TryAcquire(0));
  semaphore.Release(5);
  semaphore.Release(0);
  EXPECT_EQ(semaphore.permits(), 5u);
}

Task<void> WaitsForEnough() {
  Semaphore semaphore(1);
  CO_ASSERT_OK(co_await semaphore.Acquire());
  JoinHandle<absl::Status> waiter = co_await Spawn(Acquire(&semaphore, 3));
  co_await Settle();
  semaphore.Release(2);
  co_await Settle();
  EXPECT_FALSE(waiter.done());
  semaphore.Release();
  CO_ASSERT_OK(co_await std::move(waiter));
  EXPECT_EQ(semaphore.permits(), 0u);
}

TEST_P(SemaphoreTest, AcquireWaitsForAllThatItDemands) { RunOk(WaitsForEnough()); }

Task<void> InOrder() {
  Semaphore semaphore(0);
  std::vector<int> order;
  std::vector<JoinHandle<void>> tasks;
  const uint64_t demands[] = {3, 1, 2, 1};
  for (int i = 0; i < 4; ++i) {
    tasks.push_back(co_await Spawn(AcquireAndRecord(&semaphore, demands[i], i, &order)));
    co_await Settle();
  }
  semaphore.Release(2);
  co_await Settle();
  EXPECT_TRUE(order.empty()) << "enough for the second, but the first was first";
  EXPECT_FALSE(semaphore.TryAcquire()) << "nor for one who comes now";
  EXPECT_EQ(semaphore.permits(), 2u);
  semaphore.Release(2);
  co_await Settle();
  EXPECT_EQ(order, (std::vector<int>{0, 1}));
  semaphore.Release(3);
  co_await JoinAll(&tasks);
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(semaphore.permits(), 0u);
}

TEST_P(SemaphoreTest, ServesInTheOrderOfComingWhateverTheDemand) { RunOk(InOrder()); }

Task<void> CancelServesTheNext() {
  Semaphore semaphore(2);
  JoinHandle<absl::Status> large = co_await Spawn(Acquire(&semaphore, 5));
  co_await Settle();
  JoinHandle<absl::Status> small = co_await Spawn(Acquire(&semaphore, 1));
  JoinHandle<absl::Status> another = co_await Spawn(Acquire(&semaphore, 1));
  co_await Settle();
  EXPECT_FALSE(small.done());
  large.RequestStop();
  EXPECT_EQ(Code(co_await std::move(large)), absl::StatusCode::kCancelled);
  CO_ASSERT_OK(co_await std::move(small));
  CO_ASSERT_OK(co_await std::move(another));
  EXPECT_EQ(semaphore.permits(), 0u);
}

TEST_P(SemaphoreTest, ACancelledDemandMakesWayForThoseBehindIt) { RunOk(CancelServesTheNext()); }

class SemaphorePoolTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, SemaphorePoolTest, testing::Machines(), testing::MachineName);

// With a thread that is no worker.
class SemaphoreEveryWorkerCount : public testing::EveryWorkerCount {};

struct Pool {
  explicit Pool(int64_t n) : all(n), semaphore(static_cast<uint64_t>(n)) {}
  const int64_t all;
  Semaphore semaphore;
  std::atomic<int64_t> out{0};
  std::atomic<int> cancelled{0};
};

Task<void> Use(Pool* pool, int64_t n, bool yields) {
  const absl::Status status = co_await pool->semaphore.Acquire(static_cast<uint64_t>(n));
  if (!status.ok()) {
    EXPECT_EQ(Code(status), absl::StatusCode::kCancelled);
    pool->cancelled.fetch_add(1, std::memory_order_relaxed);
    co_return;
  }
  EXPECT_LE(pool->out.fetch_add(n, std::memory_order_relaxed) + n, pool->all);
  if (yields) co_await Yield();
  pool->out.fetch_sub(n, std::memory_order_relaxed);
  pool->semaphore.Release(static_cast<uint64_t>(n));
}

// Now and then a user is stopped, at whatever it is just doing.
Task<void> UseOften(Pool* pool, int rounds, uint32_t seed) {
  std::minstd_rand random(seed);
  for (int i = 0; i < rounds; ++i) {
    const int64_t n = 1 + random() % static_cast<uint32_t>(pool->all);
    JoinHandle<void> user = co_await Spawn(Use(pool, n, random() % 2 == 0));
    if (random() % 4 == 0) {
      for (uint32_t yields = random() % 4; yields != 0; --yields) co_await Yield();
      user.RequestStop();
    }
    co_await std::move(user);
  }
}

Task<void> UseAll(Pool* pool, int tasks, int rounds) {
  std::vector<JoinHandle<void>> handles;
  for (int i = 0; i < tasks; ++i) {
    handles.push_back(co_await Spawn(UseOften(pool, rounds, static_cast<uint32_t>(i) + 1)));
  }
  co_await JoinAll(&handles);
}

TEST_P(SemaphorePoolTest, NeverMoreOutThanThereAreAndNoneLost) {
  Pool pool(5);
  RunOk(UseAll(&pool, 30, Rounds(1000)));
  EXPECT_EQ(pool.semaphore.permits(), 5u);
  EXPECT_EQ(pool.out.load(std::memory_order_relaxed), 0);
}

Task<void> AcquireEach(Semaphore* semaphore, int n) {
  for (int i = 0; i < n; ++i) CO_ASSERT_OK(co_await semaphore->Acquire());
}

Task<void> ManyAtOnce(int n) {
  Semaphore semaphore(0);
  std::vector<JoinHandle<void>> waiters;
  for (int i = 0; i < n; ++i) waiters.push_back(co_await Spawn(AcquireEach(&semaphore, 1)));
  for (int i = 0; i < 3; ++i) co_await Yield();
  semaphore.Release(static_cast<uint64_t>(n));
  co_await JoinAll(&waiters);
  EXPECT_EQ(semaphore.permits(), 0u);
}

TEST_P(SemaphorePoolTest, OneReleaseLetsManyThrough) { RunOk(ManyAtOnce(Rounds(5000))); }

Task<void> AcquireWhatARivalReleases(Rival* rival, int n) {
  rival->Begin([n] {
    for (int i = 0; i < n; ++i) {
      at_namespace_scope.Release();
      Spin(i % 64);
    }
  });
  co_await AcquireEach(&at_namespace_scope, n);
  rival->Join();
}

TEST_P(SemaphoreEveryWorkerCount, OtherThreadsRelease) {
  Rival rival;
  RunFor(GetParam(), AcquireWhatARivalReleases(&rival, Scaled(100'000)));
  EXPECT_EQ(at_namespace_scope.permits(), 1u);
}

// Whoever has what was released destroys the semaphore, while Release() may still be on its way back.
Task<void> DestroyWhenServed(Rival* rival, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    auto semaphore = std::make_unique<Semaphore>(0);
    rival->Begin([raw = semaphore.get(), spins = i % 512] {
      Spin(spins);
      raw->Release(2);
    });
    CO_ASSERT_OK(co_await semaphore->Acquire());
    CO_ASSERT_OK(co_await semaphore->Acquire());
    semaphore.reset();
    rival->Join();
  }
}

TEST_P(SemaphoreEveryWorkerCount, WhoHasAllPermitsMayDestroyIt) {
  Rival rival;
  RunFor(GetParam(), DestroyWhenServed(&rival, Scaled(5000)));
}

INSTANTIATE_TEST_SUITE_P(Workers, SemaphoreEveryWorkerCount, testing::WorkerCounts());

Task<void> DestroyWhileWaited() {
  auto semaphore = std::make_unique<Semaphore>(0);
  JoinHandle<absl::Status> waiter = co_await Spawn(Acquire(semaphore.get(), 1));
  co_await Settle();
  semaphore.reset();
  CO_ASSERT_OK(co_await std::move(waiter));
}

TEST(SemaphoreDeathTest, IsNotDestroyedWhileATaskWaits) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunFor(1, DestroyWhileWaited()), "a semaphore is destroyed while a task waits for it");
}

TEST(SemaphoreDeathTest, DoesNotCountTooFar) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  constexpr uint64_t kMax = (uint64_t{1} << 62) - 1;
  EXPECT_DEATH(Semaphore{kMax + 1}, "a semaphore counts to 2\\^62 - 1");
  Semaphore full(kMax);
  EXPECT_EQ(full.permits(), kMax);
  EXPECT_DEATH(full.Release(), "a semaphore counts to 2\\^62 - 1");
}

}  // namespace
}  // namespace evring
