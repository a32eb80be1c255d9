#include "net/http/field_lines.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/escaping.h"
#include "kevent/check.h"
#include "net/http/chars.h"
#include "net/http/internal/appender.h"
#include "net/http/internal/concat.h"

namespace evring::net::http {
namespace {

constexpr std::string_view kWrittenByTheLibrary[] = {"connection", "content-length", "date",
                                                     "keep-alive", "server",         "transfer-encoding"};
constexpr std::string_view kNotInTrailers[] = {"age",
                                               "authorization",
                                               "cache-control",
                                               "content-encoding",
                                               "content-range",
                                               "content-type",
                                               "expires",
                                               "host",
                                               "location",
                                               "proxy-authenticate",
                                               "retry-after",
                                               "set-cookie",
                                               "te",
                                               "trailer",
                                               "upgrade",
                                               "vary",
                                               "warning",
                                               "www-authenticate"};

template <typename Names>
bool Contains(const Names& names, std::string_view name) {
  return std::any_of(std::begin(names), std::end(names),
                     [name](std::string_view each) { return EqualsIgnoreCase(each, name); });
}

absl::Status Refused(std::string_view name, std::string_view why) {
  return absl::InvalidArgumentError(internal::Concat({"field ", name, ": ", why}));
}

}  // namespace

absl::Status FieldLines::Add(std::string_view name, std::string_view value) {
  if (!IsToken(name)) {
    return absl::InvalidArgumentError(
        internal::Concat({"field name \"", absl::CHexEscape({name.data(), name.size()}), "\" is not a token"}));
  }
  if (!IsFieldValue(value)) {
    return Refused(name, "a control character in its value");
  }
  if (Contains(kWrittenByTheLibrary, name)) {
    return Refused(name, "written by the library");
  }
  if (place_ == Place::kTrailers && Contains(kNotInTrailers, name)) {
    return Refused(name, "not allowed in trailers");
  }
  internal::Appender(&bytes_, name.size() + value.size() + 4).Put(name).Put(": ").Put(value).Put("\r\n").Finish();
  return absl::OkStatus();
}

void FieldLines::Append(const FieldLines& other) {
  EVRING_CHECK(other.place_ == place_, "fields of a head and of trailers do not mix");
  bytes_.append(other.bytes_);
}

}  // namespace evring::net::http
