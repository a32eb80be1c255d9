// pinned.h: runs a measurement on one CPU, ahead of whatever else the machine does.
//
// Used by the driver `compare`.

#ifndef EVRING_BENCH_PINNED_H_
#define EVRING_BENCH_PINNED_H_

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"

namespace evring::bench {

// Runs `work` in a child process on `cpu` with the highest priority that ordinary scheduling has, which its own
// children inherit, and returns its exit code. The child has a session of its own: where the kernel shares CPU time out
// between sessions first (autogroup, sched(7)), a nice value counts only within one. Without the right to raise
// priorities a line on stderr says so and the work goes on. The child is killed if this process dies.
// kFailedPrecondition: there is no such CPU. kInternal: no child, or it ended by a signal.
absl::StatusOr<int> RunPinned(int cpu, absl::FunctionRef<int()> work);

}  // namespace evring::bench

#endif  // EVRING_BENCH_PINNED_H_
