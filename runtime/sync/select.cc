#include "runtime/sync/select.h"

#include <algorithm>
#include <functional>

namespace evring::internal {

size_t SelectBase::Order(SpinLock** locks, size_t n) {
  SpinLock** end = std::remove(locks, locks + n, nullptr);
  std::sort(locks, end, std::less<>());
  return static_cast<size_t>(std::unique(locks, end) - locks);
}

bool SelectBase::Begin(TaskContext* context, std::coroutine_handle<> waiting, int64_t deadline_ns) {
  context_ = context;
  worker_ = Worker::Current();
  deadline_ns_ = deadline_ns;
  // Ours, that of whoever claims the choice, and the timer's. Relaxed: the wait word publishes it to a stop, the
  // channels' locks to who serves a node, the wheel's to the timer.
  holds_.store(deadline_ns == TimerWheel::kNever ? 2 : 3, std::memory_order_relaxed);
  waited_ = context->BeginWait(this, waiting);
  return waited_;
}

bool SelectBase::Suspend() {
  TaskContext* context = context_;
  // Not armed: whoever has claimed the choice was first to cancel it, and leaves its hold to us.
  const bool revoked = deadline_ns_ != TimerWheel::kNever && !worker_->ArmTimer(this, deadline_ns_);
  if (!Release(revoked ? 2 : 1)) return true;
  return !context->FinishWait(this);
}

void SelectBase::Complete() noexcept {
  TaskContext* context = context_;
  const bool cancelled = deadline_ns_ != TimerWheel::kNever && worker_->CancelTimer(this) && !revoked();
  if (Release(cancelled ? 2 : 1)) context->Complete(this);
}

void SelectBase::OnFire(Timer* timer) {
  auto* self = static_cast<SelectBase*>(timer);
  TaskContext* context = self->context_;
  const bool claimed = self->Claim(timer);
  if (self->Release(claimed ? 2 : 1) && context->FinishWait(self)) Worker::Current()->PushReaped(context);
}

void SelectBase::OnStop() noexcept {
  if (Claim(static_cast<const Wait*>(this))) Complete();
}

}  // namespace evring::internal
