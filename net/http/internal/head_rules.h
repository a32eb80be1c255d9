// head_rules.h: what RFC 9110 and RFC 9112 ask of a request head beyond its characters, which llhttp has checked by
// then. Pure functions on the parts of a head that is complete. Called by RequestParser only, once per request, so each
// costs a few nanoseconds on the plain case. Which rule follows which section: ../README.md. Checked by:
// tests/net/http/parser_test.cc and the table hostile_requests.h.

#ifndef EVRING_NET_HTTP_INTERNAL_HEAD_RULES_H_
#define EVRING_NET_HTTP_INTERNAL_HEAD_RULES_H_

#include <cstddef>
#include <string_view>

#include "net/http/fields.h"
#include "net/http/method.h"
#include "net/http/refusal.h"
#include "net/http/status.h"

namespace evring::net::http::internal {

inline Refusal BadRequest(const char* reason) { return {StatusCode::kBadRequest, reason}; }

// "host", "host:port", "[v6]:port", or empty (RFC 9110 section 7.2 with RFC 3986 section 3.2, no user information).
bool IsValidHost(std::string_view host);

// A request target taken apart. Empty views where there is no such part.
struct Target {
  std::string_view authority;  // absolute form only
  std::string_view path;       // "*" in asterisk form; empty for an absolute form without one
  std::string_view query;      // without the '?'
  bool absolute = false;
};

// RFC 9112 section 3.2: origin, absolute and asterisk form. Authority form belongs to CONNECT, which is not served.
Refusal SplitTarget(Method method, std::string_view target, Target* parts);

// The transfer codings of a request that has Transfer-Encoding fields: passes "chunked", once and alone, and nothing
// else (RFC 9112 sections 6.1 and 6.3).
Refusal CheckTransferEncoding(const Fields& headers);

// A method token that llhttp does not know. Call with all that came of the request line so far.
// No refusal: undecided, more bytes are needed. Decided at the latest at kMethodBytesMax.
inline constexpr size_t kMethodBytesMax = 64;
Refusal JudgeUnknownMethod(std::string_view request_line);

}  // namespace evring::net::http::internal

#endif  // EVRING_NET_HTTP_INTERNAL_HEAD_RULES_H_
