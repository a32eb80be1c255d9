// Tokens, sources, callbacks and WithCancellation, on this machine's kernel and on simulated ones.

#include "runtime/cancellation.h"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/timeout.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

class CancellationTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, CancellationTest, Machines(), MachineName);

// With threads that are no workers.
class CancellationFromOutsideTest : public EveryWorkerCount {};
INSTANTIATE_TEST_SUITE_P(Workers, CancellationFromOutsideTest, WorkerCounts());

// --- Tokens
// ------------------------------------------------------------------------------------------------------------

Task<> TokensOfOneTask() {
  const CancelToken mine = co_await CurrentToken();
  EXPECT_FALSE(mine.stop_requested());
  EXPECT_FALSE(co_await StopRequested());
  (co_await internal::CurrentContextAwaiter())->RequestStop();
  EXPECT_TRUE(mine.stop_requested());
  EXPECT_TRUE(co_await StopRequested());
}

TEST_P(CancellationTest, ATokenTellsOfTheTaskThatAskedForIt) {
  RunOk(TokensOfOneTask());
  EXPECT_FALSE(CancelToken().stop_requested());
}

Task<CancelToken> TokenOfChild() { co_return co_await CurrentToken(); }

Task<> InheritedTokens(std::vector<CancelToken>* tokens) {
  const CancelToken mine = co_await CurrentToken();
  tokens->push_back(mine);
  auto child = co_await Spawn(TokenOfChild());
  tokens->push_back(co_await std::move(child));
  (co_await internal::CurrentContextAwaiter())->RequestStop();
  auto late = co_await Spawn(TokenOfChild());
  tokens->push_back(co_await std::move(late));
}

TEST_P(CancellationTest, ATokenOutlivesTaskAndRuntime) {
  std::vector<CancelToken> tokens;
  RunOk(InheritedTokens(&tokens));
  ASSERT_EQ(tokens.size(), 3u);
  EXPECT_TRUE(tokens[0].stop_requested());
  EXPECT_FALSE(tokens[1].stop_requested());  // it had ended before
  EXPECT_TRUE(tokens[2].stop_requested());   // it was started with the stop of its parent
}

Task<bool> ScopeIsStopped() { co_return co_await StopRequested(); }
Task<> InnerScopes() {
  CancelSource source;
  source.RequestStop();
  EXPECT_TRUE(co_await WithCancellation(source.token(), ScopeIsStopped()));
  EXPECT_FALSE(co_await StopRequested());
}

TEST_P(CancellationTest, AnInnerScopeHasItsOwnToken) { RunOk(InnerScopes()); }

// --- Sources
// -----------------------------------------------------------------------------------------------------------

Task<absl::Status> SleepUnder(CancelToken token) {
  absl::Status status = co_await WithCancellation(std::move(token), UntilStopped());
  EXPECT_FALSE(co_await StopRequested());
  co_return status;
}

TEST_P(CancellationFromOutsideTest, AForeignThreadFiresASource) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  CancelSource source;
  std::vector<JoinHandle<absl::Status>> tasks;
  for (int i = 0; i < 50; ++i) tasks.push_back(*(*runtime)->Spawn(SleepUnder(source.token())));
  source.RequestStop();
  source.RequestStop();
  tasks.push_back(*(*runtime)->Spawn(SleepUnder(source.token())));
  for (auto& task : tasks) EXPECT_TRUE(absl::IsCancelled(task.Wait()));
  EXPECT_TRUE(source.stop_requested());
}

Task<int> Seven() { co_return 7; }
Task<int> Fail() {
  throw std::runtime_error("inner");
  co_return 0;
}

Task<> ResultsTravel() {
  CancelSource source;
  EXPECT_EQ(co_await WithCancellation(source.token(), Seven()), 7);
  EXPECT_EQ(co_await WithCancellation(CancelToken(), Seven()), 7);
  bool caught = false;
  try {
    co_await WithCancellation(source.token(), Fail());
  } catch (const std::runtime_error&) {
    caught = true;
  }
  EXPECT_TRUE(caught);
  source.RequestStop();
  EXPECT_EQ(co_await WithCancellation(source.token(), Seven()), 7);  // it never waited
}

TEST_P(CancellationTest, ResultsAndExceptionsAreHandedOn) { RunOk(ResultsTravel()); }

Task<absl::Status> SleepWithout(CancelToken token) {
  co_return co_await WithCancellation(std::move(token), UntilStopped());
}
Task<absl::Status> WithBoth(CancelToken outer, CancelToken inner) {
  co_return co_await WithCancellation(std::move(outer), SleepWithout(std::move(inner)));
}
Task<bool> PassGate(Gate* gate) { co_return co_await *gate; }
Task<bool> PassUnder(CancelToken token, Gate* gate) {
  co_return co_await WithCancellation(std::move(token), PassGate(gate));
}

Task<> NestedScopes(bool fire_outer) {
  CancelSource outer, inner;
  auto task = co_await Spawn(WithBoth(outer.token(), inner.token()));
  for (int i = 0; i < 3; ++i) co_await Yield();
  (fire_outer ? outer : inner).RequestStop();
  EXPECT_TRUE(absl::IsCancelled(co_await std::move(task)));
}

TEST_P(CancellationTest, NestedScopesStopWithTheOuterAndTheInner) {
  RunOk(NestedScopes(true));
  RunOk(NestedScopes(false));
}

Task<> OuterIsStopped() {
  CancelSource never;
  auto task = co_await Spawn(SleepWithout(never.token()));
  co_await Yield();
  task.RequestStop();
  EXPECT_TRUE(absl::IsCancelled(co_await std::move(task)));
  EXPECT_FALSE(never.stop_requested());
}

TEST_P(CancellationTest, TheStopOfTheOuterTaskIsPassedOn) { RunOk(OuterIsStopped()); }

// The source fires while the tasks that are tied to it end by themselves.
TEST_P(CancellationFromOutsideTest, FiringRacesWithTheEnd) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  for (int i = 0; i < Scaled(2000); ++i) {
    CancelSource source;
    Gate gate;
    auto task = (*runtime)->Spawn(PassUnder(source.token(), &gate));
    std::thread opener([&] { gate.Open(); });
    source.RequestStop();
    task->Wait();
    opener.join();
  }
}

Task<absl::Status> SleepUnderFor(CancelToken token, absl::Duration d) {
  co_return co_await WithCancellation(
      std::move(token), [](absl::Duration time) -> Task<absl::Status> { co_return co_await Sleep(time); }(d));
}
Task<> Fire(CancelSource* source, int yields) {
  for (int i = 0; i < yields; ++i) co_await Yield();
  source->RequestStop();
}
Task<> Open(Gate* gate, int yields) {
  for (int i = 0; i < yields; ++i) co_await Yield();
  gate->Open();
}

// Several waits under one source, which end by themselves while a task fires it; and a late one.
Task<> FireAmongTasks(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    CancelSource source;
    Gate gate;
    auto slept = co_await Spawn(SleepUnderFor(source.token(), absl::Microseconds(i % 50)));
    auto passed = co_await Spawn(PassUnder(source.token(), &gate));
    auto never = co_await Spawn(SleepUnder(source.token()));
    auto opener = co_await Spawn(Open(&gate, i % 5));
    auto firer = co_await Spawn(Fire(&source, i % 7));
    co_await std::move(firer);
    EXPECT_TRUE(source.stop_requested());
    auto late = co_await Spawn(SleepUnder(source.token()));
    EXPECT_TRUE(absl::IsCancelled(co_await std::move(never)));
    EXPECT_TRUE(absl::IsCancelled(co_await std::move(late)));
    const absl::Status status = co_await std::move(slept);
    EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
    co_await std::move(passed);
    co_await std::move(opener);
  }
}

TEST_P(CancellationTest, ASourceFiresWhileWaitsEnd) { RunOk(FireAmongTasks(Rounds(2000))); }

// --- Callbacks
// ---------------------------------------------------------------------------------------------------------

TEST(CancelCallback, RunsOnceOnTheThreadThatStops) {
  CancelSource source;
  int calls = 0;
  std::thread::id on;
  CancelCallback callback(source.token(), [&] {
    ++calls;
    on = std::this_thread::get_id();
  });
  EXPECT_EQ(calls, 0);
  std::thread stopper([&] { source.RequestStop(); });
  const std::thread::id id = stopper.get_id();
  stopper.join();
  source.RequestStop();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(on, id);
}

TEST(CancelCallback, RunsInTheConstructorAfterAStop) {
  CancelSource source;
  source.RequestStop();
  int calls = 0;
  CancelCallback callback(source.token(), [&] { ++calls; });
  EXPECT_EQ(calls, 1);
}

TEST(CancelCallback, DoesNotRunOnceDestroyedNorForATokenOfNothing) {
  CancelSource source;
  int calls = 0;
  {
    CancelCallback first(source.token(), [&] { ++calls; });
    CancelCallback second(source.token(), [&] { ++calls; });
    CancelCallback of_nothing(CancelToken(), [&] { ++calls; });
  }
  source.RequestStop();
  EXPECT_EQ(calls, 0);
}

TEST(CancelCallback, TheDestructorWaitsForACallOnAnotherThread) {
  for (int i = 0; i < 200; ++i) {
    CancelSource source;
    std::atomic<bool> inside{false}, returned{false};
    auto callback = std::make_unique<CancelCallback<std::function<void()>>>(source.token(), [&] {
      inside = true;
      for (int k = 0; k < 20; ++k) std::this_thread::yield();
      returned = true;
    });
    std::thread stopper([&] { source.RequestStop(); });
    while (!inside) std::this_thread::yield();
    callback.reset();
    EXPECT_TRUE(returned);
    stopper.join();
  }
}

TEST(CancelCallback, MayDestroyItself) {
  CancelSource source;
  std::optional<CancelCallback<std::function<void()>>> callback;
  int calls = 0;
  callback.emplace(source.token(), [&] {
    ++calls;
    callback.reset();
  });
  int others = 0;
  CancelCallback other(source.token(), [&] { ++others; });
  source.RequestStop();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(others, 1);
  EXPECT_FALSE(callback.has_value());
}

TEST(CancelCallback, MayDestroyAnotherThatHasNotRunYet) {
  CancelSource source;
  int first_calls = 0, second_calls = 0;
  std::optional<CancelCallback<std::function<void()>>> first, second;
  first.emplace(source.token(), [&] {
    ++first_calls;
    second.reset();
  });
  second.emplace(source.token(), [&] {
    ++second_calls;
    first.reset();
  });
  source.RequestStop();
  EXPECT_EQ(first_calls + second_calls, 1);
}

TEST(CancelCallback, RegistrationRacesWithTheStop) {
  for (int i = 0; i < Scaled(3000); ++i) {
    CancelSource source;
    std::atomic<int> calls{0};
    std::thread stopper([&] { source.RequestStop(); });
    {
      CancelCallback a(source.token(), [&] { ++calls; });
      CancelCallback b(source.token(), [&] { ++calls; });
      if (i % 2 == 0) {
        stopper.join();
        EXPECT_EQ(calls, 2);
      }
    }
    if (i % 2 != 0) stopper.join();
    EXPECT_LE(calls, 2);
  }
}

Task<> OfATask(int* calls, Gate* gate) {
  const CancelToken token = co_await CurrentToken();
  CancelCallback callback(token, [calls] { ++*calls; });
  co_await *gate;
}

TEST_P(CancellationFromOutsideTest, CallbacksOfATasksTokenRunWithItsStop) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  int calls = 0;
  Gate never;
  auto task = (*runtime)->Spawn(OfATask(&calls, &never));
  for (int i = 0; i < 20; ++i) std::this_thread::yield();
  task->RequestStop();
  task->Wait();
  EXPECT_EQ(calls, 1);

  Gate open;
  open.Open();
  auto ended = (*runtime)->Spawn(OfATask(&calls, &open));
  ended->Wait();
  EXPECT_EQ(calls, 1);
}

Task<> CallbacksWithTheStop() {
  int calls = 0;
  Gate never;
  auto stopped = co_await Spawn(OfATask(&calls, &never));
  for (int i = 0; i < 20; ++i) co_await Yield();
  stopped.RequestStop();
  co_await std::move(stopped);
  EXPECT_EQ(calls, 1);
  Gate open;
  open.Open();
  auto ended = co_await Spawn(OfATask(&calls, &open));
  co_await std::move(ended);
  EXPECT_EQ(calls, 1);
}

TEST_P(CancellationTest, CallbacksRunWithTheStopOfATaskByAnother) { RunOk(CallbacksWithTheStop()); }

// A callback that stops something else: carried out after it, not inside.
TEST(CancelCallback, MayFireAnotherSourceHoweverLongTheChain) {
  constexpr int kLong = 20'000;
  std::vector<CancelSource> sources(kLong);
  std::vector<std::unique_ptr<CancelCallback<std::function<void()>>>> links;
  for (int i = 0; i + 1 < kLong; ++i) {
    links.push_back(std::make_unique<CancelCallback<std::function<void()>>>(
        sources[static_cast<size_t>(i)].token(),
        [next = &sources[static_cast<size_t>(i) + 1]] { next->RequestStop(); }));
  }
  SmallStacks small;
  std::thread([&] { sources[0].RequestStop(); }).join();
  EXPECT_TRUE(sources.back().stop_requested());
}

}  // namespace
}  // namespace evring
