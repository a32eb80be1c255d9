// select_wait.h: the wait for the first of several things: nodes at channels, a timer, a stop. Which of them it is, and
// when the wait is over.
//
//   W1  The task, with the locks of all its channels held: Begin(), then its nodes go into their queues, with choice().
//   W2  The task, holding no lock: Suspend() arms the timer.
//   W3  Whoever serves a node, the timer that fires, and a stop claim the choice (waiter.h). One succeeds.
//
// The wait is over when three have let go of it, in any order: the task, which is done with W2; whoever has claimed the
// choice; and the timer, by whoever cancels it or by its firing. The last one makes the task ready. Until then this
// lives, whoever touches it.
//
// Checked by: tests/model/sync_select_model_test.cc.

#ifndef EVRING_RUNTIME_SYNC_INTERNAL_SELECT_WAIT_H_
#define EVRING_RUNTIME_SYNC_INTERNAL_SELECT_WAIT_H_

#include <atomic>
#include <coroutine>
#include <cstdint>

#include "runtime/sync/internal/waiter.h"
#include "runtime/timer_wheel.h"

namespace evring::internal {

// Host: beside what waiter.h asks for, Timer with the meaning of evring::Timer, Timers where one is armed and cancelled
// as by a Worker, and MakeReady(Context*), by a timer that fires.
template <class Host>
class SelectWait : private Host::Wait, private Host::Timer, private Choice<Host> {
 public:
  using Context = typename Host::Context;
  using Timer = typename Host::Timer;
  using Timers = typename Host::Timers;

  SelectWait() : Timer(&OnFire) {}
  SelectWait(const SelectWait&) = delete;
  SelectWait& operator=(const SelectWait&) = delete;
  ~SelectWait() = default;

  // W1. False: a stop was requested, the wait does not begin. `deadline_ns`: TimerWheel::kNever for no timer.
  [[nodiscard]] bool Begin(Context* context, std::coroutine_handle<> waiting, Timers* timers, int64_t deadline_ns) {
    context_ = context;
    timers_ = timers;
    deadline_ns_ = deadline_ns;
    // The task's, that of whoever claims the choice, and the timer's. Relaxed: the wait word publishes it to a stop,
    // the channels' locks to who serves a node, the timers' to the timer.
    holds_.store(has_timer() ? 3 : 2, std::memory_order_relaxed);
    waited_ = context->BeginWait(this, waiting);
    return waited_;
  }

  // W2. True: the task suspends; this may be gone.
  [[nodiscard]] bool Suspend() {
    Context* const context = context_;
    // Not armed: whoever has claimed the choice was first to cancel it, and leaves its hold to us.
    const bool revoked = has_timer() && !timers_->ArmTimer(this, deadline_ns_);
    if (!Release(revoked ? 2 : 1)) return true;
    return !context->FinishWait(this);
  }

  Choice<Host>* choice() { return this; }

  // After the wait, or without one.
  bool waited() const { return waited_; }
  bool timed_out() const { return this->ClaimedBy(static_cast<const Timer*>(this)); }
  using Choice<Host>::ClaimedBy;

 private:
  bool has_timer() const { return deadline_ns_ != TimerWheel::kNever; }

  void OnStop() noexcept override {
    if (this->Claim(static_cast<const typename Host::Wait*>(this))) Complete();
  }

  void Complete() noexcept override {
    Context* const context = context_;
    const bool cancelled = has_timer() && timers_->CancelTimer(this) && !this->revoked();
    if (Release(cancelled ? 2 : 1)) context->Complete(this);
  }

  static void OnFire(Timer* timer) {
    auto* const self = static_cast<SelectWait*>(timer);
    Context* const context = self->context_;
    const bool claimed = self->Claim(timer);
    if (self->Release(claimed ? 2 : 1) && context->FinishWait(self)) Host::MakeReady(context);
  }

  // Lets go of the wait `n` times. True: that was the last, and the caller completes it: it has seen what the others
  // did before.
  bool Release(int n) { return holds_.fetch_sub(n, std::memory_order_acq_rel) == n; }

  Context* context_ = nullptr;
  Timers* timers_ = nullptr;
  int64_t deadline_ns_ = TimerWheel::kNever;
  bool waited_ = false;
  typename Host::Atomics::template Atomic<int> holds_{0};
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_SYNC_INTERNAL_SELECT_WAIT_H_
