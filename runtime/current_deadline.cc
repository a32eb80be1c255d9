#include "runtime/current_deadline.h"

#include <algorithm>

#include "kevent/check.h"
#include "runtime/timeout.h"
#include "runtime/timer_wheel.h"
#include "runtime/wall_clock.h"
#include "runtime/worker.h"

namespace evring::internal {

int64_t NearestDeadlineNs(TaskContext* context) {
  int64_t nearest_ns = TimerWheel::kNever;
  for (const TaskContext* part = context; part != nullptr; part = part->StoppedWith()) {
    if (const DeadlineTimer* timer = part->deadline(); timer != nullptr) {
      nearest_ns = std::min(nearest_ns, timer->deadline_ns());
    }
  }
  return nearest_ns;
}

absl::Duration RemainingTimeOf(TaskContext* context) {
  const int64_t deadline_ns = NearestDeadlineNs(context);
  if (deadline_ns == TimerWheel::kNever) return absl::InfiniteDuration();
  Worker* worker = Worker::Current();
  EVRING_CHECK(worker != nullptr, "the time that is left is asked for on a worker");
  return absl::Nanoseconds(std::max<int64_t>(deadline_ns - worker->NowNs(), 0));
}

absl::Time CurrentDeadlineOf(TaskContext* context) { return WallNow() + RemainingTimeOf(context); }

absl::Status StopCauseOf(TaskContext* context) {
  if (!context->stop_requested()) return absl::OkStatus();
  for (const TaskContext* part = context; part != nullptr; part = part->StoppedWith()) {
    const DeadlineTimer* timer = part->deadline();
    if (timer != nullptr && timer->expired()) return absl::DeadlineExceededError("a deadline of the task has passed");
  }
  return absl::CancelledError("the task was asked to stop");
}

}  // namespace evring::internal
