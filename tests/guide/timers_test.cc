// The code of docs/guide/timers.md, word for word (tests/house/guide_test.sh), and that it does what is said there.

#include <map>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/interval.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/timeout.h"
#include "runtime/wall_clock.h"
#include "sim/clock.h"
#include "sim/testing.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring::guide {
namespace {

Task<absl::Status> TwoWaits() {
  absl::Status slept = co_await Sleep(absl::Milliseconds(2));
  if (!slept.ok()) co_return slept;
  co_return co_await SleepUntil(WallNow() + absl::Milliseconds(2));
}

TEST(Timers, ASleepEnds) { EXPECT_TRUE(evring::Run(TwoWaits()).ok()); }

Task<absl::Status> TickThreeTimes() {
  absl::StatusOr<Interval> every = Interval::Create(absl::Milliseconds(2));
  if (!every.ok()) co_return every.status();
  for (int i = 0; i < 3; ++i) {
    const absl::StatusOr<IntervalTick> tick = co_await every->Tick();
    if (!tick.ok()) co_return tick.status();
  }
  co_return absl::OkStatus();
}

TEST(Timers, AnIntervalTicks) { EXPECT_TRUE(evring::Run(TickThreeTimes()).ok()); }

Task<absl::Status> FallBehind() {
  IntervalOptions options;
  options.missed = IntervalOptions::Missed::kSkip;
  options.first = absl::ZeroDuration();
  absl::StatusOr<Interval> every = Interval::Create(absl::Milliseconds(1), options);
  if (!every.ok()) co_return every.status();

  const absl::Status slow = co_await Sleep(absl::Milliseconds(5));  // some work that takes too long
  if (!slow.ok()) co_return slow;
  const absl::StatusOr<IntervalTick> tick = co_await every->Tick();
  if (!tick.ok()) co_return tick.status();
  EXPECT_GE(tick->missed, 5);
  co_return absl::OkStatus();
}

TEST(Timers, MissedTicksAreSkippedAndCounted) { EXPECT_TRUE(evring::Run(FallBehind()).ok()); }

Task<absl::Status> Converse(Deadline* idle) {
  for (int message = 0; message < 3; ++message) {
    const absl::Status received = co_await Sleep(absl::Milliseconds(1));  // the peer says something
    if (!received.ok()) co_return received;
    idle->MoveTo(absl::Minutes(1));
  }
  idle->MoveTo(absl::Milliseconds(1));
  co_return co_await Sleep(absl::InfiniteDuration());  // now it is silent
}

Task<> EndWhenIdle() {
  Deadline idle(absl::Minutes(1), /*nearest=*/absl::Milliseconds(1));
  const absl::Status status = co_await WithDeadline(&idle, Converse(&idle));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status));
  EXPECT_TRUE(idle.expired());
}

TEST(Timers, ADeadlineIsMoved) { EXPECT_TRUE(evring::Run(EndWhenIdle()).ok()); }

Task<absl::Status> SweepNowAndThen() {
  co_return co_await Sleep(absl::Milliseconds(2), /*slack=*/absl::Milliseconds(2));
}

TEST(Timers, ASleepWithSlackEnds) {
  RuntimeOptions options;
  options.timer_slack = absl::Milliseconds(1);
  EXPECT_TRUE(evring::Run(SweepNowAndThen(), options).ok());
}

Task<int> SumGivingWay(int n) {
  int sum = 0;
  for (int i = 1; i <= n; ++i) {
    sum += i;
    if (i % 1000 == 0) co_await Yield();
  }
  co_return sum;
}

TEST(Timers, AYieldLetsOthersRun) { EXPECT_EQ(*evring::Run(SumGivingWay(5000)), 12502500); }

// Forgets what has not been asked for within an hour.
Task<> Expire(std::map<std::string, absl::Duration>* unused) {
  absl::StatusOr<Interval> every = Interval::Create(absl::Minutes(10));
  while (every.ok()) {
    const absl::StatusOr<IntervalTick> tick = co_await every->Tick();
    if (!tick.ok()) co_return;
    for (auto& [name, since] : *unused) since += absl::Minutes(10);
    std::erase_if(*unused, [](const auto& entry) { return entry.second >= absl::Hours(1); });
  }
}

SIM_TEST(Cache, ForgetsAfterAnHour) {
  CO_ASSERT_OK(sim::PauseTime());
  std::map<std::string, absl::Duration> unused = {{"a", absl::ZeroDuration()}};
  JoinHandle<> expire = co_await Spawn(Expire(&unused));
  CO_ASSERT_OK(co_await sim::Advance(absl::Minutes(59)));
  EXPECT_EQ(unused.size(), 1u);
  CO_ASSERT_OK(co_await sim::Advance(absl::Minutes(1)));
  EXPECT_EQ(unused.size(), 0u);
  expire.RequestStop();
  co_await std::move(expire);
}

}  // namespace
}  // namespace evring::guide
