// socket.h: a socket's descriptor and its options: what streams, listeners and whatever comes beside them share.

#ifndef EVRING_NET_SOCKET_H_
#define EVRING_NET_SOCKET_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kevent/owned_descriptor.h"
#include "net/address.h"

namespace evring::net {

// Owns one socket descriptor. Calls are for one thread at a time; none of them blocks.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}

  // A stream socket for the family of an address, close-on-exec. Errors: kResourceExhausted (EMFILE, ENFILE, ENOBUFS,
  // ENOMEM), kInvalidArgument for a family that the system does not have.
  static absl::StatusOr<Socket> Open(int family);

  int fd() const { return fd_.get(); }
  bool valid() const { return fd_.valid(); }
  int Release() { return fd_.Release(); }
  void Close() { fd_.Close(); }

  absl::StatusOr<SocketAddress> LocalAddress() const;
  absl::StatusOr<SocketAddress> PeerAddress() const;

  // Sets an option of setsockopt(2) that is an int; kInvalidArgument where the socket has no such option.
  absl::Status SetOption(int level, int option, int value, const char* name);
  absl::StatusOr<int> GetOption(int level, int option, const char* name) const;

 private:
  kevent::OwnedDescriptor fd_;
};

}  // namespace evring::net

#endif  // EVRING_NET_SOCKET_H_
