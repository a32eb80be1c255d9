// helper_threads.h: the helper threads of the process, for calls that block and can be interrupted
// (kevent/blocking_calls.h). Made when they are needed; they end when they have had nothing to do for a while.

#ifndef EVRING_RUNTIME_OS_INTERNAL_HELPER_THREADS_H_
#define EVRING_RUNTIME_OS_INTERNAL_HELPER_THREADS_H_

#include "absl/status/statusor.h"
#include "kevent/blocking_calls.h"

namespace evring::internal {

// Any thread. One pool, which is never destroyed; or why there is none: the program handles their signal itself.
absl::StatusOr<kevent::BlockingCalls*> HelperThreads();

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_OS_INTERNAL_HELPER_THREADS_H_
