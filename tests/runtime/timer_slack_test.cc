// Timer slack: the roundest time by brute force; that timers with a slack share their wake-ups, by the workers'
// counters on simulated machines; and that nothing is early, or later than its slack where time is virtual.

#include "runtime/timer_slack.h"

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/interval.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/channel.h"
#include "runtime/sync/select.h"
#include "runtime/timeout.h"
#include "runtime/timer_wheel.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;
using internal::FireNs;
using internal::RoundestNs;

// --- The roundest time
// -------------------------------------------------------------------------------------------------

TEST(RoundestTime, IsTheOneWithMostZerosAtItsEnd) {
  for (int64_t deadline = 1; deadline <= 300; ++deadline) {
    for (int64_t slack = 0; slack <= 300; ++slack) {
      int64_t roundest = deadline;
      for (int64_t time = deadline; time <= deadline + slack; ++time) {
        if (__builtin_ctzll(time) > __builtin_ctzll(roundest)) roundest = time;
      }
      ASSERT_EQ(RoundestNs(deadline, slack), roundest) << deadline << " + " << slack;
    }
  }
}

TEST(RoundestTime, DoesNotOverflow) {
  constexpr int64_t kEnd = TimerWheel::kNever;
  EXPECT_EQ(RoundestNs(kEnd - 1, kEnd), kEnd - 1);
  EXPECT_EQ(RoundestNs(1, kEnd), int64_t{1} << 62);
  EXPECT_EQ(RoundestNs(kEnd - 5, 3), kEnd - 3);
}

TEST(FireTime, WhatHasPassedOrNeverComesIsLeftAlone) {
  EXPECT_EQ(FireNs(/*now_ns=*/1000, /*deadline_ns=*/1000, /*slack_ns=*/500), 1000);
  EXPECT_EQ(FireNs(1000, 7, 500), 7);
  EXPECT_EQ(FireNs(1000, TimerWheel::kNever, 500), TimerWheel::kNever);
  EXPECT_EQ(FireNs(1000, 1001, 0), 1001);
  EXPECT_EQ(FireNs(1000, 1001, 500), 1024);
}

// --- Sleeping
// ----------------------------------------------------------------------------------------------------------

struct Waits {
  absl::Duration runtime_slack;
  absl::Duration slack;    // of each sleep; the runtime's if negative
  absl::Duration at_most;  // later than asked for; where time is virtual
  enum { kSleeps, kTimeouts, kSelects } of = kSleeps;
};

Task<> WaitOnce(absl::Duration d, const Waits* waits) {
  const absl::Time start = TimerNow();
  if (waits->of == Waits::kTimeouts) {
    EXPECT_TRUE(absl::IsDeadlineExceeded(co_await WithTimeout(d, UntilStopped())));
  } else if (waits->of == Waits::kSelects) {
    Channel<int> never(1);
    auto chosen = co_await Select(never.Receive(), Sleep(d));
    CO_ASSERT_EQ(chosen.index(), 1u);
  } else if (waits->slack < absl::ZeroDuration()) {
    CO_ASSERT_OK(co_await Sleep(d));
  } else {
    CO_ASSERT_OK(co_await Sleep(d, waits->slack));
  }
  const absl::Duration late = TimerNow() - start - d;
  EXPECT_GE(late, absl::ZeroDuration());
  EXPECT_LE(late, waits->at_most + absl::Microseconds(100)) << "calls of the simulated kernel take some time";
}

// Tasks with a deadline each 10 us; how often their worker has slept for them.
constexpr int kTasks = 1000;
Task<> WaitAll(const Waits* waits, uint64_t* parks) {
  const uint64_t before = Worker::Current()->counters().parks;
  std::vector<JoinHandle<>> handles;
  for (int i = 0; i < kTasks; ++i) {
    handles.push_back(co_await Spawn(WaitOnce(absl::Milliseconds(5) + i * absl::Microseconds(10), waits)));
  }
  for (JoinHandle<>& handle : handles) co_await std::move(handle);
  *parks = Worker::Current()->counters().parks - before;
}

uint64_t ParksOf(const Waits& waits) {
  Machine machine;
  machine.seed = 3;
  RuntimeOptions options;
  options.timer_slack = waits.runtime_slack;
  uint64_t parks = 0;
  RunOk(WaitAll(&waits, &parks), machine, options);
  return parks;
}

constexpr absl::Duration kNone = absl::ZeroDuration();
const absl::Duration kRuntimes = -absl::Seconds(1);
const absl::Duration kMillisecond = absl::Milliseconds(1);

TEST(TimerSlack, WithoutItNearlyEachDeadlineHasAWakeUp) { EXPECT_GE(ParksOf({kNone, kRuntimes, kNone}), 900u); }

// A millisecond holds a multiple of 2^19 ns, so the 10 ms of deadlines have about 20 times to fire at.
TEST(TimerSlack, WithItSleepsShareTheirWakeUps) {
  EXPECT_LE(ParksOf({kMillisecond, kRuntimes, kMillisecond}), 30u) << "that of the runtime";
  EXPECT_LE(ParksOf({kNone, kMillisecond, kMillisecond}), 30u) << "that of the sleep";
}

TEST(TimerSlack, ThatOfTheSleepGoesBeforeThatOfTheRuntime) { EXPECT_GE(ParksOf({kMillisecond, kNone, kNone}), 900u); }

TEST(TimerSlack, TimeoutsAndSelectsHaveThatOfTheRuntime) {
  EXPECT_GE(ParksOf({kNone, kRuntimes, kNone, Waits::kTimeouts}), 900u);
  EXPECT_LE(ParksOf({kMillisecond, kRuntimes, kMillisecond, Waits::kTimeouts}), 30u);
  EXPECT_LE(ParksOf({kMillisecond, kRuntimes, kMillisecond, Waits::kSelects}), 30u);
}

// --- Everywhere
// --------------------------------------------------------------------------------------------------------

class TimerSlackTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, TimerSlackTest, Machines(), MachineName);

Task<> NeverEarly() {
  for (const absl::Duration slack : {-absl::Seconds(1), absl::Nanoseconds(1), absl::Microseconds(300), kMillisecond}) {
    for (const absl::Duration d : {absl::Nanoseconds(1), absl::Microseconds(50), absl::Milliseconds(2)}) {
      const absl::Time start = TimerNow();
      CO_ASSERT_OK(co_await Sleep(d, slack));
      EXPECT_GE(TimerNow() - start, d);
      CO_ASSERT_OK(co_await Sleep(absl::ZeroDuration(), slack));
      EXPECT_TRUE(absl::IsDeadlineExceeded(co_await WithTimeout(d, UntilStopped())));
    }
  }
  auto stopped = co_await Spawn(UntilStopped());
  co_await Yield();
  stopped.RequestStop();
  EXPECT_TRUE(absl::IsCancelled(co_await std::move(stopped))) << "what never comes is not moved";
}

TEST_P(TimerSlackTest, NothingIsEarlyAndAllCanBeStopped) {
  RuntimeOptions options;
  options.timer_slack = absl::Microseconds(700);
  RunOk(NeverEarly(), options);
}

// The slack is a hundred periods, and yet no tick misses the next on account of it.
Task<> Ticks(int64_t* missed) {
  IntervalOptions skip;
  skip.missed = IntervalOptions::Missed::kSkip;
  CO_ASSERT_OK_AND_ASSIGN(Interval interval, Interval::Create(absl::Milliseconds(1), skip));
  const int64_t start_ns = Worker::Current()->NowNs();
  for (int i = 1; i <= 100; ++i) {
    CO_ASSERT_OK_AND_ASSIGN(const IntervalTick tick, co_await interval.Tick());
    EXPECT_GE(tick.deadline_ns, start_ns + (i - 1) * 1'000'000) << "the deadline is that of the interval";
    *missed += tick.missed;
  }
}

TEST(TimerSlack, AnIntervalMissesNoTickOnAccountOfIt) {
  Machine machine;
  machine.seed = 3;
  RuntimeOptions options;
  options.timer_slack = absl::Milliseconds(100);
  int64_t missed = 0;
  RunOk(Ticks(&missed), machine, options);
  EXPECT_EQ(missed, 0);
}

TEST(TimerSlack, OneThatIsNoneIsRefused) {
  for (const absl::Duration slack : {-absl::Nanoseconds(1), absl::InfiniteDuration(), absl::Hours(2)}) {
    RuntimeOptions options;
    options.timer_slack = slack;
    const absl::Status status = Runtime::Create(options).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_NE(status.message().find("timer_slack"), absl::string_view::npos) << status;
  }
}

}  // namespace
}  // namespace evring
