// server_request.h: a request as its handler sees it: the head at once, the body as it comes.

#ifndef EVRING_NET_HTTP_SERVER_REQUEST_H_
#define EVRING_NET_HTTP_SERVER_REQUEST_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "net/http/request.h"
#include "runtime/task.h"

namespace evring::net::http {

class ServerConnection;

// Used by the handler that it was given to, on whichever worker that runs; one call at a time.
class ServerRequest {
 public:
  explicit ServerRequest(ServerConnection* connection) : connection_(connection) {}
  ServerRequest(const ServerRequest&) = delete;
  ServerRequest& operator=(const ServerRequest&) = delete;

  // The head. Its views hold until the handler has ended; trailers are there after the last piece of the body.
  const Request& head() const;
  Method method() const { return head().method(); }

  // The next piece of the body, never empty but at its end. Valid until the next call. Says "100 Continue" to a client
  // that waits for it. A body that is not read is skipped, or, if that would take long, ends the connection. Errors:
  // kInvalidArgument and kResourceExhausted for a body that is malformed or too large, kUnavailable if the client has
  // gone, kCancelled. Hand them on: the answer they call for is sent.
  Task<absl::StatusOr<std::string_view>> ReadBody();

  // All of the body. kResourceExhausted (413) if it has more than `bytes_max`.
  Task<absl::StatusOr<std::string>> ReadWholeBody(size_t bytes_max);

 private:
  ServerConnection* const connection_;
};

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_SERVER_REQUEST_H_
