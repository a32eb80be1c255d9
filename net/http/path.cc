#include "net/http/path.h"

#include <cstddef>

#include "net/http/chars.h"

namespace evring::net::http {
namespace {

bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

// Checks a decoded segment and appends it.
absl::Status AppendSegment(std::string_view segment, FilePathPolicy policy, std::string* out) {
  for (char c : segment) {
    if (IsControl(c)) return absl::InvalidArgumentError("path: a control character");
    if (c == '\\') return absl::InvalidArgumentError("path: a backslash");
    if (c == '/') return absl::InvalidArgumentError("path: an escaped slash");
  }
  if (segment.empty()) return absl::PermissionDeniedError("path: an empty segment");
  if (segment == "." || segment == "..") return absl::PermissionDeniedError("path: a dot segment");
  if (segment[0] == '.' && !policy.allow_dotfiles) return absl::PermissionDeniedError("path: a dotfile");
  out->append(segment);
  return absl::OkStatus();
}

}  // namespace

absl::Status PercentDecode(std::string_view text, std::string* out) {
  for (;;) {
    const size_t percent = text.find('%');
    out->append(text.substr(0, percent));
    if (percent == std::string_view::npos) return absl::OkStatus();
    text.remove_prefix(percent);
    const int high = text.size() < 3 ? -1 : HexValue(text[1]);
    const int low = text.size() < 3 ? -1 : HexValue(text[2]);
    if (high < 0 || low < 0) return absl::InvalidArgumentError("path: a '%' without two hexadecimal digits");
    const char byte = static_cast<char>(high * 16 + low);
    if (byte == '\0') return absl::InvalidArgumentError("path: an escaped NUL");
    out->push_back(byte);
    text.remove_prefix(3);
  }
}

absl::StatusOr<std::string> RelativeFilePath(std::string_view raw_path, FilePathPolicy policy) {
  if (raw_path.empty() || raw_path[0] != '/') return absl::InvalidArgumentError("path: does not begin with '/'");
  std::string path;
  std::string segment;
  std::string_view rest = raw_path.substr(1);
  while (!rest.empty()) {  // segments are cut before they are decoded, so an escaped slash cannot make one
    const size_t slash = rest.find('/');
    segment.clear();
    if (absl::Status status = PercentDecode(rest.substr(0, slash), &segment); !status.ok()) return status;
    if (absl::Status status = AppendSegment(segment, policy, &path); !status.ok()) return status;
    if (slash == std::string_view::npos) break;
    path.push_back('/');
    rest.remove_prefix(slash + 1);
  }
  return path;
}

}  // namespace evring::net::http
