// Barrier: phases, the completion, what stopped tasks and tasks that leave do to the others, other threads, who may
// destroy it when.

#include "runtime/sync/barrier.h"

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

using testing::AwaitStop;
using testing::Code;
using testing::JoinAll;
using testing::Rival;
using testing::RunFor;
using testing::Scaled;
using testing::Settle;
using testing::Spin;

// On one worker.
class BarrierTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, BarrierTest, testing::MachinesOfOneWorker(), testing::MachineName);

struct Count {
  explicit Count(int* n) : n(n) {}
  void operator()() const noexcept { ++*n; }
  int* n;
};

template <class B>
Task<absl::Status> Arrive(B* barrier) {
  co_return co_await barrier->ArriveAndWait();
}

Task<void> Phases() {
  int completed = 0;
  Barrier barrier(3, Count(&completed));
  for (int phase = 0; phase < 3; ++phase) {
    std::vector<JoinHandle<absl::Status>> tasks;
    for (int i = 0; i < 2; ++i) tasks.push_back(co_await Spawn(Arrive(&barrier)));
    co_await Settle();
    EXPECT_FALSE(tasks[0].done() || tasks[1].done());
    EXPECT_EQ(completed, phase);
    CO_ASSERT_OK(co_await barrier.ArriveAndWait());
    EXPECT_EQ(completed, phase + 1);
    for (JoinHandle<absl::Status>& task : tasks) CO_ASSERT_OK(co_await std::move(task));
  }
  Barrier<> alone(1);
  CO_ASSERT_OK(co_await alone.ArriveAndWait());
  CO_ASSERT_OK(co_await alone.ArriveAndWait());
}

TEST_P(BarrierTest, AllGoOnWhenTheLastHasCome) { RunOk(Phases()); }

// --- Stops and those that leave

Task<void> StoppedAmongOthers(int place) {
  int completed = 0;
  Barrier barrier(4, Count(&completed));
  std::vector<JoinHandle<absl::Status>> tasks;
  for (int i = 0; i < 3; ++i) {
    tasks.push_back(co_await Spawn(Arrive(&barrier)));
    co_await Settle();
  }
  tasks[place].RequestStop();
  EXPECT_EQ(Code(co_await std::move(tasks[place])), absl::StatusCode::kCancelled);
  JoinHandle<absl::Status> fourth = co_await Spawn(Arrive(&barrier));
  co_await Settle();
  EXPECT_FALSE(fourth.done()) << "the one that was stopped is not there";
  CO_ASSERT_OK(co_await barrier.ArriveAndWait());
  EXPECT_EQ(completed, 1);
  fourth.RequestStop();  // too late
  CO_ASSERT_OK(co_await std::move(fourth));
  for (int i = 0; i < 3; ++i) {
    if (i == place) continue;
    CO_ASSERT_OK(co_await std::move(tasks[i]));
  }
}

TEST_P(BarrierTest, AStopAtTheHeadOfTheQueue) { RunOk(StoppedAmongOthers(0)); }
TEST_P(BarrierTest, AStopInTheMiddleOfTheQueue) { RunOk(StoppedAmongOthers(1)); }
TEST_P(BarrierTest, AStopAtTheEndOfTheQueue) { RunOk(StoppedAmongOthers(2)); }

Task<absl::Status> ArriveWhenStopped(Barrier<>* barrier) {
  co_await AwaitStop();
  co_return co_await barrier->ArriveAndWait();
}

Task<void> StoppedBefore() {
  Barrier<> barrier(2);
  JoinHandle<absl::Status> waits = co_await Spawn(Arrive(&barrier));
  JoinHandle<absl::Status> stopped = co_await Spawn(ArriveWhenStopped(&barrier));
  co_await Settle();
  stopped.RequestStop();
  EXPECT_EQ(Code(co_await std::move(stopped)), absl::StatusCode::kCancelled);
  EXPECT_FALSE(waits.done()) << "it would have been the last";
  barrier.Drop();
  EXPECT_EQ(barrier.expected(), 1u);
  CO_ASSERT_OK(co_await std::move(waits));
}

TEST_P(BarrierTest, AStoppedTaskDoesNotArriveAndMayBeDropped) { RunOk(StoppedBefore()); }

Task<void> DropInTheMiddle() {
  int completed = 0;
  Barrier barrier(3, Count(&completed));
  JoinHandle<absl::Status> first = co_await Spawn(Arrive(&barrier));
  co_await Settle();
  barrier.Drop();
  co_await Settle();
  EXPECT_FALSE(first.done()) << "one is missing yet";
  CO_ASSERT_OK(co_await barrier.ArriveAndWait());
  CO_ASSERT_OK(co_await std::move(first));
  EXPECT_EQ(completed, 1);
  barrier.Drop();
  EXPECT_EQ(completed, 1) << "nobody has come in this phase";
  CO_ASSERT_OK(co_await barrier.ArriveAndWait());
  EXPECT_EQ(completed, 2);
  barrier.Drop();
  EXPECT_EQ(barrier.expected(), 0u);
}

TEST_P(BarrierTest, WhoLeavesIsNotWaitedFor) { RunOk(DropInTheMiddle()); }

// --- Many at once

// Each writes its own cell in each phase and reads all of them in the next; the completion checks and counts.
struct Grid {
  explicit Grid(size_t tasks) : cells(tasks), left(tasks), barrier(tasks, Complete{this}) {}
  struct Complete {
    Grid* grid;
    void operator()() const noexcept {
      ++grid->phase;
      for (size_t i = 0; i < grid->cells.size(); ++i) {
        if (grid->left[i] != 0) continue;
        EXPECT_GE(grid->cells[i], grid->phase);
      }
    }
  };
  std::vector<int> cells;  // how many phases each has done
  std::vector<char> left;
  int phase = 0;
  std::atomic<int> cancelled{0};
  Barrier<Complete> barrier;
};

// Waits as a child, which is stopped now and then; then it arrives once more. Half of the tasks leave early.
Task<void> Step(Grid* grid, size_t i, int phases, uint32_t seed) {
  std::minstd_rand random(seed);
  for (int phase = 1; phase <= phases; ++phase) {
    grid->cells[i] = phase;
    for (bool arrived = false; !arrived;) {
      JoinHandle<absl::Status> wait = co_await Spawn(Arrive(&grid->barrier));
      for (uint32_t yields = random() % 4; yields != 0; --yields) co_await Yield();
      if (random() % 4 == 0) wait.RequestStop();
      const absl::Status status = co_await std::move(wait);
      arrived = status.ok();
      if (!arrived) grid->cancelled.fetch_add(1, std::memory_order_relaxed);
    }
    EXPECT_GE(grid->phase, phase);
    if (i % 2 == 1 && phase == phases / 2) break;
  }
  grid->left[i] = 1;
  grid->barrier.Drop();
}

Task<void> StepAll(Grid* grid, int phases) {
  std::vector<JoinHandle<void>> tasks;
  for (size_t i = 0; i < grid->cells.size(); ++i) {
    tasks.push_back(co_await Spawn(Step(grid, i, phases, static_cast<uint32_t>(i) + 1)));
  }
  co_await JoinAll(&tasks);
}

class BarrierGridTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, BarrierGridTest, testing::Machines(), testing::MachineName);

TEST_P(BarrierGridTest, NobodyIsAheadOfAnother) {
  const int phases = Rounds(1000);
  RepeatUntil([&] {
    Grid grid(8);
    RunOk(StepAll(&grid, phases));
    EXPECT_EQ(grid.phase, phases);
    EXPECT_EQ(grid.barrier.expected(), 0u);
    return grid.cancelled.load() > 0;
  });
}

// With a thread that is no worker.
class BarrierEveryWorkerCount : public testing::EveryWorkerCount {};

// Whoever passes destroys the barrier, while the Drop() that let it pass may still be on its way back.
Task<void> DestroyWhenPassed(Rival* rival, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    auto barrier = std::make_unique<Barrier<>>(2);
    rival->Begin([raw = barrier.get(), spins = i % 512] {
      Spin(spins);
      raw->Drop();
    });
    CO_ASSERT_OK(co_await barrier->ArriveAndWait());
    EXPECT_EQ(barrier->expected(), 1u);
    barrier.reset();
    rival->Join();
  }
}

TEST_P(BarrierEveryWorkerCount, OtherThreadsDropAndWhoPassesMayDestroyIt) {
  Rival rival;
  RunFor(GetParam(), DestroyWhenPassed(&rival, Scaled(2000)));
}

INSTANTIATE_TEST_SUITE_P(Workers, BarrierEveryWorkerCount, testing::WorkerCounts());

// --- Misuse

Task<void> DestroyWhileWaited() {
  auto barrier = std::make_unique<Barrier<>>(2);
  JoinHandle<absl::Status> waiter = co_await Spawn(Arrive(barrier.get()));
  co_await Settle();
  barrier.reset();
  CO_ASSERT_OK(co_await std::move(waiter));
}

TEST(BarrierDeathTest, IsNotDestroyedWhileATaskWaits) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunFor(1, DestroyWhileWaited()), "a barrier is destroyed while a task waits for it");
}

Task<void> ArriveAtNone() {
  Barrier<> barrier(1);
  barrier.Drop();
  CO_ASSERT_OK(co_await barrier.ArriveAndWait());
}

TEST(BarrierDeathTest, CountsWhoComesAndWhoLeaves) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(Barrier<>(0), "a barrier is for one task at least");
  EXPECT_DEATH(RunFor(1, ArriveAtNone()), "no more arrive at a barrier than it expects");
  EXPECT_DEATH(
      {
        Barrier<> barrier(1);
        barrier.Drop();
        barrier.Drop();
      },
      "does not leave it before it has passed");
}

}  // namespace
}  // namespace evring
