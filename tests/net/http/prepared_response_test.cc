// prepared_response_test.cc: a prepared answer is byte for byte the one that ResponseHead writes.

#include "net/http/prepared_response.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace evring::net::http {
namespace {

constexpr std::string_view kDate = "Sun, 06 Nov 1994 08:49:37 GMT";

// What was there when the answers were prepared, and what is there when they are sent.
const ServerStamp kEarlier("evring");
const ServerStamp kStamp = [] {
  ServerStamp stamp("evring");
  stamp.SetTime(784111777);
  return stamp;
}();

TEST(PreparedResponse, IsWhatResponseHeadWrites) {
  FieldLines fields;
  ASSERT_TRUE(fields.Add("Cache-Control", "no-store").ok());
  const absl::StatusOr<PreparedResponse> prepared =
      PreparedResponse::Create(StatusCode::kNotFound, "text/html", "<p>no</p>", kEarlier, fields);
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  for (Method method : {Method::kGet, Method::kHead, Method::kPost}) {
    for (const bool http11 : {true, false}) {
      for (const bool keep_alive : {true, false}) {
        const Exchange exchange(method, http11, keep_alive);
        ResponseHead head(StatusCode::kNotFound);
        ASSERT_TRUE(head.AddHeader("Content-Type", "text/html").ok());
        head.AddHeaders(fields);
        head.SetContentLength(9);
        std::string expected = "before", out = "before";
        head.AppendTo(exchange, kStamp, &expected);
        if (method != Method::kHead) expected += "<p>no</p>";
        EXPECT_EQ(prepared->AppendTo(exchange, kStamp, &out), keep_alive);
        EXPECT_EQ(out, expected);
      }
    }
  }
}

TEST(PreparedResponse, AnEmptyBodyIsABodyAndServerMayBeLeftOut) {
  const absl::StatusOr<PreparedResponse> prepared =
      PreparedResponse::Create(StatusCode::kOk, "text/plain", "", ServerStamp(""));
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  std::string out;
  ServerStamp stamp("");
  stamp.SetTime(784111777);
  EXPECT_TRUE(prepared->AppendTo(Exchange(Method::kGet, true, true), stamp, &out));
  EXPECT_EQ(out, "HTTP/1.1 200 OK\r\nDate: " + std::string(kDate) +
                     "\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n");
}

// Other dates in the answer are left alone.
TEST(PreparedResponse, TheDateGoesWhereTheDateIs) {
  const std::string other(kEarlier.date());
  FieldLines fields;
  ASSERT_TRUE(fields.Add("X", other).ok());
  const absl::StatusOr<PreparedResponse> prepared =
      PreparedResponse::Create(StatusCode::kOk, "a/b", other, kEarlier, fields);
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  std::string out;
  prepared->AppendTo(Exchange(Method::kGet, true, true), kStamp, &out);
  EXPECT_EQ(out, "HTTP/1.1 200 OK\r\nServer: evring\r\nDate: " + std::string(kDate) +
                     "\r\nContent-Type: a/b\r\nX: " + other + "\r\nContent-Length: 29\r\n\r\n" + other);
}

TEST(PreparedResponse, WhatCannotBeSentIsRefused) {
  const auto code = [](const absl::StatusOr<PreparedResponse>& prepared) { return prepared.status().code(); };
  constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code(PreparedResponse::Create(StatusCode::kNoContent, "a/b", "", kEarlier)), kInvalid);
  EXPECT_EQ(code(PreparedResponse::Create(StatusCode::kNotModified, "a/b", "", kEarlier)), kInvalid);
  EXPECT_EQ(code(PreparedResponse::Create(StatusCode::kOk, "a/b\r\nX: y", "", kEarlier)), kInvalid);
  const FieldLines trailers(FieldLines::Place::kTrailers);
  EXPECT_EQ(code(PreparedResponse::Create(StatusCode::kOk, "a/b", "", kEarlier, trailers)), kInvalid);
}

}  // namespace
}  // namespace evring::net::http
