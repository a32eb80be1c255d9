#include "runtime/os/pipe.h"

#include <fcntl.h>

#include "kevent/errors.h"
#include "kevent/kernel.h"
#include "runtime/os/internal/stream_io.h"

namespace evring {

absl::StatusOr<Pipe> Pipe::Create() {
  int fds[2];
  const int rc = kevent::Kernel::Current()->Pipe2(fds, O_CLOEXEC);
  if (rc < 0) return kevent::ErrnoToStatus(rc, "pipe2");
  Pipe pipe;
  pipe.reader = PipeReader(fds[0]);
  pipe.writer = PipeWriter(fds[1]);
  return pipe;
}

Task<absl::StatusOr<size_t>> PipeReader::Read(std::span<std::byte> buffer) const {
  return internal::ReadStream(fd(), buffer, "read of a pipe");
}

Task<absl::StatusOr<std::string>> PipeReader::ReadAll(size_t limit) const {
  return internal::ReadStreamToEnd(fd(), limit, "read of a pipe");
}

Task<absl::Status> PipeWriter::Write(std::span<const std::byte> data) const {
  return internal::WriteStream(fd(), data, "write to a pipe");
}

}  // namespace evring
