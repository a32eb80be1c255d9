#include "sim/address.h"

#include <algorithm>

namespace evring::sim {

Address::Address(const sockaddr* address, socklen_t size)
    : bytes_(reinterpret_cast<const char*>(address), address == nullptr ? 0 : size) {}

Address Address::Any(int family) {
  sockaddr_in6 any = {};
  any.sin6_family = static_cast<sa_family_t>(family);
  return {reinterpret_cast<const sockaddr*>(&any),
          static_cast<socklen_t>(family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6))};
}

std::string Address::host() const {
  if (family() == AF_INET && bytes_.size() >= sizeof(sockaddr_in)) return bytes_.substr(4, 4);
  if (family() == AF_INET6 && bytes_.size() >= sizeof(sockaddr_in6)) return bytes_.substr(8, 16);
  return "";
}

bool Address::any_host() const {
  const std::string name = host();
  return std::all_of(name.begin(), name.end(), [](char c) { return c == 0; });
}

uint16_t Address::port() const {
  if (host().empty()) return 0;
  return static_cast<uint16_t>(static_cast<unsigned char>(bytes_[2]) << 8 | static_cast<unsigned char>(bytes_[3]));
}

void Address::set_port(uint16_t port) {
  bytes_[2] = static_cast<char>(port >> 8);
  bytes_[3] = static_cast<char>(port & 0xff);
}

}  // namespace evring::sim
