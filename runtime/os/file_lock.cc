#include "runtime/os/file_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

#include <limits>

#include "absl/strings/str_cat.h"
#include "kevent/check.h"
#include "kevent/errors.h"
#include "kevent/event.h"
#include "kevent/kernel.h"
#include "runtime/cancellation.h"
#include "runtime/os/event_wait.h"

namespace evring {
namespace {

constexpr uint64_t kOffsetMax = std::numeric_limits<off_t>::max();

struct flock ToFlock(short type, FileLock::Range range) {
  struct flock lock = {};  // l_pid is 0, as the call demands
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(range.start);
  lock.l_len = static_cast<off_t>(range.size);
  return lock;
}

short LockType(FileLock::Kind kind) { return kind == FileLock::Kind::kShared ? F_RDLCK : F_WRLCK; }
int FlockOperation(FileLock::Kind kind) { return kind == FileLock::Kind::kShared ? LOCK_SH : LOCK_EX; }

// A descriptor of the same opening.
absl::StatusOr<kevent::OwnedDescriptor> Copy(const File& file, FileLock::Range range) {
  if (range.start > kOffsetMax || range.size > kOffsetMax - range.start) {
    return kevent::ErrnoToStatus(EINVAL, absl::StrCat("lock: ", range.size, " bytes from ", range.start), file.fd());
  }
  const int copy = kevent::Kernel::Current()->Dup(file.fd());
  if (copy < 0) return kevent::ErrnoToStatus(copy, "lock", file.fd());
  return kevent::OwnedDescriptor(copy);
}

// 0, or a negative errno.
int LockNow(int fd, FileLock::Kind kind, bool whole, FileLock::Range range) {
  if (whole) return kevent::Kernel::Current()->Flock(fd, FlockOperation(kind));
  const struct flock lock = ToFlock(LockType(kind), range);
  return kevent::Kernel::Current()->SetLock(fd, &lock);
}

}  // namespace

absl::StatusOr<FileLock> FileLock::Take(absl::StatusOr<kevent::OwnedDescriptor> file, Kind kind, bool whole,
                                        Range range) {
  if (!file.ok()) return file.status();
  const int rc = LockNow(file->get(), kind, whole, range);
  if (rc != 0) return kevent::ErrnoToStatus(rc, "lock", file->get());
  return FileLock(*std::move(file), whole, range);
}

Task<absl::StatusOr<FileLock>> FileLock::WaitFor(absl::StatusOr<kevent::OwnedDescriptor> file, Kind kind, bool whole,
                                                 Range range) {
  if (!file.ok()) co_return file.status();
  const bool stopped = co_await StopRequested();
  if (stopped) co_return absl::CancelledError("lock: cancelled");
  // Without a helper thread if nobody has it.
  const int rc = LockNow(file->get(), kind, whole, range);
  if (rc == -EAGAIN) {
    struct flock lock = ToFlock(LockType(kind), range);
    kevent::Event event;
    event.descriptor = file->get();
    event.type = whole ? kevent::EventType::kFlock : kevent::EventType::kLock;
    event.result = whole ? FlockOperation(kind) : F_OFD_SETLKW;
    event.payload = whole ? 0 : reinterpret_cast<uintptr_t>(&lock);
    const absl::StatusOr<kevent::Event> locked = co_await WaitForEvent(event);
    if (!locked.ok()) co_return locked.status();
  } else if (rc != 0) {
    co_return kevent::ErrnoToStatus(rc, "lock", file->get());
  }
  co_return FileLock(*std::move(file), whole, range);
}

Task<absl::StatusOr<FileLock>> FileLock::Lock(const File& file, Kind kind, Range range) {
  return WaitFor(Copy(file, range), kind, /*whole=*/false, range);
}
Task<absl::StatusOr<FileLock>> FileLock::LockWhole(const File& file, Kind kind) {
  return WaitFor(Copy(file, Range()), kind, /*whole=*/true, Range());
}

absl::StatusOr<FileLock> FileLock::TryLock(const File& file, Kind kind, Range range) {
  return Take(Copy(file, range), kind, /*whole=*/false, range);
}
absl::StatusOr<FileLock> FileLock::TryLockWhole(const File& file, Kind kind) {
  return Take(Copy(file, Range()), kind, /*whole=*/true, Range());
}

void FileLock::Unlock() {
  if (!file_.valid()) return;
  const struct flock lock = ToFlock(F_UNLCK, range_);
  kevent::Kernel* const kernel = kevent::Kernel::Current();
  const int rc = whole_ ? kernel->Flock(file_.get(), LOCK_UN) : kernel->SetLock(file_.get(), &lock);
  // ENOLCK: no memory to split a range that somebody has locked around it; a server may answer anything. What cannot be
  // given up goes with the file.
  EVRING_CHECK(rc == 0 || (rc != -EBADF && rc != -EINVAL), "a lock that is held can be given up");
  file_.Close();
}

}  // namespace evring
