#include "runtime/os/file.h"

#include <errno.h>
#include <liburing.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "kevent/canary.h"
#include "kevent/errors.h"
#include "runtime/blocking.h"
#include "runtime/io.h"
#include "runtime/os/internal/growing_content.h"
#include "runtime/os/internal/machine.h"
#include "runtime/os/internal/request.h"
#include "runtime/shield.h"

namespace evring {

using internal::CheckPath;
using internal::Perform;
using internal::RequestBytes;

namespace {

class OpenOperation final : public IoOperation<OpenOperation> {
 public:
  OpenOperation(const char* path, int flags, mode_t mode)
      : IoOperation(kevent::EventType::kOpen, -1), path_(path), flags_(flags), mode_(mode) {}

 private:
  friend IoOperation;
  void Prepare(io_uring_sqe* sqe) { io_uring_prep_openat(sqe, AT_FDCWD, path_, flags_ | O_CLOEXEC, mode_); }
  absl::StatusOr<File> Result(int32_t result, uint32_t) {
    if (result < 0) return kevent::ErrnoToStatus(result, absl::StrCat("open ", path_));
    return File(result, flags_);
  }

  const char* const path_;
  const int flags_;
  const mode_t mode_;
};

class ReadOperation final : public IoOperation<ReadOperation> {
 public:
  ReadOperation(int fd, std::span<std::byte> buffer, uint64_t offset)
      : IoOperation(kevent::EventType::kFileRead, fd), buffer_(buffer), offset_(offset) {}

 private:
  friend IoOperation;
  void Prepare(io_uring_sqe* sqe) {
    io_uring_prep_read(sqe, fd(), buffer_.data(), RequestBytes(buffer_.size()), offset_);
  }
  absl::StatusOr<size_t> Result(int32_t result, uint32_t) {
    if (result < 0) return kevent::ErrnoToStatus(result, "read", fd());
    return static_cast<size_t>(result);
  }

  const std::span<std::byte> buffer_;
  const uint64_t offset_;
};

class WriteOperation final : public IoOperation<WriteOperation> {
 public:
  // `flags`: RWF_… of pwritev2(2).
  WriteOperation(int fd, std::span<const std::byte> data, uint64_t offset, int flags)
      : IoOperation(kevent::EventType::kFileWrite, fd), data_(data), offset_(offset), flags_(flags) {}

 private:
  friend IoOperation;
  void Prepare(io_uring_sqe* sqe) {
    io_uring_prep_write(sqe, fd(), data_.data(), RequestBytes(data_.size()), offset_);
    sqe->rw_flags = flags_;
  }
  int32_t Result(int32_t result, uint32_t) { return result; }

  const std::span<const std::byte> data_;
  const uint64_t offset_;
  const int flags_;
};

Task<absl::Status> WriteAll(int fd, std::span<const std::byte> data, uint64_t offset, int flags, const char* doing) {
  while (!data.empty()) {
    const int32_t n = co_await WriteOperation(fd, data, offset, flags);
    if (n < 0) co_return kevent::ErrnoToStatus(n, doing, fd);
    if (n == 0) co_return kevent::ErrnoToStatus(EIO, absl::StrCat(doing, ": nothing was taken"), fd);
    data = data.subspan(static_cast<size_t>(n));
    offset += static_cast<size_t>(n);
  }
  co_return absl::OkStatus();
}

}  // namespace

Task<absl::StatusOr<File>> File::Open(std::string path, int flags, mode_t mode) {
  if (absl::Status status = CheckPath(path); !status.ok()) co_return status;
  co_return co_await OpenOperation(path.c_str(), flags, mode);
}

Task<absl::StatusOr<size_t>> File::ReadAt(std::span<std::byte> buffer, uint64_t offset) const {
  co_return co_await ReadOperation(fd(), buffer, offset);
}

Task<absl::Status> File::WriteAt(std::span<const std::byte> data, uint64_t offset) const {
  return WriteAll(fd(), data, offset, 0, "write");
}

Task<absl::Status> File::Append(std::span<const std::byte> data) const {
  if (!appends_) {
    // A simulated kernel does not know the flag, and would write at the offset.
    if (absl::Status status = internal::CheckMachine("append without O_APPEND"); !status.ok()) co_return status;
  }
  // Behind the end wherever the file was opened to be written: the offset says nothing.
  co_return co_await WriteAll(fd(), data, 0, RWF_APPEND, "append");
}

Task<absl::StatusOr<FileInfo>> File::Info() const {
  struct statx info;
  io_uring_sqe sqe = {};
  io_uring_prep_statx(&sqe, fd(), "", AT_EMPTY_PATH, STATX_BASIC_STATS, &info);
  const int32_t rc = co_await Perform(kevent::EventType::kFileInfo, sqe);
  if (rc < 0) co_return kevent::ErrnoToStatus(rc, "statx", fd());
  co_return FileInfo(info);
}

Task<absl::Status> File::Truncate(uint64_t size) const {
  if (internal::Serves(internal::kOpFtruncate) || !internal::CheckMachine("ftruncate").ok()) {
    io_uring_sqe sqe = {};
    io_uring_prep_rw(internal::kOpFtruncate, &sqe, fd(), nullptr, 0, size);
    const int32_t rc = co_await Perform(kevent::EventType::kTruncate, sqe);
    co_return kevent::ErrnoToStatus(rc, "ftruncate", fd());
  }
  const auto truncate = [fd = fd(), size] {
    return kevent::ErrnoToStatus(ftruncate(fd, static_cast<off_t>(size)) == 0 ? 0 : errno, "ftruncate", fd);
  };
  co_return co_await RunBlocking(truncate);
}

Task<absl::Status> File::Allocate(uint64_t offset, uint64_t size) const {
  io_uring_sqe sqe = {};
  io_uring_prep_fallocate(&sqe, fd(), 0, static_cast<off_t>(offset), static_cast<off_t>(size));
  const int32_t rc = co_await Perform(kevent::EventType::kAllocate, sqe);
  co_return kevent::ErrnoToStatus(rc, "fallocate", fd());
}

Task<absl::Status> File::SyncToDisk(Sync what) const {
  io_uring_sqe sqe = {};
  io_uring_prep_fsync(&sqe, fd(), what == Sync::kData ? IORING_FSYNC_DATASYNC : 0);
  const int32_t rc = co_await Perform(kevent::EventType::kSync, sqe);
  co_return kevent::ErrnoToStatus(rc, "fsync", fd());
}

Task<absl::Status> Rename(std::string from, std::string to) {
  absl::Status status = CheckPath(from);
  status.Update(CheckPath(to));
  if (!status.ok()) co_return status;
  io_uring_sqe sqe = {};
  io_uring_prep_renameat(&sqe, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), 0);
  const int32_t rc = co_await Perform(kevent::EventType::kRename, sqe);
  co_return kevent::ErrnoToStatus(rc, absl::StrCat("rename ", from, " to ", to));
}

Task<absl::Status> Unlink(std::string path) {
  if (absl::Status status = CheckPath(path); !status.ok()) co_return status;
  io_uring_sqe sqe = {};
  io_uring_prep_unlinkat(&sqe, AT_FDCWD, path.c_str(), 0);
  const int32_t rc = co_await Perform(kevent::EventType::kUnlink, sqe);
  co_return kevent::ErrnoToStatus(rc, absl::StrCat("unlink ", path));
}

Task<absl::StatusOr<std::string>> ReadFile(std::string path, size_t limit) {
  absl::StatusOr<File> file = co_await File::Open(path, O_RDONLY);
  if (!file.ok()) co_return file.status();
  const std::string doing = absl::StrCat("read ", path);
  internal::GrowingContent content(limit);
  for (;;) {
    const absl::StatusOr<size_t> n = co_await file->ReadAt(content.Room(), content.size());
    if (!n.ok()) co_return kevent::ErrnoToStatus(kevent::StatusErrno(n.status()), doing);
    if (*n == 0) co_return std::move(content).Take();
    if (!content.Add(*n)) co_return absl::ResourceExhaustedError(absl::StrCat(doing, ": more than ", limit, " bytes"));
  }
}

namespace {

Task<absl::Status> WriteNew(std::string path, std::span<const std::byte> data, mode_t mode) {
  // What a crash has left may have another mode, or be a link to somewhere else.
  const absl::Status removed = co_await Unlink(path);
  if (!removed.ok() && kevent::StatusErrno(removed) != ENOENT) co_return removed;
  absl::StatusOr<File> file = co_await File::Open(path, O_WRONLY | O_CREAT | O_EXCL, mode);
  if (!file.ok()) co_return file.status();
  const absl::Status written = co_await file->WriteAt(data, 0);
  if (!written.ok()) co_return written;
  if (EVRING_CANARY(kNoSyncBeforeRename)) co_return absl::OkStatus();
  // Before the rename: else a crash may leave the new name on a file without its data.
  co_return co_await file->SyncToDisk();
}

Task<absl::Status> SyncDirectoryOf(std::string path) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  absl::StatusOr<File> opened = co_await File::Open(directory, O_RDONLY | O_DIRECTORY);
  if (!opened.ok()) co_return opened.status();
  co_return co_await opened->SyncToDisk();
}

}  // namespace

Task<absl::Status> ReplaceFile(std::string path, std::span<const std::byte> data, mode_t mode) {
  absl::Status status = CheckPath(path);
  if (!status.ok()) co_return status;
  const std::string fresh = path + ".new";
  status = co_await WriteNew(fresh, data, mode);
  if (status.ok()) status = co_await Rename(fresh, path);
  if (!status.ok()) {
    // Also after a stop. What cannot be removed stays for the next one.
    static_cast<void>(co_await Shielded(Unlink(fresh)));
    co_return status;
  }
  co_return co_await SyncDirectoryOf(path);
}

}  // namespace evring
