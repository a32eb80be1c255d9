// etag_test.cc: entity tags and their comparison (RFC 9110 sections 8.8.3.2, 13.1.1 and 13.1.2).

#include "net/http/etag.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace evring::net::http {
namespace {

constexpr EtagComparison kStrong = EtagComparison::kStrong;
constexpr EtagComparison kWeak = EtagComparison::kWeak;

TEST(Etag, AFileTagChangesWithSizeAndTime) {
  const std::string tag = FileEtag(42, 1700000000123456789);
  EXPECT_EQ(tag, "\"2a-17979cfe3d85cd15\"");
  EXPECT_NE(tag, FileEtag(43, 1700000000123456789));
  EXPECT_NE(tag, FileEtag(42, 1700000000123456790));
}

TEST(Etag, TheTableOfTheRfc) {
  EXPECT_FALSE(EtagListMatches("W/\"1\"", "W/\"1\"", kStrong));
  EXPECT_TRUE(EtagListMatches("W/\"1\"", "W/\"1\"", kWeak));
  EXPECT_FALSE(EtagListMatches("W/\"1\"", "W/\"2\"", kWeak));
  EXPECT_FALSE(EtagListMatches("W/\"1\"", "\"1\"", kStrong));
  EXPECT_TRUE(EtagListMatches("W/\"1\"", "\"1\"", kWeak));
  EXPECT_FALSE(EtagListMatches("\"1\"", "W/\"1\"", kStrong));
  EXPECT_TRUE(EtagListMatches("\"1\"", "\"1\"", kStrong));
  EXPECT_TRUE(EtagListMatches("\"1\"", "\"1\"", kWeak));
}

TEST(Etag, ListsAreSearchedAndQuotesMayHoldCommas) {
  EXPECT_TRUE(EtagListMatches("\"a\", W/\"b\" ,\"c\"", "\"c\"", kStrong));
  EXPECT_TRUE(EtagListMatches("\"a\", W/\"b\" ,\"c\"", "\"b\"", kWeak));
  EXPECT_FALSE(EtagListMatches("\"a\", W/\"b\" ,\"c\"", "\"b\"", kStrong));
  EXPECT_TRUE(EtagListMatches("\"a,b\", \"c\"", "\"c\"", kStrong));
  EXPECT_FALSE(EtagListMatches("\"a,b\"", "\"b\"", kStrong));
  EXPECT_TRUE(EtagListMatches("\"a\",, \"c\"", "\"c\"", kStrong));
  EXPECT_TRUE(EtagListMatches("*", "\"x\"", kStrong));
  EXPECT_TRUE(EtagListMatches(" * ", "\"x\"", kWeak));
}

TEST(Etag, MalformedListsMatchNothingFromThereOn) {
  for (std::string_view list : {"", "a", "\"a", "a\"", "\"x\" \"a\"", "W/", "W/a", "**", "'a'", "a, \"a\""}) {
    EXPECT_FALSE(EtagListMatches(list, "\"a\"", kWeak)) << list;
  }
  EXPECT_TRUE(EtagListMatches("\"a\" junk", "\"a\"", kWeak)) << "what stands before it counts";
}

}  // namespace
}  // namespace evring::net::http
