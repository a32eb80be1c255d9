// timer_slack.h: timers that may come a little late share their wake-ups.
//
// A timer with a slack fires at the roundest time from its deadline to its deadline plus the slack: the one that is
// divisible by the greatest power of two (of nanoseconds). Of timers whose deadlines lie close together, with whatever
// slack, most are moved to the same time, also on different workers: then one wake-up serves them all. A timer never
// fires early, and is never later than its slack on account of this.
//
// The slack is that of the runtime (RuntimeOptions::timer_slack), or of the single Sleep(). Called on workers, when a
// timer is armed; a few ns.    Checked by: tests/runtime/timer_slack_test.cc. Measured by:
// bench/micro/runtime_bench.cc.

#ifndef EVRING_RUNTIME_TIMER_SLACK_H_
#define EVRING_RUNTIME_TIMER_SLACK_H_

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"
#include "runtime/scheduler.h"
#include "runtime/timer_wheel.h"
#include "runtime/worker.h"

namespace evring::internal {

// a + b for b >= 0, without overflow; TimerWheel::kNever at most.
constexpr int64_t AddNs(int64_t a, int64_t b) { return b > TimerWheel::kNever - a ? TimerWheel::kNever : a + b; }

// In nanoseconds: 0 for what is negative, kNever for what is infinite.
inline int64_t ToNs(absl::Duration d) {
  return d <= absl::ZeroDuration() ? 0 : absl::ToInt64Nanoseconds(d);  // saturates
}

// The roundest time from `deadline_ns`, which is positive, to `slack_ns` later.
constexpr int64_t RoundestNs(int64_t deadline_ns, int64_t slack_ns) {
  const int64_t latest_ns = AddNs(deadline_ns, slack_ns);
  // The highest bit in which the times from the one before the deadline to the latest differ: it is set in the latest,
  // and what is below it can be cleared without getting before the deadline.
  const uint64_t differing = static_cast<uint64_t>((deadline_ns - 1) ^ latest_ns);
  const int bit = 63 - __builtin_clzll(differing);
  return latest_ns >> bit << bit;
}

// When to fire a timer with `deadline_ns` and a slack, now being `now_ns`: what has passed is not put off, and what
// never comes stays so.
constexpr int64_t FireNs(int64_t now_ns, int64_t deadline_ns, int64_t slack_ns) {
  if (slack_ns <= 0 || deadline_ns <= now_ns || deadline_ns == TimerWheel::kNever) return deadline_ns;
  return RoundestNs(deadline_ns, slack_ns);
}

// The slack of the timers of `worker` that have none of their own.
inline int64_t RuntimeSlackNs(Worker* worker) {
  const absl::Duration slack = worker->scheduler()->options().timer_slack;
  return slack == absl::ZeroDuration() ? 0 : ToNs(slack);
}

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_TIMER_SLACK_H_
