// interval.h: something to be done every so often.
//
//   absl::StatusOr<Interval> every = Interval::Create(absl::Seconds(1));
//   if (!every.ok()) co_return every.status();
//   for (;;) {
//     const absl::StatusOr<IntervalTick> tick = co_await every->Tick();
//     if (!tick.ok()) co_return tick.status();               the task was asked to stop
//     …
//   }
//
// Ticks are due at the first deadline and then a period apart, on the monotonic clock: each deadline is computed from
// the one before, not from when the task came to run, so that lateness does not add up. No tick comes before it is due.
//
// A task that asks for a tick late, by a period or more, has fallen behind. What becomes of the ticks that it should
// have had by then is the policy's:
//   kBurst  they follow, one after the other at once, until it has caught up: as many ticks as periods
//   kDelay  they are left out, and the next is due a period from now: ticks are never less than a period apart
//   kSkip   they are left out, and the next is due at the next multiple of the period since the first: it stays in step
//
// A Tick() that is stopped, or that loses in a Select(), has not happened: the next one has the same deadline.
//
// Threads: in tasks, one at a time. Ticking allocates nothing.

#ifndef EVRING_RUNTIME_INTERVAL_H_
#define EVRING_RUNTIME_INTERVAL_H_

#include <algorithm>
#include <coroutine>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kevent/check.h"
#include "runtime/context.h"
#include "runtime/sleep.h"
#include "runtime/timer_slack.h"
#include "runtime/worker.h"

namespace evring {

namespace internal {
class TickAwaiter;
}

// A tick that has come.
struct IntervalTick {
  int64_t deadline_ns = 0;  // when it was due, on CLOCK_MONOTONIC (as Worker::NowNs())
  int64_t missed = 0;       // ticks after it that were due by now as well and are left out
};

struct IntervalOptions {
  IntervalOptions() {}

  enum class Missed { kBurst, kDelay, kSkip };
  Missed missed = Missed::kBurst;  // see the head of this file
  // How long after Create() the first tick is due; by default a period, which InfiniteDuration stands for.
  absl::Duration first = absl::InfiniteDuration();
};

class [[nodiscard]] Interval {
 public:
  // Counts from now. On a worker. kInvalidArgument: the period is not positive or is infinite, `first` is negative.
  static absl::StatusOr<Interval> Create(absl::Duration period, IntervalOptions options = IntervalOptions());

  // Not while a Tick() waits.
  Interval(Interval&&) = default;
  Interval& operator=(Interval&&) = default;

  // `co_await interval.Tick()` suspends until the next tick is due; one that is due already comes at once, and takes
  // from the running task's budget. By the runtime's timer slack it may be late, half a period at most. On a worker;
  // the interval outlives it. absl::StatusOr<IntervalTick>. kCancelled: a stop was requested first; if before the call,
  // at once.
  [[nodiscard]] internal::TickAwaiter Tick() &;
  internal::TickAwaiter Tick() && = delete;  // the awaiter borrows it

  // The next tick is due a period from now. On a worker, not while a Tick() waits.
  void Reset() { due_ns_ = internal::AddNs(NowNs(), period_ns_); }

  absl::Duration period() const { return absl::Nanoseconds(period_ns_); }

 private:
  friend class internal::TickAwaiter;

  Interval(int64_t period_ns, int64_t due_ns, IntervalOptions::Missed missed)
      : period_ns_(period_ns), due_ns_(due_ns), missed_(missed) {}

  static int64_t NowNs() {
    Worker* worker = Worker::Current();
    EVRING_CHECK(worker != nullptr, "an Interval is used on a worker");
    return worker->NowNs();
  }

  // The tick that is due, now being `now_ns`.
  IntervalTick Take(int64_t now_ns) {
    IntervalTick tick;
    tick.deadline_ns = due_ns_;
    const int64_t periods_late = std::max<int64_t>(now_ns - due_ns_, 0) / period_ns_;
    if (periods_late == 0 || missed_ == IntervalOptions::Missed::kBurst) {
      due_ns_ = internal::AddNs(due_ns_, period_ns_);
      return tick;
    }
    tick.missed = periods_late;
    const bool in_step = missed_ == IntervalOptions::Missed::kSkip;
    due_ns_ = internal::AddNs(in_step ? due_ns_ + periods_late * period_ns_ : now_ns, period_ns_);
    return tick;
  }

  int64_t period_ns_;
  int64_t due_ns_;
  IntervalOptions::Missed missed_;
};

namespace internal {

class [[nodiscard]] TickAwaiter final : private TimerWait {
 public:
  explicit TickAwaiter(Interval* interval) : interval_(interval) {}

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
    TaskContext* context = waiting.promise().context();
    Worker* worker = Worker::Current();
    EVRING_CHECK(worker != nullptr, "Tick is awaited on a worker");
    const int64_t now_ns = worker->NowNs();
    if (!due(now_ns)) return Begin(context, waiting, worker, FireNsFrom(worker, now_ns));
    if (context->stop_requested()) {
      SetCancelled();
      return false;
    }
    return worker->GiveWayIfSpent(context, waiting);  // the last touch
  }
  [[nodiscard]] absl::StatusOr<IntervalTick> await_resume() const {
    if (cancelled()) return absl::CancelledError("interval: cancelled");
    return interval_->Take(Worker::Current()->NowNs());
  }

 private:
  template <class Awaiter>
  friend class SelectCase;

  bool due(int64_t now_ns) const { return interval_->due_ns_ <= now_ns; }
  // A slack alone makes no tick miss the next.
  int64_t FireNsFrom(Worker* worker, int64_t now_ns) const {
    return FireNs(now_ns, interval_->due_ns_, std::min(RuntimeSlackNs(worker), interval_->period_ns_ / 2));
  }

  Interval* const interval_;
};

}  // namespace internal

inline internal::TickAwaiter Interval::Tick() & { return internal::TickAwaiter(this); }

}  // namespace evring

#endif  // EVRING_RUNTIME_INTERVAL_H_
