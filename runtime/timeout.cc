#include "runtime/timeout.h"

#include <algorithm>

#include "kevent/canary.h"
#include "runtime/timer_slack.h"
#include "runtime/worker.h"

namespace evring::internal {

int64_t DeadlineTimer::NextLook(int64_t now_ns) const {
  const int64_t deadline = deadline_ns_.load(std::memory_order_relaxed);
  return step_ns_ >= TimerWheel::kNever - now_ns ? deadline : std::min(deadline, now_ns + step_ns_);
}

void DeadlineTimer::Start(Worker* worker) {
  const int64_t now = worker->NowNs();
  const int64_t look_ns = NextLook(now);
  if (look_ns == TimerWheel::kNever) return;
  worker_ = worker;
  task_->Ref();  // given back by whoever cancels the timer, or by OnFire()
  // A timer that nobody has cancelled yet is armed.
  EVRING_CHECK(worker->ArmTimer(this, FireNs(now, look_ns, RuntimeSlackNs(worker))),
               "a deadline is cancelled when its task has ended");
}

void DeadlineTimer::Cancel() {
  if (worker_ == nullptr) return;  // never armed: the deadline is infinite
  // The store before the wheel's lock, the look in OnFire() after it: a timer that arms itself again meanwhile is
  // cancelled by one of the two, and the one that succeeds gives the reference back.
  ended_.store(true, std::memory_order_relaxed);
  if (worker_->CancelTimer(this)) task_->Unref();
}

void DeadlineTimer::OnFire(Timer* timer) {
  auto* self = static_cast<DeadlineTimer*>(timer);
  TaskContext* task = self->task_;
  const int64_t now = Worker::Current()->NowNs();
  if (self->deadline_ns_.load(std::memory_order_relaxed) > now) {
    task->Ref();  // ours: from the moment it is armed the timer's own may be given back by another thread
    const int64_t look_ns = FireNs(now, self->NextLook(now), RuntimeSlackNs(self->worker_));
    const bool armed = !EVRING_CANARY(kTimerNotRearmed) && self->worker_->ArmTimer(self, look_ns);
    const bool rests = armed && !(self->ended_.load(std::memory_order_relaxed) && self->worker_->CancelTimer(self));
    task->Unref();
    if (rests) return;
  } else {
    self->expired_.store(true, std::memory_order_release);  // pairs with expired()
    task->RequestStop();
  }
  task->Unref();  // the timer's
}

}  // namespace evring::internal
