// refusal.h: why a request is refused, as the parser tells the connection.

#ifndef EVRING_NET_HTTP_REFUSAL_H_
#define EVRING_NET_HTTP_REFUSAL_H_

#include "net/http/status.h"

namespace evring::net::http {

struct Refusal {
  StatusCode status = StatusCode::kOk;
  const char* reason = nullptr;  // a literal, for logs and for the body of the answer; nullptr: nothing is wrong

  explicit operator bool() const { return reason != nullptr; }
};

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_REFUSAL_H_
