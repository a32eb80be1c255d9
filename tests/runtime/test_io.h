// test_io.h: a pipe, and the simplest operation on a descriptor.

#ifndef EVRING_TESTS_RUNTIME_TEST_IO_H_
#define EVRING_TESTS_RUNTIME_TEST_IO_H_

#include <fcntl.h>
#include <liburing.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "kevent/event.h"
#include "runtime/io.h"

namespace evring::testing {

class Pipe {
 public:
  Pipe() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    out_ = ends[0];
    in_ = ends[1];
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    close(out_);
    CloseIn();
  }

  int out() const { return out_; }
  int in() const { return in_; }
  void CloseIn() {
    if (in_ >= 0) close(std::exchange(in_, -1));
  }
  // Any thread, also in the middle of a task: blocks only if the pipe is full.
  void Write(std::string_view text) const {
    EXPECT_EQ(write(in_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  // How many bytes are there to be read.
  int Readable() const {
    int n = -1;
    EXPECT_EQ(ioctl(out_, FIONREAD, &n), 0);
    return n;
  }

 private:
  int out_ = -1;
  int in_ = -1;
};

class ReadOperation final : public IoOperation<ReadOperation> {
 public:
  ReadOperation(int fd, std::span<std::byte> buffer) : IoOperation(kevent::EventType::kFileRead, fd), buffer_(buffer) {}

 private:
  friend IoOperation;
  void Prepare(io_uring_sqe* sqe) {
    io_uring_prep_read(sqe, fd(), buffer_.data(), static_cast<unsigned>(buffer_.size()), -1);
  }
  absl::StatusOr<size_t> Result(int32_t result, uint32_t) {
    if (result < 0) return kevent::ErrnoToStatus(result, "read", fd());
    return static_cast<size_t>(result);
  }

  const std::span<std::byte> buffer_;
};

// What is there, at most buffer.size() bytes; waits for the first. 0: end of file.
inline Awaitable<ReadOperation, int, std::span<std::byte>> ReadOnce(int fd, std::span<std::byte> buffer) {
  return Awaitable<ReadOperation, int, std::span<std::byte>>(fd, buffer);
}

}  // namespace evring::testing

#endif  // EVRING_TESTS_RUNTIME_TEST_IO_H_
