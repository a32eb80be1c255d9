// pipe.h: pipes: bytes from one task, or process, to another, in order.
//
//   absl::StatusOr<Pipe> pipe = Pipe::Create();
//   if (!pipe.ok()) co_return pipe.status();
//   const std::string_view text = "some text";
//   absl::Status status = co_await pipe->writer.Write(std::as_bytes(std::span(text)));
//   if (!status.ok()) co_return status;
//   pipe->writer.Close();
//   co_return co_await pipe->reader.ReadAll(/*limit=*/1000);
//
// Each end owns its descriptor, which programs that are started do not inherit (O_CLOEXEC). Await on a worker. What is
// lent is borrowed until the await has ended. A stop ends a wait with kCancelled: no byte is lost by a read, of a write
// a part may have gone. Errors carry their errno (kevent/errors.h) and name the call and the descriptor.
//
// Several tasks may read, or write, at the same time: a read takes what is next, and up to PIPE_BUF (4096) bytes of one
// write stay together, pipe(7).
//
// A write that nobody will read answers kFailedPrecondition (EPIPE); no signal is raised, whatever the process does
// about SIGPIPE.

#ifndef EVRING_RUNTIME_OS_PIPE_H_
#define EVRING_RUNTIME_OS_PIPE_H_

#include <cstddef>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kevent/owned_descriptor.h"
#include "runtime/task.h"

namespace evring {

// Movable; outlives its operations.
class PipeReader {
 public:
  PipeReader() = default;
  // Takes over `fd`, an end of a pipe that was made elsewhere, or a FIFO, with or without O_NONBLOCK.
  explicit PipeReader(int fd) : fd_(fd) {}

  int fd() const { return fd_.get(); }
  bool valid() const { return fd_.valid(); }
  void Close() { fd_.Close(); }
  // It is the caller's to close now.
  [[nodiscard]] int Release() { return fd_.Release(); }

  // Some bytes, at least one, at most buffer.size(); 0: every writer has closed and all was read, or the buffer is
  // empty.
  Task<absl::StatusOr<size_t>> Read(std::span<std::byte> buffer) const;
  // All up to the end. kResourceExhausted: there are more than `limit` bytes. After an error what was read is gone.
  Task<absl::StatusOr<std::string>> ReadAll(size_t limit) const;

 private:
  kevent::OwnedDescriptor fd_;
};

// Movable; outlives its operations.
class PipeWriter {
 public:
  PipeWriter() = default;
  explicit PipeWriter(int fd) : fd_(fd) {}

  int fd() const { return fd_.get(); }
  bool valid() const { return fd_.valid(); }
  // Readers find the end behind what was written, if nobody else has this end open.
  void Close() { fd_.Close(); }
  [[nodiscard]] int Release() { return fd_.Release(); }

  // All of `data`; waits while the pipe is full. After an error some of it may have been written.
  Task<absl::Status> Write(std::span<const std::byte> data) const;

 private:
  kevent::OwnedDescriptor fd_;
};

struct Pipe {
  // On a worker, or before a runtime is made. kResourceExhausted: EMFILE, ENFILE, or ENOMEM.
  static absl::StatusOr<Pipe> Create();

  PipeReader reader;
  PipeWriter writer;
};

}  // namespace evring

#endif  // EVRING_RUNTIME_OS_PIPE_H_
