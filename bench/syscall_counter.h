// syscall_counter.h: counts the system calls of another process, by the kernel's own tracepoint.
//
// Used by the driver `compare` on its one thread, in slices of their own: while any such counter exists, every system
// call on the machine takes the kernel's slower way. Needs root (or CAP_PERFMON) and a kernel with tracepoints.

#ifndef EVRING_BENCH_SYSCALL_COUNTER_H_
#define EVRING_BENCH_SYSCALL_COUNTER_H_

#include <sys/types.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace evring::bench {

class SyscallCounter {
 public:
  // Counts the calls that the present threads of `pid` enter from now on. kPermissionDenied or kUnavailable: the
  // machine does not let us, and the message says what was refused.
  static absl::StatusOr<SyscallCounter> Attach(pid_t pid);

  ~SyscallCounter();
  SyscallCounter(SyscallCounter&& other) noexcept : events_(std::move(other.events_)) { other.events_.clear(); }
  SyscallCounter& operator=(SyscallCounter&&) = delete;

  absl::StatusOr<uint64_t> Read() const;

 private:
  SyscallCounter() = default;

  std::vector<int> events_;  // one descriptor per thread
};

}  // namespace evring::bench

#endif  // EVRING_BENCH_SYSCALL_COUNTER_H_
