// prepared_response.h: an answer whose body is fixed, serialised once: sending it is one copy and the date.
// For what is asked most often (plain text routes, health checks, error pages).

#ifndef EVRING_NET_HTTP_PREPARED_RESPONSE_H_
#define EVRING_NET_HTTP_PREPARED_RESPONSE_H_

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "net/http/field_lines.h"
#include "net/http/response.h"
#include "net/http/server_stamp.h"
#include "net/http/status.h"

namespace evring::net::http {

// Immutable: any thread may use it.
class PreparedResponse {
 public:
  // `fields` is of Place::kHead. Every stamp that comes later has the same Server as `stamp`.
  // kInvalidArgument: a status that forbids content, a `content_type` that is no field value, fields of trailers.
  static absl::StatusOr<PreparedResponse> Create(StatusCode status, std::string_view content_type,
                                                 std::string_view body, const ServerStamp& stamp,
                                                 const FieldLines& fields = FieldLines());

  // Appends the answer to one request, with the Date of `stamp`. Returns whether the connection lives on.
  bool AppendTo(const Exchange& exchange, const ServerStamp& stamp, std::string* out) const;

 private:
  // They differ by the Connection line.
  enum Variant { kKeepAlive11, kKeepAlive10, kClose, kVariants };

  struct Bytes {
    std::string text;  // head and body
    size_t head_bytes = 0;
  };

  PreparedResponse() = default;

  std::array<Bytes, kVariants> variants_;
  size_t date_offset_ = 0;
};

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_PREPARED_RESPONSE_H_
