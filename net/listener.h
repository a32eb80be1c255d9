// listener.h: a listening stream socket: TCP over IPv4 or IPv6, or Unix.
//
// One task at a time accepts, on any worker. Connections come by one request that stays armed (multishot accept); those
// that arrive while nobody accepts wait in order. A stop of the accepting task ends the wait with kCancelled;
// connections that come after it are kept for the next Accept(), and closed with the listener.

#ifndef EVRING_NET_LISTENER_H_
#define EVRING_NET_LISTENER_H_

#include <coroutine>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "kevent/check.h"
#include "net/address.h"
#include "net/socket.h"
#include "net/stream.h"
#include "runtime/multishot_socket.h"

namespace evring::net {

struct ListenOptions {
  ListenOptions() = default;
  // Connections that the kernel keeps for us; it takes no more than net.core.somaxconn.
  int backlog = 4096;
  // Take the port although connections of an earlier process still linger.
  bool reuse_address = true;
  // Several listeners on one port, between which the kernel spreads connections.
  bool reuse_port = false;
  // An IPv6 wildcard serves IPv4 too unless this is set.
  bool ipv6_only = false;
  // Remove a Unix path that is left from an earlier process, if nobody listens on it.
  bool unlink_stale_unix_path = true;
};

class Listener {
 public:
  Listener() = default;
  Listener(Listener&& other) noexcept { *this = std::move(other); }
  Listener& operator=(Listener&& other) noexcept;
  // Closes; connections in the kernel's queue are refused. A Unix path that was bound is removed. Nobody may be
  // waiting.
  ~Listener() { Close(); }

  // Binds and listens. Port 0: the kernel picks one, see LocalAddress(). Errors: kAlreadyExists (EADDRINUSE),
  // kPermissionDenied (ports below 1024, paths), kUnavailable (EADDRNOTAVAIL), kNotFound for the directory of a Unix
  // path, those of Socket::Open.
  static absl::StatusOr<Listener> Listen(const SocketAddress& address, const ListenOptions& options = ListenOptions());

  // The next connection. -> absl::StatusOr<Stream>
  // Errors: kResourceExhausted (EMFILE, ENFILE, ENOBUFS, ENOMEM): wait a moment and try again; kUnavailable (whatever
  // else goes wrong with that one connection: ECONNABORTED, EPROTO, EPERM from a firewall, …): try again, as accept(2)
  // asks for; kInvalidArgument after Shutdown.
  class AcceptOperation {
   public:
    explicit AcceptOperation(evring::internal::MultishotAccept* source) : operation_(source) {}
    bool await_ready() { return operation_.await_ready(); }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
      return operation_.await_suspend(handle);
    }
    absl::StatusOr<Stream> await_resume() {
      absl::StatusOr<int> fd = operation_.await_resume();
      if (!fd.ok()) return AcceptError(fd.status());
      return Stream(Socket(*fd));
    }

   private:
    evring::internal::MultishotAccept::Operation operation_;
  };
  Awaitable<AcceptOperation, evring::internal::MultishotAccept*> Accept() {
    EVRING_CHECK(acceptor_ != nullptr, "accept on a listener that does not listen");
    return Awaitable<AcceptOperation, evring::internal::MultishotAccept*>(acceptor_.get());
  }

  // Listens no more: an Accept() that waits, and every later one, answers kInvalidArgument (EINVAL); connections in the
  // kernel's queue are reset. Any thread, while the listener lives.
  void Shutdown();

  // Closes now. Idempotent.
  void Close();

  bool valid() const { return socket_.valid(); }
  Socket& socket() { return socket_; }
  absl::StatusOr<SocketAddress> LocalAddress() const { return socket_.LocalAddress(); }

 private:
  // What an error of accept(2) means for who accepts on.
  static absl::Status AcceptError(const absl::Status& status);

  struct CloseAcceptor {
    void operator()(evring::internal::MultishotAccept* acceptor) const { acceptor->Close(); }
  };

  Socket socket_;
  std::unique_ptr<evring::internal::MultishotAccept, CloseAcceptor> acceptor_;
  std::string unix_path_;  // to remove
};

}  // namespace evring::net

#endif  // EVRING_NET_LISTENER_H_
