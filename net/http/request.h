// request.h: one request as the parser delivers it. Lives inside the connection's RequestParser.
//
// Lifetime: a Request and all views from it are valid from ParseEvent::kHead until the parser is fed past this
// message's end or reset, provided that the input from which the head was parsed stays where it is.
// RequestParser::PinHead() lifts that last condition. Not thread-safe; the handler may move to another thread with it,
// as its connection does.

#ifndef EVRING_NET_HTTP_REQUEST_H_
#define EVRING_NET_HTTP_REQUEST_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "net/http/fields.h"
#include "net/http/method.h"

namespace evring::net::http {

class Request {
 public:
  Request() = default;
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  Method method() const { return method_; }
  std::string_view method_name() const { return MethodName(method_); }

  // The request target as it was sent. Printable ASCII; may hold characters that RFC 3986 wants escaped, such as | or
  // ", because browsers send them.
  std::string_view target() const { return View(target_); }
  // The target's path, still percent-encoded: starts with '/', or is "*" (OPTIONS only).
  std::string_view raw_path() const { return path_.bytes == 0 ? std::string_view("/") : View(path_); }
  // What follows the first '?', still percent-encoded; "" without one.
  std::string_view query() const { return View(query_); }
  // The path with its escapes resolved, decoded on the first call. It may hold any byte but NUL, and "..": for files
  // see path.h. kInvalidArgument: a '%' without two hexadecimal digits, or %00; answer 400.
  absl::StatusOr<std::string_view> path() const;

  // The authority that the client addresses, "host" or "host:port", valid by its characters: from an absolute target if
  // there is one (RFC 9112 section 3.2.2), else the Host field; "" where HTTP/1.0 came without one.
  std::string_view host() const { return View(host_); }

  // 0 for HTTP/1.0; 1 or more is served as HTTP/1.1 (RFC 9110 section 2.5).
  int version_minor() const { return version_minor_; }

  const Fields& headers() const { return headers_; }
  // The value of the first field of that name, in any case.
  std::optional<std::string_view> header(std::string_view name) const { return headers_.Find(name); }
  // The fields after the last chunk; complete when ParseEvent::kMessage was returned.
  const Fields& trailers() const { return trailers_; }

  // As announced; nothing for a chunked body or none.
  std::optional<uint64_t> content_length() const {
    return has_content_length_ ? std::optional<uint64_t>(content_length_) : std::nullopt;
  }
  bool chunked() const { return chunked_; }
  // True if at least one byte of framed body follows the head (chunked: at least the last chunk).
  bool has_body() const { return chunked_ || content_length_ > 0; }

  // The client wants to go on using the connection (RFC 9112 section 9.3).
  bool keep_alive() const { return keep_alive_; }
  // The client waits for 100 before it sends the body (RFC 9110 section 10.1.1).
  bool expects_continue() const { return expects_continue_; }
  // An Upgrade field and "Connection: upgrade" came; the protocols are header("upgrade").
  bool wants_upgrade() const { return wants_upgrade_; }

 private:
  friend class RequestParser;

  // A part of the head, by its place, because the head may move; see fields.h.
  struct Part {
    uint32_t offset = 0;
    uint32_t bytes = 0;
  };
  std::string_view View(Part part) const { return {headers_.base_ + part.offset, part.bytes}; }
  Part PartOf(std::string_view view) const {
    if (view.empty()) return {};
    return {static_cast<uint32_t>(view.data() - headers_.base_), static_cast<uint32_t>(view.size())};
  }

  Method method_ = Method::kGet;
  uint8_t version_minor_ = 1;
  bool has_content_length_ = false;
  bool chunked_ = false;
  bool keep_alive_ = false;
  bool expects_continue_ = false;
  bool wants_upgrade_ = false;
  mutable bool path_decoded_ = false;
  Part target_;
  Part path_;
  Part query_;
  Part host_;
  uint64_t content_length_ = 0;
  Fields headers_;
  Fields trailers_;
  mutable std::string decoded_path_;
};

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_REQUEST_H_
