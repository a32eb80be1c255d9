// errors.h: what the primitives answer when they cannot do what was asked. Each is made once: returning one allocates
// nothing, so that a TrySend() that finds the channel full is cheap. Any thread.

#ifndef EVRING_RUNTIME_SYNC_INTERNAL_ERRORS_H_
#define EVRING_RUNTIME_SYNC_INTERNAL_ERRORS_H_

#include "absl/status/status.h"

namespace evring::internal {

// kCancelled: a stop was requested.
const absl::Status& LockCancelled();
const absl::Status& SharedLockCancelled();
const absl::Status& WaitCancelled();
const absl::Status& CondVarCancelled();
const absl::Status& LatchCancelled();
const absl::Status& BarrierCancelled();
const absl::Status& WatchCancelled();
const absl::Status& AcquireCancelled();
const absl::Status& SendCancelled();
const absl::Status& ReceiveCancelled();

// kFailedPrecondition: no value gets in any more.
const absl::Status& SendClosed();
const absl::Status& WatchNotSet();
// kOutOfRange, as at the end of a file: no value comes out any more.
const absl::Status& ReceiveClosed();
const absl::Status& WatchClosed();

// kUnavailable, as EAGAIN: it would have to wait.
const absl::Status& ChannelFull();
const absl::Status& ChannelEmpty();
const absl::Status& WatchUnchanged();

// kResourceExhausted, as ENOMEM.
const absl::Status& NoMemoryToSend();

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_SYNC_INTERNAL_ERRORS_H_
