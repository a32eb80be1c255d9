// limits.h: what a client may make the parser hold or read. One per server, shared by its connections, constant while
// they live. All are bytes but `headers_max`. None is ever "off": give a large number where you mean that.

#ifndef EVRING_NET_HTTP_LIMITS_H_
#define EVRING_NET_HTTP_LIMITS_H_

#include <cstddef>
#include <cstdint>

namespace evring::net::http {

struct Limits {
  size_t target_bytes_max = 8 << 10;           // 414 beyond. RFC 9112 section 3 asks for request lines of 8000 octets
  size_t head_bytes_max = 32 << 10;            // 431 beyond (414 if the target has not ended by then); below 4 GiB
  size_t headers_max = 100;                    // field lines of a head, and of a trailer section: 431 beyond
  uint64_t body_bytes_max = 16 << 20;          // 413 beyond, by Content-Length or by the sum of the chunks
  size_t chunk_extension_bytes_max = 4 << 10;  // all chunk extensions of a body, and needless zeros: 400 beyond
  size_t trailer_bytes_max = 8 << 10;          // 431 beyond; below 4 GiB
};

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_LIMITS_H_
