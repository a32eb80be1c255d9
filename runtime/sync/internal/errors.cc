#include "runtime/sync/internal/errors.h"

namespace evring::internal {

// Never destroyed: other threads may use them to the last.

const absl::Status& LockCancelled() {
  static const auto& status = *new absl::Status(absl::CancelledError("lock mutex: cancelled"));
  return status;
}

const absl::Status& SharedLockCancelled() {
  static const auto& status = *new absl::Status(absl::CancelledError("lock shared mutex: cancelled"));
  return status;
}

const absl::Status& CondVarCancelled() {
  static const auto& status = *new absl::Status(absl::CancelledError("wait for condition variable: cancelled"));
  return status;
}

const absl::Status& WaitCancelled() {
  static const auto& status = *new absl::Status(absl::CancelledError("wait for event: cancelled"));
  return status;
}

const absl::Status& LatchCancelled() {
  static const auto& status = *new absl::Status(absl::CancelledError("wait for latch: cancelled"));
  return status;
}

const absl::Status& BarrierCancelled() {
  static const auto& status = *new absl::Status(absl::CancelledError("wait at barrier: cancelled"));
  return status;
}

const absl::Status& WatchCancelled() {
  static const auto& status = *new absl::Status(absl::CancelledError("wait for watched value: cancelled"));
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

const absl::Status& NoMemoryToSend() {
  static const auto& status = *new absl::Status(absl::ResourceExhaustedError("send to channel: no memory"));
  return status;
}

const absl::Status& WatchNotSet() {
  static const auto& status = *new absl::Status(absl::FailedPreconditionError("set watched value: closed"));
  return status;
}

const absl::Status& WatchClosed() {
  static const auto& status = *new absl::Status(absl::OutOfRangeError("wait for watched value: closed"));
  return status;
}

const absl::Status& WatchUnchanged() {
  static const auto& status = *new absl::Status(absl::UnavailableError("look for watched value: it has not changed"));
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
