// stream.h: a connected stream socket: TCP over IPv4 or IPv6, or Unix.
//
// One task may receive and another send at the same time; two must not do the same. Await on a worker. Every wait ends
// with kCancelled when its task is asked to stop; then nothing that arrived is lost (the next receive has it), but of a
// cancelled send a part may have gone out. Errors carry their errno; a connection that the peer has reset answers
// kUnavailable (ECONNRESET), sending after it has gone kFailedPrecondition (EPIPE). To bound a wait in time, await it
// in a task of its own, under WithTimeout() (runtime/timeout.h).
//
// Two ways to receive. Read(): into memory of the caller, lent until the await ends. Receive(): into a buffer that the
// kernel picks when the data comes, from a pool that all connections of a worker share: an idle connection holds no
// memory and arms no request per receive (multishot). One way per stream: Read() after a Receive() is a failed check.

#ifndef EVRING_NET_STREAM_H_
#define EVRING_NET_STREAM_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kevent/check.h"
#include "net/address.h"
#include "net/socket.h"
#include "runtime/multishot_socket.h"
#include "runtime/socket_io.h"
#include "runtime/task.h"

namespace evring::net {

class Stream {
 public:
  enum class Direction { kReceive, kSend, kBoth };

  Stream() = default;
  explicit Stream(Socket socket) : socket_(std::move(socket)) {}
  Stream(Stream&&) noexcept = default;
  Stream& operator=(Stream&& other) noexcept {
    if (this != &other) {
      Close();
      socket_ = std::move(other.socket_);
      receiver_ = std::move(other.receiver_);
    }
    return *this;
  }
  // Closes. What was sent still reaches the peer; what was received and not taken is dropped (the peer of a TCP
  // connection then sees a reset). No task may be waiting on the stream.
  ~Stream() { Close(); }

  // Connects. Errors: kUnavailable (ECONNREFUSED, EHOSTUNREACH, …), kDeadlineExceeded (ETIMEDOUT), kNotFound for a Unix
  // path that is not there, those of Socket::Open, kCancelled. From `local`, if it is given: those of bind(2) too,
  // kAlreadyExists (EADDRINUSE) and kUnavailable (EADDRNOTAVAIL) among them.
  static Task<absl::StatusOr<Stream>> Connect(SocketAddress address, SocketAddress local = SocketAddress());

  // Two connected Unix streams.
  static absl::StatusOr<std::pair<Stream, Stream>> Pair();

  bool valid() const { return socket_.valid(); }
  Socket& socket() { return socket_; }
  const Socket& socket() const { return socket_; }

  // Some bytes, at least one, at most buffer.size(); 0: the peer sends no more. -> absl::StatusOr<size_t>
  auto Read(std::span<std::byte> buffer) {
    EVRING_CHECK(receiver_ == nullptr, "a stream is received from in one way");
    return ReceiveInto(socket_.fd(), buffer);
  }

  // The next bytes, empty at the end of the stream. -> absl::StatusOr<ReceivedBuffer>
  Awaitable<evring::internal::MultishotReceive::Operation, evring::internal::MultishotReceive*> Receive() {
    return Awaitable<evring::internal::MultishotReceive::Operation, evring::internal::MultishotReceive*>(receiver());
  }

  // Whether it is known already that the next Receive() gives no data: the end has come, or an error. Does not wait or
  // look; false says nothing. By the task that receives.
  bool AtEnd() const { return receiver_ != nullptr && receiver_->EndsNext(); }

  // Sends all of it. -> absl::Status
  auto Write(std::span<const std::byte> data) { return SendAll(socket_.fd(), data); }
  // The same for memory in up to IOV_MAX pieces. The array is borrowed too. -> absl::Status
  auto WriteV(std::span<const iovec> pieces) { return SendAll(socket_.fd(), pieces); }

  // Half-close: the peer reads the end of the stream after what was sent (kSend); receives end (kReceive). Does not
  // wait. kFailedPrecondition (ENOTCONN) if the peer has gone already.
  absl::Status Shutdown(Direction direction);

  // Bytes that were written and that the peer's system has not confirmed; 0 for a Unix stream. What is closed while
  // there are some, with data of the peer unread, may not reach it: a reset overtakes them. Negative: the socket has
  // failed.
  int UndeliveredBytes() const;

  // Closes now. Idempotent.
  void Close();

  // TCP only, else kUnimplemented or kInvalidArgument. Small writes go out at once (on) or are gathered (off).
  absl::Status SetNoDelay(bool on);
  // Probes after `idle` without traffic, every `interval`, gives the peer up after `count` without an answer.
  absl::Status SetKeepAlive(bool on, absl::Duration idle = absl::Minutes(2),
                            absl::Duration interval = absl::Seconds(15), int count = 4);
  // The kernel's buffers, in bytes (it doubles them).
  absl::Status SetReceiveBufferBytes(int bytes);
  absl::Status SetSendBufferBytes(int bytes);
  // How long sent data may stay unacknowledged before the connection is given up (TCP_USER_TIMEOUT).
  absl::Status SetUserTimeout(absl::Duration timeout);

 private:
  struct CloseReceiver {
    void operator()(evring::internal::MultishotReceive* receiver) const { receiver->Close(); }
  };

  evring::internal::MultishotReceive* receiver() {
    if (receiver_ == nullptr) [[unlikely]]
      receiver_.reset(new evring::internal::MultishotReceive(socket_.fd()));
    return receiver_.get();
  }

  Socket socket_;
  std::unique_ptr<evring::internal::MultishotReceive, CloseReceiver> receiver_;  // made by the first Receive()
};

}  // namespace evring::net

#endif  // EVRING_NET_STREAM_H_
