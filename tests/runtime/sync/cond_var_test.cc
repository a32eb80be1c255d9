// CondVar: the order of waking, what the guard holds after each end of a wait, stops at each place in line and in the
// line for the mutex, other threads, who may destroy it when.

#include "runtime/sync/cond_var.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/sync/mutex.h"
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

// On one worker.
class CondVarTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, CondVarTest, testing::MachinesOfOneWorker(), testing::MachineName);

constinit CondVar at_namespace_scope;  // needs no constructor to run

struct Shared {
  Mutex mutex;
  CondVar cond_var;
  std::vector<int> order;  // guarded by the mutex
};

// Waits for one notification.
Task<absl::Status> WaitOnce(Shared* s, int number) {
  absl::StatusOr<MutexGuard> guard = co_await s->mutex.Lock();
  if (!guard.ok()) co_return guard.status();
  absl::Status status = co_await s->cond_var.Wait(&*guard);
  EXPECT_EQ(static_cast<bool>(*guard), status.ok()) << "it holds the mutex if all is well";
  if (status.ok()) {
    s->order.push_back(number);
    co_await Yield();
    EXPECT_FALSE(s->mutex.TryLock());
  }
  co_return status;
}

Task<void> Start(Shared* s, int n, std::vector<JoinHandle<absl::Status>>* tasks) {
  for (int i = 0; i < n; ++i) {
    tasks->push_back(co_await Spawn(WaitOnce(s, i)));
    co_await Settle();
  }
  EXPECT_TRUE(s->mutex.TryLock()) << "who waits has let go of it";
}

Task<void> InOrder() {
  Shared s;
  std::vector<JoinHandle<absl::Status>> tasks;
  co_await Start(&s, 4, &tasks);
  s.cond_var.NotifyOne();
  co_await Settle();
  EXPECT_EQ(s.order, (std::vector<int>{0}));
  s.cond_var.NotifyOne();
  s.cond_var.NotifyOne();
  co_await Settle();
  EXPECT_EQ(s.order, (std::vector<int>{0, 1, 2}));
  s.cond_var.NotifyOne();
  for (JoinHandle<absl::Status>& task : tasks) CO_ASSERT_OK(co_await std::move(task));
  s.cond_var.NotifyOne();  // nobody is there, and nothing is kept
  JoinHandle<absl::Status> later = co_await Spawn(WaitOnce(&s, 4));
  co_await Settle();
  EXPECT_FALSE(later.done());
  s.cond_var.NotifyAll();
  CO_ASSERT_OK(co_await std::move(later));
}

TEST_P(CondVarTest, EachNotificationWakesOneInTheOrderOfComing) { RunOk(InOrder()); }

Task<void> AllAtOnce() {
  Shared s;
  std::vector<JoinHandle<absl::Status>> tasks;
  co_await Start(&s, 4, &tasks);
  MutexGuard guard = s.mutex.TryLock();
  s.cond_var.NotifyAll();
  co_await Settle();
  EXPECT_TRUE(s.order.empty()) << "the mutex is held";
  guard.Unlock();
  for (JoinHandle<absl::Status>& task : tasks) CO_ASSERT_OK(co_await std::move(task));
  EXPECT_EQ(s.order, (std::vector<int>{0, 1, 2, 3}));
}

TEST_P(CondVarTest, AllTakeTheMutexInTheOrderOfComing) { RunOk(AllAtOnce()); }

// Who is notified stands in line for the mutex behind those who came to it before.
Task<absl::Status> LockAndRecord(Shared* s, int number) {
  absl::StatusOr<MutexGuard> guard = co_await s->mutex.Lock();
  if (!guard.ok()) co_return guard.status();
  s->order.push_back(number);
  co_return absl::OkStatus();
}

Task<void> BehindTheLine() {
  Shared s;
  std::vector<JoinHandle<absl::Status>> tasks;
  co_await Start(&s, 1, &tasks);
  MutexGuard guard = s.mutex.TryLock();
  tasks.push_back(co_await Spawn(LockAndRecord(&s, 10)));
  co_await Settle();
  s.cond_var.NotifyOne();
  tasks.push_back(co_await Spawn(LockAndRecord(&s, 20)));
  co_await Settle();
  guard.Unlock();
  for (JoinHandle<absl::Status>& task : tasks) CO_ASSERT_OK(co_await std::move(task));
  EXPECT_EQ(s.order, (std::vector<int>{10, 0, 20}));
}

TEST_P(CondVarTest, WhoIsNotifiedStandsInLineForTheMutex) { RunOk(BehindTheLine()); }

// --- Stops

Task<void> StoppedAmongOthers(int place) {
  Shared s;
  std::vector<JoinHandle<absl::Status>> tasks;
  co_await Start(&s, 3, &tasks);
  MutexGuard guard = s.mutex.TryLock();
  tasks[place].RequestStop();
  EXPECT_EQ(Code(co_await std::move(tasks[place])), absl::StatusCode::kCancelled) << "though the mutex is held";
  guard.Unlock();
  std::vector<int> expected;
  for (int i = 0; i < 3; ++i) {
    if (i == place) continue;
    expected.push_back(i);
    s.cond_var.NotifyOne();
    co_await Settle();
    EXPECT_EQ(s.order, expected);
    CO_ASSERT_OK(co_await std::move(tasks[i]));
  }
}

TEST_P(CondVarTest, AStopAtTheHeadOfTheQueue) { RunOk(StoppedAmongOthers(0)); }
TEST_P(CondVarTest, AStopInTheMiddleOfTheQueue) { RunOk(StoppedAmongOthers(1)); }
TEST_P(CondVarTest, AStopAtTheEndOfTheQueue) { RunOk(StoppedAmongOthers(2)); }

// The mutex is held: who was notified waits for it, and is stopped there.
Task<void> StoppedInLineForTheMutex() {
  Shared s;
  std::vector<JoinHandle<absl::Status>> tasks;
  co_await Start(&s, 2, &tasks);
  MutexGuard guard = s.mutex.TryLock();
  s.cond_var.NotifyOne();
  tasks[0].RequestStop();
  EXPECT_EQ(Code(co_await std::move(tasks[0])), absl::StatusCode::kCancelled);
  EXPECT_FALSE(tasks[1].done());
  guard.Unlock();
  CO_ASSERT_OK(co_await std::move(tasks[1]));
  EXPECT_EQ(s.order, (std::vector<int>{1})) << "the notification went on to the next";
}

TEST_P(CondVarTest, AStopOfOneThatWasNotifiedPassesItOn) { RunOk(StoppedInLineForTheMutex()); }

Task<void> StoppedWhenItHasTheMutex() {
  Shared s;
  std::vector<JoinHandle<absl::Status>> tasks;
  co_await Start(&s, 1, &tasks);
  s.cond_var.NotifyOne();
  EXPECT_FALSE(s.mutex.TryLock()) << "it was given to the task, which is ready and has not run";
  tasks[0].RequestStop();
  CO_ASSERT_OK(co_await std::move(tasks[0]));
  EXPECT_EQ(s.order, (std::vector<int>{0}));
}

TEST_P(CondVarTest, AStopAfterItHasTheMutexIsTooLate) { RunOk(StoppedWhenItHasTheMutex()); }

Task<absl::Status> WaitWhenStopped(Shared* s) {
  MutexGuard guard = s->mutex.TryLock();
  co_await AwaitStop();
  absl::Status status = co_await s->cond_var.Wait(&guard);
  EXPECT_FALSE(guard);
  EXPECT_TRUE(s->mutex.TryLock()) << "let go of";
  co_return status;
}

Task<void> StoppedBefore() {
  Shared s;
  JoinHandle<absl::Status> task = co_await Spawn(WaitWhenStopped(&s));
  co_await Settle();
  task.RequestStop();
  EXPECT_EQ(Code(co_await std::move(task)), absl::StatusCode::kCancelled);
}

TEST_P(CondVarTest, AStoppedTaskLetsGoOfTheMutexAndDoesNotWait) { RunOk(StoppedBefore()); }

// --- Many at once

// A bounded queue, as it is written with condition variables.
struct Buffer {
  Mutex mutex;
  CondVar not_empty, not_full;
  std::deque<int> values;  // these two guarded by the mutex
  bool closed = false;
  int64_t sum = 0;
  std::atomic<int64_t> cancelled{0};
  static constexpr size_t kRoom = 3;
};

Task<bool> PutOne(Buffer* b, int value) {
  absl::StatusOr<MutexGuard> guard = co_await b->mutex.Lock();
  if (!guard.ok()) co_return false;
  while (b->values.size() == Buffer::kRoom) {
    const absl::Status status = co_await b->not_full.Wait(&*guard);
    if (!status.ok()) co_return false;
  }
  b->values.push_back(value);
  b->not_empty.NotifyOne();
  co_return true;
}

// False: closed and empty. A stop is tried again.
Task<bool> TakeOne(Buffer* b) {
  absl::StatusOr<MutexGuard> guard = co_await b->mutex.Lock();
  if (!guard.ok()) co_return true;
  while (b->values.empty()) {
    if (b->closed) co_return false;
    const absl::Status status = co_await b->not_empty.Wait(&*guard);
    if (!status.ok()) {
      b->cancelled.fetch_add(1, std::memory_order_relaxed);
      co_return true;
    }
  }
  b->sum += b->values.front();
  b->values.pop_front();
  b->not_full.NotifyOne();
  co_return true;
}

Task<void> Produce(Buffer* b, int n, uint32_t seed) {
  std::minstd_rand random(seed);
  for (int i = 0; i < n;) {
    JoinHandle<bool> put = co_await Spawn(PutOne(b, i));
    for (uint32_t yields = random() % 4; yields != 0; --yields) co_await Yield();
    if (random() % 4 == 0) put.RequestStop();
    const bool ok = co_await std::move(put);
    if (ok) ++i;
  }
}

Task<void> Consume(Buffer* b, uint32_t seed) {
  std::minstd_rand random(seed);
  for (bool more = true; more;) {
    JoinHandle<bool> take = co_await Spawn(TakeOne(b));
    for (uint32_t yields = random() % 4; yields != 0; --yields) co_await Yield();
    if (random() % 4 == 0) take.RequestStop();
    more = co_await std::move(take);
  }
}

Task<void> Close(Buffer* b) {
  absl::StatusOr<MutexGuard> guard = co_await b->mutex.Lock();
  CO_ASSERT_OK(guard.status());
  b->closed = true;
  b->not_empty.NotifyAll();
}

Task<void> ProduceAndConsume(Buffer* b, int pairs, int n) {
  std::vector<JoinHandle<void>> producers, consumers;
  for (int i = 0; i < pairs; ++i) {
    producers.push_back(co_await Spawn(Produce(b, n, static_cast<uint32_t>(i) + 1)));
    consumers.push_back(co_await Spawn(Consume(b, static_cast<uint32_t>(i) + 1000)));
  }
  co_await JoinAll(&producers);
  co_await Close(b);
  co_await JoinAll(&consumers);
}

class CondVarBufferTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, CondVarBufferTest, testing::Machines(), testing::MachineName);

TEST_P(CondVarBufferTest, NoNotificationIsLostToAStop) {
  const int n = Rounds(1000);
  RepeatUntil([&] {
    Buffer buffer;
    RunOk(ProduceAndConsume(&buffer, 6, n));
    EXPECT_EQ(buffer.sum, int64_t{6} * n * (n - 1) / 2);
    EXPECT_TRUE(buffer.values.empty());
    return buffer.cancelled.load() > 0;
  });
}

// With a thread that is no worker.
class CondVarEveryWorkerCount : public testing::EveryWorkerCount {};

Task<void> WaitOften(Shared* s, int n, std::atomic<int>* done) {
  for (int i = 0; i < n; ++i) CO_ASSERT_OK(co_await WaitOnce(s, i));
  done->fetch_add(1, std::memory_order_relaxed);
}

Task<void> WaitAll(Shared* s, int tasks, int n, std::atomic<int>* done) {
  std::vector<JoinHandle<void>> handles;
  for (int i = 0; i < tasks; ++i) handles.push_back(co_await Spawn(WaitOften(s, n, done)));
  co_await JoinAll(&handles);
}

TEST_P(CondVarEveryWorkerCount, OtherThreadsNotify) {
  Shared shared;
  std::atomic<int> done{0};
  std::thread thread([&] {
    for (int i = 0; done.load(std::memory_order_relaxed) < 4; ++i) {
      if (i % 3 == 0) {
        shared.cond_var.NotifyAll();
      } else {
        shared.cond_var.NotifyOne();
      }
      std::this_thread::yield();
    }
  });
  const int n = Scaled(2000);
  RunFor(GetParam(), WaitAll(&shared, 4, n, &done));
  thread.join();
  EXPECT_EQ(shared.order.size(), static_cast<size_t>(4 * n));
}

// Whoever was notified destroys both, while the notification may still be on its way back.
struct Both {
  Mutex mutex;
  CondVar cond_var;
};

Task<void> DestroyWhenNotified(Rival* rival, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    auto both = std::make_unique<Both>();
    MutexGuard guard = both->mutex.TryLock();
    std::atomic<bool> notified{false};
    rival->Begin([raw = both.get(), &notified, i] {
      Spin(static_cast<uint32_t>(i) % 512);
      MutexGuard held;
      while (!held) held = raw->mutex.TryLock();  // then the task waits
      notified.store(true, std::memory_order_relaxed);
      held.Unlock();
      if (i % 2 == 0) {
        raw->cond_var.NotifyOne();
      } else {
        raw->cond_var.NotifyAll();
      }
    });
    CO_ASSERT_OK(co_await both->cond_var.Wait(&guard));
    EXPECT_TRUE(notified.load(std::memory_order_relaxed));
    guard.Unlock();
    both.reset();
    rival->Join();
  }
}

// The same while another thread holds the mutex: who is notified goes on when that lets go of it.
Task<void> DestroyWhenHandedOver(Rival* holder, Rival* notifier, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    auto both = std::make_unique<Both>();
    MutexGuard guard = both->mutex.TryLock();
    std::atomic<bool> held{false};
    holder->Begin([raw = both.get(), &held, spins = i % 256] {
      MutexGuard mine;
      while (!mine) mine = raw->mutex.TryLock();    // then the task waits
      held.store(true, std::memory_order_release);  // pairs with the notifier
      Spin(spins);
    });
    notifier->Begin([raw = both.get(), &held, i] {
      while (!held.load(std::memory_order_acquire)) std::this_thread::yield();
      if (i % 2 == 0) {
        raw->cond_var.NotifyOne();
      } else {
        raw->cond_var.NotifyAll();
      }
    });
    CO_ASSERT_OK(co_await both->cond_var.Wait(&guard));
    guard.Unlock();
    both.reset();
    holder->Join();
    notifier->Join();
  }
}

TEST_P(CondVarEveryWorkerCount, WhoIsNotifiedAndThenGetsTheMutexMayDestroyIt) {
  Rival holder, notifier;
  RunFor(GetParam(), DestroyWhenHandedOver(&holder, &notifier, Scaled(2000)));
}

TEST_P(CondVarEveryWorkerCount, WhoWasNotifiedMayDestroyIt) {
  Rival rival;
  RunFor(GetParam(), DestroyWhenNotified(&rival, Scaled(5000)));
}

INSTANTIATE_TEST_SUITE_P(Workers, CondVarEveryWorkerCount, testing::WorkerCounts());

// --- Misuse

Task<void> DestroyWhileWaited() {
  Mutex mutex;
  auto cond_var = std::make_unique<CondVar>();
  JoinHandle<absl::Status> waiter = co_await Spawn([](Mutex* m, CondVar* c) -> Task<absl::Status> {
    MutexGuard guard = m->TryLock();
    co_return co_await c->Wait(&guard);
  }(&mutex, cond_var.get()));
  co_await Settle();
  cond_var.reset();
  CO_ASSERT_OK(co_await std::move(waiter));
}

Task<void> WaitWithoutTheMutex() {
  MutexGuard none;
  CO_ASSERT_OK(co_await at_namespace_scope.Wait(&none));
}

TEST(CondVarDeathTest, IsNotDestroyedWhileATaskWaits) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunFor(1, DestroyWhileWaited()), "a condition variable is destroyed while a task waits for it");
}

TEST(CondVarDeathTest, WantsTheMutex) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunFor(1, WaitWithoutTheMutex()), "with a mutex that it holds");
}

}  // namespace
}  // namespace evring
