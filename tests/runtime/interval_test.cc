// Interval, on this machine's kernel and on simulated ones: deadlines that do not drift, what becomes of ticks that
// were missed, stops. Nothing is said of how late a tick comes. Simulated, time is virtual: there intervals of hours
// run for years, and nothing real is waited for.

#include "runtime/interval.h"

#include <cstdint>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/channel.h"
#include "runtime/sync/select.h"
#include "runtime/timeout.h"
#include "runtime/worker.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;
using Missed = IntervalOptions::Missed;

class IntervalTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, IntervalTest, Machines(), MachineName);

// Says in which order tasks run.
class IntervalOrderTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, IntervalOrderTest, MachinesOfOneWorker(), MachineName);

// Waits for what would take years.
class IntervalOnVirtualTime : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, IntervalOnVirtualTime, MachinesWith({}, Simulated(true, 0, 12)), MachineName);

int64_t NowNs() { return Worker::Current()->NowNs(); }

IntervalOptions With(Missed missed) {
  IntervalOptions options;
  options.missed = missed;
  return options;
}

constexpr Missed kPolicies[] = {Missed::kBurst, Missed::kDelay, Missed::kSkip};

// --- Ticks
// -----------------------------------------------------------------------------------------------------------

// Whatever the machine makes of the ticks, deadlines and misses add up.
Task<> KeepsStep(Missed missed, int ticks) {
  const absl::Duration period = absl::Microseconds(500);
  const int64_t period_ns = absl::ToInt64Nanoseconds(period);
  const int64_t before_ns = NowNs();
  CO_ASSERT_OK_AND_ASSIGN(Interval interval, Interval::Create(period, With(missed)));
  const int64_t after_ns = NowNs();
  EXPECT_EQ(interval.period(), period);
  int64_t due_ns = 0;
  IntervalTick last;
  for (int i = 0; i < ticks; ++i) {
    CO_ASSERT_OK_AND_ASSIGN(const IntervalTick tick, co_await interval.Tick());
    EXPECT_LE(tick.deadline_ns, NowNs()) << "not before it is due";
    if (i == 0) {
      EXPECT_GE(tick.deadline_ns, before_ns + period_ns);
      EXPECT_LE(tick.deadline_ns, after_ns + period_ns);
    } else if (missed == Missed::kDelay && last.missed != 0) {
      EXPECT_GE(tick.deadline_ns, due_ns) << "a period after the late one came, not after it was due";
    } else {
      EXPECT_EQ(tick.deadline_ns, due_ns);
    }
    if (missed == Missed::kBurst) {
      EXPECT_EQ(tick.missed, 0);
    }
    due_ns = tick.deadline_ns + (tick.missed + 1) * period_ns;
    last = tick;
  }
}
Task<> KeepStep(int ticks) {
  for (const Missed missed : kPolicies) co_await KeepsStep(missed, ticks);
}

TEST_P(IntervalTest, DeadlinesDoNotDrift) { RunOk(KeepStep(machine().simulated() ? 50 : 200)); }

Task<> FirstTick() {
  IntervalOptions options;
  options.first = absl::ZeroDuration();
  const int64_t before_ns = NowNs();
  CO_ASSERT_OK_AND_ASSIGN(Interval at_once, Interval::Create(absl::Hours(1), options));
  CO_ASSERT_OK_AND_ASSIGN(const IntervalTick now, co_await at_once.Tick());
  EXPECT_GE(now.deadline_ns, before_ns);
  EXPECT_LE(now.deadline_ns, NowNs());

  options.first = absl::Milliseconds(1);
  CO_ASSERT_OK_AND_ASSIGN(Interval soon, Interval::Create(absl::Hours(1), options));
  CO_ASSERT_OK_AND_ASSIGN(const IntervalTick first, co_await soon.Tick());
  EXPECT_GE(first.deadline_ns, before_ns + 1'000'000);
  EXPECT_LE(first.deadline_ns, NowNs());
}

TEST_P(IntervalTest, TheFirstTickIsDueWhenItIsSaid) { RunOk(FirstTick()); }

// A task that asks for its second tick three and a half periods late at least.
Task<> FallsBehind(Missed missed) {
  const absl::Duration period = absl::Milliseconds(2);
  const int64_t period_ns = absl::ToInt64Nanoseconds(period);
  CO_ASSERT_OK_AND_ASSIGN(Interval interval, Interval::Create(period, With(missed)));
  CO_ASSERT_OK_AND_ASSIGN(const IntervalTick first, co_await interval.Tick());
  const int64_t due_ns = first.deadline_ns + (first.missed + 1) * period_ns;
  CO_ASSERT_OK(co_await Sleep(period * 9 / 2));

  const int64_t before_ns = NowNs();
  CO_ASSERT_OK_AND_ASSIGN(const IntervalTick late, co_await interval.Tick());
  const int64_t after_ns = NowNs();
  EXPECT_GE(late.deadline_ns, due_ns);
  EXPECT_LE(late.deadline_ns, before_ns);
  // One that comes later may have been missed as well.
  CO_ASSERT_OK_AND_ASSIGN(const IntervalTick next, co_await interval.Tick());
  switch (missed) {
    case Missed::kBurst:
      EXPECT_EQ(late.missed, 0);
      EXPECT_EQ(next.deadline_ns, late.deadline_ns + period_ns);
      EXPECT_LE(next.deadline_ns, before_ns) << "it was due before as well";
      break;
    case Missed::kDelay:
      EXPECT_GE(late.missed, (before_ns - late.deadline_ns) / period_ns);
      EXPECT_LE(late.missed, (after_ns - late.deadline_ns) / period_ns);
      EXPECT_GE(next.deadline_ns, before_ns + period_ns);
      EXPECT_LE(next.deadline_ns, after_ns + period_ns);
      break;
    case Missed::kSkip:
      EXPECT_GE(late.missed, (before_ns - late.deadline_ns) / period_ns);
      EXPECT_LE(late.missed, (after_ns - late.deadline_ns) / period_ns);
      EXPECT_EQ(next.deadline_ns, late.deadline_ns + (late.missed + 1) * period_ns);
      EXPECT_GT(next.deadline_ns, before_ns) << "none that was due then is left";
      break;
  }
}
Task<> FallBehind() {
  for (const Missed missed : kPolicies) co_await FallsBehind(missed);
}

TEST_P(IntervalTest, WhatIsMissedIsThePolicys) { RunOk(FallBehind()); }

Task<> Resets() {
  const absl::Duration period = absl::Milliseconds(1);
  CO_ASSERT_OK_AND_ASSIGN(Interval interval, Interval::Create(period));
  CO_ASSERT_OK(co_await Sleep(period * 3));
  const int64_t before_ns = NowNs();
  interval.Reset();
  CO_ASSERT_OK_AND_ASSIGN(const IntervalTick tick, co_await interval.Tick());
  EXPECT_GE(tick.deadline_ns, before_ns + 1'000'000) << "what was due before is forgotten";
}

TEST_P(IntervalTest, AResetCountsFromNow) { RunOk(Resets()); }

Task<> Far() {
  for (const absl::Duration period : {absl::Hours(24 * 365 * 290), absl::Nanoseconds(1)}) {
    for (const Missed missed : kPolicies) {
      CO_ASSERT_OK_AND_ASSIGN(Interval interval, Interval::Create(period, With(missed)));
      IntervalOptions at_once = With(missed);
      at_once.first = absl::ZeroDuration();
      CO_ASSERT_OK_AND_ASSIGN(interval, Interval::Create(period, at_once));
      CO_ASSERT_OK(co_await interval.Tick());
      // The second is nearer than a nanosecond, or beyond the end of the clock, which never comes.
      const absl::StatusOr<IntervalTick> second = co_await WithTimeout(
          absl::Milliseconds(1),
          [](Interval* i) -> Task<absl::StatusOr<IntervalTick>> { co_return co_await i->Tick(); }(&interval));
      EXPECT_EQ(second.ok(), period == absl::Nanoseconds(1)) << second.status();
    }
  }
}

TEST_P(IntervalTest, ThePeriodIsFromANanosecondToCenturies) { RunOk(Far()); }

Task<> BadOptions() {
  for (const absl::Duration period :
       {absl::ZeroDuration(), -absl::Seconds(1), absl::InfiniteDuration(), -absl::InfiniteDuration()}) {
    const absl::Status status = Interval::Create(period).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_NE(status.message().find(absl::FormatDuration(period)), absl::string_view::npos) << status;
  }
  IntervalOptions options;
  options.first = -absl::Nanoseconds(1);
  EXPECT_TRUE(absl::IsInvalidArgument(Interval::Create(absl::Seconds(1), options).status()));
  co_return;
}

TEST_P(IntervalTest, APeriodThatIsNoneIsRefused) { RunOk(BadOptions()); }

TEST(IntervalDeathTest, IsMadeOnAWorker) {
  EXPECT_DEATH(static_cast<void>(Interval::Create(absl::Seconds(1))), "an Interval is used on a worker");
}

// --- Stops, selects, and others
// ----------------------------------------------------------------------------------------

Task<absl::StatusOr<IntervalTick>> TickOnce(Interval* interval) { co_return co_await interval->Tick(); }

Task<> StoppedTicks() {
  CO_ASSERT_OK_AND_ASSIGN(Interval interval, Interval::Create(absl::Milliseconds(20), With(Missed::kSkip)));
  const int64_t start_ns = NowNs();
  const absl::StatusOr<IntervalTick> stopped = co_await WithTimeout(absl::Microseconds(10), TickOnce(&interval));
  if (stopped.ok()) co_return;  // the machine was away for the whole period
  EXPECT_TRUE(absl::IsDeadlineExceeded(stopped.status()));
  CO_ASSERT_OK_AND_ASSIGN(const IntervalTick tick, co_await interval.Tick());
  EXPECT_LE(tick.deadline_ns, start_ns + 20'000'000) << "the tick that was stopped has not happened";

  JoinHandle<absl::StatusOr<IntervalTick>> waiting = co_await Spawn(TickOnce(&interval));
  co_await Yield();
  waiting.RequestStop();
  const absl::StatusOr<IntervalTick> ended = co_await std::move(waiting);
  EXPECT_TRUE(ended.ok() || absl::IsCancelled(ended.status())) << ended.status();

  // Due or not: after a stop there are no ticks.
  (co_await internal::CurrentContextAwaiter())->RequestStop();
  EXPECT_TRUE(absl::IsCancelled((co_await interval.Tick()).status()));
  IntervalOptions at_once;
  at_once.first = absl::ZeroDuration();
  CO_ASSERT_OK_AND_ASSIGN(Interval due, Interval::Create(absl::Hours(1), at_once));
  EXPECT_TRUE(absl::IsCancelled((co_await due.Tick()).status()));
}

TEST_P(IntervalTest, AStoppedTickHasNotHappened) { RunOk(StoppedTicks()); }

// Ticks between messages: each happens or it does not.
Task<> SendSlowly(Channel<int>* channel, int n) {
  for (int i = 0; i < n; ++i) {
    CO_ASSERT_OK(co_await Sleep(absl::Microseconds(i * 37 % 300)));
    CO_ASSERT_OK(co_await channel->Send(i));
  }
  channel->Close();
}

Task<> SelectTicks(int messages) {
  const absl::Duration period = absl::Microseconds(100);
  Channel<int> channel(0);
  JoinHandle<> sender = co_await Spawn(SendSlowly(&channel, messages));
  CO_ASSERT_OK_AND_ASSIGN(Interval interval, Interval::Create(period));
  int received = 0;
  int64_t due_ns = 0;
  for (;;) {
    auto chosen = co_await Select(channel.Receive(), interval.Tick());
    if (chosen.index() == 1) {
      const absl::StatusOr<IntervalTick>& tick = std::get<1>(chosen);
      CO_ASSERT_OK(tick);
      EXPECT_LE(tick->deadline_ns, NowNs());
      if (due_ns != 0) {
        EXPECT_EQ(tick->deadline_ns, due_ns) << "a tick that lost has not happened";
      }
      due_ns = tick->deadline_ns + absl::ToInt64Nanoseconds(period);
      continue;
    }
    const absl::StatusOr<int>& message = std::get<0>(chosen);
    if (!message.ok()) break;
    EXPECT_EQ(*message, received++);
  }
  EXPECT_EQ(received, messages);
  EXPECT_NE(due_ns, 0) << "there was no tick";
  co_await std::move(sender);
}

TEST_P(IntervalTest, ATickThatLosesASelectHasNotHappened) { RunOk(SelectTicks(machine().simulated() ? 30 : 300)); }

Task<> SetAfterYields(bool* set) {
  for (int i = 0; i < 3; ++i) co_await Yield();
  *set = true;
}

// One that never catches up, since its period is shorter than a tick takes.
Task<> TicksGiveWay() {
  CO_ASSERT_OK_AND_ASSIGN(Interval interval, Interval::Create(absl::Nanoseconds(1)));
  CO_ASSERT_OK(co_await Sleep(absl::Milliseconds(1)));
  bool set = false;
  JoinHandle<> other = co_await Spawn(SetAfterYields(&set));
  int ticks = 0;
  for (; !set && ticks < 10'000; ++ticks) CO_ASSERT_OK(co_await interval.Tick());
  EXPECT_LT(ticks, 10'000) << "ticks that are due leave the others no turn";
  co_await std::move(other);
}

TEST_P(IntervalOrderTest, TicksThatAreDueGiveWayToOthers) { RunOk(TicksGiveWay()); }

// --- Virtual time
// ------------------------------------------------------------------------------------------------------

struct Beats {
  int64_t days = 0;
  int64_t hours = 0;
};
Task<absl::Status> Beat(absl::Duration period, int64_t* beats) {
  absl::StatusOr<Interval> interval = Interval::Create(period);
  if (!interval.ok()) co_return interval.status();
  for (;;) {
    const absl::StatusOr<IntervalTick> tick = co_await interval->Tick();
    if (!tick.ok()) co_return tick.status();
    ++*beats;
  }
}
Task<absl::Status> BeatBoth(Beats* beats) {
  JoinHandle<absl::Status> days = co_await Spawn(Beat(absl::Hours(24), &beats->days));
  const absl::Status hours = co_await Beat(absl::Hours(1), &beats->hours);
  const absl::Status status = co_await std::move(days);
  co_return hours.ok() ? hours : status;
}

Task<> AYear() {
  Beats beats;
  const int64_t start_ns = NowNs();
  const absl::Duration year = absl::Hours(24 * 365 + 1);
  EXPECT_TRUE(absl::IsDeadlineExceeded(co_await WithTimeout(year, BeatBoth(&beats))));
  EXPECT_GE(NowNs() - start_ns, absl::ToInt64Nanoseconds(year));
  EXPECT_LT(NowNs() - start_ns, absl::ToInt64Nanoseconds(year + absl::Hours(1)));
  EXPECT_EQ(beats.days, 365);
  EXPECT_GE(beats.hours, 24 * 365);
  EXPECT_LE(beats.hours, 24 * 365 + 1);
}

TEST_P(IntervalOnVirtualTime, AYearOfHoursAndDaysUnderATimeout) { RunOk(AYear()); }

}  // namespace
}  // namespace evring
