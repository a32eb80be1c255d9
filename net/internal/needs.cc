#include "net/internal/needs.h"

#include <string.h>

#include <algorithm>
#include <cstddef>

#include "absl/strings/match.h"
#include "kevent/check.h"

namespace evring::net::internal {

NeedUntil::NeedUntil(absl::string_view delimiter, size_t limit)
    : delimiter_(delimiter), limit_(std::min(limit, kLimitMax)) {
  EVRING_CHECK(!delimiter.empty(), "a delimiter has at least one byte");
}

Verdict NeedUntil::Look(absl::string_view data) {
  const absl::string_view window = data.substr(0, size_max());
  if (window.empty()) return Verdict::More();
  // memmem(3) is linear also where the data was made to look like the delimiter.
  if (const void* at = memmem(window.data() + from_, window.size() - from_, delimiter_.data(), delimiter_.size())) {
    const size_t length = static_cast<size_t>(static_cast<const char*>(at) - window.data());
    return Verdict::Found(length, length + delimiter_.size());
  }
  // What can still be the start of one are the last bytes, if they are the delimiter's first.
  if (window.size() >= delimiter_.size()) from_ = std::max(from_, window.size() - delimiter_.size() + 1);
  while (from_ < window.size() && !absl::StartsWith(delimiter_, window.substr(from_))) ++from_;
  return from_ > limit_ ? Verdict::TooLong() : Verdict::More();
}

NeedLine::NeedLine(size_t limit) : limit_(std::min(limit, kLimitMax)) {}

Verdict NeedLine::Look(absl::string_view data) {
  const absl::string_view window = data.substr(0, size_max());
  const size_t at = window.find('\n', from_);
  if (at == absl::string_view::npos) {
    from_ = window.size();
    const bool cr_may_end_it = window.size() == limit_ + 1 && window.back() == '\r';
    return window.size() <= limit_ || cr_may_end_it ? Verdict::More() : Verdict::TooLong();
  }
  const size_t length = at > 0 && window[at - 1] == '\r' ? at - 1 : at;
  return length > limit_ ? Verdict::TooLong() : Verdict::Found(length, at + 1);
}

NeedAll::NeedAll(size_t limit) : limit_(std::min(limit, kLimitMax)) {}

}  // namespace evring::net::internal
