// machine.h: whether the ring of the calling worker is served by the kernel of this machine.
//
// Processes, message queues and words of memory belong to this machine. In a simulation (sim/) a wait for one of
// them would be a wait for something that the simulated machine has not; instead of that it is refused, here.

#ifndef EVRING_RUNTIME_OS_INTERNAL_MACHINE_H_
#define EVRING_RUNTIME_OS_INTERNAL_MACHINE_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace evring::internal {

// OK, or kUnimplemented (ENOSYS) in a simulation; `doing` is for the message. On a worker, or on a thread that is none:
// OK there.
absl::Status CheckMachine(absl::string_view doing);

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_OS_INTERNAL_MACHINE_H_
