// file.h: files: opening, reading and writing at a place, syncing; names; and replacing a file so that a crash leaves
// the old content or the new. Reading and writing on from where one is: file_cursor.h.
//
//   absl::StatusOr<File> file = co_await File::Open("notes", O_RDWR | O_CREAT);
//   if (!file.ok()) co_return file.status();
//   const std::string_view text = "one more note\n";
//   absl::Status status = co_await file->Append(std::as_bytes(std::span(text)));
//   if (status.ok()) status = co_await file->SyncToDisk(File::Sync::kData);
//   if (!status.ok()) co_return status;
//   const absl::StatusOr<std::string> notes = co_await ReadFile("notes", /*limit=*/1 << 20);
//
// Await on a worker. What is lent (memory, paths) is borrowed until the await has ended. What the page cache can answer
// is done in the enter that submits it, the rest waits in the kernel's own threads, so no worker blocks on a disk. A
// stop cancels what has not begun and interrupts what can be: kCancelled; what succeeds in spite of it is a success.
// Errors carry their errno (kevent/errors.h): kNotFound (ENOENT), kAlreadyExists (EEXIST), kPermissionDenied (EACCES,
// EPERM), kResourceExhausted (ENOSPC, EDQUOT, EMFILE), …; EIO from SyncToDisk() means that what was written may be
// lost: write all of it again.
//
// On a simulated machine (sim/README.md) the operations are served that its kernel has; the others answer
// kUnimplemented (ENOSYS) and touch nothing.

#ifndef EVRING_RUNTIME_OS_FILE_H_
#define EVRING_RUNTIME_OS_FILE_H_

#include <fcntl.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kevent/owned_descriptor.h"
#include "runtime/os/file_info.h"
#include "runtime/task.h"

namespace evring {

// Owns the descriptor of a regular file, or of a directory. Movable. Operations of several tasks at once are fine; the
// file outlives them.
class File {
 public:
  File() = default;
  // `flags`: those that it was opened with, as far as they are known.
  explicit File(int fd, int flags = 0) : fd_(fd), appends_((flags & O_APPEND) != 0) {}

  // As open(2); O_CLOEXEC is always added.
  static Task<absl::StatusOr<File>> Open(std::string path, int flags, mode_t mode = 0644);

  int fd() const { return fd_.get(); }
  bool valid() const { return fd_.valid(); }
  // Without a sync: an error of what was written before shows only in SyncToDisk().
  void Close() { fd_.Close(); }

  // Some bytes from `offset` on, at most buffer.size() (and 2^31 - 1); 0 at the end of the file.
  Task<absl::StatusOr<size_t>> ReadAt(std::span<std::byte> buffer, uint64_t offset) const;
  // All of `data`, in as many writes as the system needs. After an error some of it may have been written.
  Task<absl::Status> WriteAt(std::span<const std::byte> data, uint64_t offset) const;
  // All of `data` behind the end, wherever that is by then: what other tasks and processes append does not get into it,
  // unless it takes more than one write, as it does near the end of the disk. kUnimplemented (ENOSYS): on a simulated
  // machine, and Open() was not told O_APPEND.
  Task<absl::Status> Append(std::span<const std::byte> data) const;

  Task<absl::StatusOr<FileInfo>> Info() const;
  // Cuts off what is beyond `size`, or adds zeros up to it. kInvalidArgument: not open for writing.
  Task<absl::Status> Truncate(uint64_t size) const;
  // Sees to it that writes to [offset, offset + size) do not fail for want of space; the file is as long afterwards.
  // kUnimplemented (EOPNOTSUPP): not by this file system.
  Task<absl::Status> Allocate(uint64_t offset, uint64_t size) const;

  // What was written is on the disk when this ends. kAll: and all that the inode says; kData: and what is needed to
  // find it, such as the size. For a directory: its names.
  enum class Sync { kAll, kData };
  Task<absl::Status> SyncToDisk(Sync what = Sync::kAll) const;

 private:
  kevent::OwnedDescriptor fd_;
  bool appends_ = false;  // wherever it is told to write (O_APPEND)
};

// As rename(2): `to` is replaced at once.
Task<absl::Status> Rename(std::string from, std::string to);
// As unlink(2).
Task<absl::Status> Unlink(std::string path);

// All of it, also of a file whose size is not known before, such as those of /proc. kResourceExhausted: more than
// `limit` bytes.
Task<absl::StatusOr<std::string>> ReadFile(std::string path, size_t limit);

// Writes `data` to a new file beside `path`, syncs it, renames it to `path` and syncs the directory: a reader, and a
// crash at any moment, finds the old content or the new, and after kOk the new. The new file has `mode`, less the
// umask. One at a time for a path: the new file is `path` with ".new" behind it; what a crash has left there is
// removed. After an error the new file is removed, if that can be; `path` has the old content, or, if only the
// directory could not be synced, the new.
Task<absl::Status> ReplaceFile(std::string path, std::span<const std::byte> data, mode_t mode = 0644);

}  // namespace evring

#endif  // EVRING_RUNTIME_OS_FILE_H_
