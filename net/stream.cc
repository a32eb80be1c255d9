#include "net/stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "kevent/errors.h"
#include "kevent/kernel.h"

namespace evring::net {

using kevent::Kernel;

namespace {

// Rounded up, so that a small duration is not "never" to the kernel.
int WholeSeconds(absl::Duration d) {
  return static_cast<int>(std::clamp<int64_t>(absl::ToInt64Seconds(absl::Ceil(d, absl::Seconds(1))), 1, 32767));
}

}  // namespace

Task<absl::StatusOr<Stream>> Stream::Connect(SocketAddress address, SocketAddress local) {
  absl::StatusOr<Socket> socket = Socket::Open(address.family());
  if (!socket.ok()) co_return socket.status();
  if (local.family() != AF_UNSPEC) {
    const int rc = Kernel::Current()->Bind(socket->fd(), local.data(), local.size());
    if (rc != 0) co_return kevent::ErrnoToStatus(rc, absl::StrCat("bind ", local.ToString()));
  }
  const absl::Status status = co_await evring::Connect(socket->fd(), address.data(), address.size());
  if (!status.ok()) {
    co_return kevent::StatusWithErrno(kevent::StatusErrno(status), status.code(),
                                      absl::StrCat(status.message(), " to ", address.ToString()));
  }
  co_return Stream(*std::move(socket));
}

absl::StatusOr<std::pair<Stream, Stream>> Stream::Pair() {
  int fds[2];
  const int rc = Kernel::Current()->SocketPair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);
  if (rc != 0) return kevent::ErrnoToStatus(rc, "socketpair");
  return std::pair<Stream, Stream>(Stream(Socket(fds[0])), Stream(Socket(fds[1])));
}

absl::Status Stream::Shutdown(Direction direction) {
  const int how = direction == Direction::kReceive ? SHUT_RD : direction == Direction::kSend ? SHUT_WR : SHUT_RDWR;
  const int rc = Kernel::Current()->Shutdown(socket_.fd(), how);
  if (rc == 0) return absl::OkStatus();
  return kevent::ErrnoToStatus(rc, "shutdown", socket_.fd());
}

int Stream::UndeliveredBytes() const { return Kernel::Current()->Undelivered(socket_.fd()); }

void Stream::Close() {
  if (receiver_ != nullptr) socket_.Release();  // closed by the receiver, when its request has ended
  receiver_.reset();
  socket_.Close();
}

absl::Status Stream::SetNoDelay(bool on) { return socket_.SetOption(IPPROTO_TCP, TCP_NODELAY, on, "TCP_NODELAY"); }

absl::Status Stream::SetKeepAlive(bool on, absl::Duration idle, absl::Duration interval, int count) {
  absl::Status status = socket_.SetOption(SOL_SOCKET, SO_KEEPALIVE, on, "SO_KEEPALIVE");
  if (!status.ok() || !on) return status;
  status = socket_.SetOption(IPPROTO_TCP, TCP_KEEPIDLE, WholeSeconds(idle), "TCP_KEEPIDLE");
  if (status.ok()) status = socket_.SetOption(IPPROTO_TCP, TCP_KEEPINTVL, WholeSeconds(interval), "TCP_KEEPINTVL");
  if (status.ok()) status = socket_.SetOption(IPPROTO_TCP, TCP_KEEPCNT, count, "TCP_KEEPCNT");
  return status;
}

absl::Status Stream::SetReceiveBufferBytes(int bytes) {
  return socket_.SetOption(SOL_SOCKET, SO_RCVBUF, bytes, "SO_RCVBUF");
}

absl::Status Stream::SetSendBufferBytes(int bytes) {
  return socket_.SetOption(SOL_SOCKET, SO_SNDBUF, bytes, "SO_SNDBUF");
}

absl::Status Stream::SetUserTimeout(absl::Duration timeout) {
  const int64_t ms = absl::ToInt64Milliseconds(absl::Ceil(timeout, absl::Milliseconds(1)));
  return socket_.SetOption(IPPROTO_TCP, TCP_USER_TIMEOUT,
                           static_cast<int>(std::clamp<int64_t>(ms, 0, std::numeric_limits<int>::max())),
                           "TCP_USER_TIMEOUT");
}

}  // namespace evring::net
