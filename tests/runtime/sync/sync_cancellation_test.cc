// Every wait of runtime/sync against a stop, at every point where one can come: before the call, in the queue, when it
// was served and has not gone on, when it gives way with its budget used up, and at the same time as it is served. What
// is served is either taken by the waiter, who says so, or still there; never both, never neither.

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "runtime/sync/channel.h"
#include "runtime/sync/event.h"
#include "runtime/sync/mutex.h"
#include "runtime/sync/semaphore.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/sync/sync_test_util.h"

namespace evring {
namespace {

using testing::AwaitStop;
using testing::Code;
using testing::JoinAll;
using testing::Machine;
using testing::Rival;
using testing::RunFor;
using testing::Scaled;
using testing::Settle;
using testing::Spin;

// One of each, in a state in which every wait waits.
struct Primitives {
  Primitives() {
    guard = mutex.TryLock();
    EXPECT_TRUE(full.TrySend(std::make_unique<int>(0)).ok());
  }

  Event event;
  Mutex mutex;
  MutexGuard guard;
  Semaphore semaphore{0};
  Channel<std::unique_ptr<int>> full{1};
  Channel<std::unique_ptr<int>> empty{1};
  Channel<std::unique_ptr<int>> handed{0};
};

struct Operation {
  std::string name;
  Task<absl::Status> (*wait)(Primitives* p);
  // Serves one waiter, now or later. False: nobody was there, and nothing is kept.
  bool (*serve)(Primitives* p);
  // Takes what was served and nobody took.
  bool (*take_back)(Primitives* p);
  // May have been served to many.
  bool shared = false;
};

Task<absl::Status> WaitForEvent(Primitives* p) { co_return co_await p->event.Wait(); }
bool SetEvent(Primitives* p) {
  p->event.Set();
  return true;
}
bool IsSet(Primitives* p) { return p->event.is_set(); }

Task<absl::Status> LockMutex(Primitives* p) {
  absl::StatusOr<MutexGuard> guard = co_await p->mutex.Lock();
  if (!guard.ok()) co_return guard.status();
  p->guard = *std::move(guard);
  co_return absl::OkStatus();
}
bool UnlockMutex(Primitives* p) {
  MutexGuard guard = std::move(p->guard);
  guard.Unlock();
  return true;
}
bool RelockMutex(Primitives* p) {
  MutexGuard guard = p->mutex.TryLock();
  if (!guard) return false;
  p->guard = std::move(guard);
  return true;
}

Task<absl::Status> AcquireSemaphore(Primitives* p) { co_return co_await p->semaphore.Acquire(2); }
bool ReleaseSemaphore(Primitives* p) {
  p->semaphore.Release(2);
  return true;
}
bool ReacquireSemaphore(Primitives* p) { return p->semaphore.TryAcquire(2); }

template <Channel<std::unique_ptr<int>> Primitives::* channel>
Task<absl::Status> Send(Primitives* p) {
  auto value = std::make_unique<int>(1);
  const absl::Status status = co_await (p->*channel).Send(std::move(value));
  EXPECT_EQ(status.ok(), value == nullptr) << "taken if it was sent, else still there";
  co_return status;
}
template <Channel<std::unique_ptr<int>> Primitives::* channel>
Task<absl::Status> Receive(Primitives* p) {
  const auto value = co_await (p->*channel).Receive();
  if (!value.ok()) co_return value.status();
  EXPECT_NE(*value, nullptr);
  co_return absl::OkStatus();
}
template <Channel<std::unique_ptr<int>> Primitives::* channel>
bool TrySend(Primitives* p) {
  return (p->*channel).TrySend(std::make_unique<int>(1)).ok();
}
template <Channel<std::unique_ptr<int>> Primitives::* channel>
bool TryReceive(Primitives* p) {
  return (p->*channel).TryReceive().ok();
}
bool Nothing(Primitives*) { return false; }

constexpr auto kFull = &Primitives::full;
constexpr auto kEmpty = &Primitives::empty;
constexpr auto kHanded = &Primitives::handed;

const Operation kOperations[] = {
    {"EventWait", WaitForEvent, SetEvent, IsSet, true},
    {"MutexLock", LockMutex, UnlockMutex, RelockMutex},
    {"SemaphoreAcquire", AcquireSemaphore, ReleaseSemaphore, ReacquireSemaphore},
    {"ChannelSend", Send<kFull>, TryReceive<kFull>, TrySend<kFull>},
    {"ChannelReceive", Receive<kEmpty>, TrySend<kEmpty>, TryReceive<kEmpty>},
    {"HandedChannelSend", Send<kHanded>, TryReceive<kHanded>, Nothing},
    {"HandedChannelReceive", Receive<kHanded>, TrySend<kHanded>, Nothing},
};

std::ostream& operator<<(std::ostream& out, const Operation& operation) { return out << operation.name; }

Task<absl::Status> AwaitStopAndThen(Task<absl::Status> task) {
  co_await AwaitStop();
  co_return co_await std::move(task);
}

// What was served is in one place.
void ExpectTakenOnce(const Operation& op, Primitives* p, bool served, bool taken) {
  const bool left = op.take_back(p);
  if (op.shared) {
    EXPECT_TRUE(served && left);
  } else {
    EXPECT_EQ(served, taken || left);
    EXPECT_FALSE(taken && left);
  }
}

// An operation on a machine of one worker.
using Case = std::tuple<Operation, Machine>;
std::string CaseName(const ::testing::TestParamInfo<Case>& info) {
  return std::get<0>(info.param).name + std::get<1>(info.param).ToString();
}

class SyncCancellation : public ::testing::TestWithParam<Case> {
 protected:
  static const Operation& operation() { return std::get<0>(GetParam()); }
  static void RunOk(Task<void> task) { testing::RunOk(std::move(task), std::get<1>(GetParam())); }
};

Task<void> StoppedBefore(const Operation* op, bool ready) {
  Primitives p;
  const bool served = ready && op->serve(&p);
  JoinHandle<absl::Status> waiter = co_await Spawn(AwaitStopAndThen(op->wait(&p)));
  co_await Settle();
  waiter.RequestStop();
  EXPECT_EQ(Code(co_await std::move(waiter)), absl::StatusCode::kCancelled);
  ExpectTakenOnce(*op, &p, served || op->shared, false);
}

TEST_P(SyncCancellation, BeforeTheCallItIsRefused) {
  if (operation().shared) return RunOk(StoppedBefore(&operation(), true));
  RunOk(StoppedBefore(&operation(), false));
}

TEST_P(SyncCancellation, BeforeTheCallItIsRefusedThoughItIsReady) { RunOk(StoppedBefore(&operation(), true)); }

Task<void> StoppedInTheQueue(const Operation* op) {
  Primitives p;
  JoinHandle<absl::Status> waiter = co_await Spawn(op->wait(&p));
  co_await Settle();
  EXPECT_FALSE(waiter.done());
  waiter.RequestStop();
  EXPECT_EQ(Code(co_await std::move(waiter)), absl::StatusCode::kCancelled);
  ExpectTakenOnce(*op, &p, op->serve(&p), false);
}

TEST_P(SyncCancellation, InTheQueueItEndsTheWait) { RunOk(StoppedInTheQueue(&operation())); }

Task<void> StoppedWhenServed(const Operation* op) {
  Primitives p;
  JoinHandle<absl::Status> waiter = co_await Spawn(op->wait(&p));
  co_await Settle();
  EXPECT_TRUE(op->serve(&p));
  waiter.RequestStop();  // it is ready, and has not run
  const absl::Status status = co_await std::move(waiter);
  EXPECT_EQ(Code(status), absl::StatusCode::kOk) << status.ToString();
  ExpectTakenOnce(*op, &p, true, true);
}

TEST_P(SyncCancellation, AfterItWasServedItIsTooLate) { RunOk(StoppedWhenServed(&operation())); }

Task<void> Record(Task<absl::Status> wait, int number, std::vector<int>* served) {
  const absl::Status status = co_await std::move(wait);
  if (status.ok()) served->push_back(number);
}

// Three wait; the one at `place` is stopped. The others are served in their order.
Task<void> StoppedAmongOthers(const Operation* op, int place) {
  Primitives p;
  std::vector<int> served;
  std::vector<JoinHandle<void>> waiters;
  for (int i = 0; i < 3; ++i) {
    waiters.push_back(co_await Spawn(Record(op->wait(&p), i, &served)));
    co_await Settle();
  }
  waiters[place].RequestStop();
  co_await Settle();
  EXPECT_TRUE(waiters[place].done());
  EXPECT_TRUE(served.empty());
  std::vector<int> expected;
  for (int i = 0; i < 3; ++i) {
    if (i == place) continue;
    expected.push_back(i);
    if (op->shared && expected.size() == 1) continue;  // both are let through together
    EXPECT_TRUE(op->serve(&p));
    co_await Settle();
    EXPECT_EQ(served, expected);
  }
  co_await JoinAll(&waiters);
}

TEST_P(SyncCancellation, AtTheHeadOfTheQueue) { RunOk(StoppedAmongOthers(&operation(), 0)); }
TEST_P(SyncCancellation, InTheMiddleOfTheQueue) { RunOk(StoppedAmongOthers(&operation(), 1)); }
TEST_P(SyncCancellation, AtTheEndOfTheQueue) { RunOk(StoppedAmongOthers(&operation(), 2)); }

INSTANTIATE_TEST_SUITE_P(All, SyncCancellation,
                         ::testing::Combine(::testing::ValuesIn(kOperations), testing::MachinesOfOneWorker()),
                         CaseName);

// --- At the same time
// --------------------------------------------------------------------------------------------------

// Where tasks wait for each other, so that on several workers they go on at the same time; on one, in any order.
class Start {
 public:
  explicit Start(int tasks) : missing_(tasks) {}
  Task<void> Arrive(uint32_t spins) {
    missing_.fetch_sub(1, std::memory_order_relaxed);
    while (missing_.load(std::memory_order_relaxed) > 0) co_await Yield();
    for (uint32_t yields = spins % 4; yields != 0; --yields) co_await Yield();
    Spin(spins);
  }

 private:
  std::atomic<int> missing_;
};

Task<absl::Status> WaitAtOnce(const Operation* op, Primitives* p, Start* start, uint32_t spins) {
  co_await start->Arrive(spins);
  co_return co_await op->wait(p);
}
Task<void> StopAtOnce(JoinHandle<absl::Status>* task, Start* start, uint32_t spins) {
  co_await start->Arrive(spins);
  task->RequestStop();
}
Task<bool> ServeAtOnce(const Operation* op, Primitives* p, Start* start, uint32_t spins) {
  co_await start->Arrive(spins);
  co_return op->serve(p);
}

struct Outcomes {
  int taken = 0;
  int cancelled = 0;

  Task<void> Count(const Operation* op, Primitives* p, JoinHandle<absl::Status>* waiter, bool served) {
    const absl::Status status = co_await std::move(*waiter);
    EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status.ToString();
    ++(status.ok() ? taken : cancelled);
    ExpectTakenOnce(*op, p, served, status.ok());
  }
};

// The waiter, who stops it and who serves it are tasks.
Task<void> RaceOfTasks(const Operation* op, std::mt19937* random, Outcomes* outcomes) {
  Primitives p;
  Start start(3);
  const uint32_t first = (*random)() % 500, second = (*random)() % 500, third = (*random)() % 500;
  JoinHandle<absl::Status> waiter = co_await Spawn(WaitAtOnce(op, &p, &start, first));
  JoinHandle<void> stopper = co_await Spawn(StopAtOnce(&waiter, &start, second));
  JoinHandle<bool> server = co_await Spawn(ServeAtOnce(op, &p, &start, third));
  co_await std::move(stopper);
  const bool served = co_await std::move(server);
  co_await outcomes->Count(op, &p, &waiter, served);
}

// The waiter begins to wait, or has just begun, while another thread stops and serves it.
Task<void> RaceOfThreads(const Operation* op, Rival* rival, std::mt19937* random, Outcomes* outcomes) {
  Primitives p;
  JoinHandle<absl::Status> waiter = co_await Spawn(op->wait(&p));
  if ((*random)() % 2 == 0) co_await Yield();
  bool served = false;
  const bool serve_first = (*random)() % 2 == 0;
  const uint32_t before = (*random)() % 2000;
  const uint32_t between = (*random)() % 500;
  rival->Begin([&] {
    Spin(before);
    if (serve_first) served = op->serve(&p);
    Spin(serve_first ? between : 0);
    waiter.RequestStop();
    Spin(serve_first ? 0 : between);
    if (!serve_first) served = op->serve(&p);
  });
  for (uint32_t yields = 1 + (*random)() % 3; yields != 0; --yields) co_await Yield();
  rival->Join();
  co_await outcomes->Count(op, &p, &waiter, served);
}

Task<void> RaceOften(const Operation* op, Rival* rival, uint32_t seed, int rounds, Outcomes* outcomes) {
  std::mt19937 random(seed);
  for (int i = 0; i < rounds && !::testing::Test::HasFailure(); ++i) {
    if (rival != nullptr) {
      co_await RaceOfThreads(op, rival, &random, outcomes);
    } else {
      co_await RaceOfTasks(op, &random, outcomes);
    }
  }
}

constexpr uint32_t kSeed = 20060601;

class SyncCancellationRace : public ::testing::TestWithParam<Case> {
 protected:
  void Race(Rival* rival) {
    const auto& [op, machine] = GetParam();
    SCOPED_TRACE(::testing::Message() << "seed " << kSeed);
    Outcomes outcomes;
    testing::RunOk(RaceOften(&op, rival, kSeed, machine.Rounds(4000), &outcomes), machine);
    std::printf("%d taken, %d cancelled\n", outcomes.taken, outcomes.cancelled);  // both, or it was no race
  }
};

TEST_P(SyncCancellationRace, AmongTasksWhatIsServedIsTakenOrStillThere) { Race(nullptr); }

INSTANTIATE_TEST_SUITE_P(All, SyncCancellationRace,
                         ::testing::Combine(::testing::ValuesIn(kOperations), testing::Machines()), CaseName);

// With a thread that is no worker.
class SyncCancellationFromOutside : public SyncCancellationRace {};

TEST_P(SyncCancellationFromOutside, WhatIsServedIsTakenOrStillThere) {
  Rival rival;
  Race(&rival);
}

INSTANTIATE_TEST_SUITE_P(All, SyncCancellationFromOutside,
                         ::testing::Combine(::testing::ValuesIn(kOperations), testing::RealMachines()), CaseName);

// --- With the budget used up
// -------------------------------------------------------------------------------------------

Task<uint64_t> AcquireUntilStopped(Semaphore* semaphore) {
  uint64_t acquired = 0;
  while ((co_await semaphore->Acquire()).ok()) ++acquired;
  co_return acquired;
}

// The only way in which another task runs here is that the loop gives way: then it has a permit, and keeps it.
Task<void> StopAfterTheBudget() {
  constexpr uint64_t kAll = 100'000;
  Semaphore semaphore(kAll);
  JoinHandle<uint64_t> loop = co_await Spawn(AcquireUntilStopped(&semaphore));
  co_await Yield();
  loop.RequestStop();
  const uint64_t acquired = co_await std::move(loop);
  EXPECT_GT(acquired, 0u);
  EXPECT_LT(acquired, kAll);
  EXPECT_EQ(acquired + semaphore.permits(), kAll);
}

class SyncCancellationBudget : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, SyncCancellationBudget, testing::MachinesOfOneWorker(), testing::MachineName);

TEST_P(SyncCancellationBudget, AStopWhileGivingWayTakesNothingBack) { RunOk(StopAfterTheBudget()); }

}  // namespace
}  // namespace evring
