// needs_test.cc: what is found, where the limits lie, and when a limit is said, against the plainest possible statement
// of it, for every short string over a small alphabet, fed byte by byte.

#include "net/internal/needs.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace evring::net::internal {
namespace {

// All strings over `alphabet` of at most `length_max` characters.
std::vector<std::string> AllStrings(const std::string& alphabet, size_t length_max) {
  std::vector<std::string> all = {""};
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].size() == length_max) continue;
    for (const char c : alphabet) all.push_back(all[i] + c);
  }
  return all;
}

struct Expected {
  bool found;
  size_t length;
  size_t consumed;
};

Expected FindUntil(const std::string& data, const std::string& delimiter, size_t limit) {
  const size_t at = data.find(delimiter);
  return at != std::string::npos && at <= limit ? Expected{true, at, at + delimiter.size()} : Expected{false, 0, 0};
}

Expected FindLine(const std::string& data, size_t limit) {
  const size_t at = data.find('\n');
  if (at == std::string::npos) return Expected{false, 0, 0};
  const size_t length = at != 0 && data[at - 1] == '\r' ? at - 1 : at;
  return length <= limit ? Expected{true, length, at + 1} : Expected{false, 0, 0};
}

// Feeds `text` byte by byte and compares every verdict. `find` is the plain statement; `endings` are the bytes that may
// come next, enough of them to complete any delimiter.
template <class Need, class Find>
void Compare(Need need, const std::string& text, const std::vector<std::string>& endings, Find find) {
  for (size_t n = 0; n <= text.size(); ++n) {
    const std::string data = text.substr(0, n);
    const Expected expected = find(data);
    const Verdict verdict = need.Look(data);
    if (expected.found) {
      ASSERT_EQ(verdict.kind, Verdict::kFound);
      ASSERT_EQ(verdict.length, expected.length);
      ASSERT_EQ(verdict.consumed, expected.consumed);
      return;
    }
    bool possible = false;
    for (const std::string& ending : endings) possible |= find(data + ending).found;
    ASSERT_EQ(verdict.kind, possible ? Verdict::kMore : Verdict::kTooLong) << "after " << n;
    if (!possible) return;
    ASSERT_GT(need.size_max(), data.size()) << "there is room for what is missing";
  }
}

TEST(NeedUntil, FindsTheFirstWithinTheLimitAndRefusesAtTheFirstByteThatRulesItOut) {
  for (const std::string& delimiter : AllStrings("ab", 4)) {
    if (delimiter.empty()) continue;
    // What may come next: the rest of a delimiter that has begun, or a whole one.
    std::vector<std::string> endings;
    for (size_t i = 0; i <= delimiter.size(); ++i) endings.push_back(delimiter.substr(i));
    for (const std::string& text : AllStrings("ab", 8)) {
      for (size_t limit = 0; limit <= 6; ++limit) {
        SCOPED_TRACE("delimiter " + delimiter + " text " + text + " limit " + std::to_string(limit));
        Compare(NeedUntil(delimiter, limit), text, endings,
                [&](const std::string& data) { return FindUntil(data, delimiter, limit); });
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

TEST(NeedLine, EndsAtLfOrCrLfAndCountsNeither) {
  const std::vector<std::string> endings = {"\n", "\r\n"};
  for (const std::string& text : AllStrings("x\r\n", 6)) {
    for (size_t limit = 0; limit <= 5; ++limit) {
      SCOPED_TRACE("limit " + std::to_string(limit) + " text " + testing::PrintToString(text));
      Compare(NeedLine(limit), text, endings, [&](const std::string& data) { return FindLine(data, limit); });
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

// A limit that means "none" does not overflow where the delimiter's length is added.
TEST(Needs, TheLargestLimit) {
  EXPECT_EQ(NeedUntil("abc", SIZE_MAX).Look("xxabc").length, 2u);
  EXPECT_EQ(NeedUntil("abc", SIZE_MAX).Look("xx").kind, Verdict::kMore);
  EXPECT_EQ(NeedLine(SIZE_MAX).Look("xx\r\n").length, 2u);
  EXPECT_EQ(NeedLine(SIZE_MAX).Look("xx").kind, Verdict::kMore);
  EXPECT_EQ(NeedAll(SIZE_MAX).Look("xx").kind, Verdict::kMore);
  EXPECT_GT(NeedUntil("abc", SIZE_MAX).size_max(), SIZE_MAX / 8);
  EXPECT_GT(NeedLine(SIZE_MAX).size_max(), SIZE_MAX / 8);
  EXPECT_GT(NeedAll(SIZE_MAX).size_max(), SIZE_MAX / 8);
}

TEST(NeedUntil, TakesAnyByteForADelimiter) {
  const std::string zeros("\0\n\0", 3);
  const std::string data = std::string("a\0\n", 3) + zeros + "b";
  const Verdict verdict = NeedUntil(zeros, 10).Look(data);
  EXPECT_EQ(verdict.kind, Verdict::kFound);
  EXPECT_EQ(verdict.length, 1u) << "the first one overlaps the one that was appended";
}

TEST(NeedUntilDeathTest, AnEmptyDelimiterIsAFailedCheck) {
  EXPECT_DEATH(NeedUntil("", 10), "a delimiter has at least one byte");
}

TEST(NeedBytes, CountsAndConsumesOrNot) {
  EXPECT_EQ(NeedBytes(3, true).Look("ab").kind, Verdict::kMore);
  EXPECT_EQ(NeedBytes(3, true).Look("abcd").length, 3u);
  EXPECT_EQ(NeedBytes(3, true).Look("abcd").consumed, 3u);
  EXPECT_EQ(NeedBytes(3, false).Look("abcd").length, 3u);
  EXPECT_EQ(NeedBytes(3, false).Look("abcd").consumed, 0u);
  EXPECT_EQ(NeedBytes(0, true).Look("").kind, Verdict::kFound);
}

TEST(NeedAll, EndsWithTheStreamOrTheLimit) {
  EXPECT_EQ(NeedAll(3).Look("abc").kind, Verdict::kMore);
  EXPECT_EQ(NeedAll(3).Look("abcd").kind, Verdict::kTooLong);
  EXPECT_EQ(NeedAll(3).LookAtEnd("abc").length, 3u);
  EXPECT_EQ(NeedAll(3).LookAtEnd("abc").consumed, 3u);
}

}  // namespace
}  // namespace evring::net::internal
