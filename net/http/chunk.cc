#include "net/http/chunk.h"

#include "kevent/check.h"

namespace evring::net::http {

ChunkHead::ChunkHead(uint64_t size) {
  EVRING_CHECK(size > 0, "an empty chunk ends the body");
  begin_ = sizeof(text_);
  text_[--begin_] = '\n';
  text_[--begin_] = '\r';
  for (; size > 0; size >>= 4) text_[--begin_] = "0123456789abcdef"[size & 15];
}

void AppendChunk(std::string_view data, std::string* out) {
  if (data.empty()) return;
  const ChunkHead head(data.size());
  out->append(head.bytes()).append(data).append(kChunkEnd);
}

void AppendLastChunk(std::string* out) { out->append("0\r\n\r\n"); }

void AppendLastChunk(const FieldLines& trailers, std::string* out) {
  EVRING_CHECK(trailers.place() == FieldLines::Place::kTrailers, "these fields were checked for a head");
  out->append("0\r\n").append(trailers.bytes()).append("\r\n");
}

}  // namespace evring::net::http
