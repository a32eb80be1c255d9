// socket_io.h: the requests that sockets are made of, as awaitables over a descriptor. What applications use is in
// net/.
//
// Await on a worker. The descriptor and the memory are borrowed until the await has ended. A stop cancels: kCancelled;
// a request that succeeds in spite of it is a success. Errors carry their errno (kevent/errors.h).

#ifndef EVRING_RUNTIME_SOCKET_IO_H_
#define EVRING_RUNTIME_SOCKET_IO_H_

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kevent/errors.h"
#include "runtime/io.h"

namespace evring {
namespace internal {

class ReceiveOperation final : public IoOperation<ReceiveOperation> {
 public:
  ReceiveOperation(int fd, std::span<std::byte> buffer)
      : IoOperation(kevent::EventType::kReceive, fd), buffer_(buffer) {}

 private:
  friend IoOperation;
  void Prepare(io_uring_sqe* sqe) { io_uring_prep_recv(sqe, fd(), buffer_.data(), buffer_.size(), 0); }
  absl::StatusOr<size_t> Result(int32_t result, uint32_t) {
    if (result < 0) return kevent::ErrnoToStatus(result, "receive", fd());
    return static_cast<size_t>(result);
  }

  const std::span<std::byte> buffer_;
};

class ConnectOperation final : public IoOperation<ConnectOperation> {
 public:
  ConnectOperation(int fd, const sockaddr* address, socklen_t size)
      : IoOperation(kevent::EventType::kConnect, fd), address_(address), size_(size) {}

 private:
  friend IoOperation;
  void Prepare(io_uring_sqe* sqe) { io_uring_prep_connect(sqe, fd(), address_, size_); }
  absl::Status Result(int32_t result, uint32_t) { return kevent::ErrnoToStatus(result, "connect", fd()); }

  const sockaddr* const address_;
  const socklen_t size_;
};

// What a send of `size` bytes has come to. The kernel goes on by itself after a partial send (MSG_WAITALL), so a short
// count means that the connection broke on the way, or that a stop came.
absl::Status SendResult(int32_t result, size_t size, bool stopped, int fd);

class SendOperation final : public IoOperation<SendOperation> {
 public:
  SendOperation(int fd, std::span<const std::byte> data) : IoOperation(kevent::EventType::kSend, fd), data_(data) {}

  bool await_ready() const noexcept { return data_.empty(); }

 private:
  friend IoOperation;
  void Prepare(io_uring_sqe* sqe) {
    io_uring_prep_send(sqe, fd(), data_.data(), data_.size(), MSG_WAITALL | MSG_NOSIGNAL);
  }
  absl::Status Result(int32_t result, uint32_t) {
    if (result >= 0 && static_cast<size_t>(result) == data_.size()) [[likely]]
      return absl::OkStatus();
    return SendResult(result, data_.size(), stopped(), fd());
  }

  const std::span<const std::byte> data_;
};

// The same for memory in pieces.
class SendVectorOperation final : public IoOperation<SendVectorOperation> {
 public:
  SendVectorOperation(int fd, std::span<const iovec> pieces)
      : IoOperation(kevent::EventType::kSend, fd), message_{}, size_(0) {
    message_.msg_iov = const_cast<iovec*>(pieces.data());  // read only, in spite of its type
    message_.msg_iovlen = pieces.size();
    for (const iovec& piece : pieces) size_ += piece.iov_len;
  }

  bool await_ready() const noexcept { return size_ == 0; }

 private:
  friend IoOperation;
  void Prepare(io_uring_sqe* sqe) { io_uring_prep_sendmsg(sqe, fd(), &message_, MSG_WAITALL | MSG_NOSIGNAL); }
  absl::Status Result(int32_t result, uint32_t) {
    if (result >= 0 && static_cast<size_t>(result) == size_) [[likely]]
      return absl::OkStatus();
    return SendResult(result, size_, stopped(), fd());
  }

  msghdr message_;
  size_t size_;
};

}  // namespace internal

// Receives once: what is there, at most buffer.size() bytes; waits for the first. 0: end of stream.
inline Awaitable<internal::ReceiveOperation, int, std::span<std::byte>> ReceiveInto(int fd,
                                                                                    std::span<std::byte> buffer) {
  return Awaitable<internal::ReceiveOperation, int, std::span<std::byte>>(fd, buffer);
}

// Sends all of `data`. After an error or a stop, part of it may have been sent.
inline Awaitable<internal::SendOperation, int, std::span<const std::byte>> SendAll(int fd,
                                                                                   std::span<const std::byte> data) {
  return Awaitable<internal::SendOperation, int, std::span<const std::byte>>(fd, data);
}

// Sends all of `pieces`, borrowed like what they point to. At most IOV_MAX of them (EMSGSIZE).
inline Awaitable<internal::SendVectorOperation, int, std::span<const iovec>> SendAll(int fd,
                                                                                     std::span<const iovec> pieces) {
  return Awaitable<internal::SendVectorOperation, int, std::span<const iovec>>(fd, pieces);
}

inline Awaitable<internal::ConnectOperation, int, const sockaddr*, socklen_t> Connect(int fd, const sockaddr* address,
                                                                                      socklen_t size) {
  return Awaitable<internal::ConnectOperation, int, const sockaddr*, socklen_t>(fd, address, size);
}

}  // namespace evring

#endif  // EVRING_RUNTIME_SOCKET_IO_H_
