// The code of docs/guide/sharing.md, word for word (tests/house/guide_test.sh), and that it does what is said there.

#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/placement.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/barrier.h"
#include "runtime/sync/cond_var.h"
#include "runtime/sync/event.h"
#include "runtime/sync/latch.h"
#include "runtime/sync/mutex.h"
#include "runtime/sync/once.h"
#include "runtime/sync/semaphore.h"
#include "runtime/sync/shared_mutex.h"
#include "runtime/task.h"
#include "runtime/task_group.h"
#include "runtime/thread_bound.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring::guide {
namespace {

Task<absl::Status> Deposit(Mutex* mutex, int* balance) {
  absl::StatusOr<MutexGuard> guard = co_await mutex->Lock();
  if (!guard.ok()) co_return guard.status();
  const int before = *balance;
  const absl::Status slept = co_await Sleep(absl::Milliseconds(1));  // still locked
  if (!slept.ok()) co_return slept;
  *balance = before + 1;
  co_return absl::OkStatus();
}

Task<absl::Status> DepositTogether(int* balance) {
  Mutex mutex;
  TaskGroup group;
  for (int i = 0; i < 5; ++i) co_await group.Spawn(Deposit(&mutex, balance));
  co_return co_await group.Join();
}

TEST(Sharing, AMutexIsHeldAcrossAwaits) {
  int balance = 0;
  EXPECT_TRUE(evring::Run(DepositTogether(&balance)).ok());
  EXPECT_EQ(balance, 5);
}

struct Table {
  SharedMutex mutex;
  std::vector<std::string> rows;
};

Task<absl::StatusOr<size_t>> CountRows(Table* table) {
  const absl::StatusOr<ReaderGuard> reading = co_await table->mutex.LockShared();
  if (!reading.ok()) co_return reading.status();
  co_return table->rows.size();
}

Task<absl::Status> AddRow(Table* table, std::string row) {
  const absl::StatusOr<WriterGuard> writing = co_await table->mutex.Lock();
  if (!writing.ok()) co_return writing.status();
  table->rows.push_back(std::move(row));
  co_return absl::OkStatus();
}

Task<absl::StatusOr<size_t>> UseTable() {
  Table table;
  const absl::Status added = co_await AddRow(&table, "first");
  if (!added.ok()) co_return added;
  co_return co_await CountRows(&table);
}

TEST(Sharing, ReadersAndAWriter) { EXPECT_EQ(*evring::Run(UseTable()), 1u); }

Task<absl::Status> Fetch(Semaphore* connections) {
  const absl::Status acquired = co_await connections->Acquire();
  if (!acquired.ok()) co_return acquired;
  const absl::Status fetched = co_await Sleep(absl::Milliseconds(1));  // at most two are here
  connections->Release();
  co_return fetched;
}

Task<absl::Status> FetchTogether() {
  Semaphore connections(2);
  TaskGroup group;
  for (int i = 0; i < 6; ++i) co_await group.Spawn(Fetch(&connections));
  absl::Status status = co_await group.Join();
  EXPECT_EQ(connections.permits(), 2u);
  co_return status;
}

TEST(Sharing, ASemaphoreLimits) { EXPECT_TRUE(evring::Run(FetchTogether()).ok()); }

struct Stock {
  Mutex mutex;
  CondVar changed;
  int apples = 0;
};

Task<absl::Status> TakeApples(Stock* stock, int n) {
  absl::StatusOr<MutexGuard> guard = co_await stock->mutex.Lock();
  if (!guard.ok()) co_return guard.status();
  while (stock->apples < n) {
    const absl::Status status = co_await stock->changed.Wait(&*guard);
    if (!status.ok()) co_return status;  // the mutex is not held here
  }
  stock->apples -= n;
  co_return absl::OkStatus();
}

Task<absl::Status> AddApple(Stock* stock) {
  const absl::StatusOr<MutexGuard> guard = co_await stock->mutex.Lock();
  if (!guard.ok()) co_return guard.status();
  ++stock->apples;
  stock->changed.NotifyAll();
  co_return absl::OkStatus();
}

Task<absl::Status> Trade() {
  Stock stock;
  TaskGroup group;
  co_await group.Spawn(TakeApples(&stock, 3));
  for (int i = 0; i < 4; ++i) co_await group.Spawn(AddApple(&stock));
  absl::Status status = co_await group.Join();
  EXPECT_EQ(stock.apples, 1);
  co_return status;
}

TEST(Sharing, AConditionIsWaitedFor) { EXPECT_TRUE(evring::Run(Trade()).ok()); }

Task<> Compute(Event* ready, int* answer) {
  *answer = 42;
  ready->Set();
  co_return;
}

Task<> AwaitTheAnswer() {
  Event ready;
  int answer = 0;
  JoinHandle<> computation = co_await Spawn(Compute(&ready, &answer));
  const absl::Status status = co_await ready.Wait();
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(answer, 42);
  co_await std::move(computation);
}

TEST(Sharing, AnEventIsSet) { EXPECT_TRUE(evring::Run(AwaitTheAnswer()).ok()); }

Task<> Start(Latch* started) {
  started->CountDown();
  co_return;
}

Task<absl::Status> StartThree() {
  Latch started(3);
  TaskGroup servers;
  for (int i = 0; i < 3; ++i) co_await servers.Spawn(Start(&started));
  const absl::Status all = co_await started.Wait();
  const absl::Status joined = co_await servers.Join();
  co_return all.ok() ? joined : all;
}

TEST(Sharing, ALatchOpens) { EXPECT_TRUE(evring::Run(StartThree()).ok()); }

Task<absl::Status> Phases(Barrier<>* barrier) {
  for (int phase = 0; phase < 3; ++phase) {
    const absl::Status status = co_await barrier->ArriveAndWait();
    if (!status.ok()) {
      barrier->Drop();  // the others shall not wait for this one
      co_return status;
    }
  }
  co_return absl::OkStatus();
}

Task<absl::Status> TwoInPhases() {
  Barrier<> barrier(2);
  TaskGroup group;
  co_await group.Spawn(Phases(&barrier));
  co_await group.Spawn(Phases(&barrier));
  co_return co_await group.Join();
}

TEST(Sharing, ABarrierIsPassedTogether) { EXPECT_TRUE(evring::Run(TwoInPhases()).ok()); }

Task<absl::StatusOr<std::string>> LoadConfig() { co_return "colour = blue"; }

Task<absl::StatusOr<std::string*>> Config(Once<std::string>* config) {
  co_return co_await config->GetOrMake([] { return LoadConfig(); });
}

Task<> UseConfigTwice() {
  Once<std::string> config;
  const absl::StatusOr<std::string*> first = co_await Config(&config);
  const absl::StatusOr<std::string*> second = co_await Config(&config);
  EXPECT_EQ(**first, "colour = blue");
  EXPECT_EQ(*first, *second);
}

TEST(Sharing, AValueIsMadeOnce) { EXPECT_TRUE(evring::Run(UseConfigTwice()).ok()); }

struct Counter {
  std::mutex mutex;
  int value = 0;
};

Task<int> Increment(Counter* counter) {
  int value;
  {
    const std::lock_guard<std::mutex> lock(counter->mutex);
    value = ++counter->value;
  }  // before the next co_await
  co_await Yield();
  co_return value;
}

TEST(Sharing, AStdMutexIsForShortSections) {
  Counter counter;
  EXPECT_EQ(*evring::Run(Increment(&counter)), 1);
}

Task<int> IncrementMarked(Counter* counter) {
  const ThreadBoundLock lock(counter->mutex);
  co_return ++counter->value;
}

TEST(Sharing, AMarkedLockLocks) {
  Counter counter;
  EXPECT_EQ(*evring::Run(IncrementMarked(&counter)), 1);
}

thread_local int calls_of_this_thread = 0;

Task<absl::Status> UseAThreadLocal() {
  const WorkerPin pin = co_await PinToWorker();
  const ThreadBound mark("calls_of_this_thread");
  int* calls = &calls_of_this_thread;
  const absl::Status slept = co_await Sleep(absl::Milliseconds(1));
  ++*calls;  // the same thread
  EXPECT_EQ(calls, &calls_of_this_thread);
  co_return slept;
}

TEST(Sharing, APinnedTaskKeepsItsThread) { EXPECT_TRUE(evring::Run(UseAThreadLocal()).ok()); }

}  // namespace
}  // namespace evring::guide
