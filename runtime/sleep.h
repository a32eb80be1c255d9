// sleep.h: waiting for a time, and giving way to others.

#ifndef EVRING_RUNTIME_SLEEP_H_
#define EVRING_RUNTIME_SLEEP_H_

#include <coroutine>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "runtime/context.h"
#include "runtime/timer.h"
#include "runtime/timer_slack.h"
#include "runtime/wall_clock.h"
#include "runtime/worker.h"

namespace evring {
namespace internal {

template <class Awaiter>
class SelectCase;

// now + d without overflow; kNever for an infinite d.
inline int64_t DeadlineAfter(int64_t now_ns, absl::Duration d) { return AddNs(now_ns, ToNs(d)); }

// A wait for a time: what the awaiters of Sleep() and of an Interval have in common.
class TimerWait : private Wait, private Timer {
 public:
  TimerWait(const TimerWait&) = delete;
  TimerWait& operator=(const TimerWait&) = delete;

 protected:
  TimerWait() : Timer(&OnFire) {}
  ~TimerWait() = default;

  // The task suspends at `waiting` until the timer of `worker`, the current one, fires. False: it was asked to stop.
  // After true this may be gone.
  [[nodiscard]] bool Begin(TaskContext* context, std::coroutine_handle<> waiting, Worker* worker, int64_t fire_ns) {
    context_ = context;
    worker_ = worker;
    if (!context->BeginWait(this, waiting)) {
      cancelled_ = true;
      return false;
    }
    if (!worker->ArmTimer(this, fire_ns)) context->Complete(this);  // the stop came in between
    return true;
  }

  void SetCancelled() { cancelled_ = true; }
  // After the wait: a stop came first.
  bool cancelled() const { return cancelled_; }

 private:
  void OnStop() noexcept override {
    if (!worker_->CancelTimer(this)) return;  // it fires: that is the completion
    cancelled_ = true;
    if (revoked()) return;  // not armed yet: Begin() will complete the wait
    context_->Complete(this);
  }

  static void OnFire(Timer* timer) {
    auto* self = static_cast<TimerWait*>(timer);
    TaskContext* context = self->context_;
    if (context->FinishWait(self)) Worker::Current()->PushReaped(context);
  }

  TaskContext* context_ = nullptr;
  Worker* worker_ = nullptr;
  bool cancelled_ = false;
};

class [[nodiscard]] SleepAwaiter final : private TimerWait {
 public:
  // `slack_ns`: kRuntimeSlack for that of the runtime.
  static constexpr int64_t kRuntimeSlack = -1;
  SleepAwaiter(absl::Duration d, int64_t slack_ns) : duration_ns_(ToNs(d)), slack_ns_(slack_ns) {}

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
    Worker* worker = Worker::Current();
    EVRING_CHECK(worker != nullptr, "Sleep is awaited on a worker");
    const int64_t fire_ns = FireNsFrom(worker, worker->NowNs());
    return Begin(waiting.promise().context(), waiting, worker, fire_ns);
  }
  // OK: the time has passed. kCancelled: a stop came first.
  [[nodiscard]] absl::Status await_resume() const {
    return cancelled() ? absl::CancelledError("sleep: cancelled") : absl::OkStatus();
  }

 private:
  template <class Awaiter>
  friend class SelectCase;

  bool due(int64_t) const { return false; }  // also a sleep of no time gives way
  int64_t FireNsFrom(Worker* worker, int64_t now_ns) const {
    return FireNs(now_ns, AddNs(now_ns, duration_ns_), slack_ns_ == kRuntimeSlack ? RuntimeSlackNs(worker) : slack_ns_);
  }

  const int64_t duration_ns_;
  const int64_t slack_ns_;
};

class YieldAwaiter {
 public:
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> handle) noexcept {
    Worker::Current()->GiveWay(handle.promise().context(), handle);
  }
  void await_resume() const noexcept {}
};

}  // namespace internal

// Suspends for `d` of monotonic time; never returns early, late by the wait's own overshoot (tens of microseconds) and
// by the runtime's timer slack (options.h). A duration of zero or less gives way to what is ready and due. Await on a
// worker thread. OK: the time has passed. kCancelled: a stop came first; if it was requested before, at once.
[[nodiscard]] inline internal::SleepAwaiter Sleep(absl::Duration d) {
  return internal::SleepAwaiter(d, internal::SleepAwaiter::kRuntimeSlack);
}

// The same, late by up to `slack`, so that it can share a wake-up with others (timer_slack.h), in place of the
// runtime's timer slack; less than nothing counts as nothing.
[[nodiscard]] inline internal::SleepAwaiter Sleep(absl::Duration d, absl::Duration slack) {
  return internal::SleepAwaiter(d, internal::ToNs(slack));
}

// Sleep() until `deadline`, a time of WallNow() that is turned into monotonic time now: a clock that is set later does
// not move it.
[[nodiscard]] inline internal::SleepAwaiter SleepUntil(absl::Time deadline) { return Sleep(deadline - WallNow()); }

// Lets the other ready tasks of this worker run first. Not a point of cancellation.
[[nodiscard]] inline internal::YieldAwaiter Yield() { return {}; }

}  // namespace evring

#endif  // EVRING_RUNTIME_SLEEP_H_
