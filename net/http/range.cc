#include "net/http/range.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <limits>
#include <optional>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "net/http/chars.h"

namespace evring::net::http {
namespace {

// Digits only. A number beyond 64 bits is as good as the largest one: both are beyond any file.
std::optional<uint64_t> ParseNumber(std::string_view digits) {
  if (!IsDigits(digits)) return std::nullopt;
  uint64_t number = 0;
  const std::from_chars_result result = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return result.ec == std::errc::result_out_of_range ? std::numeric_limits<uint64_t>::max() : number;
}

}  // namespace

ByteRange ParseRange(std::string_view value, uint64_t size) {
  constexpr std::string_view kUnit = "bytes=";
  const ByteRange whole;
  if (!EqualsIgnoreCase(value.substr(0, kUnit.size()), kUnit)) return whole;
  const std::string_view spec = TrimOws(value.substr(kUnit.size()));
  const size_t dash = spec.find('-');
  if (dash == std::string_view::npos) return whole;
  const std::string_view from = spec.substr(0, dash);
  const std::string_view to = spec.substr(dash + 1);
  const std::optional<uint64_t> first = ParseNumber(from);
  const std::optional<uint64_t> last = ParseNumber(to);
  const ByteRange unsatisfiable{ByteRange::Kind::kUnsatisfiable, 0, 0};

  if (from.empty()) {  // the last so many bytes
    if (!last.has_value()) return whole;
    if (*last == 0 || size == 0) return unsatisfiable;
    return {ByteRange::Kind::kPart, size - std::min(*last, size), size - 1};
  }
  if (!first.has_value() || (!to.empty() && !last.has_value())) return whole;
  if (last.has_value() && *last < *first) return whole;
  if (*first >= size) return unsatisfiable;
  return {ByteRange::Kind::kPart, *first, std::min(last.value_or(size - 1), size - 1)};
}

std::string ContentRange(const ByteRange& range, uint64_t size) {
  if (range.kind == ByteRange::Kind::kPart) return absl::StrCat("bytes ", range.first, "-", range.last, "/", size);
  return absl::StrCat("bytes */", size);
}

}  // namespace evring::net::http
