// Where tasks go on: ResumeOn() moves one, PinToWorker() keeps one where it is through every kind of wait, whoever ends
// the wait, while other workers look for something to do.

#include "runtime/placement.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/cancellation.h"
#include "runtime/runtime.h"
#include "runtime/shield.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/event.h"
#include "runtime/sync/mutex.h"
#include "runtime/task_group.h"
#include "runtime/timeout.h"
#include "runtime/when_all.h"
#include "runtime/worker.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

int Here() { return Worker::Current()->index(); }

class PlacementTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, PlacementTest, Machines(), MachineName);

Task<int> Child(int yields) {
  for (int i = 0; i < yields; ++i) co_await Yield();
  co_return Here();
}
Task<absl::Status> StaysAt(int worker, bool* stayed) {
  absl::Status status;
  for (int i = 0; i < 3 && status.ok(); ++i) {
    status = co_await Sleep(absl::Microseconds(10));
    *stayed = *stayed && Here() == worker;
  }
  co_return status;
}

// Waits in every way, and stays.
Task<> Pinned(int rounds, Mutex* mutex) {
  const WorkerPin pin = co_await PinToWorker();
  const int here = Here();
  for (int i = 0; i < rounds; ++i) {
    co_await Yield();
    EXPECT_EQ(Here(), here) << "after giving way";
    const absl::Status slept = co_await Sleep(absl::Microseconds(i % 20));
    EXPECT_TRUE(slept.ok());
    EXPECT_EQ(Here(), here) << "after a timer";
    JoinHandle<int> child = co_await Spawn(Child(i % 3));
    co_await std::move(child);
    EXPECT_EQ(Here(), here) << "after a child that may have ended elsewhere";
    {
      const absl::StatusOr<MutexGuard> guard = co_await mutex->Lock();
      CO_ASSERT_OK(guard.status());
      EXPECT_EQ(Here(), here) << "after a lock that another task has handed over";
      co_await Yield();
    }
    TaskGroup group;
    co_await group.Spawn([]() -> Task<> { co_await Yield(); }());
    co_await group.Spawn([]() -> Task<> { co_await Yield(); }());
    const absl::Status joined = co_await group.Join();
    EXPECT_TRUE(joined.ok());
    EXPECT_EQ(Here(), here) << "after a group";
    bool stayed = true;
    const absl::Status timed = co_await WithTimeout(absl::Seconds(20), StaysAt(here, &stayed));
    EXPECT_TRUE(timed.ok());
    const absl::Status shielded = co_await Shielded(StaysAt(here, &stayed));
    EXPECT_TRUE(shielded.ok());
    const absl::Status cancellable = co_await WithCancellation(CancelToken(), StaysAt(here, &stayed));
    EXPECT_TRUE(cancellable.ok());
    EXPECT_TRUE(stayed) << "within a scope of its own";
    EXPECT_EQ(Here(), here);
    {
      const WorkerPin nested = co_await PinToWorker();
    }
    co_await Yield();
    EXPECT_EQ(Here(), here) << "the outer pin goes on";
  }
}

Task<> PinnedAndOthers(int rounds) {
  Mutex mutex;
  TaskGroup group;
  for (int i = 0; i < 6; ++i) {
    co_await group.Spawn(Pinned(rounds, &mutex));
    co_await group.Spawn([](int yields) -> Task<> { co_await Child(yields); }(20 * rounds));
  }
  const absl::Status joined = co_await group.Join();
  EXPECT_TRUE(joined.ok());
}
TEST_P(PlacementTest, APinnedTaskStays) { RunOk(PinnedAndOthers(Rounds(200))); }

// Let go, the task runs where it is taken again: moved to each worker, it gets there.
Task<> Moves() {
  {
    const WorkerPin pin = co_await PinToWorker();
    co_await Yield();
  }
  // An idle worker may take the task away before it runs where it was sent, so it tries until it has been everywhere.
  std::vector<bool> been(static_cast<size_t>(WorkerCount()));
  size_t count = 0;
  const absl::Time end = TimerNow() + absl::Seconds(30);
  for (int to = 0; count < been.size(); to = (to + 1) % WorkerCount()) {
    co_await ResumeOn(to);
    const auto here = static_cast<size_t>(Here());
    if (!been[here]) ++count;
    been[here] = true;
    CO_ASSERT_LT(TimerNow(), end);
  }
}
TEST_P(PlacementTest, OneThatIsLetGoMovesAgain) { RunOk(Moves()); }

Task<> GivesWay(const bool* done, int* turns) {
  for (; !*done; ++*turns) co_await Yield();
}
Task<> GivesWayPinned(const bool* done, int* turns) {
  const WorkerPin pin = co_await PinToWorker();
  co_await GivesWay(done, turns);
}

// How many turns a pinned task has had, and how many another, when each of the others has had `rounds`. All of them
// give way again and again.
Task<> Shares(int pinned, int others, int rounds, int* of_pinned, int* of_others) {
  bool done = false;
  std::vector<int> turns(static_cast<size_t>(pinned + others));
  TaskGroup group;
  for (int i = 0; i < pinned + others; ++i) {
    int* const of_it = &turns[static_cast<size_t>(i)];
    Task<> task = GivesWay(&done, of_it);
    if (i < pinned) task = GivesWayPinned(&done, of_it);
    co_await group.Spawn(std::move(task));
  }
  const auto first_other = turns.begin() + pinned;
  while (*std::min_element(first_other, turns.end()) < rounds) co_await Yield();
  *of_pinned = std::accumulate(turns.begin(), first_other, 0) / pinned;
  *of_others = std::accumulate(first_other, turns.end(), 0) / others;
  done = true;
  const absl::Status joined = co_await group.Join();
  EXPECT_TRUE(joined.ok());
}

class PlacementOfOneWorker : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, PlacementOfOneWorker, MachinesOfOneWorker(), MachineName);

TEST_P(PlacementOfOneWorker, OneThatIsPinnedHasTheShareOfOne) {
  int of_pinned = 0, of_others = 0;
  RunOk(Shares(/*pinned=*/1, /*others=*/30, Rounds(1'000), &of_pinned, &of_others));
  EXPECT_GT(of_pinned, of_others / 2);
  EXPECT_LT(of_pinned, of_others * 2);
  RunOk(Shares(/*pinned=*/5, /*others=*/50, Rounds(1'000), &of_pinned, &of_others));
  EXPECT_GT(of_pinned, of_others / 2);
  EXPECT_LT(of_pinned, of_others * 2);
}

TEST_P(PlacementOfOneWorker, ManyThatArePinnedLeaveTheOthersTheirTurns) {
  int of_pinned = 0, of_others = 0;
  RunOk(Shares(/*pinned=*/20, /*others=*/2, Rounds(5'000), &of_pinned, &of_others));
  EXPECT_GT(20 * of_pinned, of_others) << "one of them, then one of the others";
}

class PinFromOutside : public EveryWorkerCount {};
INSTANTIATE_TEST_SUITE_P(Workers, PinFromOutside, WorkerCounts());

Task<> WaitsFor(std::vector<Event>* events, std::atomic<int>* at) {
  const WorkerPin pin = co_await PinToWorker();
  const int here = Here();
  for (Event& event : *events) {
    at->fetch_add(1);
    const absl::Status waited = co_await event.Wait();
    EXPECT_TRUE(waited.ok());
    EXPECT_EQ(Here(), here);
  }
}

// A thread that is no worker ends the waits, of workers that sleep: each wakes for its own.
TEST_P(PinFromOutside, OthersWakeIt) {
  constexpr int kTasks = 4;
  const int rounds = Scaled(2000);
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok());
  std::vector<std::vector<Event>> events;
  std::vector<std::atomic<int>> at(kTasks);
  for (int i = 0; i < kTasks; ++i) events.emplace_back(static_cast<size_t>(rounds));
  std::vector<JoinHandle<>> tasks;
  for (int i = 0; i < kTasks; ++i) {
    auto handle = (*runtime)->Spawn(WaitsFor(&events[static_cast<size_t>(i)], &at[static_cast<size_t>(i)]));
    ASSERT_TRUE(handle.ok());
    tasks.push_back(*std::move(handle));
  }
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < kTasks; ++i) {
      if (round % 2 == 0) {
        ASSERT_TRUE(Eventually([&] { return at[i] > round; }));
      }
      events[i][static_cast<size_t>(round)].Set();
    }
  }
  for (JoinHandle<>& task : tasks) task.Wait();
}

}  // namespace
}  // namespace evring
