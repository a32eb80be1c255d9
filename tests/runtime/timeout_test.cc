// WithTimeout, WithDeadline and Deadline, on this machine's kernel and on simulated ones. Nothing is said of how late
// something comes.

#include "runtime/timeout.h"

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/wall_clock.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

class TimeoutTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, TimeoutTest, Machines(), MachineName);

Task<int> Value(int value) { co_return value; }
Task<> Nothing() { co_return; }
Task<absl::StatusOr<std::string>> Text() { co_return "text"; }
Task<absl::StatusOr<std::string>> TextAfter(absl::Duration d) {
  absl::Status status = co_await Sleep(d);
  if (!status.ok()) co_return status;
  co_return "late";
}
Task<int> ValueAfterStop() {
  static_cast<void>(co_await UntilStopped());
  co_return 5;
}
Task<> NothingAfterStop() { static_cast<void>(co_await UntilStopped()); }
Task<absl::Status> SucceedAfterStop() {
  EXPECT_TRUE(absl::IsCancelled(co_await UntilStopped()));
  co_return absl::OkStatus();
}
Task<absl::Status> FailAfterStop() {
  static_cast<void>(co_await UntilStopped());
  co_return absl::InternalError("mine");
}
Task<int> Throw() {
  throw std::runtime_error("inner");
  co_return 0;
}
Task<int> ThrowAfterStop() {
  static_cast<void>(co_await UntilStopped());
  throw std::runtime_error("inner");
}

// --- Before the deadline
// -----------------------------------------------------------------------------------------------

Task<> InTime() {
  EXPECT_EQ(*co_await WithTimeout(absl::Hours(1), Value(3)), 3);
  CO_ASSERT_OK(co_await WithTimeout(absl::Hours(1), Nothing()));
  EXPECT_EQ(*co_await WithTimeout(absl::Hours(1), Text()), "text");
  EXPECT_EQ(*co_await WithTimeout(absl::Hours(1), TextAfter(absl::Milliseconds(1))), "late");
  EXPECT_EQ(*co_await WithDeadline(WallNow() + absl::Hours(1), Value(4)), 4);
  bool caught = false;
  try {
    static_cast<void>(co_await WithTimeout(absl::Hours(1), Throw()));
  } catch (const std::runtime_error&) {
    caught = true;
  }
  EXPECT_TRUE(caught);
}

TEST_P(TimeoutTest, BeforeTheDeadlineTheResultComesOut) { RunOk(InTime()); }

// An infinite timeout arms nothing, and so has nothing to give back at the end.
Task<> Infinite(std::atomic<int>* alive) {
  for (int i = 0; i < 100; ++i) {
    const Counted counted(alive);
    EXPECT_EQ(*co_await WithTimeout(absl::InfiniteDuration(), Value(i)), i);
    EXPECT_EQ(*co_await WithTimeout(absl::InfiniteDuration(), TextAfter(absl::Microseconds(10))), "late");
    EXPECT_EQ(*co_await WithDeadline(absl::InfiniteFuture(), Value(i)), i);
  }
}

TEST_P(TimeoutTest, AnInfiniteOneIsNone) {
  std::atomic<int> alive{0};
  RunOk(Infinite(&alive));
  EXPECT_EQ(alive, 0);
}

// --- After the deadline
// ------------------------------------------------------------------------------------------------

Task<> TooLate() {
  const absl::Duration d = absl::Milliseconds(2);
  EXPECT_TRUE(absl::IsDeadlineExceeded(co_await WithTimeout(d, UntilStopped())));
  EXPECT_TRUE(absl::IsDeadlineExceeded(co_await WithTimeout(d, NothingAfterStop())));
  EXPECT_TRUE(absl::IsDeadlineExceeded((co_await WithTimeout(d, ValueAfterStop())).status()));
  EXPECT_TRUE(absl::IsDeadlineExceeded((co_await WithTimeout(d, TextAfter(absl::Hours(1)))).status()));
  EXPECT_TRUE(absl::IsDeadlineExceeded(co_await WithDeadline(WallNow() + d, UntilStopped())));
  EXPECT_TRUE(absl::IsDeadlineExceeded(co_await WithDeadline(absl::InfinitePast(), UntilStopped())));
  EXPECT_TRUE(absl::IsDeadlineExceeded(co_await WithTimeout(absl::ZeroDuration(), UntilStopped())));
  EXPECT_TRUE(absl::IsDeadlineExceeded(co_await WithTimeout(-absl::InfiniteDuration(), UntilStopped())));
  EXPECT_TRUE(absl::IsDeadlineExceeded(co_await WithTimeout(d, FailAfterStop())));
  EXPECT_FALSE((co_await internal::CurrentContextAwaiter())->stop_requested());  // the outer one goes on as it was
}

TEST_P(TimeoutTest, AfterTheDeadlineTheTaskIsStopped) { RunOk(TooLate()); }

Task<> LateSuccess() { CO_ASSERT_OK(co_await WithTimeout(absl::Milliseconds(2), SucceedAfterStop())); }

TEST_P(TimeoutTest, ALateSuccessIsASuccess) { RunOk(LateSuccess()); }

Task<> LateException() {
  bool caught = false;
  try {
    static_cast<void>(co_await WithTimeout(absl::Milliseconds(2), ThrowAfterStop()));
  } catch (const std::runtime_error&) {
    caught = true;
  }
  EXPECT_TRUE(caught);
}

TEST_P(TimeoutTest, ALateExceptionTravels) { RunOk(LateException()); }

Task<> NeverEarly() {
  for (int us : {1, 100, 3000}) {
    const absl::Duration d = absl::Microseconds(us);
    const absl::Time start = TimerNow();
    EXPECT_TRUE(absl::IsDeadlineExceeded(co_await WithTimeout(d, UntilStopped())));
    EXPECT_GE(TimerNow() - start, d);
  }
}

TEST_P(TimeoutTest, NeverFiresEarly) { RunOk(NeverEarly()); }

// --- Together with other stops
// -----------------------------------------------------------------------------------------

Task<> OuterStopped(Gate* inside) {
  inside->Open();
  EXPECT_TRUE(absl::IsCancelled(co_await WithTimeout(absl::Hours(1), UntilStopped())));
  EXPECT_TRUE(absl::IsCancelled(co_await WithTimeout(absl::Hours(1), UntilStopped())));  // stopped before
  EXPECT_TRUE((co_await internal::CurrentContextAwaiter())->stop_requested());
}

Task<> StopOuter() {
  Gate inside;
  auto task = co_await Spawn(OuterStopped(&inside));
  co_await inside;
  co_await Yield();
  task.RequestStop();
  co_await std::move(task);
}

TEST_P(TimeoutTest, TheStopOfTheOuterTaskIsPassedOn) { RunOk(StopOuter()); }

Task<absl::Status> NestedTimeouts(absl::Duration outer, absl::Duration inner) {
  co_return co_await WithTimeout(outer, [](absl::Duration d) -> Task<absl::Status> {
    absl::Status status = co_await WithTimeout(d, UntilStopped());
    if (absl::IsDeadlineExceeded(status)) co_return absl::AbortedError("inner");
    co_return status;
  }(inner));
}

Task<> Nested() {
  EXPECT_TRUE(absl::IsAborted(co_await NestedTimeouts(absl::Hours(1), absl::Milliseconds(1))));
  EXPECT_TRUE(absl::IsDeadlineExceeded(co_await NestedTimeouts(absl::Milliseconds(1), absl::Hours(1))));
}

TEST_P(TimeoutTest, NestedOnesFireByThemselves) { RunOk(Nested()); }

// The deadline comes while the task ends: whoever is first, the timer and the task are gone afterwards.
Task<> RaceWithTheEnd(int rounds, int* in_time) {
  for (int i = 0; i < rounds; ++i) {
    const absl::Duration d = absl::Nanoseconds(i % 50 * 1000);
    *in_time += (co_await WithTimeout(d, TextAfter(d))).ok() ? 1 : 0;
  }
}

TEST_P(TimeoutTest, TheDeadlineRacesWithTheEnd) {
  int in_time = 0;
  RunOk(RaceWithTheEnd(Rounds(5000), &in_time));
}

// --- Movable deadlines
// -------------------------------------------------------------------------------------------------

Task<absl::Status> KeepMoving(Deadline* deadline, absl::Duration step, int times) {
  for (int i = 0; i < times; ++i) {
    deadline->MoveTo(step * 20);
    absl::Status status = co_await Sleep(step);
    if (!status.ok()) co_return status;
    EXPECT_FALSE(deadline->expired());
  }
  deadline->MoveTo(absl::ZeroDuration());  // as near as it may be
  co_return co_await UntilStopped();
}

Task<> Movable() {
  Deadline deadline(absl::Milliseconds(400), absl::Milliseconds(10));
  EXPECT_FALSE(deadline.expired());
  deadline.MoveTo(absl::Hours(1));  // of no task: no effect
  EXPECT_TRUE(
      absl::IsDeadlineExceeded(co_await WithDeadline(&deadline, KeepMoving(&deadline, absl::Milliseconds(20), 30))));
  EXPECT_TRUE(deadline.expired());
  EXPECT_EQ(*co_await WithDeadline(&deadline, Value(1)), 1);  // may be used again
  EXPECT_FALSE(deadline.expired());
}

TEST_P(TimeoutTest, ADeadlineIsMovedAwayAndNearer) { RunOk(Movable()); }

Task<absl::Status> MoveToNever(Deadline* deadline) {
  deadline->MoveTo(absl::InfiniteDuration());
  absl::Status status = co_await Sleep(absl::Milliseconds(60));
  if (!status.ok()) co_return status;
  deadline->MoveTo(absl::Milliseconds(1));
  co_return co_await UntilStopped();
}

Task<> NeverAndBack() {
  Deadline deadline(absl::Milliseconds(20), absl::Milliseconds(5));
  EXPECT_TRUE(absl::IsDeadlineExceeded(co_await WithDeadline(&deadline, MoveToNever(&deadline))));
  EXPECT_TRUE(deadline.expired());
}

TEST_P(TimeoutTest, ADeadlineIsMovedToNeverAndBack) { RunOk(NeverAndBack()); }

// A look every millisecond that arms the timer again, against the end of the task on another worker.
Task<absl::Status> EndSoon(Deadline* deadline, int us) {
  deadline->MoveTo(absl::Hours(1));
  co_await Yield();
  co_return co_await Sleep(absl::Microseconds(us));
}

Task<> LooksRaceWithTheEnd(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    auto deadline = std::make_unique<Deadline>(absl::Hours(1), absl::ZeroDuration());
    CO_ASSERT_OK(co_await WithDeadline(deadline.get(), EndSoon(deadline.get(), 900 + i % 200)));
    EXPECT_FALSE(deadline->expired());
  }
}

Task<> ManyLooks(int tasks, int rounds) {
  std::vector<JoinHandle<>> handles;
  for (int i = 0; i < tasks; ++i) handles.push_back(co_await Spawn(LooksRaceWithTheEnd(rounds)));
  for (auto& handle : handles) co_await std::move(handle);
}

TEST_P(TimeoutTest, LooksOfAMovableDeadlineRaceWithTheEnd) { RunOk(ManyLooks(20, Rounds(200))); }

// --- A timeout wakes a task that waits for something that is no timer
// --------------------------------------------------

Task<bool> PassGate(Gate* gate) { co_return co_await *gate; }

// Handlers of timers put what they stop into the LIFO slot: it is run although nothing else became ready. Others keep
// the workers between their loop and their sleep.
Task<> GateTimesOut(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    Gate never;
    const absl::StatusOr<bool> passed = co_await WithTimeout(absl::Microseconds(i % 300), PassGate(&never));
    EXPECT_TRUE(absl::IsDeadlineExceeded(passed.status()));
  }
}

Task<> ManyGates(int tasks, int rounds) {
  std::vector<JoinHandle<>> handles;
  for (int i = 0; i < tasks; ++i) handles.push_back(co_await Spawn(GateTimesOut(rounds)));
  for (auto& handle : handles) co_await std::move(handle);
}

TEST_P(TimeoutTest, TimeoutsOfWaitsThatAreNoTimers) { RunOk(ManyGates(20, Rounds(500))); }

}  // namespace
}  // namespace evring
