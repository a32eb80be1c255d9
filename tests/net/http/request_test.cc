// request_test.cc: the decoded path. All else of a Request is shown by parser_test.cc.

#include "net/http/request.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/status/status.h"
#include "net/http/limits.h"
#include "net/http/parser.h"

namespace evring::net::http {
namespace {

class RequestTest : public testing::Test {
 protected:
  const Request& Parse(const std::string& target) {
    head_ = "GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n";
    parser_.Reset();
    EXPECT_EQ(parser_.Feed(head_).event, ParseEvent::kHead);
    return parser_.request();
  }

  Limits limits_;
  RequestParser parser_{&limits_};
  std::string head_;
};

TEST_F(RequestTest, APlainPathIsNotCopied) {
  const Request& request = Parse("/plain?a=%41");
  EXPECT_EQ(*request.path(), "/plain");
  EXPECT_EQ(request.path()->data(), request.raw_path().data());
}

TEST_F(RequestTest, EscapesAreResolvedOnceAndThePlusStays) {
  EXPECT_EQ(*Parse("/a%20b+c%2Fd%252e").path(), "/a b+c/d%2e");
  EXPECT_EQ(*Parse("/%C3%A4").path(), "/\xc3\xa4");
}

TEST_F(RequestTest, TheDecodedPathIsThatOfThisRequest) {
  EXPECT_EQ(*Parse("/%41").path(), "/A");
  const Request& next = Parse("/%42");
  EXPECT_EQ(*next.path(), "/B");
  EXPECT_EQ(*next.path(), "/B");
}

TEST_F(RequestTest, BadEscapesAreInvalid) {
  for (const char* target : {"/%", "/%4", "/%zz", "/a%4gb", "/%00", "/a%00"}) {
    EXPECT_EQ(Parse(target).path().status().code(), absl::StatusCode::kInvalidArgument) << target;
  }
}

}  // namespace
}  // namespace evring::net::http
