// CurrentDeadline, RemainingTime and StopCause, on this machine's kernel and on simulated ones: what inherits a
// deadline, which one counts, and who is told what when one of several has passed.

#include "runtime/current_deadline.h"

#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/cancellation.h"
#include "runtime/generator.h"
#include "runtime/shield.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/oneshot.h"
#include "runtime/task_group.h"
#include "runtime/timeout.h"
#include "runtime/wall_clock.h"
#include "runtime/when_all.h"
#include "runtime/when_any.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

class CurrentDeadlineTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, CurrentDeadlineTest, Machines(), MachineName);

constexpr absl::Duration kForever = absl::InfiniteDuration();

// The time that is left where this runs.
Task<absl::Duration> Left() { co_return co_await RemainingTime(); }

// What a child of one kind or another has left.
Task<absl::Duration> InAwaited() { co_return co_await Left(); }
Task<absl::Duration> InSpawned() {
  JoinHandle<absl::Duration> child = co_await Spawn(Left());
  co_return co_await std::move(child);
}
Task<> Store(absl::Duration* left) { *left = co_await RemainingTime(); }
Task<absl::Duration> InGroup() {
  absl::Duration left;
  TaskGroup group;
  co_await group.Spawn(Store(&left));
  static_cast<void>(co_await group.Join());
  co_return left;
}
Task<absl::Duration> InWhenAll() {
  const std::tuple<absl::Duration, absl::Duration> both = co_await WhenAll(Left(), Left());
  EXPECT_EQ(std::get<0>(both) == kForever, std::get<1>(both) == kForever);
  co_return std::get<1>(both);
}
Task<absl::Duration> InWhenAny() {
  const std::variant<absl::Duration> any = co_await WhenAny(Left());
  co_return std::get<0>(any);
}
Task<absl::Duration> InCancellation() {
  CancelSource source;
  co_return co_await WithCancellation(source.token(), Left());
}
AsyncGenerator<absl::Duration> Lefts() {
  for (;;) co_yield co_await Left();
}
Task<absl::Duration> InGenerator() {
  AsyncGenerator<absl::Duration> lefts = Lefts();
  const absl::Duration* left = co_await lefts.Next();
  co_return *left;
}
Task<absl::Duration> InLaterTimeout() {
  const absl::StatusOr<absl::Duration> left = co_await WithTimeout(absl::Hours(1000), Left());
  co_return left.ok() ? *left : -kForever;
}
Task<absl::Duration> FarBelow() {
  JoinHandle<absl::Duration> child = co_await Spawn(InWhenAll());
  co_return co_await std::move(child);
}

using Kind = Task<absl::Duration> (*)();
constexpr Kind kInherits[] = {&Left,      &InAwaited,      &InSpawned,   &InGroup,        &InWhenAll,
                              &InWhenAny, &InCancellation, &InGenerator, &InLaterTimeout, &FarBelow};

// --- Inheriting
// --------------------------------------------------------------------------------------------------------

Task<> Inherits() {
  EXPECT_EQ(co_await RemainingTime(), kForever);
  EXPECT_EQ(co_await CurrentDeadline(), absl::InfiniteFuture());
  for (const Kind kind : kInherits) {
    const absl::Duration without = co_await kind();
    EXPECT_GT(without, absl::Hours(999)) << "no other than its own";
    const absl::StatusOr<absl::Duration> hours = co_await WithTimeout(absl::Hours(10), kind());
    CO_ASSERT_OK(hours);
    EXPECT_GT(*hours, absl::Hours(9));
    EXPECT_LE(*hours, absl::Hours(10));
    const absl::StatusOr<absl::Duration> until = co_await WithDeadline(WallNow() + absl::Hours(20), kind());
    CO_ASSERT_OK(until);
    EXPECT_GT(*until, absl::Hours(19));
    EXPECT_LE(*until, absl::Hours(20));
    EXPECT_EQ(co_await RemainingTime(), kForever) << "it has ended with its task";
  }
}

TEST_P(CurrentDeadlineTest, IsThatOfAllThatIsStartedInside) { RunOk(Inherits()); }

Task<absl::Duration> Within(absl::Duration outer, absl::Duration inner) {
  const auto nested = [](absl::Duration d) -> Task<absl::Duration> {
    const absl::StatusOr<absl::Duration> left = co_await WithTimeout(d, InSpawned());
    co_return left.ok() ? *left : -kForever;
  };
  const absl::StatusOr<absl::Duration> left = co_await WithTimeout(outer, nested(inner));
  co_return left.ok() ? *left : -kForever;
}

Task<> Nearest() {
  const absl::Duration inner = co_await Within(absl::Hours(20), absl::Hours(10));
  EXPECT_GT(inner, absl::Hours(9));
  EXPECT_LE(inner, absl::Hours(10));
  const absl::Duration outer = co_await Within(absl::Hours(10), absl::Hours(20));
  EXPECT_GT(outer, absl::Hours(9));
  EXPECT_LE(outer, absl::Hours(10)) << "a later one inside is bounded by the one around it";
  const absl::Duration infinite = co_await Within(absl::Hours(10), kForever);
  EXPECT_LE(infinite, absl::Hours(10));
}

TEST_P(CurrentDeadlineTest, IsTheNearestOfThoseAround) { RunOk(Nearest()); }

Task<> InWallClockTime() {
  const absl::Time before = WallNow();
  const auto ask = []() -> Task<absl::StatusOr<absl::Time>> { co_return co_await CurrentDeadline(); };
  const absl::StatusOr<absl::Time> deadline = co_await WithTimeout(absl::Hours(1), ask());
  CO_ASSERT_OK(deadline);
  EXPECT_GT(*deadline, before + absl::Minutes(59));
  EXPECT_LE(*deadline, WallNow() + absl::Hours(1));
}

TEST_P(CurrentDeadlineTest, IsToldInWallClockTime) { RunOk(InWallClockTime()); }

Task<absl::Status> Moves(Deadline* deadline) {
  EXPECT_LE(co_await RemainingTime(), absl::Hours(1));
  deadline->MoveTo(absl::Hours(3));
  const absl::Duration later = co_await InSpawned();
  EXPECT_GT(later, absl::Hours(2));
  EXPECT_LE(later, absl::Hours(3));
  deadline->MoveTo(absl::Hours(2));
  EXPECT_LE(co_await RemainingTime(), absl::Hours(2));
  deadline->MoveTo(kForever);
  EXPECT_EQ(co_await RemainingTime(), kForever);
  co_return absl::OkStatus();
}
Task<> Moved() {
  Deadline deadline(absl::Hours(1), absl::Seconds(1));
  CO_ASSERT_OK(co_await WithDeadline(&deadline, Moves(&deadline)));
}

TEST_P(CurrentDeadlineTest, AMovedOneCountsAsItIsNow) { RunOk(Moved()); }

Task<> StoreDetached(OneshotSender<absl::Duration> sender) { CO_ASSERT_OK(sender.Send(co_await RemainingTime())); }
Task<absl::Status> Outside() {
  EXPECT_LE(co_await RemainingTime(), absl::Hours(10));
  EXPECT_EQ(co_await Shielded(Left()), kForever);
  EXPECT_EQ(co_await Shielded(InSpawned()), kForever);
  const absl::StatusOr<absl::Duration> limited = co_await Shielded(absl::Hours(20), InSpawned());
  EXPECT_GT(*limited, absl::Hours(19)) << "the shield's own";
  EXPECT_LE(*limited, absl::Hours(20));
  auto [sender, receiver] = Oneshot<absl::Duration>();
  SpawnDetached(StoreDetached(std::move(sender)));
  const absl::StatusOr<absl::Duration> detached = co_await receiver.Receive();
  if (!detached.ok()) co_return detached.status();
  EXPECT_EQ(*detached, kForever);
  co_return absl::OkStatus();
}
Task<> NotOutside() { CO_ASSERT_OK(co_await WithTimeout(absl::Hours(10), Outside())); }

TEST_P(CurrentDeadlineTest, EndsAtAShieldAndDoesNotReachTheDetached) { RunOk(NotOutside()); }

// A child that lives on after the task that the deadline was given to.
Task<absl::Duration> LeftAfter(Gate* gate) {
  co_await *gate;
  co_return co_await RemainingTime();
}
Task<absl::Status> Leave(Gate* gate, JoinHandle<absl::Duration>* left) {
  *left = co_await Spawn(LeftAfter(gate));
  co_return absl::OkStatus();
}
Task<> Outlives() {
  Gate gate;
  JoinHandle<absl::Duration> left;
  CO_ASSERT_OK(co_await WithTimeout(absl::Hours(1), Leave(&gate, &left)));
  gate.Open();
  const absl::Duration after = co_await std::move(left);
  EXPECT_EQ(after, kForever) << "nothing will stop it by that clock";
}

TEST_P(CurrentDeadlineTest, EndsWithTheTaskThatItWasGivenTo) { RunOk(Outlives()); }

// --- Who has timed out
// -------------------------------------------------------------------------------------------------

// What a task says of its own end: its wait, and why it was asked to stop.
struct Said {
  absl::Status wait;
  absl::Status cause;
  absl::Duration left;
};
Task<absl::Status> WaitAndSay(Said* said) {
  said->wait = co_await UntilStopped();
  said->cause = co_await StopCause();
  said->left = co_await RemainingTime();
  co_return said->wait;
}

struct Both {
  Said innermost;
  absl::Status inner;  // what the inner call answers
  Said around;         // of the task that has called it
};
Task<absl::Status> CallInner(absl::Duration d, Both* both) {
  both->inner = co_await WithTimeout(d, WaitAndSay(&both->innermost));
  both->around.cause = co_await StopCause();
  both->around.left = co_await RemainingTime();
  co_return both->inner;
}

Task<> InnerPasses() {
  Both both;
  const absl::Status outer = co_await WithTimeout(absl::Hours(1), CallInner(absl::Milliseconds(1), &both));
  EXPECT_TRUE(absl::IsCancelled(both.innermost.wait));
  EXPECT_TRUE(absl::IsDeadlineExceeded(both.innermost.cause)) << both.innermost.cause;
  EXPECT_EQ(both.innermost.left, absl::ZeroDuration());
  EXPECT_TRUE(absl::IsDeadlineExceeded(both.inner));
  EXPECT_TRUE(both.around.cause.ok()) << "the outer one goes on: " << both.around.cause;
  EXPECT_GT(both.around.left, absl::Minutes(59));
  EXPECT_TRUE(absl::IsDeadlineExceeded(outer)) << "handed on";
}

Task<> OuterPasses() {
  Both both;
  const absl::Status outer = co_await WithTimeout(absl::Milliseconds(1), CallInner(absl::Hours(1), &both));
  EXPECT_TRUE(absl::IsCancelled(both.innermost.wait));
  EXPECT_TRUE(absl::IsDeadlineExceeded(both.innermost.cause)) << both.innermost.cause;
  EXPECT_TRUE(absl::IsCancelled(both.inner)) << "it was not the inner one: " << both.inner;
  EXPECT_TRUE(absl::IsDeadlineExceeded(both.around.cause)) << both.around.cause;
  EXPECT_EQ(both.around.left, absl::ZeroDuration());
  EXPECT_TRUE(absl::IsDeadlineExceeded(outer));
  EXPECT_TRUE((co_await StopCause()).ok());
}

TEST_P(CurrentDeadlineTest, TheInnerOnePasses) { RunOk(InnerPasses()); }
TEST_P(CurrentDeadlineTest, TheOuterOnePasses) { RunOk(OuterPasses()); }

Task<absl::Status> SayInChildren(std::vector<Said>* said) {
  TaskGroup group(TaskGroup::OnError::kGoOn);
  for (Said& one : *said) co_await group.Spawn(WaitAndSay(&one));
  co_return co_await group.Join();
}
Task<> PassesForChildren() {
  std::vector<Said> said(20);
  EXPECT_TRUE(absl::IsDeadlineExceeded(co_await WithTimeout(absl::Milliseconds(1), SayInChildren(&said))));
  for (const Said& one : said) {
    EXPECT_TRUE(absl::IsCancelled(one.wait));
    EXPECT_TRUE(absl::IsDeadlineExceeded(one.cause)) << one.cause;
  }
}

TEST_P(CurrentDeadlineTest, ChildrenAreToldThatItWasTheClock) { RunOk(PassesForChildren()); }

Task<absl::Status> SayInTimeout(Said* said) { co_return co_await WithTimeout(absl::Hours(1), WaitAndSay(said)); }
Task<> SomebodyAsks() {
  Said said;
  JoinHandle<absl::Status> task = co_await Spawn(SayInTimeout(&said));
  co_await Yield();
  task.RequestStop();
  EXPECT_TRUE(absl::IsCancelled(co_await std::move(task)));
  EXPECT_TRUE(absl::IsCancelled(said.cause)) << said.cause;
  EXPECT_GT(said.left, absl::Minutes(59));
  EXPECT_TRUE((co_await StopCause()).ok());
}

TEST_P(CurrentDeadlineTest, AStopThatSomebodyAskedForIsNotTheClocks) { RunOk(SomebodyAsks()); }

}  // namespace
}  // namespace evring
