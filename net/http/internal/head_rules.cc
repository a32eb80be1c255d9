#include "net/http/internal/head_rules.h"

#include <array>
#include <cstdint>

#include "net/http/chars.h"

namespace evring::net::http::internal {
namespace {

// unreserved or sub-delims, RFC 3986 section 2: what a host name may have besides escapes.
constexpr std::array<bool, 256> MakeHostChars() {
  std::array<bool, 256> chars{};
  for (int c = 0; c < 256; ++c) {
    chars[c] = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  }
  for (char c : std::string_view("-._~!$&'()*+,;=")) chars[static_cast<uint8_t>(c)] = true;
  return chars;
}

constexpr std::array<bool, 256> kHostChars = MakeHostChars();

// What may follow a host: nothing, or a colon and digits (maybe none, RFC 3986 section 3.2.3).
bool IsPortSuffix(std::string_view text) {
  if (text.empty()) return true;
  if (text[0] != ':') return false;
  for (char c : text.substr(1)) {
    if (!IsDigit(c)) return false;
  }
  return true;
}

// IPv6 as far as its characters go; IPvFuture is nowhere in use.
bool IsBracketedAddress(std::string_view text) {
  if (text.size() < 4 || text.front() != '[' || text.back() != ']') return false;
  for (char c : text.substr(1, text.size() - 2)) {
    if (c != ':' && c != '.' && HexValue(c) < 0) return false;
  }
  return true;
}

}  // namespace

bool IsValidHost(std::string_view host) {
  if (!host.empty() && host[0] == '[') {
    const size_t close = host.find(']');
    return close != std::string_view::npos && IsBracketedAddress(host.substr(0, close + 1)) &&
           IsPortSuffix(host.substr(close + 1));
  }
  size_t i = 0;
  while (i < host.size()) {
    if (kHostChars[static_cast<uint8_t>(host[i])]) {
      ++i;
    } else if (host[i] == '%' && host.size() - i >= 3 && HexValue(host[i + 1]) >= 0 && HexValue(host[i + 2]) >= 0) {
      i += 3;
    } else {
      break;
    }
  }
  return IsPortSuffix(host.substr(i));
}

Refusal SplitTarget(Method method, std::string_view target, Target* parts) {
  *parts = Target{};
  if (target.find('#') != std::string_view::npos) {
    return BadRequest("a fragment in the request target");
  }
  std::string_view rest = target;
  if (target[0] != '/') [[unlikely]] {
    if (target == "*") {
      parts->path = target;
      return method == Method::kOptions ? Refusal{} : BadRequest("the target * belongs to OPTIONS");
    }
    const size_t scheme_end = target.find("://");
    if (scheme_end == std::string_view::npos) return BadRequest("a request target of no known form");
    const std::string_view scheme = target.substr(0, scheme_end);
    if (!IsWord(scheme, "http") && !IsWord(scheme, "https")) {
      return BadRequest("a request target with a scheme other than http and https");
    }
    rest = target.substr(scheme_end + 3);
    const size_t authority_end = rest.find_first_of("/?");
    parts->authority = rest.substr(0, authority_end);
    parts->absolute = true;
    rest = authority_end == std::string_view::npos ? std::string_view() : rest.substr(authority_end);
    // An empty host is not a valid http URI (RFC 9110 section 4.2.1), user information not to be accepted (4.2.4).
    if (parts->authority.empty() || parts->authority[0] == ':' || !IsValidHost(parts->authority)) {
      return BadRequest("a bad authority in the request target");
    }
  }
  const size_t question = rest.find('?');
  parts->path = rest.substr(0, question);
  if (question != std::string_view::npos) parts->query = rest.substr(question + 1);
  return {};
}

Refusal CheckTransferEncoding(const Fields& headers) {
  std::string_view last;
  int codings = 0;
  for (const Field field : headers) {
    if (!IsWord(field.name, "transfer-encoding")) continue;
    std::string_view list = field.value;
    do {  // at least once: an empty field is an empty element; so is what follows a comma at the end
      if (IsWord(last, "chunked")) return BadRequest("a transfer coding after chunked");
      const bool more = list.find(',') != std::string_view::npos;
      last = NextListElement(&list);
      if (last.empty()) return BadRequest("an empty transfer coding");
      ++codings;
      if (more && list.empty()) return BadRequest("an empty transfer coding");
    } while (!list.empty());
  }
  if (!IsWord(last, "chunked")) return BadRequest("the last transfer coding of a request is not chunked");
  if (codings > 1) return {StatusCode::kNotImplemented, "a transfer coding besides chunked"};
  return {};
}

Refusal JudgeUnknownMethod(std::string_view request_line) {
  const std::string_view start = request_line.substr(0, kMethodBytesMax);
  for (size_t i = 0; i < start.size(); ++i) {
    if (IsTokenChar(start[i])) continue;
    return i > 0 && start[i] == ' ' ? Refusal{StatusCode::kNotImplemented, "a method that is not known"}
                                    : BadRequest("no method at the start of the request line");
  }
  if (start.size() < kMethodBytesMax) return {};
  return {StatusCode::kNotImplemented, "a method longer than any that is known"};
}

}  // namespace evring::net::http::internal
