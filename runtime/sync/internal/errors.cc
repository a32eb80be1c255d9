#include "runtime/sync/internal/errors.h"

namespace evring::internal {

// Never destroyed: other threads may use them to the last.

const absl::Status& LockCancelled() {
  static const auto& status = *new absl::Status(absl::CancelledError("lock mutex: cancelled"));
  return status;
}

const absl::Status& WaitCancelled() {
  static const auto& status = *new absl::Status(absl::CancelledError("wait for event: cancelled"));
  return status;
}

const absl::Status& AcquireCancelled() {
  static const auto& status = *new absl::Status(absl::CancelledError("acquire semaphore: cancelled"));
  return status;
}

const absl::Status& SendCancelled() {
  static const auto& status = *new absl::Status(absl::CancelledError("send to channel: cancelled"));
  return status;
}

const absl::Status& ReceiveCancelled() {
  static const auto& status = *new absl::Status(absl::CancelledError("receive from channel: cancelled"));
  return status;
}

const absl::Status& SendClosed() {
  static const auto& status = *new absl::Status(absl::FailedPreconditionError("send to channel: closed"));
  return status;
}

const absl::Status& ReceiveClosed() {
  static const auto& status = *new absl::Status(absl::OutOfRangeError("receive from channel: closed"));
  return status;
}

const absl::Status& ChannelFull() {
  static const auto& status = *new absl::Status(absl::UnavailableError("send to channel: full"));
  return status;
}

const absl::Status& ChannelEmpty() {
  static const auto& status = *new absl::Status(absl::UnavailableError("receive from channel: empty"));
  return status;
}

}  // namespace evring::internal
