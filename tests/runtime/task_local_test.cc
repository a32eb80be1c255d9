// TaskLocal, on this machine's kernel and on simulated ones: who sees which value, and how long it lives.

#include "runtime/task_local.h"

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/cancellation.h"
#include "runtime/generator.h"
#include "runtime/runtime.h"
#include "runtime/shield.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/task_group.h"
#include "runtime/timeout.h"
#include "runtime/when_all.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

class TaskLocalTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, TaskLocalTest, Machines(), MachineName);

inline const TaskLocal<int> number;
inline const TaskLocal<std::string> name;
inline const TaskLocal<std::unique_ptr<Counted>> counted;

// What the task sees, 0 for nothing.
Task<int> Number() {
  const int* value = co_await number.Get();
  co_return value == nullptr ? 0 : *value;
}
// The same at the end of `depth` tasks that start one another.
Task<int> NumberBelow(int depth) {
  if (depth == 0) co_return co_await Number();
  co_await Yield();
  JoinHandle<int> child = co_await Spawn(NumberBelow(depth - 1));
  co_return co_await std::move(child);
}

// --- Who sees what
// ----------------------------------------------------------------------------------------------------

Task<> Scopes() {
  EXPECT_EQ(co_await Number(), 0);
  {
    const auto outer = co_await number.Set(1);
    const auto other = co_await name.Set("evring");
    EXPECT_EQ(co_await Number(), 1);
    {
      const auto inner = co_await number.Set(2);
      EXPECT_EQ(co_await Number(), 2);
      const std::string* seen = co_await name.Get();
      EXPECT_TRUE(seen != nullptr && *seen == "evring");
    }
    EXPECT_EQ(co_await Number(), 1);
  }
  EXPECT_EQ(co_await Number(), 0);
  const std::string* gone = co_await name.Get();
  EXPECT_EQ(gone, nullptr);
}

TEST_P(TaskLocalTest, ScopesNestAndEnd) { RunOk(Scopes()); }

AsyncGenerator<int> Numbers() {
  for (;;) {
    const int seen = co_await Number();
    co_yield int{seen};
  }
}

Task<> Inherited() {
  const auto scope = co_await number.Set(7);
  EXPECT_EQ(co_await NumberBelow(10), 7);
  EXPECT_EQ(*co_await WithTimeout(absl::Hours(1), NumberBelow(1)), 7);
  EXPECT_EQ(co_await Shielded(NumberBelow(1)), 7);
  EXPECT_EQ(co_await WithCancellation(CancelToken(), NumberBelow(1)), 7);
  const auto [first, second] = co_await WhenAll(Number(), NumberBelow(2));
  EXPECT_EQ(first + second, 14);
  AsyncGenerator<int> numbers = Numbers();
  const int* value = co_await numbers.Next();
  EXPECT_EQ(*value, 7);
  {
    const auto inner = co_await number.Set(8);
    value = co_await numbers.Next();
    EXPECT_EQ(*value, 8) << "a generator sees what the asking task sees";
  }
}

TEST_P(TaskLocalTest, WhateverIsStartedInheritsIt) { RunOk(Inherited()); }

Task<> SetAndWait(int value, Gate* set, Gate* end) {
  const auto scope = co_await number.Set(value);
  set->Open();
  co_await *end;
  EXPECT_EQ(co_await Number(), value);
}

Task<> Apart() {
  const auto scope = co_await number.Set(1);
  Gate set[2];
  Gate end[2];
  JoinHandle<> a = co_await Spawn(SetAndWait(2, &set[0], &end[0]));
  JoinHandle<> b = co_await Spawn(SetAndWait(3, &set[1], &end[1]));
  co_await set[0];
  co_await set[1];
  EXPECT_EQ(co_await NumberBelow(1), 1);
  const auto later = co_await number.Set(4);  // not for those that run already
  end[0].Open();
  end[1].Open();
  co_await std::move(a);
  co_await std::move(b);
  EXPECT_EQ(co_await Number(), 4);
}

TEST_P(TaskLocalTest, WhatATaskSetsIsNotSeenByItsParentNorBesideIt) { RunOk(Apart()); }

Task<> Expect(int value) { EXPECT_EQ(co_await Number(), value); }
Task<> SpawnInto(TaskGroup* group, int value) {
  const auto scope = co_await number.Set(value);
  co_await group->Spawn(Expect(value));
}

Task<> Groups() {
  TaskGroup group;
  co_await group.Spawn(Expect(0));
  {
    const auto scope = co_await number.Set(1);
    co_await group.Spawn(Expect(1));
    co_await group.Spawn(SpawnInto(&group, 2));
  }
  co_await group.Spawn(Expect(0));
  CO_ASSERT_OK(co_await group.Join());
}

TEST_P(TaskLocalTest, AChildOfAGroupSeesWhatItsSpawnerSees) { RunOk(Groups()); }

Task<> ReportNumber(std::atomic<int>* seen) { *seen = co_await Number(); }
Task<> Detach() {
  auto seen = std::make_unique<std::atomic<int>>(-1);
  const auto scope = co_await number.Set(1);
  SpawnDetached(ReportNumber(seen.get()));
  const bool ran = co_await EventuallyInTask([&seen] { return *seen != -1; });
  EXPECT_TRUE(ran);
  EXPECT_EQ(*seen, 0);
}

TEST_P(TaskLocalTest, ADetachedTaskStartsFromNothing) { RunOk(Detach()); }

// --- Lifetime
// ---------------------------------------------------------------------------------------------------------

Task<> UseUntil(Gate* end, std::atomic<int>* alive) {
  static_cast<void>(co_await Shielded([](Gate* until) -> Task<bool> { co_return co_await *until; }(end)));
  const std::unique_ptr<Counted>* value = co_await counted.Get();
  EXPECT_NE(value, nullptr);
  EXPECT_EQ(*alive, 1);
}

Task<> Outlive(std::atomic<int>* alive) {
  auto end = std::make_unique<Gate>();
  JoinHandle<> child;
  {
    const auto scope = co_await counted.Set(std::make_unique<Counted>(alive));
    const auto inner = co_await number.Set(1);
    child = co_await Spawn(UseUntil(end.get(), alive));
    EXPECT_EQ(*alive, 1);
  }
  EXPECT_EQ(*alive, 1) << "the child has inherited it";
  end->Open();
  const bool ended = co_await EventuallyInTask([&child] { return child.done(); });
  EXPECT_TRUE(ended);
  EXPECT_EQ(*alive, 0) << "a handle keeps the result, not the values";
  co_await std::move(child);
}

TEST_P(TaskLocalTest, AValueLivesUntilTheLastTaskOfItsScope) {
  std::atomic<int> alive{0};
  RunOk(Outlive(&alive));
  EXPECT_EQ(alive, 0);
}

Task<> ThrowInside(std::atomic<int>* alive) {
  const auto scope = co_await counted.Set(std::make_unique<Counted>(alive));
  throw std::runtime_error("inside");
}
Task<> LeaveByException(std::atomic<int>* alive) {
  try {
    co_await ThrowInside(alive);
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(*alive, 0);
  const std::unique_ptr<Counted>* gone = co_await counted.Get();
  EXPECT_EQ(gone, nullptr);
}

TEST_P(TaskLocalTest, AnExceptionEndsItsScope) {
  std::atomic<int> alive{0};
  RunOk(LeaveByException(&alive));
}

// Bindings upon bindings: their last reference lets go of all of them, and the stack is small.
Task<> Deep(int n, Gate* end) {
  if (n == 0) {
    co_await *end;
    co_return;
  }
  const auto scope = co_await number.Set(n);
  JoinHandle<> child = co_await Spawn(Deep(n - 1, end));
  co_await std::move(child);
}

TEST(TaskLocal, DeepScopesEndWithoutRecursion) {
  SmallStacks small;
  Gate end;
  end.Open();
  RunOk(Deep(Scaled(50'000), &end), WithWorkers(2));
}

Task<> Churn(int rounds) {
  for (int i = 1; i <= rounds; ++i) {
    const auto scope = co_await number.Set(i);
    TaskGroup group;
    for (int child = 0; child < 4; ++child) co_await group.Spawn(SpawnInto(&group, i + child));
    EXPECT_EQ(co_await NumberBelow(2), i);
    CO_ASSERT_OK(co_await group.Join());
  }
}

TEST_P(TaskLocalTest, ManyTasksShareValuesOnAllWorkers) { RunOk(Churn(Rounds(1000))); }

// --- Misuse
// -----------------------------------------------------------------------------------------------------------

AsyncGenerator<int> SetsAcrossAYield() {
  const auto scope = co_await number.Set(1);
  co_yield 1;
}
Task<> AskForIt() {
  AsyncGenerator<int> numbers = SetsAcrossAYield();
  static_cast<void>(co_await numbers.Next());
}

TEST(TaskLocalDeathTest, AScopeDoesNotSpanAYield) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOk(AskForIt(), WithWorkers(1)), "does not span a co_yield");
}

}  // namespace
}  // namespace evring
