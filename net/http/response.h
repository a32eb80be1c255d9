// response.h: the head of an answer, and how its body is framed. Everything appends to the caller's output string, so
// that the answers to pipelined requests leave in one send.

#ifndef EVRING_NET_HTTP_RESPONSE_H_
#define EVRING_NET_HTTP_RESPONSE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "net/http/field_lines.h"
#include "net/http/method.h"
#include "net/http/request.h"
#include "net/http/server_stamp.h"
#include "net/http/status.h"

namespace evring::net::http {

// What an answer depends on besides itself: what was asked, and whether the connection may live on.
struct Exchange {
  Exchange(Method method, bool http11, bool keep_alive) : method(method), http11(http11), keep_alive(keep_alive) {}
  explicit Exchange(const Request& request)
      : Exchange(request.method(), request.version_minor() >= 1, request.keep_alive()) {}

  Method method;
  bool http11;
  bool keep_alive;  // false also when the server wants to close, e.g. while it drains
};

// How the body is to be sent, once the head is out.
enum class BodyFraming : uint8_t {
  kNone,        // nothing follows the head
  kLength,      // exactly the announced number of bytes
  kChunked,     // chunks, then AppendLastChunk
  kUntilClose,  // bytes until the connection is shut down: HTTP/1.0 with a length that is not known
};

struct SentHead {
  BodyFraming framing;
  bool keep_alive;  // what the head promised; false: close after the body
};

// A head under construction. Reusable: Reset keeps its memory. Not thread-safe.
class ResponseHead {
 public:
  explicit ResponseHead(StatusCode status = StatusCode::kOk) : status_(status) {}

  void Reset(StatusCode status = StatusCode::kOk);
  void set_status(StatusCode status) { status_ = status; }
  StatusCode status() const { return status_; }

  // kInvalidArgument as FieldLines::Add.
  [[nodiscard]] absl::Status AddHeader(std::string_view name, std::string_view value) {
    return fields_.Add(name, value);
  }

  // All of them; CHECK: they are of Place::kHead.
  void AddHeaders(const FieldLines& fields) { fields_.Append(fields); }

  // The body's length; for HEAD, that of the body which a GET would have brought. Without one of these two the answer
  // has no body: "Content-Length: 0".
  void SetContentLength(uint64_t bytes);
  // A body whose length is not known when the head is sent.
  void SetStreaming() { length_ = Length::kUnknown; }
  // The connection is to be closed after this answer.
  void SetClose() { close_ = true; }

  // Appends the head and its empty line.
  //   No Content-Length and no body, whatever was set: 1xx, 204, 304. RFC 9110 section 8.6 would allow it with 304, but
  //   there are clients that then wait for a body, those on llhttp 8 among them.
  //   HEAD: the head that GET would have, and no body.
  //   HTTP/1.0: no chunks; Connection: keep-alive if the connection lives on.
  //   101: Connection: upgrade; the handler adds Upgrade.
  SentHead AppendTo(const Exchange& exchange, const ServerStamp& stamp, std::string* out) const;

 private:
  enum class Length : uint8_t { kNotSet, kKnown, kUnknown };

  StatusCode status_;
  Length length_ = Length::kNotSet;
  bool close_ = false;
  uint64_t content_length_ = 0;
  FieldLines fields_;
};

// A whole answer with a body at hand, in one go. `content_type` may be "" if there is no body. As for ResponseHead, the
// body is left out where there must be none. Returns whether the connection lives on.
// CHECK: `content_type` is a field value.
bool AppendResponse(StatusCode status, std::string_view content_type, std::string_view body, const Exchange& exchange,
                    const ServerStamp& stamp, std::string* out);

// The answer to a request that was refused (RequestParser::error) or timed out: a line of plain text, and the
// connection closes. `reason` is our own text.
void AppendErrorResponse(StatusCode status, std::string_view reason, const ServerStamp& stamp, std::string* out);

// The interim answer to a client that waits with its body (RFC 9110 section 10.1.1).
inline constexpr std::string_view kContinueResponse = "HTTP/1.1 100 Continue\r\n\r\n";

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_RESPONSE_H_
