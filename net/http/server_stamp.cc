#include "net/http/server_stamp.h"

#include "kevent/check.h"
#include "net/http/chars.h"

namespace evring::net::http {

ServerStamp::ServerStamp(std::string_view server) {
  EVRING_CHECK(IsFieldValue(server), "a Server with control characters");
  if (!server.empty()) lines_.append("Server: ").append(server).append("\r\n");
  lines_.append("Date: ");
  date_offset_ = lines_.size();
  lines_.append(kHttpDateBytes, ' ').append("\r\n");
  FormatHttpDate(seconds_, lines_.data() + date_offset_);
}

}  // namespace evring::net::http
