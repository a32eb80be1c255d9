#include "runtime/cancellation.h"

#include <sched.h>
#include <time.h>

#include <thread>

namespace evring::internal {
namespace {

constexpr int kYieldsBeforeNap = 100;
constexpr timespec kNap = {.tv_sec = 0, .tv_nsec = 50'000};

}  // namespace

void CancelRegistration::Register(const CancelToken& token) {
  if (!token.context_) return;
  context_ = token.context_;
  if (context_->AddObserver(this)) return;
  context_ = ContextRef<TaskContext>();
  OnStop();
}

void CancelRegistration::Deregister() {
  if (!context_) return;
  // Taken out first: inside OnStop() this object may go away as soon as we return.
  const ContextRef<TaskContext> context = std::move(context_);
  if (context->RemoveObserver(this)) return;
  if (called_.load(std::memory_order_acquire)) return;  // pairs with OnStopRequested()
  if (caller() == std::this_thread::get_id()) {
    *destroyed_ = true;  // we are inside of OnStop()
    return;
  }
  for (int i = 0; !called_.load(std::memory_order_acquire); ++i) {  // as above
    if (i < kYieldsBeforeNap) {
      sched_yield();  // cannot fail on Linux
    } else {
      nanosleep(&kNap, nullptr);  // cut short by a signal it has still given the processor away
    }
  }
}

void CancelRegistration::OnStopRequested() noexcept {
  bool destroyed = false;
  destroyed_ = &destroyed;
  OnStop();
  if (!destroyed) called_.store(true, std::memory_order_release);  // the last touch; pairs with Deregister()
}

}  // namespace evring::internal
