// server_response.h: the answer to one request, as its handler makes it: whole, or streamed.
//
// Whole: Send() once. Streamed: headers, Begin(), Write() any number of times, End(). What is written is gathered and
// goes out when there is enough of it, when the input has no further request, or by Flush(); Write() waits while the
// client does not read (backpressure).

#ifndef EVRING_NET_HTTP_SERVER_RESPONSE_H_
#define EVRING_NET_HTTP_SERVER_RESPONSE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "net/http/prepared_response.h"
#include "net/http/response.h"
#include "net/http/status.h"
#include "runtime/task.h"

namespace evring::net::http {

class ServerConnection;

// Used by the handler that it was given to, on whichever worker that runs; one call at a time.
class ServerResponse {
 public:
  explicit ServerResponse(ServerConnection* connection) : connection_(connection) {}
  ServerResponse(const ServerResponse&) = delete;
  ServerResponse& operator=(const ServerResponse&) = delete;

  // --- Before the answer has begun
  // ------------------------------------------------------------------------------------

  void set_status(StatusCode status) { head_.set_status(status); }
  StatusCode status() const { return head_.status(); }
  // kInvalidArgument for what is no header field, or one that the server sets itself.
  [[nodiscard]] absl::Status AddHeader(std::string_view name, std::string_view value) {
    return head_.AddHeader(name, value);
  }
  // The connection is closed after this answer.
  void SetClose() { head_.SetClose(); }

  // --- A whole answer
  // -------------------------------------------------------------------------------------------------

  // Does not wait; `body` is copied. For HEAD, 204 and 304 the body stays away. "" for `content_type`: no such field.
  void Send(std::string_view content_type, std::string_view body);
  // No body: Content-Length: 0, or as the status demands.
  void SendEmpty() { Send("", ""); }
  // An answer that was made before; status and headers set here do not count.
  void Send(const PreparedResponse& prepared);

  // --- A streamed answer
  // ----------------------------------------------------------------------------------------------

  // The head. With `length` the body has exactly so many bytes; without, it is chunked (until the end of the connection
  // for a client of HTTP/1.0).
  void Begin(std::string_view content_type, std::optional<uint64_t> length = std::nullopt);
  // The next bytes of the body; copied or sent when this returns. Waits if much is gathered already. For HEAD nothing
  // is sent. Errors: kUnavailable, kFailedPrecondition (the client has gone), kDeadlineExceeded or kCancelled (it did
  // not read), kInvalidArgument (more than the announced length).
  Task<absl::Status> Write(std::string_view data);
  // Sends what is gathered, now.
  Task<absl::Status> Flush();
  // The body is complete. kInvalidArgument if it is shorter than announced: the connection is then closed.
  absl::Status End();

  // Whether a head has been made: its status and headers can be changed no more.
  bool begun() const { return begun_; }
  bool ended() const { return ended_; }

 private:
  friend class ServerConnection;

  void Reset();

  ServerConnection* const connection_;
  ResponseHead head_;
  BodyFraming framing_ = BodyFraming::kNone;
  bool begun_ = false;
  bool ended_ = false;
  bool suppress_body_ = false;  // HEAD, 204, 304
  uint64_t left_ = 0;           // of an announced length
};

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_SERVER_RESPONSE_H_
