// event_wait.h: awaiting any event that a kevent queue knows, on the worker's own ring.
//
//   kevent::Event child;
//   child.type = kevent::EventType::kProcess;
//   child.descriptor = pid;
//   absl::StatusOr<kevent::Event> ended = co_await WaitForEvent(child);
//
// What the fields and the record of each type mean stands in docs/kevent.md. Types that io_uring has no operation for
// (System V messages and semaphores, file locks, msync) are waited for by a helper thread that can be interrupted
// (kevent/blocking_calls.h); the worker goes on.

#ifndef EVRING_RUNTIME_OS_EVENT_WAIT_H_
#define EVRING_RUNTIME_OS_EVENT_WAIT_H_

#include "absl/status/statusor.h"
#include "kevent/event.h"
#include "runtime/task.h"

namespace evring {

// Waits for `event` once, and gives its record; the cookie comes back. Await on a worker.
// What its payload points to is read when the wait begins; buffers and other memory that is named there belong to the
// kernel until it has ended. A stop ends the wait with kCancelled, unless the event was faster: then it is a success.
// Errors carry their errno: EINVAL for arguments, for KEVENT_LEVEL and KEVENT_MULTI, and for types that only a queue
// has (kUser, kSigevent); ENOSYS for what this kernel cannot, and in a simulation for what would be waited for on the
// machine that it runs on (a signal, a lock, …); EAGAIN (of futexes, EBUSY) without a helper thread; and what the
// operation answers.
Task<absl::StatusOr<kevent::Event>> WaitForEvent(kevent::Event event);

}  // namespace evring

#endif  // EVRING_RUNTIME_OS_EVENT_WAIT_H_
