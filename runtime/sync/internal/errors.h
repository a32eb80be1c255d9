// errors.h: what the primitives answer when they cannot do what was asked. Each is made once: returning one allocates
// nothing, so that a TrySend() that finds the channel full is cheap. Any thread.

#ifndef EVRING_RUNTIME_SYNC_INTERNAL_ERRORS_H_
#define EVRING_RUNTIME_SYNC_INTERNAL_ERRORS_H_

#include "absl/status/status.h"

namespace evring::internal {

// kCancelled: a stop was requested.
const absl::Status& LockCancelled();
const absl::Status& WaitCancelled();
const absl::Status& AcquireCancelled();
const absl::Status& SendCancelled();
const absl::Status& ReceiveCancelled();

// kFailedPrecondition: no value gets in any more.
const absl::Status& SendClosed();
// kOutOfRange, as at the end of a file: no value comes out any more.
const absl::Status& ReceiveClosed();

// kUnavailable, as EAGAIN: it would have to wait.
const absl::Status& ChannelFull();
const absl::Status& ChannelEmpty();

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_SYNC_INTERNAL_ERRORS_H_
