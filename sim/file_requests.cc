#include "sim/file_requests.h"

#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>

namespace evring::sim {
namespace {

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
      return files_->Rename(Path(sqe.addr), Path(sqe.addr2));
    case IORING_OP_UNLINKAT:
      return files_->Unlink(Path(sqe.addr));
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

int FileRequests::OpenAt(const io_uring_sqe& sqe) {
  const int flags = static_cast<int>(sqe.open_flags);
  Open open{nullptr, flags};
  if ((flags & O_DIRECTORY) == 0) {
    if (const int rc = files_->Open(Path(sqe.addr), flags, &open.file); rc != 0) return rc;
  }
  return open_.Add(std::move(open));
}

int FileRequests::ReadFrom(const Open& open, const io_uring_sqe& sqe) {
  if (open.file == nullptr) return -EISDIR;
  if ((open.flags & O_ACCMODE) == O_WRONLY) return -EBADF;
  if (world_->Happens(Fault::kFileError)) return -EIO;
  size_t n = sqe.len;
  if (n > 1 && world_->Happens(Fault::kShortFile)) n = 1 + world_->faults.Below(n - 1);
  auto* out = reinterpret_cast<std::byte*>(static_cast<uintptr_t>(sqe.addr));
  return files_->Read(open.file, sqe.off, std::span(out, n));
}

int FileRequests::WriteTo(const Open& open, const io_uring_sqe& sqe) {
  if (open.file == nullptr || (open.flags & O_ACCMODE) == O_RDONLY) return -EBADF;
  if (world_->Happens(Fault::kFileError)) return world_->faults.Below(2) == 0 ? -EIO : -ENOSPC;
  size_t n = sqe.len;
  if (n > 1 && world_->Happens(Fault::kShortFile)) n = 1 + world_->faults.Below(n - 1);
  const uint64_t offset = (open.flags & O_APPEND) != 0 ? open.file->size() : sqe.off;
  const auto* data = reinterpret_cast<const std::byte*>(static_cast<uintptr_t>(sqe.addr));
  return files_->Write(open.file, offset, std::span(data, n));
}

int FileRequests::Sync(const Open& open) {
  if (world_->Happens(Fault::kFileError)) {
    if (open.file != nullptr) files_->FailSync(open.file, &world_->network);
    return -EIO;
  }
  return open.file == nullptr ? files_->SyncDirectory() : files_->Sync(open.file);
}

}  // namespace evring::sim
