// wall_clock.h: the wall clock of the machine that tasks run on. SleepUntil(), WithDeadline() and CurrentDeadline() go
// by it; a deadline for them that counts from now counts from WallNow().

#ifndef EVRING_RUNTIME_WALL_CLOCK_H_
#define EVRING_RUNTIME_WALL_CLOCK_H_

#include <time.h>

#include "absl/time/time.h"
#include "kevent/kernel.h"

namespace evring {

// CLOCK_REALTIME. In a task on a simulated machine that machine's own, which says the same at the start of each run,
// and can be set there (sim/kernel.h); elsewhere, and on a thread that is no worker, the system's, as absl::Now().
inline absl::Time WallNow() { return absl::FromUnixNanos(kevent::Kernel::Current()->ClockNs(CLOCK_REALTIME)); }

}  // namespace evring

#endif  // EVRING_RUNTIME_WALL_CLOCK_H_
