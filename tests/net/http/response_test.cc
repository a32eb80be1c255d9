// response_test.cc: heads and whole answers as bytes, for every kind of request and status. Each is also read back by
// llhttp as a client would, strictly, and must end where we say it ends.

#include "net/http/response.h"

#include <gtest/gtest.h>
#include <llhttp.h>

#include <cctype>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "net/http/chunk.h"
#include "net/http/limits.h"
#include "net/http/parser.h"

namespace evring::net::http {
namespace {

constexpr std::string_view kDate = "Sun, 06 Nov 1994 08:49:37 GMT";
const ServerStamp kStamp = [] {
  ServerStamp stamp("evring");
  stamp.SetTime(784111777);
  return stamp;
}();
const Exchange kGet11(Method::kGet, /*http11=*/true, /*keep_alive=*/true);

// What stands before and behind the fields that a test is about.
std::string Head(std::string_view status, std::string_view fields) {
  return "HTTP/1.1 " + std::string(status) + "\r\nServer: evring\r\nDate: " + std::string(kDate) + "\r\n" +
         std::string(fields) + "\r\n";
}

// What a client makes of one answer and a second one behind it.
struct ClientView {
  int status = 0;
  std::string body;
  bool complete = false;
  bool keep_alive = false;
  size_t bytes = 0;  // up to the end of the message
};

ClientView ReadAsClient(const std::string& bytes, Method asked) {
  struct State {
    ClientView view;
    bool head_request;
  } state{{}, asked == Method::kHead};
  llhttp_settings_t settings;
  llhttp_settings_init(&settings);
  settings.on_body = [](llhttp_t* client, const char* at, size_t size) {
    static_cast<State*>(client->data)->view.body.append(at, size);
    return 0;
  };
  settings.on_headers_complete = [](llhttp_t* client) {
    return static_cast<State*>(client->data)->head_request ? 1 : 0;
  };
  settings.on_message_complete = [](llhttp_t* client) {
    ClientView& view = static_cast<State*>(client->data)->view;
    view.complete = true;
    view.keep_alive = llhttp_should_keep_alive(client) != 0;
    return static_cast<int>(HPE_PAUSED);
  };
  llhttp_t client;
  llhttp_init(&client, HTTP_RESPONSE, &settings);
  client.data = &state;
  llhttp_errno_t code = llhttp_execute(&client, bytes.data(), bytes.size());
  if (code == HPE_OK) {
    state.view.bytes = bytes.size();
    code = llhttp_finish(&client);  // a body may last until the connection is closed
  } else {
    state.view.bytes = llhttp_get_error_pos(&client) - bytes.data();
  }
  EXPECT_TRUE(code == HPE_OK || code == HPE_PAUSED) << llhttp_errno_name(code) << " " << client.reason << "\n" << bytes;
  state.view.status = client.status_code;
  return state.view;
}

TEST(ResponseHead, AnAnswerWithALength) {
  ResponseHead head;
  ASSERT_TRUE(head.AddHeader("Content-Type", "text/plain").ok());
  ASSERT_TRUE(head.AddHeader("X-Empty", "").ok());
  head.SetContentLength(12345678901);
  std::string out = "before";
  const SentHead sent = head.AppendTo(kGet11, kStamp, &out);
  EXPECT_EQ(out, "before" + Head("200 OK", "Content-Type: text/plain\r\nX-Empty: \r\nContent-Length: 12345678901\r\n"));
  EXPECT_EQ(sent.framing, BodyFraming::kLength);
  EXPECT_TRUE(sent.keep_alive);
}

TEST(ResponseHead, WithoutABodyTheLengthIsZero) {
  std::string out;
  const SentHead sent = ResponseHead(StatusCode::kNotFound).AppendTo(kGet11, kStamp, &out);
  EXPECT_EQ(out, Head("404 Not Found", "Content-Length: 0\r\n"));
  EXPECT_EQ(sent.framing, BodyFraming::kNone);
}

TEST(ResponseHead, StreamingIsChunkedForHttp11AndUntilCloseForHttp10) {
  ResponseHead head;
  head.SetStreaming();
  std::string out;
  SentHead sent = head.AppendTo(kGet11, kStamp, &out);
  EXPECT_EQ(out, Head("200 OK", "Transfer-Encoding: chunked\r\n"));
  EXPECT_EQ(sent.framing, BodyFraming::kChunked);
  EXPECT_TRUE(sent.keep_alive);

  out.clear();
  sent = head.AppendTo(Exchange(Method::kGet, false, true), kStamp, &out);
  EXPECT_EQ(out, Head("200 OK", "Connection: close\r\n"));
  EXPECT_EQ(sent.framing, BodyFraming::kUntilClose);
  EXPECT_FALSE(sent.keep_alive);
}

TEST(ResponseHead, HeadHasTheHeadOfGetAndNoBody) {
  ResponseHead head;
  head.SetContentLength(10);
  std::string get, out;
  head.AppendTo(kGet11, kStamp, &get);
  EXPECT_EQ(head.AppendTo(Exchange(Method::kHead, true, true), kStamp, &out).framing, BodyFraming::kNone);
  EXPECT_EQ(out, get);
  head.SetStreaming();
  get.clear();
  out.clear();
  head.AppendTo(kGet11, kStamp, &get);
  EXPECT_EQ(head.AppendTo(Exchange(Method::kHead, true, true), kStamp, &out).framing, BodyFraming::kNone);
  EXPECT_EQ(out, get);
}

TEST(ResponseHead, StatusesThatForbidContentHaveNone) {
  for (StatusCode status :
       {StatusCode::kNoContent, StatusCode::kNotModified, StatusCode::kContinue, StatusCode::kEarlyHints}) {
    for (const bool streaming : {false, true}) {
      ResponseHead head(status);
      streaming ? head.SetStreaming() : head.SetContentLength(10);
      std::string out;
      const SentHead sent = head.AppendTo(kGet11, kStamp, &out);
      EXPECT_EQ(sent.framing, BodyFraming::kNone);
      EXPECT_EQ(out.find("Content-Length"), std::string::npos) << out;
      EXPECT_EQ(out.find("Transfer-Encoding"), std::string::npos) << out;
    }
  }
}

TEST(ResponseHead, ConnectionIsNamedWhereTheVersionDoesNotImplyIt) {
  const auto line = [](bool http11, bool keep_alive, bool close) {
    ResponseHead head;
    if (close) head.SetClose();
    std::string out;
    const SentHead sent = head.AppendTo(Exchange(Method::kGet, http11, keep_alive), kStamp, &out);
    EXPECT_EQ(sent.keep_alive, keep_alive && !close);
    const std::string start = Head("200 OK", "Content-Length: 0\r\n");
    return out.substr(start.size() - 2);
  };
  EXPECT_EQ(line(true, true, false), "\r\n");
  EXPECT_EQ(line(true, false, false), "Connection: close\r\n\r\n");
  EXPECT_EQ(line(true, true, true), "Connection: close\r\n\r\n");
  EXPECT_EQ(line(false, true, false), "Connection: keep-alive\r\n\r\n");
  EXPECT_EQ(line(false, false, false), "Connection: close\r\n\r\n");
}

TEST(ResponseHead, SwitchingProtocolsKeepsTheConnection) {
  ResponseHead head(StatusCode::kSwitchingProtocols);
  ASSERT_TRUE(head.AddHeader("Upgrade", "websocket").ok());
  std::string out;
  head.AppendTo(kGet11, kStamp, &out);
  EXPECT_EQ(out, Head("101 Switching Protocols", "Upgrade: websocket\r\nConnection: upgrade\r\n"));
}

TEST(ResponseHead, TheServerFieldMayBeLeftOut) {
  std::string out;
  ResponseHead().AppendTo(kGet11, ServerStamp(""), &out);
  EXPECT_EQ(out, "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n");
}

TEST(ResponseHead, ResetForgetsEverything) {
  ResponseHead head(StatusCode::kNotFound);
  ASSERT_TRUE(head.AddHeader("A", "b").ok());
  head.SetContentLength(1);
  head.SetClose();
  head.Reset();
  EXPECT_EQ(head.status(), StatusCode::kOk);
  std::string out;
  head.AppendTo(kGet11, kStamp, &out);
  EXPECT_EQ(out, Head("200 OK", "Content-Length: 0\r\n"));
  head.SetStreaming();
  head.Reset(StatusCode::kCreated);
  out.clear();
  head.AppendTo(kGet11, kStamp, &out);
  EXPECT_EQ(out, Head("201 Created", "Content-Length: 0\r\n"));
}

TEST(ResponseHead, NothingInjectsALine) {
  using namespace std::string_literals;
  ResponseHead head;
  for (const std::string& value : {"a\r\nSet-Cookie: x"s, "a\rb"s, "a\nb"s, "a\0b"s, "\x7f"s, "\x1b[0m"s, "\n"s}) {
    EXPECT_EQ(head.AddHeader("X", value).code(), absl::StatusCode::kInvalidArgument) << value;
  }
  for (const std::string& name : {""s, "a b"s, "a:"s, "a\r\nb"s, "a\0"s, "\xc3\xa4"s, " a"s, "a\t"s, "(a)"s}) {
    EXPECT_EQ(head.AddHeader(name, "x").code(), absl::StatusCode::kInvalidArgument) << name;
  }
  for (const char* name : {"Content-Length", "transfer-encoding", "CONNECTION", "Date", "Server", "Keep-Alive"}) {
    EXPECT_EQ(head.AddHeader(name, "1").code(), absl::StatusCode::kInvalidArgument) << name;
  }
  std::string out;
  head.AppendTo(kGet11, kStamp, &out);
  EXPECT_EQ(out, Head("200 OK", "Content-Length: 0\r\n"));
}

TEST(ResponseHead, WhatIsNotDangerousIsSentAsItIs) {
  ResponseHead head;
  ASSERT_TRUE(head.AddHeader("x!#$%&'*+-.^_`|~9", "a\tb \xc3\xa4 \"c\"").ok());
  std::string out;
  head.AppendTo(kGet11, kStamp, &out);
  EXPECT_EQ(out, Head("200 OK", "x!#$%&'*+-.^_`|~9: a\tb \xc3\xa4 \"c\"\r\nContent-Length: 0\r\n"));
}

TEST(AppendResponse, WritesTheWholeAnswer) {
  std::string out;
  EXPECT_TRUE(AppendResponse(StatusCode::kOk, "text/plain", "hello", kGet11, kStamp, &out));
  EXPECT_EQ(out, Head("200 OK", "Content-Type: text/plain\r\nContent-Length: 5\r\n") + "hello");
  out.clear();
  EXPECT_FALSE(AppendResponse(StatusCode::kOk, "", "", Exchange(Method::kGet, true, false), kStamp, &out));
  EXPECT_EQ(out, Head("200 OK", "Content-Length: 0\r\nConnection: close\r\n"));
}

TEST(AppendErrorResponse, SaysWhyAndCloses) {
  std::string out;
  AppendErrorResponse(StatusCode::kUriTooLong, "the request target is too long", kStamp, &out);
  const std::string body = "414 URI Too Long: the request target is too long\n";
  EXPECT_EQ(out, Head("414 URI Too Long", "Content-Type: text/plain; charset=utf-8\r\nContent-Length: " +
                                              std::to_string(body.size()) + "\r\nConnection: close\r\n") +
                     body);
}

// Every combination that a server can meet, followed by a second answer: the client finds the end of the first.
TEST(ResponseHead, AClientFindsTheEndOfEveryAnswer) {
  std::string next;
  AppendResponse(StatusCode::kOk, "text/plain", "next", kGet11, kStamp, &next);
  for (int code : {200, 201, 204, 205, 206, 304, 400, 404, 416, 500, 503, 299, 999}) {
    for (Method method : {Method::kGet, Method::kHead, Method::kPost}) {
      for (const bool http11 : {true, false}) {
        for (const bool keep_alive : {true, false}) {
          for (const int body : {0, 1, 2, 3}) {  // none, a length, streamed, streamed and empty
            const Exchange exchange(method, http11, keep_alive);
            ResponseHead head(static_cast<StatusCode>(code));
            if (body == 1) head.SetContentLength(5);
            if (body >= 2) head.SetStreaming();
            std::string out;
            const SentHead sent = head.AppendTo(exchange, kStamp, &out);
            SCOPED_TRACE(std::string(MethodName(method)) + " " + out);
            std::string expected_body;
            const std::string_view content = body == 3 ? "" : "hello";
            if (sent.framing == BodyFraming::kLength || sent.framing == BodyFraming::kUntilClose) out += content;
            if (sent.framing == BodyFraming::kChunked) {
              AppendChunk(content, &out);
              AppendLastChunk(&out);
            }
            if (sent.framing != BodyFraming::kNone) expected_body = content;
            const size_t end = out.size();
            if (sent.keep_alive) out += next;
            const ClientView view = ReadAsClient(out, method);
            EXPECT_EQ(view.status, code);
            EXPECT_TRUE(view.complete);
            EXPECT_EQ(view.body, expected_body);
            EXPECT_EQ(view.bytes, end);
            EXPECT_TRUE(keep_alive || !sent.keep_alive);
            EXPECT_TRUE(!http11 || view.keep_alive == sent.keep_alive);
          }
        }
      }
    }
  }
}

TEST(Exchange, IsThatOfTheRequest) {
  Limits limits;
  RequestParser parser(&limits);
  ASSERT_EQ(parser.Feed("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").event, ParseEvent::kHead);
  const Exchange first(parser.request());
  EXPECT_EQ(first.method, Method::kHead);
  EXPECT_TRUE(first.http11);
  EXPECT_FALSE(first.keep_alive);
  parser.Reset();
  ASSERT_EQ(parser.Feed("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").event, ParseEvent::kHead);
  const Exchange second(parser.request());
  EXPECT_FALSE(second.http11);
  EXPECT_TRUE(second.keep_alive);
}

// Against llhttp's list, which has the older names of two.
TEST(Status, ReasonsAreTheRegisteredOnes) {
  int compared = 0;
  for (int code = 100; code < 1000; ++code) {
    std::string reason(ReasonPhrase(static_cast<StatusCode>(code)));
    if (reason.empty() || code == 413 || code == 422) continue;
    for (char& c : reason) c = c == ' ' || c == '-' ? '_' : static_cast<char>(std::toupper(c));
    EXPECT_EQ(reason, llhttp_status_name(static_cast<llhttp_status_t>(code)));
    ++compared;
  }
  EXPECT_GT(compared, 50);
  EXPECT_EQ(ReasonPhrase(StatusCode::kContentTooLarge), "Content Too Large");
  EXPECT_EQ(ReasonPhrase(StatusCode::kUnprocessableContent), "Unprocessable Content");
  EXPECT_EQ(ReasonPhrase(static_cast<StatusCode>(299)), "");
}

}  // namespace
}  // namespace evring::net::http
