// TaskContext: a stop and a completion that race, trees of tasks, and how a stop goes through them.
// Races are run many times, with 1, 2, 4 and 8 workers, and on simulated machines; the interleavings one by one:
// tests/model/wait_word_model_test.cc.

#include "runtime/context.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/cancellation.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

class ContextTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, ContextTest, Machines(), MachineName);

// With threads that are no workers.
class ContextFromOutsideTest : public EveryWorkerCount {};
INSTANTIATE_TEST_SUITE_P(Workers, ContextFromOutsideTest, WorkerCounts());

// --- Stop against completion
// -------------------------------------------------------------------------------------------

Task<bool> PassGate(Gate* gate) { co_return co_await *gate; }
Task<> OpenGate(Gate* gate) {
  gate->Open();
  co_return;
}
template <class T>
Task<> Stop(JoinHandle<T>* handle) {
  handle->RequestStop();
  co_return;
}

// Three tasks that are ready together: one waits, one completes the wait, one stops it; in each round in another order.
Task<> StopRaces(int rounds, int* passed) {
  for (int i = 0; i < rounds; ++i) {
    Gate gate;
    auto waiter = co_await Spawn(PassGate(&gate));
    if (i % 4 == 0) co_await Yield();
    if (i % 2 == 0) {
      auto opener = co_await Spawn(OpenGate(&gate));
      auto stopper = co_await Spawn(Stop(&waiter));
      co_await std::move(opener);
      co_await std::move(stopper);
    } else {
      auto stopper = co_await Spawn(Stop(&waiter));
      auto opener = co_await Spawn(OpenGate(&gate));
      co_await std::move(stopper);
      co_await std::move(opener);
    }
    *passed += co_await std::move(waiter) ? 1 : 0;
  }
}

TEST_P(ContextTest, StopAndCompletionResumeAWaitOnce) {
  int passed = 0;
  const int rounds = machine().simulated() ? 200 : Scaled(20'000);
  RunOk(StopRaces(rounds, &passed));
  EXPECT_LE(passed, rounds);
}

// The same from threads that are no workers, so that the stop comes in the middle of the steps of the waiting task.
TEST_P(ContextFromOutsideTest, StopAndCompletionFromOtherThreads) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  for (int i = 0; i < Scaled(2000); ++i) {
    Gate gate;
    auto waiter = (*runtime)->Spawn(PassGate(&gate));
    ASSERT_TRUE(waiter.ok());
    std::thread opener([&] { gate.Open(); });
    waiter->RequestStop();
    waiter->Wait();
    opener.join();
  }
}

// A stop that comes while the task goes from wait to wait.
Task<int> ManyWaits(std::atomic<bool>* started) {
  int waits = 0;
  *started = true;
  while ((co_await Sleep(absl::Nanoseconds(1))).ok()) ++waits;
  EXPECT_TRUE(absl::IsCancelled(co_await Sleep(absl::ZeroDuration())));  // every later wait, at once
  co_return waits;
}

TEST_P(ContextFromOutsideTest, AStopMeetsATaskBetweenItsWaits) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  for (int i = 0; i < Scaled(200); ++i) {
    std::atomic<bool> started{false};
    auto task = (*runtime)->Spawn(ManyWaits(&started));
    if (i % 2 == 0) {
      while (!started) std::this_thread::yield();
    }
    task->RequestStop();
    EXPECT_GE(task->Wait(), 0);
  }
}

// The same by another task.
Task<> StopBetweenWaits(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    std::atomic<bool> started{false};
    JoinHandle<int> task = co_await Spawn(ManyWaits(&started));
    if (i % 2 == 0) CO_ASSERT_TRUE(co_await EventuallyInTask([&] { return started.load(); }));
    for (int k = 0; k < i % 7; ++k) co_await Yield();
    task.RequestStop();
    EXPECT_GE(co_await std::move(task), 0);
  }
}

TEST_P(ContextTest, AStopOfATaskMeetsAnotherBetweenItsWaits) { RunOk(StopBetweenWaits(Rounds(1000))); }

// --- Trees
// -------------------------------------------------------------------------------------------------------------

Task<> Tree(int depth, int width, std::atomic<int>* leaves, std::atomic<int>* stopped) {
  if (depth == 0) {
    ++*leaves;
    if (absl::IsCancelled(co_await UntilStopped())) ++*stopped;
    co_return;
  }
  std::vector<JoinHandle<>> children;
  for (int i = 0; i < width; ++i) children.push_back(co_await Spawn(Tree(depth - 1, width, leaves, stopped)));
  for (auto& child : children) co_await std::move(child);
}

TEST_P(ContextFromOutsideTest, AStopReachesEveryLeafOfATree) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  std::atomic<int> leaves{0}, stopped{0};
  auto root = (*runtime)->Spawn(Tree(3, 10, &leaves, &stopped));
  ASSERT_TRUE(Eventually([&] { return leaves == 1000; }));
  EXPECT_EQ(stopped, 0);
  root->RequestStop();
  root->Wait();
  EXPECT_EQ(stopped, 1000);
}

Task<> StopATree() {
  std::atomic<int> leaves{0}, stopped{0};
  JoinHandle<> root = co_await Spawn(Tree(3, 10, &leaves, &stopped));
  CO_ASSERT_TRUE(co_await EventuallyInTask([&] { return leaves == 1000; }));
  EXPECT_EQ(stopped, 0);
  root.RequestStop();
  co_await std::move(root);
  EXPECT_EQ(stopped, 1000);
}

TEST_P(ContextTest, AStopOfATaskReachesEveryLeafOfATree) { RunOk(StopATree()); }

Task<> StopATreeThatGrows(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    std::atomic<int> leaves{0}, stopped{0};
    JoinHandle<> root = co_await Spawn(Tree(3, 5, &leaves, &stopped));
    for (int k = 0; k < i % 50; ++k) co_await Yield();
    root.RequestStop();
    co_await std::move(root);
    EXPECT_EQ(leaves, 125);
    EXPECT_EQ(stopped, 125);
  }
}

TEST_P(ContextTest, AStopOfATaskThatComesWhileATreeGrowsReachesEveryLeaf) { RunOk(StopATreeThatGrows(Rounds(500))); }

TEST_P(ContextFromOutsideTest, AStopThatComesWhileATreeGrowsReachesEveryLeaf) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  for (int i = 0; i < Scaled(100); ++i) {
    std::atomic<int> leaves{0}, stopped{0};
    auto root = (*runtime)->Spawn(Tree(3, 5, &leaves, &stopped));
    while (leaves < i) std::this_thread::yield();
    root->RequestStop();
    root->Wait();
    EXPECT_EQ(leaves, 125);
    EXPECT_EQ(stopped, 125);
  }
}

// --- Parents that end before their children
// ----------------------------------------------------------------------------

struct LeftBehind {
  std::mutex mutex;
  std::optional<JoinHandle<absl::Status>> child;
};

Task<> LeaveChildBehind(LeftBehind* left) {
  auto child = co_await Spawn(UntilStopped());
  std::lock_guard lock(left->mutex);
  left->child.emplace(std::move(child));
}

TEST_P(ContextFromOutsideTest, AStopGoesThroughAParentThatHasEnded) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  LeftBehind left;
  auto parent = (*runtime)->Spawn(LeaveChildBehind(&left));
  ASSERT_TRUE(Eventually([&] { return parent->done(); }));
  EXPECT_FALSE(left.child->done());
  parent->RequestStop();
  EXPECT_TRUE(absl::IsCancelled(left.child->Wait()));
  parent->Wait();
}

Task<> StopThroughAParent() {
  LeftBehind left;
  JoinHandle<> parent = co_await Spawn(LeaveChildBehind(&left));
  CO_ASSERT_TRUE(co_await EventuallyInTask([&] { return parent.done(); }));
  EXPECT_FALSE(left.child->done());
  parent.RequestStop();
  EXPECT_TRUE(absl::IsCancelled(co_await *std::move(left.child)));
  co_await std::move(parent);
}

TEST_P(ContextTest, AStopOfATaskGoesThroughAParentThatHasEnded) { RunOk(StopThroughAParent()); }

TEST_P(ContextFromOutsideTest, ShutdownStopsAChildWhoseParentHasEnded) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  LeftBehind left;
  {
    auto parent = (*runtime)->Spawn(LeaveChildBehind(&left));
    parent->Wait();
  }
  runtime->reset();
  EXPECT_TRUE(left.child->done());
  EXPECT_TRUE(absl::IsCancelled(left.child->Wait()));  // a handle outlives its runtime
}

// --- Depth
// -------------------------------------------------------------------------------------------------------------

constexpr int kDeep = 100'000;

// Each task awaits a child, down to the last, which waits for the stop.
Task<int> DeepJoin(int depth, std::atomic<bool>* at_bottom) {
  if (depth == 0) {
    *at_bottom = true;
    static_cast<void>(co_await UntilStopped());
    co_return 0;
  }
  auto child = co_await Spawn(DeepJoin(depth - 1, at_bottom));
  co_return 1 + co_await std::move(child);
}

TEST_P(ContextFromOutsideTest, ADeepChainOfJoinsIsStoppedWithoutDeepStacks) {
  SmallStacks small;
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  std::atomic<bool> at_bottom{false};
  auto top = (*runtime)->Spawn(DeepJoin(Scaled(kDeep), &at_bottom));
  ASSERT_TRUE(Eventually([&] { return at_bottom.load(); }));
  std::thread([&] { top->RequestStop(); }).join();  // on a small stack
  EXPECT_EQ(top->Wait(), Scaled(kDeep));
}

Task<> StopADeepChain(int depth) {
  std::atomic<bool> at_bottom{false};
  JoinHandle<int> top = co_await Spawn(DeepJoin(depth, &at_bottom));
  CO_ASSERT_TRUE(co_await EventuallyInTask([&] { return at_bottom.load(); }));
  top.RequestStop();
  EXPECT_EQ(co_await std::move(top), depth);
}

TEST_P(ContextTest, ATaskStopsADeepChainOfJoinsWithoutDeepStacks) {
  SmallStacks small;
  RunOk(StopADeepChain(machine().simulated() ? Scaled(10'000) : Scaled(kDeep)));
}

// Each task starts the next one and ends; the handles are kept, so that every context stays.
Task<> Relay(int left, std::vector<JoinHandle<>>* handles, std::atomic<bool>* at_end) {
  if (left == 0) {
    *at_end = true;
    static_cast<void>(co_await UntilStopped());
    co_return;
  }
  auto next = co_await Spawn(Relay(left - 1, handles, at_end));
  handles->push_back(std::move(next));
}

TEST(Context, ALongRelayOfTasksLeavesTheTreeWithoutDeepStacks) {
  SmallStacks small;
  auto runtime = Runtime::Create(WithWorkers(1));  // one task at a time: the vector needs no lock
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  std::vector<JoinHandle<>> handles;
  handles.reserve(kDeep);
  std::atomic<bool> at_end{false};
  auto first = (*runtime)->Spawn(Relay(Scaled(kDeep), &handles, &at_end));
  ASSERT_TRUE(Eventually([&] { return at_end.load(); }));
  std::thread([&] {
    first->RequestStop();  // through all who have ended, to the last
    handles.back().Wait();
    // From the first to the last: were a context to keep its parent, the last would free all of them, one in the other.
    for (auto& handle : handles) handle = JoinHandle<>();
  }).join();
  first->Wait();
}

// --- Observers
// ---------------------------------------------------------------------------------------------------------

class CountingObserver final : public StopObserver {
 public:
  int calls = 0;

 private:
  void OnStopRequested() noexcept override { ++calls; }
};

Task<> Observe(CountingObserver* kept, CountingObserver* removed, CountingObserver* late) {
  TaskContext* context = co_await internal::CurrentContextAwaiter();
  EXPECT_TRUE(context->AddObserver(kept));
  EXPECT_TRUE(context->AddObserver(removed));
  EXPECT_TRUE(context->RemoveObserver(removed));
  EXPECT_FALSE(context->RemoveObserver(removed));
  context->RequestStop();
  context->RequestStop();
  EXPECT_FALSE(context->RemoveObserver(kept));
  EXPECT_FALSE(context->AddObserver(late));
}

TEST_P(ContextTest, ObserversAreToldOnce) {
  CountingObserver kept, removed, late;
  RunOk(Observe(&kept, &removed, &late));
  EXPECT_EQ(kept.calls, 1);
  EXPECT_EQ(removed.calls, 0);
  EXPECT_EQ(late.calls, 0);
}

}  // namespace
}  // namespace evring
