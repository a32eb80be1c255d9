// requests.h: the types of events of a queue: what each of them asks the kernel for, and what its record says.
//
// A type is waited for by an operation of io_uring where there is one, by readiness where there is a descriptor, and by
// a helper thread that can be interrupted where there is neither (blocking_calls.h), unless the kernel that serves the
// ring has an operation of its own for it (opcodes.h). The table stands in docs/kevent.md.
//
// Threads: Prepare() and Arm() under the queue's lock; Report() on the consumer of the completion.

#ifndef EVRING_KEVENT_REQUESTS_H_
#define EVRING_KEVENT_REQUESTS_H_

#include <liburing.h>

#include <bitset>
#include <cstdint>

#include "absl/status/statusor.h"
#include "kevent/event.h"
#include "kevent/registration.h"
#include "kevent/ring.h"

namespace evring::kevent {

// The operations that the kernel has.
using Opcodes = std::bitset<256>;
absl::StatusOr<Opcodes> ProbeOpcodes(Ring* ring);

// Checks the arguments of `event`, copies what they point to into `registration`, and opens what it needs. 0, or
// -EINVAL for arguments that cannot be, -ENOSYS for what this kernel has not, -EMFILE, -ENFILE, -ENOMEM.
int Prepare(const Event& event, const Opcodes& opcodes, Registration* registration);

// Fills `sqe` with the operation by which the kernel waits for it. Not for those that a helper thread waits for.
void Arm(Registration* registration, io_uring_sqe* sqe);

// The call of a helper thread, made once: blocks, and ends with -EINTR when it is interrupted. What it returned, or
// -errno.
int32_t CallBlocking(Registration* registration);

// Completes the record of a completion with `result`: result and payload as the type has them; and moves on what is
// periodic. False: the record is the last one, though the registration goes on reporting.
bool Report(Registration* registration, int32_t result, Event* record);

// Gives back what a record carries that nobody will get: closes an accepted descriptor.
void Drop(const Event& record);

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_REQUESTS_H_
