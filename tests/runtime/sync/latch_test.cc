// Latch: counting, who is let through when, stops at each place, other threads, who may destroy it when.

#include "runtime/sync/latch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
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
class LatchTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, LatchTest, testing::MachinesOfOneWorker(), testing::MachineName);

constinit Latch at_namespace_scope(2);  // needs no constructor to run

Task<absl::Status> Wait(Latch* latch) { co_return co_await latch->Wait(); }
Task<absl::Status> Arrive(Latch* latch) { co_return co_await latch->ArriveAndWait(); }

TEST(Latch, OpensAtZeroAndStaysOpen) {
  EXPECT_FALSE(at_namespace_scope.open());
  at_namespace_scope.CountDown();
  at_namespace_scope.CountDown(0);
  EXPECT_FALSE(at_namespace_scope.open());
  at_namespace_scope.CountDown();
  EXPECT_TRUE(at_namespace_scope.open());
  at_namespace_scope.CountDown(0);
  EXPECT_TRUE(Latch(0).open());
}

Task<void> AllAreLetThrough() {
  Latch latch(5);
  std::vector<JoinHandle<absl::Status>> tasks;
  for (int i = 0; i < 2; ++i) tasks.push_back(co_await Spawn(Wait(&latch)));
  for (int i = 0; i < 2; ++i) tasks.push_back(co_await Spawn(Arrive(&latch)));
  co_await Settle();
  latch.CountDown(2);
  co_await Settle();
  for (const JoinHandle<absl::Status>& task : tasks) EXPECT_FALSE(task.done());
  CO_ASSERT_OK(co_await latch.ArriveAndWait());
  for (JoinHandle<absl::Status>& task : tasks) CO_ASSERT_OK(co_await std::move(task));
  CO_ASSERT_OK(co_await latch.Wait());
}

TEST_P(LatchTest, AllAreLetThroughTogether) { RunOk(AllAreLetThrough()); }

Task<void> StoppedAmongOthers(int place) {
  Latch latch(4);
  std::vector<JoinHandle<absl::Status>> tasks;
  for (int i = 0; i < 3; ++i) {
    tasks.push_back(co_await Spawn(Arrive(&latch)));
    co_await Settle();
  }
  tasks[place].RequestStop();
  EXPECT_EQ(Code(co_await std::move(tasks[place])), absl::StatusCode::kCancelled);
  latch.CountDown();
  EXPECT_TRUE(latch.open()) << "who was stopped had arrived";
  for (int i = 0; i < 3; ++i) {
    if (i == place) continue;
    tasks[i].RequestStop();  // too late
    CO_ASSERT_OK(co_await std::move(tasks[i]));
  }
}

TEST_P(LatchTest, AStopAtTheHeadOfTheQueue) { RunOk(StoppedAmongOthers(0)); }
TEST_P(LatchTest, AStopInTheMiddleOfTheQueue) { RunOk(StoppedAmongOthers(1)); }
TEST_P(LatchTest, AStopAtTheEndOfTheQueue) { RunOk(StoppedAmongOthers(2)); }

Task<absl::Status> ArriveWhenStopped(Latch* latch) {
  co_await AwaitStop();
  co_return co_await latch->ArriveAndWait();
}

Task<void> StoppedBefore() {
  Latch latch(1);
  JoinHandle<absl::Status> task = co_await Spawn(ArriveWhenStopped(&latch));
  co_await Settle();
  task.RequestStop();
  EXPECT_EQ(Code(co_await std::move(task)), absl::StatusCode::kCancelled);
  EXPECT_TRUE(latch.open()) << "it was there all the same";
}

TEST_P(LatchTest, AStoppedTaskArrivesAndDoesNotWait) { RunOk(StoppedBefore()); }

// --- Many at once

struct Team {
  explicit Team(int tasks) : latch(static_cast<uint64_t>(tasks)), done(static_cast<size_t>(tasks)) {}
  Latch latch;
  std::vector<int> done;  // each by one, read by all
};

Task<void> Work(Team* team, size_t i) {
  if (i % 3 == 0) co_await Yield();
  team->done[i] = 1;
  CO_ASSERT_OK(co_await team->latch.ArriveAndWait());
  for (const int n : team->done) EXPECT_EQ(n, 1);
}

Task<void> WorkOften(int tasks, int rounds) {
  for (int r = 0; r < rounds; ++r) {
    Team team(tasks);
    std::vector<JoinHandle<void>> handles;
    for (int i = 0; i < tasks; ++i) handles.push_back(co_await Spawn(Work(&team, static_cast<size_t>(i))));
    co_await JoinAll(&handles);
  }
}

class LatchTeamTest : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, LatchTeamTest, testing::Machines(), testing::MachineName);

TEST_P(LatchTeamTest, WhatWasDoneBeforeIsVisible) { RunOk(WorkOften(16, Rounds(1000))); }

// With a thread that is no worker.
class LatchEveryWorkerCount : public testing::EveryWorkerCount {};

// Whoever was let through destroys the latch, while CountDown() may still be on its way back.
Task<void> DestroyWhenOpen(Rival* rival, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    auto latch = std::make_unique<Latch>(3);
    int result = 0;
    rival->Begin([raw = latch.get(), &result, spins = i % 512] {
      Spin(spins);
      raw->CountDown();
      result = 1;
      raw->CountDown();
    });
    CO_ASSERT_OK(co_await latch->ArriveAndWait());
    EXPECT_EQ(result, 1);
    latch.reset();
    rival->Join();
  }
}

TEST_P(LatchEveryWorkerCount, OtherThreadsCountDownAndWhoIsLetThroughMayDestroyIt) {
  Rival rival;
  RunFor(GetParam(), DestroyWhenOpen(&rival, Scaled(2000)));
}

INSTANTIATE_TEST_SUITE_P(Workers, LatchEveryWorkerCount, testing::WorkerCounts());

Task<void> DestroyWhileWaited() {
  auto latch = std::make_unique<Latch>(1);
  JoinHandle<absl::Status> waiter = co_await Spawn(Wait(latch.get()));
  co_await Settle();
  latch.reset();
  CO_ASSERT_OK(co_await std::move(waiter));
}

TEST(LatchDeathTest, IsNotDestroyedWhileATaskWaits) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunFor(1, DestroyWhileWaited()), "a latch is destroyed while a task waits for it");
}

TEST(LatchDeathTest, IsNotCountedDownTooFar) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Latch latch(1);
  EXPECT_DEATH(latch.CountDown(2), "a latch is counted down to zero and no further");
}

}  // namespace
}  // namespace evring
