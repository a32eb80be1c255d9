#include "net/http/prepared_response.h"

#include <cstring>

namespace evring::net::http {

absl::StatusOr<PreparedResponse> PreparedResponse::Create(StatusCode status, std::string_view content_type,
                                                          std::string_view body, const ServerStamp& stamp,
                                                          const FieldLines& fields) {
  if (ForbidsContent(status)) return absl::InvalidArgumentError("a prepared response has a status that allows a body");
  if (fields.place() != FieldLines::Place::kHead) return absl::InvalidArgumentError("fields that are for trailers");
  ResponseHead head(status);
  if (absl::Status added = head.AddHeader("Content-Type", content_type); !added.ok()) return added;
  head.AddHeaders(fields);
  head.SetContentLength(body.size());

  PreparedResponse response;
  for (int i = 0; i < kVariants; ++i) {
    Bytes& bytes = response.variants_[i];
    head.AppendTo(Exchange(Method::kGet, i != kKeepAlive10, i != kClose), stamp, &bytes.text);
    bytes.head_bytes = bytes.text.size();
    bytes.text.append(body);
  }
  // The stamp's lines stand directly behind the status line.
  const size_t stamp_offset = response.variants_[kClose].text.find("\r\n") + 2;
  response.date_offset_ = stamp_offset + (stamp.date().data() - stamp.lines().data());
  return response;
}

bool PreparedResponse::AppendTo(const Exchange& exchange, const ServerStamp& stamp, std::string* out) const {
  const Bytes& bytes = variants_[!exchange.keep_alive ? kClose : exchange.http11 ? kKeepAlive11 : kKeepAlive10];
  const size_t begin = out->size();
  out->append(bytes.text.data(), exchange.method == Method::kHead ? bytes.head_bytes : bytes.text.size());
  std::memcpy(out->data() + begin + date_offset_, stamp.date().data(), kHttpDateBytes);
  return exchange.keep_alive;
}

}  // namespace evring::net::http
