// range.h: the Range field of a request for part of a file (RFC 9110 section 14). One range of bytes is served; a list
// of several is answered with the whole, as section 14.2 allows.

#ifndef EVRING_NET_HTTP_RANGE_H_
#define EVRING_NET_HTTP_RANGE_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace evring::net::http {

struct ByteRange {
  enum class Kind : uint8_t {
    kWhole,          // no usable range: 200 with everything
    kPart,           // 206 with [first, last]
    kUnsatisfiable,  // 416; Content-Range: bytes */size
  };

  Kind kind = Kind::kWhole;
  uint64_t first = 0;  // kPart: offsets of the first and the last byte, first <= last < size
  uint64_t last = 0;

  uint64_t bytes() const { return last - first + 1; }
};

// `value` is the Range field's, `size` that of the representation in bytes.
ByteRange ParseRange(std::string_view value, uint64_t size);

// The value of Content-Range that goes with a kPart ("bytes 0-99/1234") or a kUnsatisfiable ("bytes */1234").
std::string ContentRange(const ByteRange& range, uint64_t size);

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_RANGE_H_
