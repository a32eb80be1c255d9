// chunk.h: the chunked transfer coding, as the sender writes it (RFC 9112 section 7.1). The other direction is the
// parser's.

#ifndef EVRING_NET_HTTP_CHUNK_H_
#define EVRING_NET_HTTP_CHUNK_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "net/http/field_lines.h"

namespace evring::net::http {

// What follows a chunk's data.
inline constexpr std::string_view kChunkEnd = "\r\n";

// The line before a chunk's data, for callers that send the data from where it is. CHECK: `size` is not 0.
class ChunkHead {
 public:
  explicit ChunkHead(uint64_t size);
  std::string_view bytes() const { return {text_ + begin_, sizeof(text_) - begin_}; }

 private:
  char text_[16 + 2];
  uint8_t begin_;
};

// Appends a whole chunk. Empty data appends nothing: an empty chunk would end the body.
void AppendChunk(std::string_view data, std::string* out);

// Appends the end of the body, with the trailer fields if there are some. CHECK: `trailers` is of Place::kTrailers.
void AppendLastChunk(std::string* out);
void AppendLastChunk(const FieldLines& trailers, std::string* out);

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_CHUNK_H_
