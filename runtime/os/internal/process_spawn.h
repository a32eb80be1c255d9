// process_spawn.h: making a child process, the part that blocks. Called by Process::Start on a thread of the blocking
// pool.
//
// By posix_spawn(3): the child shares this process's memory until it has become the other program, with all signals
// blocked and its caller stopped, and makes system calls only. So nothing is copied, however big this process is, no
// lock of another thread is met, and what goes wrong up to and in execve(2) comes back as an errno instead of an exit
// code. fork(2) would copy page tables while all workers wait for the lock on them; clone(2) would give the pidfd in
// the same step, but its shared-memory form needs a stack and code of our own for what the C library has. The pidfd is
// opened afterwards, and asked whether it is our child: nobody else can have its number while we have not reaped it.

#ifndef EVRING_RUNTIME_OS_INTERNAL_PROCESS_SPAWN_H_
#define EVRING_RUNTIME_OS_INTERNAL_PROCESS_SPAWN_H_

#include <sys/types.h>

#include "absl/status/statusor.h"
#include "kevent/owned_descriptor.h"
#include "runtime/os/pipe.h"
#include "runtime/os/process_options.h"

namespace evring::internal {

// A child that runs, and this process's ends of its pipes.
struct SpawnedChild {
  pid_t pid = -1;
  kevent::OwnedDescriptor pidfd;
  PipeWriter input;
  PipeReader output;
  PipeReader error;
};

// Any thread; blocks. Errors as of Process::Start().
absl::StatusOr<SpawnedChild> SpawnChild(const ProcessOptions& options);

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_OS_INTERNAL_PROCESS_SPAWN_H_
