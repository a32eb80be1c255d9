#include "net/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kevent/errors.h"
#include "kevent/kernel.h"

namespace evring::net {

using kevent::Kernel;

namespace {

// The path of a Unix address in the file system; empty for every other.
std::string FileSystemPath(const SocketAddress& address) {
  if (address.family() != AF_UNIX || address.size() <= offsetof(sockaddr_un, sun_path)) return "";
  const auto* local = reinterpret_cast<const sockaddr_un*>(address.data());
  return local->sun_path[0] == '\0' ? ""
                                    : std::string(local->sun_path, strnlen(local->sun_path, sizeof(local->sun_path)));
}

// Removes `path` if it is a socket that nobody listens on.
void RemoveStale(const SocketAddress& address, const std::string& path) {
  struct stat info;
  if (lstat(path.c_str(), &info) != 0 || !S_ISSOCK(info.st_mode)) return;
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return;
  // Refused is the proof; anything else (accepted, queue full, no permission) leaves it, and bind() will say why.
  if (connect(fd, address.data(), address.size()) != 0 && errno == ECONNREFUSED) unlink(path.c_str());
  close(fd);
}

}  // namespace

absl::StatusOr<Listener> Listener::Listen(const SocketAddress& address, const ListenOptions& options) {
  absl::StatusOr<Socket> socket = Socket::Open(address.family());
  if (!socket.ok()) return socket.status();
  const bool internet = address.family() == AF_INET || address.family() == AF_INET6;
  if (internet && options.reuse_address) {
    if (auto s = socket->SetOption(SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR"); !s.ok()) return s;
  }
  if (internet && options.reuse_port) {
    if (auto s = socket->SetOption(SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT"); !s.ok()) return s;
  }
  if (address.family() == AF_INET6) {
    if (auto s = socket->SetOption(IPPROTO_IPV6, IPV6_V6ONLY, options.ipv6_only, "IPV6_V6ONLY"); !s.ok()) return s;
  }
  const std::string path = FileSystemPath(address);
  if (!path.empty() && options.unlink_stale_unix_path) RemoveStale(address, path);
  if (const int rc = Kernel::Current()->Bind(socket->fd(), address.data(), address.size()); rc != 0) {
    return kevent::ErrnoToStatus(rc, absl::StrCat("bind ", address.ToString()));
  }
  if (const int rc = Kernel::Current()->Listen(socket->fd(), options.backlog); rc != 0) {
    if (!path.empty()) unlink(path.c_str());
    return kevent::ErrnoToStatus(rc, absl::StrCat("listen ", address.ToString()));
  }
  Listener listener;
  listener.acceptor_.reset(new evring::internal::MultishotAccept(socket->fd()));
  listener.socket_ = *std::move(socket);
  listener.unix_path_ = path;
  return listener;
}

absl::Status Listener::AcceptError(const absl::Status& status) {
  const int error = kevent::StatusErrno(status);
  switch (error) {
    // Linux hands on what went wrong with the connection that it takes from the queue; accept(2), "Error handling" and
    // the end of "Errors". By itself such an errno would mean an argument that is wrong, a deadline, a lack of rights.
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETDOWN:
    case ENETUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case ENOSR:
    case EOPNOTSUPP:
    case EPERM:
    case EPROTO:
    case EPROTONOSUPPORT:
    case ESOCKTNOSUPPORT:
    case ETIMEDOUT:
      return kevent::StatusWithErrno(error, absl::StatusCode::kUnavailable, status.message());
    default:
      return status;
  }
}

Listener& Listener::operator=(Listener&& other) noexcept {
  if (this != &other) {
    Close();
    socket_ = std::move(other.socket_);
    acceptor_ = std::move(other.acceptor_);
    unix_path_ = std::exchange(other.unix_path_, {});
  }
  return *this;
}

void Listener::Shutdown() {
  // Cannot fail on a listening socket; on one that listens no more there is nothing left to do.
  Kernel::Current()->Shutdown(socket_.fd(), SHUT_RDWR);
  // A multishot accept of a Unix socket sleeps on.
  if (acceptor_ != nullptr) acceptor_->End(-EINVAL);
}

void Listener::Close() {
  if (acceptor_ != nullptr) socket_.Release();  // closed by the acceptor, when its request has ended
  acceptor_.reset();
  socket_.Close();
  if (!unix_path_.empty()) unlink(std::exchange(unix_path_, {}).c_str());
}

}  // namespace evring::net
