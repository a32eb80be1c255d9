// file_io.h: reading and writing files at a place, as awaitables over a descriptor.
//
// Await on a worker. The descriptor and the memory are borrowed until the await has ended. What the page cache has is
// read in the enter that submits it; the rest waits in the kernel's own threads. A stop cancels what has not begun.

#ifndef EVRING_RUNTIME_FILE_IO_H_
#define EVRING_RUNTIME_FILE_IO_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "kevent/errors.h"
#include "runtime/io.h"

namespace evring {
namespace internal {

class FileReadOperation final : public IoOperation<FileReadOperation> {
 public:
  FileReadOperation(int fd, std::span<std::byte> buffer, uint64_t offset)
      : IoOperation(kevent::EventType::kFileRead, fd), buffer_(buffer), offset_(offset) {}

 private:
  friend IoOperation;
  void Prepare(io_uring_sqe* sqe) {
    io_uring_prep_read(sqe, fd(), buffer_.data(), static_cast<unsigned>(buffer_.size()), offset_);
  }
  absl::StatusOr<size_t> Result(int32_t result, uint32_t) {
    if (result < 0) return kevent::ErrnoToStatus(result, "read", fd());
    return static_cast<size_t>(result);
  }

  const std::span<std::byte> buffer_;
  const uint64_t offset_;
};

}  // namespace internal

// Reads what is there at `offset`, at most buffer.size() bytes (and 2^31 - 1); 0 at the end of the file.
// -> absl::StatusOr<size_t>. Errors: pread(2)'s, kCancelled.
inline auto ReadAt(int fd, std::span<std::byte> buffer, uint64_t offset) {
  return Awaitable<internal::FileReadOperation, int, std::span<std::byte>, uint64_t>(
      fd, buffer.first(buffer.size() < INT32_MAX ? buffer.size() : INT32_MAX), offset);
}

}  // namespace evring

#endif  // EVRING_RUNTIME_FILE_IO_H_
