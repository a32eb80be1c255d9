// address.h: the addresses of simulated sockets. The part without the port names a host.

#ifndef EVRING_SIM_ADDRESS_H_
#define EVRING_SIM_ADDRESS_H_

#include <netinet/in.h>
#include <sys/socket.h>

#include <compare>
#include <cstdint>
#include <string>

namespace evring::sim {

// A socket address as the kernel holds it, to be compared.
class Address {
 public:
  Address() = default;
  Address(const sockaddr* address, socklen_t size);
  // Every host of AF_INET or AF_INET6, port 0.
  static Address Any(int family);

  int family() const { return empty() ? AF_UNSPEC : reinterpret_cast<const sockaddr*>(bytes_.data())->sa_family; }
  bool empty() const { return bytes_.size() < sizeof(sa_family_t); }
  const std::string& bytes() const { return bytes_; }

  // Of AF_INET and AF_INET6.
  uint16_t port() const;
  void set_port(uint16_t port);
  // The address without the port: a host.
  std::string host() const;
  bool any_host() const;

  auto operator<=>(const Address&) const = default;

 private:
  std::string bytes_;
};

}  // namespace evring::sim

#endif  // EVRING_SIM_ADDRESS_H_
