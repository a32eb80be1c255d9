// field_lines.h: the field lines that we send, of a head or behind the last chunk. What was added can be sent as it is:
// nothing gets in that would end a line, begin another, or contradict what the library itself says about the message.

#ifndef EVRING_NET_HTTP_FIELD_LINES_H_
#define EVRING_NET_HTTP_FIELD_LINES_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace evring::net::http {

// Not thread-safe.
class FieldLines {
 public:
  enum class Place : uint8_t { kHead, kTrailers };

  explicit FieldLines(Place place = Place::kHead) : place_(place) {}

  // kInvalidArgument, and nothing is added:
  //   `name` is not a token, or `value` has a CR, LF, NUL or another control character but HTAB;
  //   in a head: Connection, Content-Length, Date, Keep-Alive, Server, Transfer-Encoding, which the library writes;
  //   in trailers: also what frames, routes, authenticates or describes the message (RFC 9110 section 6.5.1).
  [[nodiscard]] absl::Status Add(std::string_view name, std::string_view value);

  // Adds all of another, which is of the same place; a CHECK.
  void Append(const FieldLines& other);

  // "Name: value\r\n" for each, in order.
  std::string_view bytes() const { return bytes_; }
  bool empty() const { return bytes_.empty(); }
  void Clear() { bytes_.clear(); }
  Place place() const { return place_; }

 private:
  std::string bytes_;
  Place place_;
};

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_FIELD_LINES_H_
