#include "net/http/response.h"

#include <cstddef>

#include "kevent/check.h"
#include "net/http/chars.h"
#include "net/http/internal/appender.h"
#include "net/http/internal/concat.h"

namespace evring::net::http {
namespace {

using internal::Appender;

constexpr size_t kStatusLineBytesMax = 64;  // the longest is that of 511, 51 bytes
constexpr std::string_view kContentLength = "Content-Length: ";
constexpr std::string_view kContentType = "Content-Type: ";
constexpr std::string_view kChunked = "Transfer-Encoding: chunked\r\n";
constexpr std::string_view kLineEnd = "\r\n";
// More than what a head can have besides status line, stamp and the handler's fields.
constexpr size_t kOtherBytesMax = kContentLength.size() + Appender::kNumberBytesMax + kChunked.size() + 40;

void PutStatusLine(StatusCode status, Appender* out) {
  if (status == StatusCode::kOk) [[likely]] {
    out->Put("HTTP/1.1 200 OK\r\n");
    return;
  }
  const int code = ToInt(status);
  EVRING_CHECK(code >= 100 && code <= 999, "a status code has three digits");
  out->Put("HTTP/1.1 ").Number(code).Put(" ").Put(ReasonPhrase(status)).Put(kLineEnd);
}

// "" where the version's default says the same (RFC 9112 section 9.3).
std::string_view ConnectionLine(bool http11, bool keep_alive) {
  if (!keep_alive) return "Connection: close\r\n";
  return http11 ? std::string_view() : "Connection: keep-alive\r\n";
}

}  // namespace

void ResponseHead::Reset(StatusCode status) {
  status_ = status;
  length_ = Length::kNotSet;
  close_ = false;
  content_length_ = 0;
  fields_.Clear();
}

void ResponseHead::SetContentLength(uint64_t bytes) {
  length_ = Length::kKnown;
  content_length_ = bytes;
}

SentHead ResponseHead::AppendTo(const Exchange& exchange, const ServerStamp& stamp, std::string* out) const {
  const bool no_content = ForbidsContent(status_);
  const bool until_close = length_ == Length::kUnknown && !no_content && !exchange.http11;
  const bool keep_alive = exchange.keep_alive && !close_ && !until_close;

  const std::string_view fields = fields_.bytes();
  Appender head(out, kStatusLineBytesMax + stamp.lines().size() + fields.size() + kOtherBytesMax);
  PutStatusLine(status_, &head);
  head.Put(stamp.lines()).Put(fields);
  BodyFraming framing = BodyFraming::kNone;
  if (until_close) {
    framing = BodyFraming::kUntilClose;
  } else if (length_ == Length::kUnknown && !no_content) {
    head.Put(kChunked);
    framing = BodyFraming::kChunked;
  } else if (!no_content) {
    head.Put(kContentLength).Number(content_length_).Put(kLineEnd);
    if (content_length_ > 0) framing = BodyFraming::kLength;
  }
  if (status_ == StatusCode::kSwitchingProtocols) {
    head.Put("Connection: upgrade\r\n");
  } else {
    head.Put(ConnectionLine(exchange.http11, keep_alive));
  }
  head.Put(kLineEnd).Finish();
  if (exchange.method == Method::kHead) framing = BodyFraming::kNone;
  return {framing, keep_alive};
}

bool AppendResponse(StatusCode status, std::string_view content_type, std::string_view body, const Exchange& exchange,
                    const ServerStamp& stamp, std::string* out) {
  EVRING_CHECK(IsFieldValue(content_type), "a Content-Type with control characters");
  const bool has_content = !ForbidsContent(status);
  Appender head(out, kStatusLineBytesMax + stamp.lines().size() + kContentType.size() + content_type.size() +
                         kOtherBytesMax + body.size());
  PutStatusLine(status, &head);
  head.Put(stamp.lines());
  if (has_content) {
    if (!content_type.empty()) head.Put(kContentType).Put(content_type).Put(kLineEnd);
    head.Put(kContentLength).Number(body.size()).Put(kLineEnd);
  }
  head.Put(ConnectionLine(exchange.http11, exchange.keep_alive)).Put(kLineEnd);
  if (has_content && exchange.method != Method::kHead) head.Put(body);
  head.Finish();
  return exchange.keep_alive;
}

void AppendErrorResponse(StatusCode status, std::string_view reason, const ServerStamp& stamp, std::string* out) {
  const std::string body =
      internal::Concat({std::to_string(ToInt(status)), " ", ReasonPhrase(status), ": ", reason, "\n"});
  AppendResponse(status, "text/plain; charset=utf-8", body, Exchange(Method::kGet, true, false), stamp, out);
}

}  // namespace evring::net::http
