// test_io.h: a pipe, and the simplest operations on a descriptor.

#ifndef EVRING_TESTS_RUNTIME_TEST_IO_H_
#define EVRING_TESTS_RUNTIME_TEST_IO_H_

#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
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
#include "kevent/kernel.h"
#include "runtime/io.h"
#include "runtime/task.h"

namespace evring::testing {

// Of the kernel that serves the thread: in a task on a simulated machine a simulated one, which is made and goes there.
class Pipe {
 public:
  Pipe() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(kevent::Kernel::Current()->Pipe2(ends, O_CLOEXEC), 0);
    out_ = ends[0];
    in_ = ends[1];
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    kevent::Kernel::Current()->Close(out_);
    CloseIn();
  }

  int out() const { return out_; }
  int in() const { return in_; }
  void CloseIn() {
    if (in_ >= 0) kevent::Kernel::Current()->Close(std::exchange(in_, -1));
  }
  // Whether there is something to be read.
  bool HasBytes() const { return kevent::Kernel::Current()->PollNow(out_, POLLIN) == POLLIN; }

  // On this machine's kernel. Any thread, also in the middle of a task: blocks only if the pipe is full.
  void Write(std::string_view text) const {
    EXPECT_EQ(write(in_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  // The same: how many bytes are there to be read.
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

class WriteOperation final : public IoOperation<WriteOperation> {
 public:
  WriteOperation(int fd, std::span<const std::byte> data)
      : IoOperation(kevent::EventType::kFileWrite, fd), data_(data) {}

 private:
  friend IoOperation;
  void Prepare(io_uring_sqe* sqe) {
    io_uring_prep_write(sqe, fd(), data_.data(), static_cast<unsigned>(data_.size()), -1);
  }
  absl::StatusOr<size_t> Result(int32_t result, uint32_t) {
    if (result < 0) return kevent::ErrnoToStatus(result, "write", fd());
    return static_cast<size_t>(result);
  }

  const std::span<const std::byte> data_;
};

// Into a pipe, on whatever kernel. `text` is short, so that it goes in at once.
inline Task<> WriteText(const Pipe* pipe, std::string_view text) {
  const absl::StatusOr<size_t> n = co_await WriteOperation(pipe->in(), std::as_bytes(std::span(text)));
  EXPECT_TRUE(n.ok() && *n == text.size()) << n.status();
}

}  // namespace evring::testing

#endif  // EVRING_TESTS_RUNTIME_TEST_IO_H_
