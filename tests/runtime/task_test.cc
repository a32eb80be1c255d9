// Task: results, exceptions, lifetime of frames, and stacks that do not grow, on runtimes whose threads have 256 KiB.

#include "runtime/task.h"

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/timeout.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

// --- Flat
// -------------------------------------------------------------------------------------------------------------

Task<int> Leaf(int i, StackRange* stack) {
  if ((i & 0xffff) == 0) stack->Note();
  co_return i & 1;
}

Task<int64_t> SumLoop(int n, StackRange* stack) {
  int64_t sum = 0;
  for (int i = 0; i < n; ++i) sum += co_await Leaf(i, stack);
  co_return sum;
}

TEST(TaskStack, TenMillionAwaitsInALoopAreFlat) {
  SmallStacks small;
  StackRange stack;
  EXPECT_EQ(RunValue(SumLoop(10'000'000, &stack), WithWorkers(1)), 5'000'000);
  EXPECT_LT(stack.bytes(), 4096u);
}

Task<int> Middle(int i, StackRange* stack) {
  const int a = co_await Leaf(i, stack);
  co_return a + co_await Leaf(i, stack);
}

Task<> NestedLoop(int n, StackRange* stack) {
  int64_t sum = 0;
  for (int i = 0; i < n; ++i) sum += co_await Middle(i, stack);
  EXPECT_EQ(sum, n);
}

TEST(TaskStack, NestedAwaitsInALoopAreFlat) {
  SmallStacks small;
  StackRange stack;
  RunOk(NestedLoop(300'000, &stack), WithWorkers(1));
  EXPECT_LT(stack.bytes(), 4096u);
}

Task<> Throw() {
  throw std::runtime_error("thrown");
  co_return;
}

Task<> ThrowLoop(int n, int* caught) {
  for (int i = 0; i < n; ++i) {
    try {
      co_await Throw();
    } catch (const std::runtime_error&) {
      ++*caught;
    }
  }
}

TEST(TaskStack, ExceptionsInALoopAreFlat) {
  SmallStacks small;
  int caught = 0;
  RunOk(ThrowLoop(Scaled(200'000), &caught), WithWorkers(1));
  EXPECT_EQ(caught, Scaled(200'000));
}

Task<int> One() { co_return 1; }

Task<int> SpawnLoop(int n) {
  int sum = 0;
  for (int i = 0; i < n; ++i) {
    JoinHandle<int> handle = co_await Spawn(One());
    if (i % 2 == 0) co_await Yield();  // every other child has ended before it is awaited
    sum += co_await std::move(handle);
  }
  co_return sum;
}

TEST(TaskStack, SpawnAndJoinInALoopAreFlat) {
  SmallStacks small;
  for (const int workers : {1, 2}) {
    EXPECT_EQ(RunValue(SpawnLoop(Scaled(200'000)), WithWorkers(workers)), Scaled(200'000));
  }
}

Task<int> TimeoutLoop(int n) {
  int sum = 0;
  for (int i = 0; i < n; ++i) sum += (co_await WithTimeout(absl::Hours(1), One())).value();
  co_return sum;
}

TEST(TaskStack, TimeoutsInALoopAreFlat) {
  SmallStacks small;
  EXPECT_EQ(RunValue(TimeoutLoop(Scaled(300'000)), WithWorkers(1)), Scaled(300'000));
}

Task<int> Depth(int n) {
  if (n == 0) co_return 0;
  co_return 1 + co_await Depth(n - 1);
}

TEST(TaskStack, RecursionIsAsDeepAsMemoryAllows) {
  SmallStacks small;
  EXPECT_EQ(RunValue(Depth(200'000), WithWorkers(1)), 200'000);
}

Task<int> ThrowAtTheBottom(int n, std::atomic<int>* alive) {
  Counted counted(alive);
  if (n == 0) throw std::runtime_error("bottom");
  co_return co_await ThrowAtTheBottom(n - 1, alive);
}

TEST(TaskStack, AnExceptionComesUpFromTheBottomOfADeepRecursion) {
  SmallStacks small;
  std::atomic<int> alive{0};
  EXPECT_THROW(static_cast<void>(evring::Run(ThrowAtTheBottom(Scaled(50'000), &alive), WithWorkers(1))),
               std::runtime_error);
  EXPECT_EQ(alive, 0);
}

// --- Results
// ----------------------------------------------------------------------------------------------------------

Task<std::unique_ptr<std::string>> MoveOnly() { co_return std::make_unique<std::string>("moved"); }

struct NoDefault {
  explicit NoDefault(int value) : value(value) {}
  int value;
};
Task<NoDefault> MakeNoDefault() { co_return NoDefault(5); }
Task<std::vector<int>> FromInitializer() {
  std::vector<int> list = {1, 2, 3};
  co_return list;
}
Task<absl::StatusOr<int>> AnError() { co_return absl::NotFoundError("nothing"); }

Task<> Results() {
  EXPECT_EQ(*co_await MoveOnly(), "moved");
  EXPECT_EQ((co_await MakeNoDefault()).value, 5);
  EXPECT_EQ((co_await FromInitializer()).size(), 3u);
  EXPECT_TRUE(absl::IsNotFound((co_await AnError()).status()));
  Task<std::unique_ptr<std::string>> named = MoveOnly();
  Task<std::unique_ptr<std::string>> assigned = MoveOnly();
  assigned = std::move(named);
  EXPECT_FALSE(named.valid());
  EXPECT_EQ(*co_await std::move(assigned), "moved");
}

TEST(Task, ResultsOfAnyTypeComeOut) { RunOk(Results(), WithWorkers(1)); }

TEST(Task, RunHandsOnTheResultInOneStatus) {
  EXPECT_EQ(**evring::Run(MoveOnly(), WithWorkers(1)), "moved");
  EXPECT_TRUE(absl::IsNotFound(evring::Run(AnError(), WithWorkers(1)).status()));
}

struct TestError {
  int code;
};
Task<int> ThrowCode(int code) {
  if (code != 0) throw TestError{code};
  co_return 0;
}

Task<> Exceptions() {
  int code = 0;
  try {
    co_await ThrowCode(7);
  } catch (const TestError& error) {
    code = error.code;
  }
  EXPECT_EQ(code, 7);
  EXPECT_EQ(co_await ThrowCode(0), 0);
}

TEST(Task, AnExceptionTravelsToWhoAwaits) {
  RunOk(Exceptions(), WithWorkers(1));
  EXPECT_THROW(static_cast<void>(evring::Run(ThrowCode(1), WithWorkers(1))), TestError);
}

// --- Lifetime
// ---------------------------------------------------------------------------------------------------------

Task<> Hold(Counted /*counted*/, bool* ran) {
  *ran = true;
  co_return;
}

TEST(Task, OneThatNeverStartedIsFreedAndDidNothing) {
  std::atomic<int> alive{0};
  bool ran = false;
  {
    Task<> task = Hold(Counted(&alive), &ran);
    EXPECT_TRUE(task.valid());
    EXPECT_EQ(alive, 1);
  }
  EXPECT_EQ(alive, 0);
  EXPECT_FALSE(ran);
}

Task<> CountInside(std::atomic<int>* alive, int* seen) {
  Counted local(alive);
  *seen = *alive;
  co_return;
}

Task<> FreedAtOnce(std::atomic<int>* alive) {
  int seen = 0;
  for (int i = 0; i < 10; ++i) {
    co_await CountInside(alive, &seen);
    EXPECT_EQ(seen, 1);
    EXPECT_EQ(*alive, 0);
  }
}

TEST(Task, WhatACoroutineHoldsGoesWithItsEnd) {
  std::atomic<int> alive{0};
  RunOk(FreedAtOnce(&alive), WithWorkers(1));
}

// Two tasks that wait for each other without giving way are on two workers.
Task<int> Meet(std::atomic<int>* arrived, std::vector<int> ballast) {
  arrived->fetch_add(1);
  while (arrived->load() < 2) std::this_thread::yield();
  co_return Worker::Current()->index() + static_cast<int>(ballast.size()) * 100;
}

Task<> FreeElsewhere(int rounds) {
  int elsewhere = 0;
  for (int i = 0; i < rounds; ++i) {
    const int here = Worker::Current()->index();
    std::atomic<int> arrived{0};
    auto a = co_await Spawn(Meet(&arrived, std::vector<int>(2)));
    auto b = co_await Spawn(Meet(&arrived, std::vector<int>(2)));
    const int on_a = co_await std::move(a) - 200;
    const int on_b = co_await std::move(b) - 200;
    EXPECT_NE(on_a, on_b);
    elsewhere += (on_a != here ? 1 : 0) + (on_b != here ? 1 : 0);
  }
  EXPECT_GE(elsewhere, rounds);
}

TEST(Task, FramesAreFreedOnOtherWorkers) { RunOk(FreeElsewhere(200), WithWorkers(2)); }

// --- Misuse
// -----------------------------------------------------------------------------------------------------------

Task<> AwaitMoved() {
  Task<int> task = One();
  Task<int> moved = std::move(task);
  co_await std::move(moved);
  co_await std::move(task);
}

Task<> SpawnMoved() {
  Task<int> task = One();
  Task<int> other = std::move(task);
  auto handle = co_await Spawn(std::move(task));
  co_await std::move(handle);
}

#if EVRING_CHECK_FRAMES
Task<> Misplaced() {
  if (co_await One() == 1) co_return;
}

TEST(TaskDeathTest, AFrameThatTheCompilerMisplacesIsFound) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOk(Misplaced(), WithWorkers(1)), "name the result of a co_await");
}
#endif

TEST(TaskDeathTest, ATaskThatWasMovedFromIsNotAwaited) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOk(AwaitMoved(), WithWorkers(1)), "moved from cannot be awaited");
  EXPECT_DEATH(RunOk(SpawnMoved(), WithWorkers(1)), "moved from cannot be spawned");
}

}  // namespace
}  // namespace evring
