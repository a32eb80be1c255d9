#include "net/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <string.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "kevent/check.h"

namespace evring::net {
namespace {

constexpr socklen_t kPathOffset = offsetof(sockaddr_un, sun_path);
// Linux takes a path that fills the field without a NUL, unix(7); an abstract name has a NUL before it.
constexpr size_t kPathMax = sizeof(sockaddr_un::sun_path);
constexpr size_t kAbstractMax = kPathMax - 1;

absl::Status Refuse(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("address \"", absl::CEscape(text), "\": ", why));
}

// A decimal number of at most `digits_max` digits and nothing else: no sign, no space.
std::optional<uint32_t> ParseNumber(absl::string_view text, size_t digits_max) {
  if (text.empty() || text.size() > digits_max) return std::nullopt;
  uint64_t value = 0;
  for (const char c : text) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return std::nullopt;
    value = value * 10 + static_cast<uint64_t>(c - '0');
  }
  if (value > UINT32_MAX) return std::nullopt;
  return static_cast<uint32_t>(value);
}

std::optional<uint16_t> ParsePort(absl::string_view text) {
  const std::optional<uint32_t> port = ParseNumber(text, 5);
  if (!port.has_value() || *port > UINT16_MAX) return std::nullopt;
  return static_cast<uint16_t>(*port);
}

// The number of an interface that is given by number or name; 0: there is none of that name.
uint32_t ParseScope(absl::string_view text) {
  if (const std::optional<uint32_t> number = ParseNumber(text, 10); number.has_value()) return *number;
  return if_nametoindex(std::string(text).c_str());
}

// Replaces each `\xHH` by its byte; nullopt for a backslash that starts anything else.
std::optional<std::string> Unescape(absl::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    if (text.front() != '\\') {
      bytes += text.front();
      text.remove_prefix(1);
      continue;
    }
    const absl::string_view escape = text.substr(0, 4);
    if (escape.size() < 4 || escape[1] != 'x' || !absl::ascii_isxdigit(static_cast<unsigned char>(escape[2])) ||
        !absl::ascii_isxdigit(static_cast<unsigned char>(escape[3]))) {
      return std::nullopt;
    }
    bytes += absl::HexStringToBytes(escape.substr(2));
    text.remove_prefix(4);
  }
  return bytes;
}

void AppendEscaped(absl::string_view bytes, std::string* text) {
  for (const char c : bytes) {
    if (c == '\\' || absl::ascii_iscntrl(static_cast<unsigned char>(c))) {
      absl::StrAppend(text, "\\x", absl::BytesToHexString(absl::string_view(&c, 1)));
    } else {
      *text += c;
    }
  }
}

// `text` is what the caller gave, for the error.
absl::StatusOr<SocketAddress> MakeUnix(absl::string_view text, bool abstract, absl::string_view name) {
  if (!abstract && name.find('\0') != absl::string_view::npos) return Refuse(text, "a path has no NUL byte");
  if (name.size() > (abstract ? kAbstractMax : kPathMax)) {
    return Refuse(text, absl::StrCat("a path has at most ", kPathMax, " bytes, an abstract name ", kAbstractMax));
  }
  sockaddr_un local = {};
  local.sun_family = AF_UNIX;
  memcpy(local.sun_path + (abstract ? 1 : 0), name.data(), name.size());
  // An abstract name ends where the size says, a path at its NUL; with neither, the address is unnamed.
  size_t size = kPathOffset + name.size() + (abstract || !name.empty() ? 1 : 0);
  if (size > sizeof(local)) size = sizeof(local);
  return SocketAddress::FromSockaddr(reinterpret_cast<const sockaddr*>(&local), static_cast<socklen_t>(size));
}

SocketAddress Make4(const in_addr& host, uint16_t port) {
  sockaddr_in v4 = {};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  v4.sin_addr = host;
  return SocketAddress::FromSockaddr(reinterpret_cast<const sockaddr*>(&v4), sizeof(v4)).value();
}

SocketAddress Make6(const in6_addr& host, uint16_t port, uint32_t scope) {
  sockaddr_in6 v6 = {};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  v6.sin6_addr = host;
  v6.sin6_scope_id = scope;
  return SocketAddress::FromSockaddr(reinterpret_cast<const sockaddr*>(&v6), sizeof(v6)).value();
}

absl::StatusOr<SocketAddress> ParseUnix(absl::string_view text, absl::string_view name) {
  const bool abstract = absl::ConsumePrefix(&name, "@");
  const std::optional<std::string> bytes = Unescape(name);
  if (!bytes.has_value()) return Refuse(text, "a backslash is written \\x5c, as any byte is \\x and two hex digits");
  return MakeUnix(text, abstract, *bytes);
}

// `[host%scope]:port`
absl::StatusOr<SocketAddress> Parse6(absl::string_view text) {
  const size_t close = text.find(']');
  if (close == absl::string_view::npos) return Refuse(text, "the bracket is not closed");
  absl::string_view host = text.substr(1, close - 1);
  absl::string_view rest = text.substr(close + 1);
  if (!absl::ConsumePrefix(&rest, ":")) return Refuse(text, "a port is missing: [host]:port");
  const std::optional<uint16_t> port = ParsePort(rest);
  if (!port.has_value()) return Refuse(text, "the port is not a number from 0 to 65535");

  uint32_t scope = 0;
  if (const size_t percent = host.find('%'); percent != absl::string_view::npos) {
    scope = ParseScope(host.substr(percent + 1));
    if (scope == 0) return Refuse(text, "the scope behind % is neither an interface of this machine nor its number");
    host = host.substr(0, percent);
  }
  in6_addr bytes;
  if (host.find('\0') != absl::string_view::npos || inet_pton(AF_INET6, std::string(host).c_str(), &bytes) != 1) {
    return Refuse(text, "what stands in brackets is not an IPv6 address");
  }
  return Make6(bytes, *port, scope);
}

// `host:port`
absl::StatusOr<SocketAddress> Parse4(absl::string_view text) {
  const size_t colon = text.find(':');
  if (colon == absl::string_view::npos) return Refuse(text, "a port is missing: host:port");
  const absl::string_view host = text.substr(0, colon);
  if (text.find(':', colon + 1) != absl::string_view::npos) {
    return Refuse(text, "an IPv6 address stands in brackets: [host]:port");
  }
  if (host.empty()) return Refuse(text, "a host is missing; every address of this machine is 0.0.0.0 or [::]");
  in_addr bytes;
  if (host.find('\0') != absl::string_view::npos || inet_pton(AF_INET, std::string(host).c_str(), &bytes) != 1) {
    return Refuse(text, "the host is not an IPv4 address, and names are not looked up here");
  }
  const std::optional<uint16_t> port = ParsePort(text.substr(colon + 1));
  if (!port.has_value()) return Refuse(text, "the port is not a number from 0 to 65535");
  return Make4(bytes, *port);
}

}  // namespace

SocketAddress::SocketAddress() : size_(0) { memset(&storage_, 0, sizeof(storage_)); }

absl::StatusOr<SocketAddress> SocketAddress::Parse(absl::string_view text) {
  if (absl::string_view name = text; absl::ConsumePrefix(&name, "unix:")) return ParseUnix(text, name);
  if (absl::StartsWith(text, "[")) return Parse6(text);
  return Parse4(text);
}

SocketAddress SocketAddress::Any4(uint16_t port) { return Make4(in_addr{htonl(INADDR_ANY)}, port); }
SocketAddress SocketAddress::Any6(uint16_t port) { return Make6(in6addr_any, port, 0); }
SocketAddress SocketAddress::Loopback4(uint16_t port) { return Make4(in_addr{htonl(INADDR_LOOPBACK)}, port); }
SocketAddress SocketAddress::Loopback6(uint16_t port) { return Make6(in6addr_loopback, port, 0); }

absl::StatusOr<SocketAddress> SocketAddress::Unix(absl::string_view path) {
  absl::string_view name = path;
  const bool abstract = absl::ConsumePrefix(&name, "@");
  return MakeUnix(path, abstract, name);
}

absl::StatusOr<SocketAddress> SocketAddress::FromSockaddr(const sockaddr* address, socklen_t size) {
  if (size < sizeof(sa_family_t)) return absl::InvalidArgumentError("a socket address of no family");
  socklen_t needed = 0;
  switch (address->sa_family) {
    case AF_INET:
      needed = sizeof(sockaddr_in);
      break;
    case AF_INET6:
      needed = sizeof(sockaddr_in6);
      break;
    case AF_UNIX:
      needed = kPathOffset;
      break;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("a socket address of family ", address->sa_family, ", which is neither IPv4, IPv6 nor Unix"));
  }
  if (size < needed || size > capacity()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a socket address of family ", address->sa_family, " does not have ", size, " bytes"));
  }
  SocketAddress copy;
  memcpy(&copy.storage_, address, size);
  copy.set_size(size);
  return copy;
}

void SocketAddress::set_size(socklen_t size) {
  EVRING_CHECK(size <= capacity(), "the kernel had room for capacity() bytes of an address");
  size_ = size;
  // The kernel counts a NUL behind a path that fills sun_path, and refuses to take an address of that size back.
  if (family() == AF_UNIX && size_ > sizeof(sockaddr_un)) size_ = sizeof(sockaddr_un);
}

uint16_t SocketAddress::port() const {
  switch (family()) {
    case AF_INET:
      return ntohs(storage_.v4.sin_port);
    case AF_INET6:
      return ntohs(storage_.v6.sin6_port);
    default:
      return 0;
  }
}

SocketAddress SocketAddress::WithPort(uint16_t port) const {
  SocketAddress copy = *this;
  if (family() == AF_INET) copy.storage_.v4.sin_port = htons(port);
  if (family() == AF_INET6) copy.storage_.v6.sin6_port = htons(port);
  return copy;
}

bool SocketAddress::is_loopback() const {
  switch (family()) {
    case AF_INET:
      return ntohl(storage_.v4.sin_addr.s_addr) >> 24 == 127;
    case AF_INET6: {
      const in6_addr& host = storage_.v6.sin6_addr;
      return IN6_IS_ADDR_LOOPBACK(&host) || (IN6_IS_ADDR_V4MAPPED(&host) && host.s6_addr[12] == 127);
    }
    default:
      return false;
  }
}

absl::string_view SocketAddress::host() const {
  switch (family()) {
    case AF_INET:
      return absl::string_view(reinterpret_cast<const char*>(&storage_.v4.sin_addr), sizeof(in_addr));
    case AF_INET6:
      return absl::string_view(reinterpret_cast<const char*>(&storage_.v6.sin6_addr), sizeof(in6_addr));
    case AF_UNIX: {
      const absl::string_view name(storage_.local.sun_path, size_ > kPathOffset ? size_ - kPathOffset : 0);
      return name.empty() || name.front() == '\0' ? name : name.substr(0, name.find('\0'));
    }
    default:
      return "";
  }
}

std::string SocketAddress::ToString() const {
  char host_text[INET6_ADDRSTRLEN];
  switch (family()) {
    case AF_INET:
      return absl::StrCat(inet_ntop(AF_INET, &storage_.v4.sin_addr, host_text, sizeof(host_text)), ":", port());
    case AF_INET6: {
      inet_ntop(AF_INET6, &storage_.v6.sin6_addr, host_text, sizeof(host_text));
      const std::string scope_text = scope() == 0 ? "" : absl::StrCat("%", scope());
      return absl::StrCat("[", host_text, scope_text, "]:", port());
    }
    case AF_UNIX: {
      absl::string_view name = host();
      std::string text = "unix:";
      if (absl::ConsumePrefix(&name, absl::string_view("\0", 1))) {
        text += '@';
      } else if (absl::ConsumePrefix(&name, "@")) {
        text += "\\x40";  // a file of that name, not an abstract one
      }
      AppendEscaped(name, &text);
      return text;
    }
    default:
      return "unspecified";
  }
}

bool operator==(const SocketAddress& a, const SocketAddress& b) {
  return a.family() == b.family() && a.port() == b.port() && a.scope() == b.scope() && a.host() == b.host();
}

}  // namespace evring::net
