#include "runtime/os/file.h"

#include <errno.h>
#include <liburing.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kevent/canary.h"
#include "kevent/errors.h"
#include "kevent/kernel.h"
#include "runtime/blocking.h"
#include "runtime/io.h"
#include "runtime/os/internal/machine.h"
#include "runtime/os/internal/request.h"

namespace evring {

using internal::CheckPath;

namespace {

constexpr size_t kReadStepMin = size_t{16} << 10;
constexpr size_t kReadStepMax = size_t{1} << 20;

// What one request can say of `size` bytes.
unsigned RequestBytes(size_t size) { return static_cast<unsigned>(std::min<size_t>(size, INT32_MAX)); }

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
  WriteOperation(int fd, std::span<const std::byte> data, uint64_t offset)
      : IoOperation(kevent::EventType::kFileWrite, fd), data_(data), offset_(offset) {}

 private:
  friend IoOperation;
  void Prepare(io_uring_sqe* sqe) { io_uring_prep_write(sqe, fd(), data_.data(), RequestBytes(data_.size()), offset_); }
  absl::StatusOr<size_t> Result(int32_t result, uint32_t) {
    if (result < 0) return kevent::ErrnoToStatus(result, "write", fd());
    return static_cast<size_t>(result);
  }

  const std::span<const std::byte> data_;
  const uint64_t offset_;
};

// Behind the end, wherever the file was opened to be written. (RWF_APPEND)
class AppendOperation final : public IoOperation<AppendOperation> {
 public:
  AppendOperation(int fd, std::span<const std::byte> data)
      : IoOperation(kevent::EventType::kFileWrite, fd), data_(data) {}

 private:
  friend IoOperation;
  void Prepare(io_uring_sqe* sqe) {
    io_uring_prep_write(sqe, fd(), data_.data(), RequestBytes(data_.size()), 0);
    sqe->rw_flags = RWF_APPEND;
  }
  absl::StatusOr<size_t> Result(int32_t result, uint32_t) {
    if (result < 0) return kevent::ErrnoToStatus(result, "append", fd());
    return static_cast<size_t>(result);
  }

  const std::span<const std::byte> data_;
};

class SyncOperation final : public IoOperation<SyncOperation> {
 public:
  SyncOperation(int fd, File::Sync what) : IoOperation(kevent::EventType::kSync, fd), what_(what) {}

 private:
  friend IoOperation;
  void Prepare(io_uring_sqe* sqe) {
    io_uring_prep_fsync(sqe, fd(), what_ == File::Sync::kData ? IORING_FSYNC_DATASYNC : 0);
  }
  absl::Status Result(int32_t result, uint32_t) { return kevent::ErrnoToStatus(result, "fsync", fd()); }

  const File::Sync what_;
};

class RenameOperation final : public IoOperation<RenameOperation> {
 public:
  RenameOperation(const char* from, const char* to)
      : IoOperation(kevent::EventType::kRename, -1), from_(from), to_(to) {}

 private:
  friend IoOperation;
  void Prepare(io_uring_sqe* sqe) { io_uring_prep_renameat(sqe, AT_FDCWD, from_, AT_FDCWD, to_, 0); }
  absl::Status Result(int32_t result, uint32_t) {
    if (result == 0) return absl::OkStatus();
    return kevent::ErrnoToStatus(result, absl::StrCat("rename ", from_, " to ", to_));
  }

  const char* const from_;
  const char* const to_;
};

class UnlinkOperation final : public IoOperation<UnlinkOperation> {
 public:
  explicit UnlinkOperation(const char* path) : IoOperation(kevent::EventType::kUnlink, -1), path_(path) {}

 private:
  friend IoOperation;
  void Prepare(io_uring_sqe* sqe) { io_uring_prep_unlinkat(sqe, AT_FDCWD, path_, 0); }
  absl::Status Result(int32_t result, uint32_t) {
    if (result == 0) return absl::OkStatus();
    return kevent::ErrnoToStatus(result, absl::StrCat("unlink ", path_));
  }

  const char* const path_;
};

}  // namespace

Task<absl::StatusOr<File>> File::Open(std::string path, int flags, mode_t mode) {
  if (absl::Status status = CheckPath(path); !status.ok()) co_return status;
  co_return co_await OpenOperation(path.c_str(), flags, mode);
}

Task<absl::StatusOr<size_t>> File::ReadAt(std::span<std::byte> buffer, uint64_t offset) const {
  co_return co_await ReadOperation(fd(), buffer, offset);
}

Task<absl::Status> File::WriteAt(std::span<const std::byte> data, uint64_t offset) const {
  while (!data.empty()) {
    const absl::StatusOr<size_t> n = co_await WriteOperation(fd(), data, offset);
    if (!n.ok()) co_return n.status();
    if (*n == 0) co_return kevent::ErrnoToStatus(EIO, "write: nothing was taken", fd());
    data = data.subspan(*n);
    offset += *n;
  }
  co_return absl::OkStatus();
}

Task<absl::Status> File::Append(std::span<const std::byte> data) const {
  if (!appends_) {
    // A simulated kernel does not know the flag, and would write at the offset.
    if (absl::Status status = internal::CheckMachine("append without O_APPEND"); !status.ok()) co_return status;
  }
  while (!data.empty()) {
    const absl::StatusOr<size_t> n = co_await AppendOperation(fd(), data);
    if (!n.ok()) co_return n.status();
    if (*n == 0) co_return kevent::ErrnoToStatus(EIO, "append: nothing was taken", fd());
    data = data.subspan(*n);
  }
  co_return absl::OkStatus();
}

Task<absl::StatusOr<FileInfo>> File::Info() const {
  struct statx info;
  io_uring_sqe sqe = {};
  io_uring_prep_statx(&sqe, fd(), "", AT_EMPTY_PATH, STATX_BASIC_STATS, &info);
  const int32_t rc = co_await internal::Perform(kevent::EventType::kOpen, sqe);
  if (rc < 0) co_return kevent::ErrnoToStatus(rc, "statx", fd());
  co_return FileInfo(info);
}

Task<absl::Status> File::Truncate(uint64_t size) const {
  if (internal::Serves(internal::kOpFtruncate) || !internal::CheckMachine("ftruncate").ok()) {
    io_uring_sqe sqe = {};
    io_uring_prep_rw(internal::kOpFtruncate, &sqe, fd(), nullptr, 0, size);
    const int32_t rc = co_await internal::Perform(kevent::EventType::kFileWrite, sqe);
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
  const int32_t rc = co_await internal::Perform(kevent::EventType::kFileWrite, sqe);
  co_return kevent::ErrnoToStatus(rc, "fallocate", fd());
}

Task<absl::Status> File::SyncToDisk(Sync what) const { co_return co_await SyncOperation(fd(), what); }

Task<absl::Status> Rename(std::string from, std::string to) {
  absl::Status status = CheckPath(from);
  status.Update(CheckPath(to));
  if (status.ok()) status = co_await RenameOperation(from.c_str(), to.c_str());
  co_return status;
}

Task<absl::Status> Unlink(std::string path) {
  absl::Status status = CheckPath(path);
  if (status.ok()) status = co_await UnlinkOperation(path.c_str());
  co_return status;
}

Task<absl::StatusOr<std::string>> ReadFile(std::string path, size_t limit) {
  absl::StatusOr<File> file = co_await File::Open(path, O_RDONLY);
  if (!file.ok()) co_return file.status();
  std::string content;
  size_t step = kReadStepMin;
  for (;;) {
    // One byte beyond the limit tells the end from too much.
    const size_t size = content.size();
    const size_t room = limit - size < step ? limit - size + 1 : step;
    content.resize(size + room);
    const absl::StatusOr<size_t> n =
        co_await file->ReadAt(std::as_writable_bytes(std::span(content).subspan(size)), size);
    if (!n.ok()) {
      co_return kevent::ErrnoToStatus(kevent::StatusErrno(n.status()), absl::StrCat("read ", path));
    }
    content.resize(size + *n);
    if (*n == 0) co_return content;
    if (content.size() > limit) {
      co_return absl::ResourceExhaustedError(absl::StrCat("read ", path, ": more than ", limit, " bytes"));
    }
    step = std::min(2 * step, kReadStepMax);
  }
}

namespace {

Task<absl::Status> WriteNew(std::string path, std::span<const std::byte> data, mode_t mode) {
  // What a crash has left may have another mode, or be a link to somewhere else.
  if (const int rc = kevent::Kernel::Current()->Remove(path.c_str()); rc != 0 && rc != -ENOENT) {
    co_return kevent::ErrnoToStatus(rc, absl::StrCat("unlink ", path));
  }
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
    // Not by a request: after a stop none is made.
    static_cast<void>(kevent::Kernel::Current()->Remove(fresh.c_str()));
    co_return status;
  }
  co_return co_await SyncDirectoryOf(path);
}

}  // namespace evring
