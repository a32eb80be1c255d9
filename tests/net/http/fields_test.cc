// fields_test.cc: looking things up in header fields, filled by parsing a head.

#include "net/http/fields.h"

#include <gtest/gtest.h>

#include <string>

#include "net/http/limits.h"
#include "net/http/parser.h"

namespace evring::net::http {
namespace {

class FieldsTest : public testing::Test {
 protected:
  const Fields& Parse(const std::string& lines) {
    head_ = "GET / HTTP/1.1\r\nHost: x\r\n" + lines + "\r\n";
    parser_.Reset();
    EXPECT_EQ(parser_.Feed(head_).event, ParseEvent::kHead);
    return parser_.request().headers();
  }

  Limits limits_;
  RequestParser parser_{&limits_};
  std::string head_;
};

TEST_F(FieldsTest, NamesAreFoundInAnyCaseAndInOrder) {
  const Fields& fields = Parse("Accept: a\r\nX: 1\r\nACCEPT: b\r\n");
  EXPECT_EQ(fields.size(), 4u);
  EXPECT_FALSE(fields.empty());
  EXPECT_EQ(fields.Find("accept"), "a");
  EXPECT_EQ(fields.Find("x"), "1");
  EXPECT_EQ(fields.Find("accep"), std::nullopt);
  EXPECT_EQ(fields.Find("accepts"), std::nullopt);
  EXPECT_EQ(fields.Count("Accept"), 2u);
  EXPECT_EQ(fields.Count("Y"), 0u);
  std::string names;
  for (const Field field : fields) names.append(field.name).append(",");
  EXPECT_EQ(names, "Host,Accept,X,ACCEPT,");
}

TEST_F(FieldsTest, ValuesAreCombinedInOrder) {
  const Fields& fields = Parse("A: 1\r\nB: 2\r\na:\r\nA: 3\r\n");
  EXPECT_EQ(fields.Combined("A"), "1, , 3");
  EXPECT_EQ(fields.Combined("B"), "2");
  EXPECT_EQ(fields.Combined("C"), "");
}

TEST_F(FieldsTest, ListsAreSearchedOverAllLines) {
  const Fields& fields = Parse("A: one ,TWO\r\nA:,three,\r\nB: four\r\n");
  EXPECT_TRUE(fields.ListContains("a", "one"));
  EXPECT_TRUE(fields.ListContains("A", "two"));
  EXPECT_TRUE(fields.ListContains("A", "Three"));
  EXPECT_FALSE(fields.ListContains("A", "four"));
  EXPECT_FALSE(fields.ListContains("A", "thre"));
  EXPECT_FALSE(fields.ListContains("C", "one"));
}

}  // namespace
}  // namespace evring::net::http
