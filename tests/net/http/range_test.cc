// range_test.cc: the Range field (RFC 9110 section 14.1.2 and 14.2).

#include "net/http/range.h"

#include <gtest/gtest.h>

#include <string_view>

namespace evring::net::http {
namespace {

void ExpectPart(std::string_view value, uint64_t size, uint64_t first, uint64_t last) {
  SCOPED_TRACE(value);
  const ByteRange range = ParseRange(value, size);
  ASSERT_EQ(range.kind, ByteRange::Kind::kPart);
  EXPECT_EQ(range.first, first);
  EXPECT_EQ(range.last, last);
  EXPECT_EQ(range.bytes(), last - first + 1);
}

TEST(Range, OneRangeIsServed) {
  ExpectPart("bytes=0-0", 10, 0, 0);
  ExpectPart("bytes=2-4", 10, 2, 4);
  ExpectPart("bytes=2-", 10, 2, 9);
  ExpectPart("bytes=9-", 10, 9, 9);
  ExpectPart("bytes=-3", 10, 7, 9);
  ExpectPart("BYTES= 2-4 ", 10, 2, 4);
}

TEST(Range, WhatReachesBeyondTheEndIsCut) {
  ExpectPart("bytes=2-100", 10, 2, 9);
  ExpectPart("bytes=-100", 10, 0, 9);
  ExpectPart("bytes=0-18446744073709551615", 10, 0, 9);
  ExpectPart("bytes=0-99999999999999999999999", 10, 0, 9);
  ExpectPart("bytes=-99999999999999999999999", 10, 0, 9);
  ExpectPart("bytes=5-", UINT64_MAX, 5, UINT64_MAX - 1);
}

TEST(Range, WhatBeginsBeyondTheEndCannotBeSatisfied) {
  for (std::string_view value : {"bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999999-"}) {
    EXPECT_EQ(ParseRange(value, 10).kind, ByteRange::Kind::kUnsatisfiable) << value;
  }
  EXPECT_EQ(ParseRange("bytes=0-", 0).kind, ByteRange::Kind::kUnsatisfiable);
  EXPECT_EQ(ParseRange("bytes=-1", 0).kind, ByteRange::Kind::kUnsatisfiable);
}

TEST(Range, AnythingElseIsAnsweredWithTheWhole) {
  for (std::string_view value :
       {"", "bytes", "bytes=", "bytes=-", "bytes=5", "bytes=4-2", "bytes=a-b", "bytes=1-b", "bytes=--1", "bytes=-1-",
        "bytes=+1-2", "bytes=1 -2", "bytes=0-1,3-4", "bytes 0-1", "lines=0-1", "0-1"}) {
    EXPECT_EQ(ParseRange(value, 10).kind, ByteRange::Kind::kWhole) << value;
  }
}

TEST(Range, ContentRangeSaysWhatIsSent) {
  EXPECT_EQ(ContentRange(ParseRange("bytes=2-4", 10), 10), "bytes 2-4/10");
  EXPECT_EQ(ContentRange(ParseRange("bytes=10-", 10), 10), "bytes */10");
}

}  // namespace
}  // namespace evring::net::http
