// file_lock.h: locks on files, between processes and within one: advisory, they bind who takes them too.
//
//   absl::StatusOr<File> file = co_await File::Open(path, O_RDWR | O_CREAT);
//   if (!file.ok()) co_return file.status();
//   absl::StatusOr<FileLock> lock = co_await FileLock::Lock(*file, FileLock::Kind::kExclusive);
//   if (!lock.ok()) co_return lock.status();
//
// Nobody else has a lock on the file then, until `lock` goes.
//
// Two families that do not see each other on Linux:
// - Lock(), TryLock(): bytes of a file, by the "open file description" locks of fcntl(2), across NFS the server's.
// - LockWhole(), TryLockWhole(): the file, by flock(2): what many programs use for their lock files.
//
// Either belongs to the opening of the file, not to a task or thread: two Files that were opened apart exclude each
// other, in one process too. A second lock by the same File conflicts with nothing: it changes the first one, where
// they overlap, and whichever of the two goes first unlocks those bytes. flock(2) lets go of what it had before it
// takes the other kind: an upgrade by LockWhole() or TryLockWhole() that fails leaves the file without a lock.

#ifndef EVRING_RUNTIME_OS_FILE_LOCK_H_
#define EVRING_RUNTIME_OS_FILE_LOCK_H_

#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kevent/owned_descriptor.h"
#include "runtime/os/file.h"
#include "runtime/task.h"

namespace evring {

// A lock that is held, until it is destroyed or Unlock(). Movable. It keeps the opening of its file alive: closing the
// File before does not give the lock up.
class FileLock {
 public:
  enum class Kind { kShared, kExclusive };
  // `size` bytes from `start` on; size 0: all that are there and will be.
  struct Range {
    Range() {}
    Range(uint64_t start, uint64_t size) : start(start), size(size) {}
    uint64_t start = 0;
    uint64_t size = 0;
  };

  // Waits until nobody has a lock that conflicts, without holding up the worker; in no order that could be relied on,
  // and two that wait for each other wait for ever: bound it by WithTimeout(). Await on a worker.
  // kCancelled: a stop came first. A lock that was had in spite of it is a success.
  // kFailedPrecondition (EBADF): no open file; shared bytes need one that is open for reading, exclusive ones for
  //   writing. kInvalidArgument: bytes beyond 2^63 - 1. kUnavailable: ENOLCK, too many locks; EAGAIN, no helper thread.
  //   kResourceExhausted: no descriptor.
  static Task<absl::StatusOr<FileLock>> Lock(const File& file, Kind kind, Range range = Range());
  static Task<absl::StatusOr<FileLock>> LockWhole(const File& file, Kind kind);

  // The same at once or not at all. Any thread; in a simulation, a worker. kUnavailable (EAGAIN): somebody else has one
  // that conflicts.
  static absl::StatusOr<FileLock> TryLock(const File& file, Kind kind, Range range = Range());
  static absl::StatusOr<FileLock> TryLockWhole(const File& file, Kind kind);

  FileLock(FileLock&&) noexcept = default;
  FileLock& operator=(FileLock&& other) noexcept {
    if (this == &other) return *this;
    Unlock();
    file_ = std::move(other.file_);
    whole_ = other.whole_;
    range_ = other.range_;
    return *this;
  }
  ~FileLock() { Unlock(); }

  bool held() const { return file_.valid(); }
  // Gives it up; after that, and in a lock that was moved from, nothing happens. Any thread; in a simulation, a worker.
  // Does not wait for anybody, but for the server of a network file system.
  void Unlock();

 private:
  FileLock(kevent::OwnedDescriptor file, bool whole, Range range)
      : file_(std::move(file)), whole_(whole), range_(range) {}

  static absl::StatusOr<FileLock> Take(absl::StatusOr<kevent::OwnedDescriptor> file, Kind kind, bool whole,
                                       Range range);
  static Task<absl::StatusOr<FileLock>> WaitFor(absl::StatusOr<kevent::OwnedDescriptor> file, Kind kind, bool whole,
                                                Range range);

  kevent::OwnedDescriptor file_;  // of the same opening as the File
  bool whole_;
  Range range_;
};

}  // namespace evring

#endif  // EVRING_RUNTIME_OS_FILE_LOCK_H_
