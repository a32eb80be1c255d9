#include "net/http/etag.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "net/http/chars.h"

namespace evring::net::http {
namespace {

bool TakeWeakMark(std::string_view* tag) {
  if (tag->substr(0, 2) != "W/") return false;
  tag->remove_prefix(2);
  return true;
}

}  // namespace

std::string FileEtag(uint64_t size, int64_t modified_ns) {
  return absl::StrCat("\"", absl::Hex(size), "-", absl::Hex(static_cast<uint64_t>(modified_ns)), "\"");
}

bool EtagListMatches(std::string_view list, std::string_view etag, EtagComparison comparison) {
  const bool ours_weak = TakeWeakMark(&etag);
  list = TrimOws(list);
  if (list == "*") return true;
  while (!list.empty()) {
    const bool weak = TakeWeakMark(&list);
    const size_t close = list.empty() || list[0] != '"' ? std::string_view::npos : list.find('"', 1);
    if (close == std::string_view::npos) return false;
    const bool comparable = comparison == EtagComparison::kWeak || (!weak && !ours_weak);
    if (comparable && list.substr(0, close + 1) == etag) return true;
    list = TrimOws(list.substr(close + 1));
    if (!list.empty() && list[0] != ',') return false;
    while (!list.empty() && (list[0] == ',' || IsOws(list[0]))) list.remove_prefix(1);
  }
  return false;
}

}  // namespace evring::net::http
