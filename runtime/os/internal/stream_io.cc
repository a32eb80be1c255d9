#include "runtime/os/internal/stream_io.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kevent/errors.h"
#include "runtime/io.h"
#include "runtime/os/internal/growing_content.h"
#include "runtime/os/internal/request.h"
#include "runtime/worker.h"

namespace evring::internal {
namespace {

constexpr int kNoSignal = 0x100;          // RWF_NOSIGNAL (include/uapi/linux/fs.h)
constexpr uint64_t kHere = ~uint64_t{0};  // where the descriptor stands; of a stream, nothing

// Whether this worker's kernel has refused RWF_NOSIGNAL.
struct NoSignalRefused {
  bool refused = false;
};

class ReadHere final : public IoOperation<ReadHere> {
 public:
  ReadHere(int fd, std::span<std::byte> buffer) : IoOperation(kevent::EventType::kFileRead, fd), buffer_(buffer) {}

 private:
  friend IoOperation;
  void Prepare(io_uring_sqe* sqe) {
    io_uring_prep_read(sqe, fd(), buffer_.data(), RequestBytes(buffer_.size()), kHere);
  }
  int32_t Result(int32_t result, uint32_t) { return result; }

  const std::span<std::byte> buffer_;
};

class WriteHere final : public IoOperation<WriteHere> {
 public:
  WriteHere(int fd, std::span<const std::byte> data) : IoOperation(kevent::EventType::kFileWrite, fd), data_(data) {}

 private:
  friend IoOperation;
  void Prepare(io_uring_sqe* sqe) {
    io_uring_prep_write(sqe, fd(), data_.data(), RequestBytes(data_.size()), kHere);
    says_no_signal_ = !Worker::Current()->Local<NoSignalRefused>().refused;
    if (says_no_signal_) {
      sqe->rw_flags = kNoSignal;
    } else {
      sqe->flags |= IOSQE_ASYNC;
    }
  }
  // -EINTR: nothing was written, ask again.
  int32_t Result(int32_t result, uint32_t) {
    if (result != -EOPNOTSUPP || !says_no_signal_) return result;
    Worker::Current()->Local<NoSignalRefused>().refused = true;
    return -EINTR;
  }

  const std::span<const std::byte> data_;
  bool says_no_signal_ = false;
};

class PollHere final : public IoOperation<PollHere> {
 public:
  PollHere(int fd, short events) : IoOperation(kevent::EventType::kPoll, fd), events_(events) {}

 private:
  friend IoOperation;
  void Prepare(io_uring_sqe* sqe) { io_uring_prep_poll_add(sqe, fd(), static_cast<unsigned>(events_)); }
  int32_t Result(int32_t result, uint32_t) { return result; }

  const short events_;
};

}  // namespace

Task<absl::StatusOr<size_t>> ReadStream(int fd, std::span<std::byte> buffer, const char* doing) {
  for (;;) {
    int32_t n = co_await ReadHere(fd, buffer);
    if (n >= 0) co_return static_cast<size_t>(n);
    if (n == -EAGAIN) n = co_await PollHere(fd, POLLIN);
    if (n < 0 && n != -EINTR) co_return kevent::ErrnoToStatus(n, doing, fd);
  }
}

Task<absl::StatusOr<std::string>> ReadStreamToEnd(int fd, size_t limit, const char* doing) {
  GrowingContent content(limit);
  for (;;) {
    const absl::StatusOr<size_t> n = co_await ReadStream(fd, content.Room(), doing);
    if (!n.ok()) co_return n.status();
    if (*n == 0) co_return std::move(content).Take();
    if (!content.Add(*n)) {
      co_return absl::ResourceExhaustedError(absl::StrCat(doing, " fd=", fd, ": more than ", limit, " bytes"));
    }
  }
}

Task<absl::Status> WriteStream(int fd, std::span<const std::byte> data, const char* doing) {
  while (!data.empty()) {
    int32_t n = co_await WriteHere(fd, data);
    if (n == 0) co_return kevent::ErrnoToStatus(EIO, absl::StrCat(doing, ": nothing was taken"), fd);
    if (n > 0) data = data.subspan(static_cast<size_t>(n));
    if (n == -EAGAIN) n = co_await PollHere(fd, POLLOUT);
    if (n < 0 && n != -EINTR) co_return kevent::ErrnoToStatus(n, doing, fd);
  }
  co_return absl::OkStatus();
}

}  // namespace evring::internal
