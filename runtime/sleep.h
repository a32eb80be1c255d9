// sleep.h: waiting for a time, and giving way to others.

#ifndef EVRING_RUNTIME_SLEEP_H_
#define EVRING_RUNTIME_SLEEP_H_

#include <coroutine>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "runtime/context.h"
#include "runtime/timer.h"
#include "runtime/worker.h"

namespace evring {
namespace internal {

template <class Awaiter>
class SelectCase;

// now + d without overflow; kNoDeadline for an infinite d.
inline int64_t DeadlineAfter(int64_t now_ns, absl::Duration d) {
  if (d <= absl::ZeroDuration()) return now_ns;
  const int64_t ns = absl::ToInt64Nanoseconds(d);  // saturates
  return ns > TimerWheel::kNever - now_ns ? TimerWheel::kNever : now_ns + ns;
}

class SleepAwaiter final : private Wait, private Timer {
 public:
  explicit SleepAwaiter(absl::Duration d) : Timer(&OnFire), duration_(d) {}

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
    context_ = handle.promise().context();
    worker_ = Worker::Current();
    EVRING_CHECK(worker_ != nullptr, "Sleep is awaited on a worker");
    const int64_t deadline = DeadlineAfter(worker_->NowNs(), duration_);
    if (!context_->BeginWait(this, handle)) {
      cancelled_ = true;
      return false;
    }
    TaskContext* context = context_;
    if (!worker_->ArmTimer(this, deadline)) context->Complete(this);  // the stop came in between
    return true;
  }
  // OK: the time has passed. kCancelled: a stop came first.
  [[nodiscard]] absl::Status await_resume() const {
    return cancelled_ ? absl::CancelledError("sleep: cancelled") : absl::OkStatus();
  }

 private:
  template <class Awaiter>
  friend class SelectCase;

  void OnStop() noexcept override {
    if (!worker_->CancelTimer(this)) return;  // it fires: that is the completion
    cancelled_ = true;
    if (revoked()) return;  // not armed yet: await_suspend will complete the wait
    context_->Complete(this);
  }

  static void OnFire(Timer* timer) {
    auto* self = static_cast<SleepAwaiter*>(timer);
    TaskContext* context = self->context_;
    if (context->FinishWait(self)) Worker::Current()->PushReaped(context);
  }

  const absl::Duration duration_;
  TaskContext* context_ = nullptr;
  Worker* worker_ = nullptr;
  bool cancelled_ = false;
};

class YieldAwaiter {
 public:
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> handle) noexcept {
    TaskContext* context = handle.promise().context();
    context->set_resume(handle);
    Worker::Current()->PushBack(context);
  }
  void await_resume() const noexcept {}
};

}  // namespace internal

// Suspends for `d` of monotonic time; never returns early, late by the wait's own overshoot (tens of microseconds). A
// duration of zero or less gives way to what is ready and due. Await on a worker thread.
// OK: the time has passed. kCancelled: a stop came first; if it was requested before, at once.
[[nodiscard]] inline internal::SleepAwaiter Sleep(absl::Duration d) { return internal::SleepAwaiter(d); }

// The same until `deadline`, turned into monotonic time now: a clock that is set later does not move it.
[[nodiscard]] inline internal::SleepAwaiter SleepUntil(absl::Time deadline) {
  return internal::SleepAwaiter(deadline - absl::Now());
}

// Lets the other ready tasks of this worker run first. Not a point of cancellation.
[[nodiscard]] inline internal::YieldAwaiter Yield() { return {}; }

}  // namespace evring

#endif  // EVRING_RUNTIME_SLEEP_H_
