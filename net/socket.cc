#include "net/socket.h"

#include <sys/socket.h>

#include "absl/strings/str_cat.h"
#include "kevent/errors.h"
#include "kevent/kernel.h"

namespace evring::net {

using kevent::Kernel;

absl::StatusOr<Socket> Socket::Open(int family) {
  // Blocking on purpose: the ring waits for readiness by itself; with O_NONBLOCK it would answer EAGAIN.
  const int fd = Kernel::Current()->Socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return kevent::ErrnoToStatus(fd, "socket");
  return Socket(fd);
}

absl::StatusOr<SocketAddress> Socket::LocalAddress() const {
  SocketAddress address;
  socklen_t size = SocketAddress::capacity();
  const int rc = Kernel::Current()->GetSockName(fd(), address.mutable_data(), &size);
  if (rc < 0) return kevent::ErrnoToStatus(rc, "getsockname", fd());
  address.set_size(size);
  return address;
}

absl::StatusOr<SocketAddress> Socket::PeerAddress() const {
  SocketAddress address;
  socklen_t size = SocketAddress::capacity();
  const int rc = Kernel::Current()->GetPeerName(fd(), address.mutable_data(), &size);
  if (rc < 0) return kevent::ErrnoToStatus(rc, "getpeername", fd());
  address.set_size(size);
  return address;
}

absl::Status Socket::SetOption(int level, int option, int value, const char* name) {
  const int rc = Kernel::Current()->SetSockOpt(fd(), level, option, &value, sizeof(value));
  if (rc == 0) return absl::OkStatus();
  return kevent::ErrnoToStatus(rc, absl::StrCat("setsockopt ", name), fd());
}

absl::StatusOr<int> Socket::GetOption(int level, int option, const char* name) const {
  int value = 0;
  socklen_t size = sizeof(value);
  const int rc = Kernel::Current()->GetSockOpt(fd(), level, option, &value, &size);
  if (rc == 0) return value;
  return kevent::ErrnoToStatus(rc, absl::StrCat("getsockopt ", name), fd());
}

}  // namespace evring::net
