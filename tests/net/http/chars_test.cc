// chars_test.cc: the character classes against their definitions in RFC 9110, for every byte.

#include "net/http/chars.h"

#include <gtest/gtest.h>

#include <cctype>
#include <cstring>
#include <string>
#include <string_view>

namespace evring::net::http {
namespace {

TEST(Chars, ClassesAreThoseOfTheRfc) {
  for (int byte = 0; byte < 256; ++byte) {
    SCOPED_TRACE(byte);
    const char c = static_cast<char>(byte);
    const bool alphanumeric = byte < 128 && std::isalnum(byte) != 0;
    const bool tchar = alphanumeric || (byte != 0 && std::strchr("!#$%&'*+-.^_`|~", byte) != nullptr);
    EXPECT_EQ(IsTokenChar(c), tchar);
    EXPECT_EQ(IsToken(std::string(1, c)), tchar);
    EXPECT_EQ(IsFieldValue(std::string(1, c)), byte == '\t' || (byte >= 0x20 && byte != 0x7f));
    EXPECT_EQ(IsDigit(c), byte >= '0' && byte <= '9');
    EXPECT_EQ(IsOws(c), byte == ' ' || byte == '\t');
    EXPECT_EQ(ToLower(c), byte < 128 ? static_cast<char>(std::tolower(byte)) : c);
    EXPECT_EQ(HexValue(c) >= 0, byte < 128 && std::isxdigit(byte) != 0);
  }
  EXPECT_EQ(HexValue('7'), 7);
  EXPECT_EQ(HexValue('a'), 10);
  EXPECT_EQ(HexValue('F'), 15);
}

TEST(Chars, ATokenIsNotEmptyAndAValueMayBe) {
  EXPECT_FALSE(IsToken(""));
  EXPECT_TRUE(IsToken("X-Y"));
  EXPECT_FALSE(IsToken("X Y"));
  EXPECT_TRUE(IsFieldValue(""));
  EXPECT_TRUE(IsFieldValue("a b\tc"));
  EXPECT_FALSE(IsFieldValue("a\r\nb"));
  EXPECT_FALSE(IsDigits(""));
  EXPECT_TRUE(IsDigits("0123"));
  EXPECT_FALSE(IsDigits("12a"));
}

TEST(Chars, OnlyLettersHaveACase) {
  EXPECT_TRUE(EqualsIgnoreCase("ETag", "etAG"));
  EXPECT_FALSE(EqualsIgnoreCase("ETag", "ETa"));
  EXPECT_FALSE(EqualsIgnoreCase("@", "`"));  // they differ by the case bit
  EXPECT_FALSE(EqualsIgnoreCase("[", "{"));
}

// IsWord is a faster EqualsIgnoreCase on texts without control characters.
TEST(Chars, AWordIsRecognisedInAnyCaseAndNothingElseIs) {
  EXPECT_TRUE(IsWord("100-Continue", "100-continue"));
  EXPECT_FALSE(IsWord("100-continu", "100-continue"));
  EXPECT_FALSE(IsWord("100-continue2", "100-continue"));
  const std::string_view word = "a-1z";
  for (size_t place = 0; place < word.size(); ++place) {
    for (int byte = 0x20; byte < 256; ++byte) {
      std::string text(word);
      text[place] = static_cast<char>(byte);
      EXPECT_EQ(IsWord(text, "a-1z"), EqualsIgnoreCase(text, word)) << text;
    }
  }
}

TEST(Chars, ListsAreCutAtCommas) {
  std::string_view list = " a ,b,, c\t";
  std::string elements;
  while (!list.empty()) elements.append("[").append(NextListElement(&list)).append("]");
  EXPECT_EQ(elements, "[a][b][][c]");
  EXPECT_EQ(TrimOws("\t a b \t"), "a b");
  EXPECT_EQ(TrimOws(" \t"), "");
}

}  // namespace
}  // namespace evring::net::http
