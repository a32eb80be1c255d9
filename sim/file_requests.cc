#include "sim/file_requests.h"

#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>

namespace evring::sim {
namespace {

// The errors of open(2), read(2), write(2), fsync(2), rename(2) and unlink(2) for regular files. Left out:
// - what the arguments or what is on the disk decide, which this kernel finds by itself or does not have: EBADF,
// EEXIST,
//   EFAULT, EINVAL, EISDIR, ELOOP, EMLINK, ENAMETOOLONG, ENOENT, ENOTDIR, ENOTEMPTY, EXDEV, EOVERFLOW;
// - what only devices, pipes, sockets, seals and leases answer: ENODEV, ENXIO, EPIPE, EDESTADDRREQ, EWOULDBLOCK,
//   EOPNOTSUPP (of O_TMPFILE), and EPERM of write; EBUSY of open (block devices) and of rename (directories);
// - EAGAIN and EINTR: a ring waits instead, and no signal interrupts a request.
constexpr int kOpenErrors[] = {EACCES, EMFILE, ENFILE, ENOMEM, EPERM};
constexpr int kOpenToWriteErrors[] = {EACCES, EMFILE, ENFILE, ENOMEM, EPERM, EROFS, ETXTBSY};
constexpr int kCreateErrors[] = {EACCES, EMFILE, ENFILE, ENOMEM, EPERM, EROFS, EDQUOT, ENOSPC};
constexpr int kReadErrors[] = {EIO};
constexpr int kWriteErrors[] = {EDQUOT, EFBIG, EIO, ENOSPC};
constexpr int kSyncErrors[] = {EDQUOT, EIO, ENOSPC};
constexpr int kRenameErrors[] = {EACCES, EDQUOT, ENOMEM, ENOSPC, EPERM, EROFS};
constexpr int kUnlinkErrors[] = {EACCES, EBUSY, EIO, ENOMEM, EPERM, EROFS};

const char* Path(uint64_t address) { return reinterpret_cast<const char*>(static_cast<uintptr_t>(address)); }

}  // namespace

bool FileRequests::Serves(const io_uring_sqe& sqe) {
  switch (sqe.opcode) {
    case IORING_OP_OPENAT:
    case IORING_OP_RENAMEAT:
    case IORING_OP_UNLINKAT:
      return true;
    case IORING_OP_READ:
    case IORING_OP_WRITE:
    case IORING_OP_FSYNC:
      return sqe.fd >= kFirstFile;
    default:
      return false;
  }
}

int FileRequests::Perform(const io_uring_sqe& sqe) {
  switch (sqe.opcode) {
    case IORING_OP_OPENAT:
      return OpenAt(sqe);
    case IORING_OP_RENAMEAT:
      return RenameAt(sqe);
    case IORING_OP_UNLINKAT:
      return UnlinkAt(sqe);
    default:
      break;
  }
  const Open* open = open_.Find(sqe.fd);
  if (open == nullptr) return -EBADF;
  switch (sqe.opcode) {
    case IORING_OP_READ:
      return ReadFrom(*open, sqe);
    case IORING_OP_WRITE:
      return WriteTo(*open, sqe);
    default:
      return Sync(*open);
  }
}

int FileRequests::Failure(std::span<const int> errors) {
  return world_->Happens(Fault::kFileError) ? -world_->faults.OneOf(errors) : 0;
}

std::span<const int> FileRequests::OpenErrors(const io_uring_sqe& sqe) const {
  if ((sqe.open_flags & O_CREAT) != 0 && !files_->Exists(Path(sqe.addr))) return kCreateErrors;
  if ((sqe.open_flags & O_ACCMODE) != O_RDONLY) return kOpenToWriteErrors;
  return kOpenErrors;
}

int FileRequests::OpenAt(const io_uring_sqe& sqe) {
  const int flags = static_cast<int>(sqe.open_flags);
  if (const int failed = Failure(OpenErrors(sqe)); failed != 0) return failed;
  Open open{nullptr, flags};
  if ((flags & O_DIRECTORY) == 0) {
    if (const int rc = files_->Open(Path(sqe.addr), flags, &open.file); rc != 0) return rc;
  }
  return open_.Add(std::move(open));
}

int FileRequests::RenameAt(const io_uring_sqe& sqe) {
  if (const int failed = Failure(kRenameErrors); failed != 0) return failed;
  return files_->Rename(Path(sqe.addr), Path(sqe.addr2));
}

int FileRequests::UnlinkAt(const io_uring_sqe& sqe) {
  if (const int failed = Failure(kUnlinkErrors); failed != 0) return failed;
  return files_->Unlink(Path(sqe.addr));
}

int FileRequests::ReadFrom(const Open& open, const io_uring_sqe& sqe) {
  if (open.file == nullptr) return -EISDIR;
  if ((open.flags & O_ACCMODE) == O_WRONLY) return -EBADF;
  if (const int failed = Failure(kReadErrors); failed != 0) return failed;
  size_t n = sqe.len;
  if (n > 1 && world_->Happens(Fault::kShortFile)) n = 1 + world_->faults.Below(n - 1);
  auto* out = reinterpret_cast<std::byte*>(static_cast<uintptr_t>(sqe.addr));
  return files_->Read(open.file, sqe.off, std::span(out, n));
}

int FileRequests::WriteTo(const Open& open, const io_uring_sqe& sqe) {
  if (open.file == nullptr || (open.flags & O_ACCMODE) == O_RDONLY) return -EBADF;
  if (const int failed = Failure(kWriteErrors); failed != 0) return failed;
  size_t n = sqe.len;
  if (n > 1 && world_->Happens(Fault::kShortFile)) n = 1 + world_->faults.Below(n - 1);
  const uint64_t offset = (open.flags & O_APPEND) != 0 ? open.file->size() : sqe.off;
  const auto* data = reinterpret_cast<const std::byte*>(static_cast<uintptr_t>(sqe.addr));
  return files_->Write(open.file, offset, std::span(data, n));
}

int FileRequests::Sync(const Open& open) {
  if (const int failed = Failure(kSyncErrors); failed != 0) {
    if (open.file != nullptr) files_->FailSync(open.file, &world_->network);
    return failed;
  }
  return open.file == nullptr ? files_->SyncDirectory() : files_->Sync(open.file);
}

}  // namespace evring::sim
