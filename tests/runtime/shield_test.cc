// Shielded(), on this machine's kernel and on simulated ones: stops that come before, meanwhile and from everywhere
// above do not end the waits inside, and are there again afterwards.

#include "runtime/shield.h"

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/cancellation.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/channel.h"
#include "runtime/task_group.h"
#include "runtime/timeout.h"
#include "runtime/when_any.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

class ShieldTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, ShieldTest, Machines(), MachineName);

// Waits in three ways, each of which a stop would end; in children of its own, too.
Task<absl::Status> WaitAllOver(Channel<int>* channel) {
  absl::Status status = co_await Sleep(absl::Milliseconds(1));
  if (!status.ok()) co_return status;
  TaskGroup group;
  co_await group.Spawn([](Channel<int>* from) -> Task<absl::Status> {
    const absl::StatusOr<int> received = co_await from->Receive();
    co_return received.status();
  }(channel));
  co_await group.Spawn([](Channel<int>* to) -> Task<absl::Status> {
    const absl::Status slept = co_await Sleep(absl::Milliseconds(1));
    if (!slept.ok()) co_return slept;
    co_return co_await to->Send(1);
  }(channel));
  status = co_await group.Join();
  const bool stopped = co_await StopRequested();
  EXPECT_FALSE(stopped);
  co_return status;
}

// --- Stops from outside
// -----------------------------------------------------------------------------------------------

Task<> AfterAStop() {
  Channel<int> channel(0);
  TaskContext* context = co_await internal::CurrentContextAwaiter();
  context->RequestStop();
  CO_ASSERT_OK(co_await Shielded(WaitAllOver(&channel)));
  CO_ASSERT_OK(co_await Shielded(absl::Hours(1), WaitAllOver(&channel)));
  EXPECT_TRUE(absl::IsCancelled(co_await Sleep(absl::Hours(1))));
  const bool stopped = co_await StopRequested();
  EXPECT_TRUE(stopped);
}

Task<> InAChild(Task<> task) {
  JoinHandle<> child = co_await Spawn(std::move(task));
  co_await std::move(child);
}

TEST_P(ShieldTest, AStopThatCameBeforeIsNotSeenInside) { RunOk(InAChild(AfterAStop())); }

Task<> FlushThenWait(Gate* inside, Gate* flushed) {
  const bool opened = co_await Shielded([](Gate* begun, Gate* end) -> Task<bool> {
    begun->Open();
    co_return co_await *end;
  }(inside, flushed));
  EXPECT_TRUE(opened);
  EXPECT_TRUE(absl::IsCancelled(co_await Sleep(absl::Hours(1))));
}

Task<> StopMeanwhile() {
  Gate inside;
  Gate flushed;
  JoinHandle<> task = co_await Spawn(FlushThenWait(&inside, &flushed));
  const bool begun = co_await inside;
  EXPECT_TRUE(begun);
  task.RequestStop();
  CO_ASSERT_OK(co_await Sleep(absl::Milliseconds(1)));
  EXPECT_FALSE(task.done());
  flushed.Open();
  co_await std::move(task);
}

TEST_P(ShieldTest, AStopThatComesMeanwhileIsSeenAfterwards) { RunOk(StopMeanwhile()); }

Task<absl::Status> Sleeping(absl::Duration d) { co_return co_await Sleep(d); }
Task<absl::Status> ShieldedSleep(absl::Duration d, int* slept) {
  absl::Status status = co_await Shielded(Sleeping(d));
  if (status.ok()) ++*slept;
  if (status.ok()) status = co_await UntilStopped();
  co_return status;
}
Task<absl::Status> Fail() { co_return absl::InternalError("first"); }

// A deadline, the winner of a race and a group's first error ask for the stop while the sleeper is shielded.
Task<> StopFromEverywhere() {
  const absl::Duration d = absl::Milliseconds(3);
  int slept = 0;
  EXPECT_TRUE(absl::IsDeadlineExceeded(co_await WithTimeout(absl::Microseconds(10), ShieldedSleep(d, &slept))));
  EXPECT_EQ(slept, 1);

  const auto first = co_await WhenAny(ShieldedSleep(d, &slept), Fail());
  EXPECT_EQ(first.index(), 1u);
  EXPECT_EQ(slept, 2);

  TaskGroup group;
  co_await group.Spawn(ShieldedSleep(d, &slept));
  co_await group.Spawn(Fail());
  EXPECT_TRUE(absl::IsInternal(co_await group.Join()));
  EXPECT_EQ(slept, 3);

  CancelSource source;
  source.RequestStop();
  EXPECT_TRUE(absl::IsCancelled(co_await WithCancellation(source.token(), ShieldedSleep(d, &slept))));
  EXPECT_EQ(slept, 4);
}

TEST_P(ShieldTest, NoStopFromAboveReachesIt) { RunOk(StopFromEverywhere()); }

// The parent is let go of and ends long before its child does.
Task<> ShieldedAndStopped(Gate* inside, std::atomic<int>* slept) {
  inside->Open();
  const absl::Status status = co_await Shielded(Sleeping(absl::Milliseconds(5)));
  if (status.ok()) ++*slept;
}
Task<> LetGo(std::atomic<int>* slept) {
  auto inside = std::make_unique<Gate>();
  {
    JoinHandle<> dropped = co_await Spawn(ShieldedAndStopped(inside.get(), slept));
    co_await *inside;
  }
  const bool ended = co_await EventuallyInTask([slept] { return *slept == 1; });
  EXPECT_TRUE(ended);
}

TEST_P(ShieldTest, ADroppedHandleDoesNotReachIt) {
  std::atomic<int> slept{0};
  RunOk(LetGo(&slept));
}

// --- Stops from inside
// ------------------------------------------------------------------------------------------------

Task<> StoppedInside() {
  EXPECT_TRUE(absl::IsDeadlineExceeded(co_await Shielded(
      []() -> Task<absl::Status> { co_return co_await WithTimeout(absl::Milliseconds(1), UntilStopped()); }())));
  EXPECT_TRUE(absl::IsCancelled(co_await Shielded([]() -> Task<absl::Status> {
    JoinHandle<absl::Status> child = co_await Spawn(UntilStopped());
    child.RequestStop();
    co_return co_await std::move(child);
  }())));
  EXPECT_TRUE(absl::IsCancelled(co_await Shielded([]() -> Task<absl::Status> {
    TaskContext* context = co_await internal::CurrentContextAwaiter();
    context->RequestStop();
    co_return co_await Sleep(absl::Hours(1));
  }())));
  const bool stopped = co_await StopRequested();
  EXPECT_FALSE(stopped) << "what stops inside is not the outer task";
}

TEST_P(ShieldTest, AStopFromInsideWorks) { RunOk(StoppedInside()); }

Task<int> Value() { co_return 3; }
Task<> Nothing() { co_return; }
Task<int> Throw() {
  throw std::runtime_error("inner");
  co_return 0;
}

Task<> Limited() {
  TaskContext* context = co_await internal::CurrentContextAwaiter();
  context->RequestStop();
  const absl::Duration limit = absl::Milliseconds(2);
  EXPECT_TRUE(absl::IsDeadlineExceeded(co_await Shielded(limit, UntilStopped())));
  EXPECT_TRUE(absl::IsDeadlineExceeded(co_await Shielded(-limit, UntilStopped())));
  EXPECT_EQ(*co_await Shielded(absl::Hours(1), Value()), 3);
  EXPECT_EQ(*co_await Shielded(absl::InfiniteDuration(), Value()), 3);
  CO_ASSERT_OK(co_await Shielded(absl::Hours(1), Nothing()));
  EXPECT_EQ(co_await Shielded(Value()), 3);
  co_await Shielded(Nothing());
  int caught = 0;
  try {
    static_cast<void>(co_await Shielded(Throw()));
  } catch (const std::runtime_error&) {
    ++caught;
  }
  try {
    static_cast<void>(co_await Shielded(absl::Hours(1), Throw()));
  } catch (const std::runtime_error&) {
    ++caught;
  }
  EXPECT_EQ(caught, 2);
}

TEST_P(ShieldTest, ALimitBoundsIt) { RunOk(InAChild(Limited())); }

// --- Races
// ------------------------------------------------------------------------------------------------------------

Task<> ShieldInALoop(int* slept) {
  for (;;) {
    const absl::Status inside = co_await Shielded(Sleeping(absl::Microseconds(20)));
    EXPECT_TRUE(inside.ok());
    ++*slept;
    const bool stopped = co_await StopRequested();
    if (stopped) co_return;
  }
}

// The stop meets every point of the shield's life: made, linked, waited for, ended.
Task<> StopAtAnyPoint(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    int slept = 0;
    JoinHandle<> task = co_await Spawn(ShieldInALoop(&slept));
    const absl::Status pause = co_await Sleep(absl::Microseconds(i % 100));
    EXPECT_TRUE(pause.ok());
    task.RequestStop();
    co_await std::move(task);
    EXPECT_GE(slept, 1);
  }
}

TEST_P(ShieldTest, AStopMayComeAtAnyPoint) { RunOk(StopAtAnyPoint(Rounds(3000))); }

// --- Shutdown: of a runtime that another thread ends
// ------------------------------------------------------------------

Task<> FlushAtTheEnd(Gate* inside, std::atomic<int>* slept) {
  inside->Open();
  static_cast<void>(co_await UntilStopped());
  const absl::Status status = co_await Shielded(absl::Seconds(30), Sleeping(absl::Milliseconds(20)));
  if (status.ok()) ++*slept;
}

TEST(ShieldShutdown, TheRuntimeWaitsForIt) {
  for (const int workers : {1, 4}) {
    std::atomic<int> slept{0};
    Gate inside;
    {
      const auto runtime = Runtime::Create(WithWorkers(workers));
      ASSERT_TRUE(runtime.ok()) << runtime.status();
      auto task = (*runtime)->Spawn(FlushAtTheEnd(&inside, &slept));
      ASSERT_TRUE(task.ok()) << task.status();
      (*runtime)->Shutdown();
      task->Wait();
    }
    EXPECT_EQ(slept, 1);
  }
}

}  // namespace
}  // namespace evring
