// server_stamp.h: the field lines that every answer of a server has, Server and Date, formatted once a second.

#ifndef EVRING_NET_HTTP_SERVER_STAMP_H_
#define EVRING_NET_HTTP_SERVER_STAMP_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "net/http/date.h"

namespace evring::net::http {

// One per worker: not thread-safe.
class ServerStamp {
 public:
  // `server` is the value of Server; "" leaves the field out. CHECK: it is a field value (IsFieldValue), so check what
  // comes from a flag or a file before.
  explicit ServerStamp(std::string_view server);

  // Sets the Date. Call before an answer is written, with the wall clock in seconds, e.g. of CLOCK_REALTIME_COARSE;
  // within a second it costs a comparison.
  void SetTime(int64_t unix_seconds) {
    if (unix_seconds != seconds_) [[unlikely]] {
      FormatHttpDate(unix_seconds, lines_.data() + date_offset_);
      seconds_ = unix_seconds;
    }
  }

  // "Server: evring\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n". Views hold until the next SetTime.
  std::string_view lines() const { return lines_; }
  std::string_view date() const { return std::string_view(lines_).substr(date_offset_, kHttpDateBytes); }

 private:
  int64_t seconds_ = 0;
  std::string lines_;
  size_t date_offset_;
};

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_SERVER_STAMP_H_
