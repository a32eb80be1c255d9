// path.h: from the path of a URL to a file below a directory, without a way out of it.

#ifndef EVRING_NET_HTTP_PATH_H_
#define EVRING_NET_HTTP_PATH_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace evring::net::http {

// Appends `text` with its %XX escapes resolved; '+' stays. kInvalidArgument for a '%' without two hexadecimal digits
// and for %00; `out` then holds what came before it.
[[nodiscard]] absl::Status PercentDecode(std::string_view text, std::string* out);

struct FilePathPolicy {
  bool allow_dotfiles = false;  // whether a segment may begin with '.'; "." and ".." are refused either way
};

// Maps an encoded URL path ("/a%20b/c.png", Request::raw_path()) to a relative file path ("a b/c.png"), to be opened
// with openat(2) below a root. "/" gives "", and a path of a directory keeps its final '/'.
//
// The path that comes back does not begin with '/', and none of its segments is empty, ".", or "..". It holds no NUL,
// no other control character and no backslash. An escape is resolved once: "%252e" names a file "%2e". Symbolic links
// are not looked at: open with RESOLVE_BENEATH (openat2(2)) where links may lead out of the root.
//
// kInvalidArgument (answer 400): does not begin with '/', bad escapes, control characters, a backslash, an escaped '/'.
// kPermissionDenied (answer 404, so as not to tell): ".", "..", an empty segment, or a dotfile against the policy.
[[nodiscard]] absl::StatusOr<std::string> RelativeFilePath(std::string_view raw_path, FilePathPolicy policy = {});

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_PATH_H_
