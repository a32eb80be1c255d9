// address.h: SocketAddress, where a socket is bound or connected to: IPv4, IPv6 with its scope, or Unix.
//
// A value: copy it freely, on any thread. It is also the buffer that the kernel fills (accept, getsockname): pass
// mutable_data() and capacity(), then say by set_size() how much the kernel wrote.
//
//   text                     family     meaning
//   127.0.0.1:80             AF_INET
//   [::1]:80                 AF_INET6
//   [fe80::1%eth0]:80        AF_INET6   with a scope, by the interface's name or number; printed as the number
//   unix:/run/a.sock         AF_UNIX    a path
//   unix:@name               AF_UNIX    an abstract name, unix(7); a file called @name is unix:./@name
//   unix:                    AF_UNIX    unnamed: what getpeername() says of a client that did not bind
//
// In a Unix name `\xHH` is the byte HH. ToString() writes control bytes and the backslash so: a peer chooses its own
// name, and must not be able to write lines into our logs.
//
// Checked by: tests/net/address_test.cc.

#ifndef EVRING_NET_ADDRESS_H_
#define EVRING_NET_ADDRESS_H_

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace evring::net {

class SocketAddress {
 public:
  SocketAddress();  // AF_UNSPEC, size 0

  // Reads the text forms above. No name is looked up: a host is a number. kInvalidArgument says what is wrong with it.
  static absl::StatusOr<SocketAddress> Parse(absl::string_view text);

  static SocketAddress Any4(uint16_t port);
  static SocketAddress Any6(uint16_t port);
  static SocketAddress Loopback4(uint16_t port);
  static SocketAddress Loopback6(uint16_t port);

  // A path, `@` and an abstract name, or nothing for the unnamed address; every byte counts as it stands.
  // kInvalidArgument: longer than sockaddr_un holds (a path 108 bytes, an abstract name 107), or a path with a NUL.
  static absl::StatusOr<SocketAddress> Unix(absl::string_view path);

  // Copies an address that a system call gave. kInvalidArgument: another family, or too short for its family.
  static absl::StatusOr<SocketAddress> FromSockaddr(const sockaddr* address, socklen_t size);

  const sockaddr* data() const { return &storage_.any; }
  socklen_t size() const { return size_; }

  // For the kernel to write to, at most capacity() bytes.
  sockaddr* mutable_data() { return &storage_.any; }
  void set_size(socklen_t size);
  static constexpr socklen_t capacity() { return sizeof(sockaddr_storage); }

  // AF_INET, AF_INET6, AF_UNIX or AF_UNSPEC.
  int family() const { return size_ < sizeof(sa_family_t) ? AF_UNSPEC : storage_.any.sa_family; }

  // In host order; 0 for a Unix address.
  uint16_t port() const;
  // The same host and another port. A Unix address stays as it is.
  SocketAddress WithPort(uint16_t port) const;
  // 127.0.0.0/8, ::1, and the former written as IPv6.
  bool is_loopback() const;

  // Parse() reads it back to an equal address. AF_UNSPEC alone, "unspecified", does not parse.
  std::string ToString() const;

  // Of the same family, with the same host, port, scope, or name. The flow label of IPv6 does not count.
  friend bool operator==(const SocketAddress& a, const SocketAddress& b);

  template <typename H>
  friend H AbslHashValue(H h, const SocketAddress& a) {
    return H::combine(std::move(h), a.family(), a.port(), a.scope(), a.host());
  }

 private:
  uint32_t scope() const { return family() == AF_INET6 ? storage_.v6.sin6_scope_id : 0; }
  // The bytes of the host, or of the Unix name: a path without its NUL, an abstract name with its leading one.
  absl::string_view host() const;

  union Storage {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
    sockaddr_un local;
    sockaddr_storage all;
  };
  Storage storage_;
  socklen_t size_;
};

}  // namespace evring::net

#endif  // EVRING_NET_ADDRESS_H_
