// current_deadline.h: how much time a task has, and why it was asked to stop.
//
//   const absl::Duration left = co_await RemainingTime();            for the timeout of a request to somebody else
//   const absl::Status cause = co_await StopCause();                 kDeadlineExceeded: it was the clock
//
// A deadline holds for the task that it was given to (WithTimeout, WithDeadline, Shielded with a limit) and for all
// that this starts: by Spawn, in a group, in WhenAll and so on. So a task has as many as there are around it, and is
// bounded by the nearest. It ends at a shield (shield.h), with the task that it was given to, and does not reach what
// is started on its own (SpawnDetached, Runtime::Spawn).
//
// None of these suspends. Each looks at the contexts that the task is part of, one by one, up to the root: nothing has
// to be kept for it while tasks are started, and a deadline that is moved (Deadline::MoveTo) counts as it is now.

#ifndef EVRING_RUNTIME_CURRENT_DEADLINE_H_
#define EVRING_RUNTIME_CURRENT_DEADLINE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "runtime/context.h"
#include "runtime/spawn.h"

namespace evring {
namespace internal {

// What asks for it, of the running task `context`.
int64_t NearestDeadlineNs(TaskContext* context);
absl::Duration RemainingTimeOf(TaskContext* context);
absl::Time CurrentDeadlineOf(TaskContext* context);
absl::Status StopCauseOf(TaskContext* context);

template <auto kAnswer>
class [[nodiscard]] AboutStopAwaiter : private CurrentContextAwaiter {
 public:
  using CurrentContextAwaiter::await_ready;
  using CurrentContextAwaiter::await_suspend;
  auto await_resume() const { return kAnswer(context_); }
};

}  // namespace internal

// `co_await RemainingTime()`: an absl::Duration, the time until the nearest deadline; zero if it has passed,
// InfiniteDuration if there is none. In a task, on a worker.
inline internal::AboutStopAwaiter<&internal::RemainingTimeOf> RemainingTime() { return {}; }

// `co_await CurrentDeadline()`: an absl::Time, the nearest deadline as a time of WallNow() as of now, InfiniteFuture if
// there is none. In a task, on a worker.
inline internal::AboutStopAwaiter<&internal::CurrentDeadlineOf> CurrentDeadline() { return {}; }

// `co_await StopCause()`: an absl::Status, why the calling task was asked to stop. OK: it was not. kDeadlineExceeded: a
// deadline has passed that bounds it. kCancelled: somebody asked. If both have happened, the deadline is told. In a
// task.
inline internal::AboutStopAwaiter<&internal::StopCauseOf> StopCause() { return {}; }

}  // namespace evring

#endif  // EVRING_RUNTIME_CURRENT_DEADLINE_H_
