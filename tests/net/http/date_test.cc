// date_test.cc: HTTP dates, against strftime(3) and the examples of RFC 9110 section 5.6.7.

#include "net/http/date.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <ctime>
#include <optional>
#include <random>
#include <string>
#include <string_view>

namespace evring::net::http {
namespace {

constexpr int64_t kExample = 784111777;  // Sun, 06 Nov 1994 08:49:37 GMT
constexpr int64_t kNow = 1732000000;     // 19 November 2024

std::string Format(int64_t seconds) {
  char text[kHttpDateBytes];
  FormatHttpDate(seconds, text);
  return std::string(text, sizeof(text));
}

TEST(HttpDate, TheThreeFormsOfTheRfcAreRead) {
  EXPECT_EQ(ParseHttpDate("Sun, 06 Nov 1994 08:49:37 GMT", kNow), kExample);
  EXPECT_EQ(ParseHttpDate("Sunday, 06-Nov-94 08:49:37 GMT", kNow), kExample);
  EXPECT_EQ(ParseHttpDate("Sun Nov  6 08:49:37 1994", kNow), kExample);
  EXPECT_EQ(ParseHttpDate("Wed Nov 16 08:49:37 1994", kNow), kExample + 10 * 86400);
  EXPECT_EQ(Format(kExample), "Sun, 06 Nov 1994 08:49:37 GMT");
}

TEST(HttpDate, WhatIsWrittenIsWhatStrftimeWritesAndIsReadBack) {
  std::mt19937_64 random(17);
  for (int i = 0; i < 20000; ++i) {
    const int64_t seconds = static_cast<int64_t>(random() % 250000000000) - 60000000000;  // years 68 to 7990
    const time_t time = seconds;
    tm utc;
    gmtime_r(&time, &utc);
    if (utc.tm_year + 1900 < 1000) continue;  // strftime writes three digits
    char expected[64];
    std::strftime(expected, sizeof(expected), "%a, %d %b %Y %H:%M:%S GMT", &utc);
    ASSERT_EQ(Format(seconds), expected);
    ASSERT_EQ(ParseHttpDate(expected, kNow), seconds);
  }
}

TEST(HttpDate, YearsStayWithinFourDigits) {
  EXPECT_EQ(Format(INT64_MIN), "Sat, 01 Jan 0000 00:00:00 GMT");
  EXPECT_EQ(Format(INT64_MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
}

TEST(HttpDate, TwoDigitYearsAreAtMostFiftyAhead) {
  EXPECT_EQ(ParseHttpDate("Tuesday, 19-Nov-24 07:06:40 GMT", kNow), kNow);
  EXPECT_EQ(Format(*ParseHttpDate("Monday, 01-Jan-74 00:00:00 GMT", kNow)), "Mon, 01 Jan 2074 00:00:00 GMT");
  EXPECT_EQ(Format(*ParseHttpDate("Monday, 01-Jan-75 00:00:00 GMT", kNow)), "Wed, 01 Jan 1975 00:00:00 GMT");
  constexpr int64_t kIn1999 = 930000000;
  EXPECT_EQ(Format(*ParseHttpDate("Monday, 01-Jan-05 00:00:00 GMT", kIn1999)), "Sat, 01 Jan 2005 00:00:00 GMT");
}

TEST(HttpDate, ALeapSecondIsTheNextMinute) {
  EXPECT_EQ(ParseHttpDate("Sat, 31 Dec 2016 23:59:60 GMT", kNow), 1483228800);
}

TEST(HttpDate, AnythingElseIsNoDate) {
  for (std::string_view text : {
           "",
           "now",
           "0",
           "784111777",
           "Sun",
           "Sun,",
           "Sun, ",
           "Sun, 06 Nov 1994 08:49:37",
           "Sun, 06 Nov 1994 08:49:37 UTC",
           "Sun, 06 Nov 1994 08:49:37 GMT ",
           " Sun, 06 Nov 1994 08:49:37 GMT",
           "Sun, 6 Nov 1994 08:49:37 GMT",
           "Xyz, 06 Nov 1994 08:49:37 GMT",
           "Sun, 06 Xyz 1994 08:49:37 GMT",
           "sun, 06 Nov 1994 08:49:37 GMT",
           "Sun, 31 Feb 1994 08:49:37 GMT",
           "Sun, 00 Nov 1994 08:49:37 GMT",
           "Sun, 06 Nov 1994 24:00:00 GMT",
           "Sun, 06 Nov 1994 08:60:37 GMT",
           "Sun, 06 Nov 1994 08:49:61 GMT",
           "Sun, -6 Nov 1994 08:49:37 GMT",
           "Sun, 06 Nov 199a 08:49:37 GMT",
           "Sun, 06 Nov 19940 08:49:37 GMT",
           "Sun, 06-Nov-94 08:49:37 GMT",
           "Sunday, 06 Nov 1994 08:49:37 GMT",
           "Sunday, 06-Nov-1994 08:49:37 GMT",
           "Sun Nov 6 08:49:37 1994",
           "Sun Nov  6 08:49:37 94",
           "Sun Nov  6 08:49:37 1994 GMT",
           "Sunday Nov  6 08:49:37 1994",
           ", ",
           ",,,",
       }) {
    EXPECT_EQ(ParseHttpDate(text, kNow), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace evring::net::http
