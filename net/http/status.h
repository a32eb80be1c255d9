// status.h: HTTP status codes and their reason phrases (the IANA registry; RFC 9110 section 15, RFC 6585, RFC 7725).

#ifndef EVRING_NET_HTTP_STATUS_H_
#define EVRING_NET_HTTP_STATUS_H_

#include <cstdint>
#include <string_view>

namespace evring::net::http {

// Any number from 100 to 999 may be cast to it; those without a name have an empty reason.
enum class StatusCode : uint16_t {
  kContinue = 100,
  kSwitchingProtocols = 101,
  kEarlyHints = 103,
  kOk = 200,
  kCreated = 201,
  kAccepted = 202,
  kNonAuthoritativeInformation = 203,
  kNoContent = 204,
  kResetContent = 205,
  kPartialContent = 206,
  kMultiStatus = 207,
  kMultipleChoices = 300,
  kMovedPermanently = 301,
  kFound = 302,
  kSeeOther = 303,
  kNotModified = 304,
  kTemporaryRedirect = 307,
  kPermanentRedirect = 308,
  kBadRequest = 400,
  kUnauthorized = 401,
  kPaymentRequired = 402,
  kForbidden = 403,
  kNotFound = 404,
  kMethodNotAllowed = 405,
  kNotAcceptable = 406,
  kProxyAuthenticationRequired = 407,
  kRequestTimeout = 408,
  kConflict = 409,
  kGone = 410,
  kLengthRequired = 411,
  kPreconditionFailed = 412,
  kContentTooLarge = 413,
  kUriTooLong = 414,
  kUnsupportedMediaType = 415,
  kRangeNotSatisfiable = 416,
  kExpectationFailed = 417,
  kMisdirectedRequest = 421,
  kUnprocessableContent = 422,
  kLocked = 423,
  kFailedDependency = 424,
  kTooEarly = 425,
  kUpgradeRequired = 426,
  kPreconditionRequired = 428,
  kTooManyRequests = 429,
  kRequestHeaderFieldsTooLarge = 431,
  kUnavailableForLegalReasons = 451,
  kInternalServerError = 500,
  kNotImplemented = 501,
  kBadGateway = 502,
  kServiceUnavailable = 503,
  kGatewayTimeout = 504,
  kHttpVersionNotSupported = 505,
  kVariantAlsoNegotiates = 506,
  kInsufficientStorage = 507,
  kLoopDetected = 508,
  kNetworkAuthenticationRequired = 511,
};

constexpr int ToInt(StatusCode status) { return static_cast<int>(status); }

// "Not Found" for 404; "" for a code that is not listed above (a reason phrase may be empty, RFC 9112 section 4).
std::string_view ReasonPhrase(StatusCode status);

// A status with which no content may come, whatever the method: 1xx, 204 and 304 (RFC 9110 section 6.4.1).
constexpr bool ForbidsContent(StatusCode status) {
  return ToInt(status) < 200 || status == StatusCode::kNoContent || status == StatusCode::kNotModified;
}

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_STATUS_H_
