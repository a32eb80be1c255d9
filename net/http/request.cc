#include "net/http/request.h"

#include "net/http/path.h"

namespace evring::net::http {

absl::StatusOr<std::string_view> Request::path() const {
  const std::string_view raw = raw_path();
  if (raw.find('%') == std::string_view::npos) return raw;
  if (!path_decoded_) {
    decoded_path_.clear();
    if (absl::Status status = PercentDecode(raw, &decoded_path_); !status.ok()) return status;
    path_decoded_ = true;
  }
  return std::string_view(decoded_path_);
}

}  // namespace evring::net::http
