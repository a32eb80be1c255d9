#include "net/http/status.h"

namespace evring::net::http {

std::string_view ReasonPhrase(StatusCode status) {
  switch (status) {
    case StatusCode::kContinue:
      return "Continue";
    case StatusCode::kSwitchingProtocols:
      return "Switching Protocols";
    case StatusCode::kEarlyHints:
      return "Early Hints";
    case StatusCode::kOk:
      return "OK";
    case StatusCode::kCreated:
      return "Created";
    case StatusCode::kAccepted:
      return "Accepted";
    case StatusCode::kNonAuthoritativeInformation:
      return "Non-Authoritative Information";
    case StatusCode::kNoContent:
      return "No Content";
    case StatusCode::kResetContent:
      return "Reset Content";
    case StatusCode::kPartialContent:
      return "Partial Content";
    case StatusCode::kMultiStatus:
      return "Multi-Status";
    case StatusCode::kMultipleChoices:
      return "Multiple Choices";
    case StatusCode::kMovedPermanently:
      return "Moved Permanently";
    case StatusCode::kFound:
      return "Found";
    case StatusCode::kSeeOther:
      return "See Other";
    case StatusCode::kNotModified:
      return "Not Modified";
    case StatusCode::kTemporaryRedirect:
      return "Temporary Redirect";
    case StatusCode::kPermanentRedirect:
      return "Permanent Redirect";
    case StatusCode::kBadRequest:
      return "Bad Request";
    case StatusCode::kUnauthorized:
      return "Unauthorized";
    case StatusCode::kPaymentRequired:
      return "Payment Required";
    case StatusCode::kForbidden:
      return "Forbidden";
    case StatusCode::kNotFound:
      return "Not Found";
    case StatusCode::kMethodNotAllowed:
      return "Method Not Allowed";
    case StatusCode::kNotAcceptable:
      return "Not Acceptable";
    case StatusCode::kProxyAuthenticationRequired:
      return "Proxy Authentication Required";
    case StatusCode::kRequestTimeout:
      return "Request Timeout";
    case StatusCode::kConflict:
      return "Conflict";
    case StatusCode::kGone:
      return "Gone";
    case StatusCode::kLengthRequired:
      return "Length Required";
    case StatusCode::kPreconditionFailed:
      return "Precondition Failed";
    case StatusCode::kContentTooLarge:
      return "Content Too Large";
    case StatusCode::kUriTooLong:
      return "URI Too Long";
    case StatusCode::kUnsupportedMediaType:
      return "Unsupported Media Type";
    case StatusCode::kRangeNotSatisfiable:
      return "Range Not Satisfiable";
    case StatusCode::kExpectationFailed:
      return "Expectation Failed";
    case StatusCode::kMisdirectedRequest:
      return "Misdirected Request";
    case StatusCode::kUnprocessableContent:
      return "Unprocessable Content";
    case StatusCode::kLocked:
      return "Locked";
    case StatusCode::kFailedDependency:
      return "Failed Dependency";
    case StatusCode::kTooEarly:
      return "Too Early";
    case StatusCode::kUpgradeRequired:
      return "Upgrade Required";
    case StatusCode::kPreconditionRequired:
      return "Precondition Required";
    case StatusCode::kTooManyRequests:
      return "Too Many Requests";
    case StatusCode::kRequestHeaderFieldsTooLarge:
      return "Request Header Fields Too Large";
    case StatusCode::kUnavailableForLegalReasons:
      return "Unavailable For Legal Reasons";
    case StatusCode::kInternalServerError:
      return "Internal Server Error";
    case StatusCode::kNotImplemented:
      return "Not Implemented";
    case StatusCode::kBadGateway:
      return "Bad Gateway";
    case StatusCode::kServiceUnavailable:
      return "Service Unavailable";
    case StatusCode::kGatewayTimeout:
      return "Gateway Timeout";
    case StatusCode::kHttpVersionNotSupported:
      return "HTTP Version Not Supported";
    case StatusCode::kVariantAlsoNegotiates:
      return "Variant Also Negotiates";
    case StatusCode::kInsufficientStorage:
      return "Insufficient Storage";
    case StatusCode::kLoopDetected:
      return "Loop Detected";
    case StatusCode::kNetworkAuthenticationRequired:
      return "Network Authentication Required";
  }
  return "";
}

}  // namespace evring::net::http
