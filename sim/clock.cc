#include "sim/clock.h"

#include <errno.h>
#include <liburing.h>

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "kevent/errors.h"
#include "kevent/event.h"
#include "kevent/kernel.h"
#include "runtime/io.h"
#include "sim/kernel.h"
#include "sim/request.h"

namespace evring::sim {
namespace {

const absl::Duration kWallClockMax = absl::Hours(24 * 365 * 145);  // what nanoseconds can count, half for what follows

// Of the worker whose thread this is; nullptr: it is none, or of no simulated machine.
Kernel* CurrentKernel() { return dynamic_cast<Kernel*>(kevent::Kernel::Current()); }

absl::Status NotSimulated(const char* what) {
  return absl::FailedPreconditionError(absl::StrCat(what, ": not in a task on a simulated machine"));
}

absl::Status NotPaused(const char* what) {
  return absl::FailedPreconditionError(absl::StrCat(what, ": time is not paused"));
}

class AdvanceOperation final : public IoOperation<AdvanceOperation> {
 public:
  explicit AdvanceOperation(int64_t ns) : IoOperation(kevent::EventType::kTimeout, -1), ns_(ns) {}

  void Prepare(io_uring_sqe* sqe) const {
    io_uring_prep_rw(static_cast<int>(kOpAdvance), sqe, -1, nullptr, 0, static_cast<uint64_t>(ns_));
  }
  absl::Status Result(int32_t result, uint32_t) const {
    switch (result) {
      case 0:
        return absl::OkStatus();
      case -EPERM:
        return NotPaused("advance");
      case -EINVAL:
        return absl::InvalidArgumentError(
            absl::StrCat("advance: the clock does not count on by ", absl::FormatDuration(absl::Nanoseconds(ns_))));
      default:
        return kevent::ErrnoToStatus(-result, "advance");
    }
  }

 private:
  const int64_t ns_;
};

// In nanoseconds, rounded up.
int64_t ToNanoseconds(absl::Duration d) { return absl::ToInt64Nanoseconds(absl::Ceil(d, absl::Nanoseconds(1))); }

}  // namespace

absl::Status PauseTime() {
  Kernel* kernel = CurrentKernel();
  if (kernel == nullptr) return NotSimulated("pause time");
  if (kernel->PauseTime() == 0) return absl::OkStatus();
  return absl::FailedPreconditionError("pause time: the simulation's first task has ended");
}

absl::Status ResumeTime() {
  Kernel* kernel = CurrentKernel();
  if (kernel == nullptr) return NotSimulated("resume time");
  return kernel->ResumeTime() == 0 ? absl::OkStatus() : NotPaused("resume time");
}

absl::Status SetWallClock(absl::Time time) {
  Kernel* kernel = CurrentKernel();
  if (kernel == nullptr) return NotSimulated("set the wall clock");
  if (time < absl::UnixEpoch() || time > absl::UnixEpoch() + kWallClockMax) {
    return absl::InvalidArgumentError(absl::StrCat("set the wall clock: to ", absl::FormatTime(time)));
  }
  kernel->SetClock(absl::ToUnixNanos(time));
  return absl::OkStatus();
}

Task<absl::Status> Advance(absl::Duration d) {
  if (CurrentKernel() == nullptr) co_return NotSimulated("advance");
  if (d < absl::ZeroDuration() || d == absl::InfiniteDuration()) {
    co_return absl::InvalidArgumentError(absl::StrCat("advance: by ", absl::FormatDuration(d)));
  }
  co_return co_await AdvanceOperation(ToNanoseconds(d));
}

}  // namespace evring::sim
