// server_stamp_test.cc: the Server and Date lines.

#include "net/http/server_stamp.h"

#include <gtest/gtest.h>

namespace evring::net::http {
namespace {

constexpr int64_t kExample = 784111777;  // Sun, 06 Nov 1994 08:49:37 GMT

TEST(ServerStamp, TheDateIsThatOfTheLastTime) {
  ServerStamp stamp("evring/1.0 (test)");
  stamp.SetTime(kExample);
  EXPECT_EQ(stamp.date(), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(stamp.lines(), "Server: evring/1.0 (test)\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
  stamp.SetTime(kExample + 1);
  EXPECT_EQ(stamp.date(), "Sun, 06 Nov 1994 08:49:38 GMT");
  stamp.SetTime(kExample);
  EXPECT_EQ(stamp.date(), "Sun, 06 Nov 1994 08:49:37 GMT") << "a clock that was set back";
}

TEST(ServerStamp, WithoutATimeItIsStillADate) {
  EXPECT_EQ(ServerStamp("").lines(), "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
  ServerStamp stamp("");
  stamp.SetTime(0);
  EXPECT_EQ(stamp.date(), "Thu, 01 Jan 1970 00:00:00 GMT");
}

TEST(ServerStamp, AServerThatInjectsALineIsABug) { EXPECT_DEATH(ServerStamp("a\r\nX: y"), "control characters"); }

}  // namespace
}  // namespace evring::net::http
