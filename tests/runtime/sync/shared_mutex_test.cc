// SharedMutex: who may be inside together, the order of handing over, downgrading, guards, stops at each place in line,
// other threads, who may destroy it when.

#include "runtime/sync/shared_mutex.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
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
using testing::Rival;
using testing::RunFor;
using testing::Scaled;
using testing::Settle;
using testing::Spin;

// On one worker.
class SharedMutexTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, SharedMutexTest, testing::MachinesOfOneWorker(), testing::MachineName);

constinit SharedMutex at_namespace_scope;  // needs no constructor to run

TEST(SharedMutex, ManyReadersOrOneWriter) {
  ReaderGuard first = at_namespace_scope.TryLockShared();
  ReaderGuard second = at_namespace_scope.TryLockShared();
  EXPECT_TRUE(first && second);
  EXPECT_FALSE(at_namespace_scope.TryLock());
  first.Unlock();
  EXPECT_FALSE(at_namespace_scope.TryLock());
  second.Unlock();
  WriterGuard writer = at_namespace_scope.TryLock();
  EXPECT_TRUE(writer);
  EXPECT_FALSE(at_namespace_scope.TryLock());
  EXPECT_FALSE(at_namespace_scope.TryLockShared());
}

TEST(SharedMutex, GuardsOwnAndMove) {
  SharedMutex mutex, other;
  WriterGuard first = mutex.TryLock();
  WriterGuard second = std::move(first);
  EXPECT_FALSE(first);  // NOLINT: what a guard is that was moved from
  EXPECT_FALSE(mutex.TryLockShared());
  WriterGuard of_other = other.TryLock();
  of_other = std::move(second);  // lets the other go
  EXPECT_TRUE(other.TryLock());
  EXPECT_FALSE(mutex.TryLock());
  of_other.Unlock();
  of_other.Unlock();  // no effect
  EXPECT_TRUE(mutex.TryLock());
}

// A reader or a writer that notes when it has the mutex, and keeps it until it is told to go.
struct Visit {
  Visit(SharedMutex* mutex, char as) : mutex(mutex), as(as) {}
  SharedMutex* const mutex;
  const char as;  // 'r' or 'w'
  bool leave = false;
};

template <class Lock>
Task<absl::Status> Stay(Visit* visit, Lock lock, std::string* inside) {
  auto guard = co_await lock();
  if (!guard.ok()) co_return guard.status();
  inside->push_back(visit->as);
  while (!visit->leave) co_await Yield();
  co_return absl::OkStatus();
}

Task<absl::Status> Make(Visit* visit, std::string* inside) {
  SharedMutex* mutex = visit->mutex;
  if (visit->as == 'r') return Stay(visit, [mutex] { return mutex->LockShared(); }, inside);
  return Stay(visit, [mutex] { return mutex->Lock(); }, inside);
}

// Visitors as in `as` queue one after the other behind a writer; the one at `stopped` is stopped there. After each
// departure those who are inside are as in `expected`.
Task<void> Queue(std::string as, int stopped, std::vector<std::string> expected) {
  SharedMutex mutex;
  WriterGuard before = mutex.TryLock();
  std::string inside;
  std::vector<std::unique_ptr<Visit>> visits;
  std::vector<JoinHandle<absl::Status>> tasks;
  for (const char c : as) {
    visits.push_back(std::make_unique<Visit>(&mutex, c));
    tasks.push_back(co_await Spawn(Make(visits.back().get(), &inside)));
    co_await Settle();
  }
  EXPECT_EQ(inside, "");
  if (stopped >= 0) {
    tasks[stopped].RequestStop();
    EXPECT_EQ(Code(co_await std::move(tasks[stopped])), absl::StatusCode::kCancelled);
  }
  before.Unlock();
  size_t left = 0;
  for (const std::string& group : expected) {
    co_await Settle();
    EXPECT_EQ(inside, group);
    for (size_t i = 0; i < group.size(); ++left) {
      if (static_cast<int>(left) == stopped) continue;
      visits[left]->leave = true;
      ++i;
    }
    inside.clear();
  }
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (static_cast<int>(i) != stopped) CO_ASSERT_OK(co_await std::move(tasks[i]));
  }
  EXPECT_TRUE(mutex.TryLock());
}

TEST_P(SharedMutexTest, ServesInTheOrderOfComingAndNeighbouringReadersTogether) {
  RunOk(Queue("rrwrwwrr", -1, {"rr", "w", "r", "w", "w", "rr"}));
}
TEST_P(SharedMutexTest, AStopAtTheHeadOfTheQueue) { RunOk(Queue("wrrw", 0, {"rr", "w"})); }
TEST_P(SharedMutexTest, AStopOfAWriterJoinsItsNeighbours) { RunOk(Queue("rwrw", 1, {"rr", "w"})); }
TEST_P(SharedMutexTest, AStopAtTheEndOfTheQueue) { RunOk(Queue("wr", 1, {"w"})); }

// Readers are inside; a writer waits, and a reader behind it. When the writer is stopped the reader gets in at once.
Task<void> StopOfTheWriter() {
  SharedMutex mutex;
  ReaderGuard reading = mutex.TryLockShared();
  std::string inside;
  Visit writer(&mutex, 'w'), reader(&mutex, 'r');
  JoinHandle<absl::Status> writes = co_await Spawn(Make(&writer, &inside));
  co_await Settle();
  JoinHandle<absl::Status> reads = co_await Spawn(Make(&reader, &inside));
  co_await Settle();
  EXPECT_EQ(inside, "") << "readers that come do not overtake the writer";
  EXPECT_FALSE(mutex.TryLockShared()) << "nor do those that try";
  writes.RequestStop();
  EXPECT_EQ(Code(co_await std::move(writes)), absl::StatusCode::kCancelled);
  co_await Settle();
  EXPECT_EQ(inside, "r");
  reader.leave = true;
  CO_ASSERT_OK(co_await std::move(reads));
}

TEST_P(SharedMutexTest, AWriterThatGivesUpMakesWayForReaders) { RunOk(StopOfTheWriter()); }

Task<absl::Status> LockWhenStopped(SharedMutex* mutex, bool shared) {
  co_await AwaitStop();
  if (shared) co_return (co_await mutex->LockShared()).status();
  co_return (co_await mutex->Lock()).status();
}

Task<void> StoppedBefore() {
  SharedMutex mutex;
  for (const bool shared : {false, true}) {
    JoinHandle<absl::Status> task = co_await Spawn(LockWhenStopped(&mutex, shared));
    co_await Settle();
    task.RequestStop();
    EXPECT_EQ(Code(co_await std::move(task)), absl::StatusCode::kCancelled);
    EXPECT_TRUE(mutex.TryLock());
  }
}

TEST_P(SharedMutexTest, AStoppedTaskDoesNotGetItThoughItIsFree) { RunOk(StoppedBefore()); }

Task<void> StoppedWhenServed() {
  SharedMutex mutex;
  WriterGuard before = mutex.TryLock();
  std::string inside;
  Visit writer(&mutex, 'w');
  writer.leave = true;
  JoinHandle<absl::Status> task = co_await Spawn(Make(&writer, &inside));
  co_await Settle();
  before.Unlock();
  task.RequestStop();  // it is ready, and has not run
  CO_ASSERT_OK(co_await std::move(task));
  EXPECT_EQ(inside, "w");
}

TEST_P(SharedMutexTest, AStopAfterItWasHandedOverIsTooLate) { RunOk(StoppedWhenServed()); }

Task<void> Downgrades() {
  SharedMutex mutex;
  WriterGuard writing = mutex.TryLock();
  std::string inside;
  Visit first(&mutex, 'r'), second(&mutex, 'w');
  JoinHandle<absl::Status> reads = co_await Spawn(Make(&first, &inside));
  co_await Settle();
  JoinHandle<absl::Status> writes = co_await Spawn(Make(&second, &inside));
  co_await Settle();
  ReaderGuard reading = std::move(writing).Downgrade();
  EXPECT_FALSE(writing);  // NOLINT: what it is afterwards
  co_await Settle();
  EXPECT_EQ(inside, "r") << "the reader that waits, not the writer behind it";
  first.leave = second.leave = true;
  CO_ASSERT_OK(co_await std::move(reads));
  EXPECT_EQ(inside, "r") << "one reads yet";
  reading.Unlock();
  CO_ASSERT_OK(co_await std::move(writes));
  EXPECT_FALSE(WriterGuard().Downgrade());
}

TEST_P(SharedMutexTest, AWriterBecomesAReader) { RunOk(Downgrades()); }

// --- Many at once

struct Table {
  SharedMutex mutex;
  int64_t first = 0;  // equal outside of a writer's section
  int64_t second = 0;
  std::atomic<int> readers{0};
  std::atomic<int> writers{0};
  std::atomic<int> readers_max{0};
  std::atomic<int64_t> cancelled{0};
};

Task<void> Read(Table* t, bool yields) {
  absl::StatusOr<ReaderGuard> guard = co_await t->mutex.LockShared();
  if (!guard.ok()) {
    t->cancelled.fetch_add(1, std::memory_order_relaxed);
    co_return;
  }
  const int readers = t->readers.fetch_add(1, std::memory_order_relaxed) + 1;
  if (readers > t->readers_max.load(std::memory_order_relaxed))
    t->readers_max.store(readers, std::memory_order_relaxed);
  EXPECT_EQ(t->first, t->second);
  if (yields) co_await Yield();
  EXPECT_EQ(t->writers.load(std::memory_order_relaxed), 0);
  EXPECT_EQ(t->first, t->second);
  t->readers.fetch_sub(1, std::memory_order_relaxed);
}

Task<void> Write(Table* t, bool yields) {
  absl::StatusOr<WriterGuard> guard = co_await t->mutex.Lock();
  if (!guard.ok()) {
    t->cancelled.fetch_add(1, std::memory_order_relaxed);
    co_return;
  }
  EXPECT_EQ(t->writers.fetch_add(1, std::memory_order_relaxed), 0);
  EXPECT_EQ(t->readers.load(std::memory_order_relaxed), 0);
  ++t->first;
  if (yields) co_await Yield();
  ++t->second;
  t->writers.fetch_sub(1, std::memory_order_relaxed);
}

Task<void> UseOnce(Table* t, bool writes, bool yields) {
  if (writes) return Write(t, yields);
  return Read(t, yields);
}

// Every fourth is stopped, at whatever it is just doing.
Task<void> Use(Table* t, int rounds, uint32_t seed) {
  std::minstd_rand random(seed);
  for (int i = 0; i < rounds; ++i) {
    const bool yields = random() % 2 == 0;
    const bool writes = random() % 4 == 0;
    JoinHandle<void> user = co_await Spawn(UseOnce(t, writes, yields));
    if (random() % 4 == 0) {
      for (uint32_t before = random() % 4; before != 0; --before) co_await Yield();
      user.RequestStop();
    }
    co_await std::move(user);
  }
}

Task<void> UseAll(Table* t, int tasks, int rounds) {
  std::vector<JoinHandle<void>> handles;
  for (int i = 0; i < tasks; ++i) handles.push_back(co_await Spawn(Use(t, rounds, static_cast<uint32_t>(i) + 1)));
  co_await JoinAll(&handles);
}

class SharedMutexUseTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, SharedMutexUseTest, testing::Machines(), testing::MachineName);

TEST_P(SharedMutexUseTest, WritersExcludeAllAndReadersOnlyThem) {
  RepeatUntil([&] {
    Table table;
    RunOk(UseAll(&table, 24, Rounds(1000)));
    EXPECT_EQ(table.first, table.second);
    EXPECT_GT(table.first, 0);
    EXPECT_TRUE(table.mutex.TryLock());
    return table.readers_max.load() > 1 && table.cancelled.load() > 0;
  });
}

// With a thread that is no worker.
class SharedMutexEveryWorkerCount : public testing::EveryWorkerCount {};

TEST_P(SharedMutexEveryWorkerCount, OtherThreadsTryAndHandOver) {
  Table table;
  std::atomic<bool> end{false};
  std::thread thread([&] {
    for (int i = 0; !end.load(std::memory_order_relaxed); ++i) {
      if (i % 2 == 0) {
        WriterGuard guard = table.mutex.TryLock();
        if (guard) ++table.first;
        std::this_thread::yield();  // let tasks queue
        if (guard) ++table.second;
      } else {
        ReaderGuard guard = table.mutex.TryLockShared();
        if (guard) {
          EXPECT_EQ(table.first, table.second);
        }
        std::this_thread::yield();
      }
    }
  });
  RunFor(GetParam(), UseAll(&table, 8, Scaled(1000)));
  end.store(true, std::memory_order_relaxed);
  thread.join();
  EXPECT_EQ(table.first, table.second);
}

TEST_P(SharedMutexEveryWorkerCount, TheLastHolderMayDestroyIt) {
  Rival rival;
  RunFor(GetParam(), testing::DestroyAfterHandOver<SharedMutex, ReaderGuard>(
                         &rival, Scaled(5000), [](auto* mutex) { return mutex->TryLockShared(); }));
}

INSTANTIATE_TEST_SUITE_P(Workers, SharedMutexEveryWorkerCount, testing::WorkerCounts());

TEST(SharedMutexDeathTest, IsNotDestroyedWhileHeld) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        auto mutex = std::make_unique<SharedMutex>();
        ReaderGuard guard = mutex->TryLockShared();
        mutex.reset();
      },
      "a shared mutex is destroyed while it is held");
}

}  // namespace
}  // namespace evring
