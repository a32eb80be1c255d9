// What a good client gets to see: HEAD, Expect, pipelines, HTTP/1.0, the ends of connections, streamed answers with
// backpressure, errors of handlers, and the router. Over loopback, with 1, 2 and 4 workers.

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "net/http/router.h"
#include "tests/net/http/server_test_util.h"

namespace evring::net::http {
namespace {

class AnswersTest : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Workers, AnswersTest, ::testing::Values(1, 2, 4));

TEST_P(AnswersTest, HeadHasTheHeadOfGetAndNoBody) {
  ServerUnderTest server(GetParam(), ServerOptions(), &AnswerAtOnce);
  TestClient client(server.port());
  const auto head = client.Ask("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n", /*to_head=*/true);
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->status, 200);
  EXPECT_EQ(head->header("content-length"), "5");
  EXPECT_EQ(head->header("content-type"), kText);
  EXPECT_EQ(head->header("server"), "evring");
  EXPECT_EQ(head->header("date").size(), 29u);
  const auto get = client.Ask(Get("/"));  // begins where the head ended
  ASSERT_TRUE(get.has_value());
  EXPECT_EQ(get->body, "here\n");
}

TEST_P(AnswersTest, ExpectContinueIsSaidWhenTheBodyIsRead) {
  ServerUnderTest server(GetParam(), ServerOptions(), &AnswerBody);
  TestClient client(server.port());
  const auto interim = client.Ask("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  ASSERT_TRUE(interim.has_value());
  EXPECT_EQ(interim->status, 100);
  const auto response = client.Ask("hello");
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->body, "hello");
  EXPECT_TRUE(client.Ask(Get("/")).has_value());
}

// The client may or may not send the body then: the connection cannot go on.
TEST_P(AnswersTest, ExpectContinueOfABodyThatIsNotReadClosesBehindTheAnswer) {
  ServerUnderTest server(GetParam(), ServerOptions(), &AnswerAtOnce);
  TestClient client(server.port());
  const auto response =
      client.Ask("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 200);
  EXPECT_TRUE(client.AtEnd());
}

TEST_P(AnswersTest, PipelinedRequestsAreAnsweredInOrder) {
  ServerUnderTest server(GetParam(), ServerOptions(), &AnswerBody);
  TestClient client(server.port());
  for (int round = 0; round < 20; ++round) {
    std::string requests;
    for (int i = 0; i < 16; ++i) {
      const std::string body = absl::StrCat(round, ".", i, std::string(static_cast<size_t>(i * 97), 'b'));
      requests += i % 2 == 0 ? Post("/", body)
                             : absl::StrCat("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n",
                                            absl::Hex(body.size()), "\r\n", body, "\r\n0\r\n\r\n");
    }
    ASSERT_TRUE(client.Send(requests));
    for (int i = 0; i < 16; ++i) {
      const auto response = client.ReadResponse();
      ASSERT_TRUE(response.has_value());
      EXPECT_EQ(response->body, absl::StrCat(round, ".", i, std::string(static_cast<size_t>(i * 97), 'b')));
    }
  }
}

TEST_P(AnswersTest, Http10ClosesUnlessAskedNotTo) {
  ServerUnderTest server(GetParam(), ServerOptions(), &AnswerAtOnce);
  TestClient closes(server.port());
  ASSERT_TRUE(closes.Ask("GET / HTTP/1.0\r\n\r\n").has_value());
  EXPECT_TRUE(closes.AtEnd());
  TestClient keeps(server.port());
  for (int i = 0; i < 3; ++i) {
    const auto response = keeps.Ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    ASSERT_TRUE(response.has_value());
    EXPECT_EQ(response->header("connection"), "keep-alive");
  }
}

TEST_P(AnswersTest, ConnectionCloseIsHonouredAndSaid) {
  ServerUnderTest server(GetParam(), ServerOptions(), &AnswerAtOnce);
  TestClient client(server.port());
  const auto response = client.Ask(Get("/", "Connection: close\r\n"));
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->header("connection"), "close");
  EXPECT_TRUE(client.AtEnd());
}

TEST_P(AnswersTest, AHandlerCanCloseTheConnection) {
  ServerUnderTest server(GetParam(), ServerOptions(), [](ServerRequest* request, ServerResponse* response) {
    response->SetClose();
    return AnswerAtOnce(request, response);
  });
  TestClient client(server.port());
  const auto response = client.Ask(Get("/"));
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->header("connection"), "close");
  EXPECT_TRUE(client.AtEnd());
}

// --- Bodies
// ------------------------------------------------------------------------------------------------------------

TEST_P(AnswersTest, ASmallBodyThatIsNotReadIsSkipped) {
  ServerUnderTest server(GetParam(), ServerOptions(), &AnswerAtOnce);
  TestClient client(server.port());
  for (int i = 0; i < 5; ++i) {
    const auto response = client.Ask(Post("/", std::string(100'000, 'x')));
    ASSERT_TRUE(response.has_value());
    EXPECT_EQ(response->body, "here\n");
  }
  EXPECT_TRUE(client.Ask(Get("/")).has_value());
}

// The client is still sending when the answer is made: it must be able to read it, and then finds the connection
// closed.
TEST_P(AnswersTest, ABigBodyThatIsNotReadClosesButTheAnswerArrives) {
  ServerUnderTest server(GetParam(), ServerOptions(), &AnswerAtOnce);
  for (const bool chunked : {false, true}) {
    TestClient client(server.port());
    const std::string body(600'000, 'x');
    client.Send(chunked ? absl::StrCat("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n",
                                       absl::Hex(body.size()), "\r\n", body, "\r\n0\r\n\r\n")
                        : Post("/", body));
    const auto response = client.ReadResponse();
    ASSERT_TRUE(response.has_value());
    EXPECT_EQ(response->body, "here\n");
    EXPECT_TRUE(client.AtEnd());
    EXPECT_FALSE(client.reset());
  }
  server.ExpectAllClosed();
}

TEST_P(AnswersTest, ABodyBeyondWhatTheHandlerTakesIs413) {
  ServerUnderTest server(GetParam(), ServerOptions(), [](ServerRequest* request, ServerResponse* response) {
    return [](ServerRequest* from, ServerResponse* to) -> Task<absl::Status> {
      absl::StatusOr<std::string> body = co_await from->ReadWholeBody(10);
      if (!body.ok()) co_return body.status();
      to->Send(kText, *body);
      co_return absl::OkStatus();
    }(request, response);
  });
  TestClient client(server.port());
  EXPECT_EQ(client.Ask(Post("/", "0123456789"))->status, 200);
  EXPECT_EQ(client.Ask(Post("/", "0123456789a"))->status, 413);
}

// --- Streams
// -----------------------------------------------------------------------------------------------------------

constexpr size_t kPiece = 10'000;
constexpr int kPieces = 2000;

// 20 MB in pieces that differ; `*written` counts those that the server took.
Task<absl::Status> Stream20Megabytes(ServerResponse* response, bool with_length, std::atomic<int>* written) {
  if (with_length) {
    response->Begin(kText, kPiece * kPieces);
  } else {
    response->Begin(kText);
  }
  for (int i = 0; i < kPieces; ++i) {
    const std::string piece(kPiece, static_cast<char>('a' + i % 26));
    if (absl::Status status = co_await response->Write(piece); !status.ok()) co_return status;
    written->fetch_add(1);
  }
  co_return response->End();
}

TEST_P(AnswersTest, AStreamWaitsForAClientThatDoesNotRead) {
  std::atomic<int> written{0};
  ServerUnderTest server(GetParam(), ServerOptions(), [&](ServerRequest* request, ServerResponse* response) {
    return Stream20Megabytes(response, request->head().raw_path() == "/length", &written);
  });
  for (const char* path : {"/length", "/chunked"}) {
    written.store(0);
    TestClient client(server.port(), 64 << 10);
    client.Send(Get(path));
    // It goes on until the kernel's buffers are full, then stands still: most of it is never made in the meantime.
    int before = -1;
    while (before != written.load()) {
      before = written.load();
      absl::SleepFor(absl::Milliseconds(150));
    }
    EXPECT_GT(before, 0);
    EXPECT_LT(before, kPieces / 2);
    const auto response = client.ReadResponse();
    ASSERT_TRUE(response.has_value());
    ASSERT_EQ(response->body.size(), kPiece * kPieces);
    bool same = true;
    for (size_t i = 0; i < response->body.size(); i += 1000) {
      same = same && response->body[i] == static_cast<char>('a' + i / kPiece % 26);
    }
    EXPECT_TRUE(same);
    EXPECT_TRUE(client.Ask(Get(path)).has_value());  // the connection goes on behind it
  }
}

TEST_P(AnswersTest, AClientThatNeverReadsIsClosed) {
  std::atomic<int> written{0};
  ServerOptions options;
  options.write_timeout = absl::Milliseconds(100);
  ServerUnderTest server(GetParam(), options, [&](ServerRequest*, ServerResponse* response) {
    return Stream20Megabytes(response, false, &written);
  });
  TestClient client(server.port(), 4096);
  client.Send(Get("/"));
  EXPECT_TRUE(Eventually([&] { return server.server().stats().connections_accepted == 1; }));
  EXPECT_TRUE(Eventually([&] { return server.server().stats().connections_open == 0; }));
  EXPECT_LT(written.load(), kPieces);
  // What is left does not look like a whole answer.
  const std::string rest = client.ReadToEnd();
  EXPECT_FALSE(rest.ends_with("0\r\n\r\n"));
}

TEST_P(AnswersTest, AStreamToHttp10EndsWithTheConnection) {
  std::atomic<int> written{0};
  ServerUnderTest server(GetParam(), ServerOptions(), [&](ServerRequest*, ServerResponse* response) {
    return Stream20Megabytes(response, false, &written);
  });
  TestClient client(server.port());
  const auto response = client.Ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->body.size(), kPiece * kPieces);
  EXPECT_EQ(response->header("transfer-encoding"), "");
}

TEST_P(AnswersTest, AStreamThatIsShorterOrLongerThanAnnouncedIsCut) {
  ServerUnderTest server(GetParam(), ServerOptions(), [](ServerRequest* request, ServerResponse* response) {
    return [](ServerRequest* from, ServerResponse* to) -> Task<absl::Status> {
      to->Begin(kText, 10);
      absl::Status status = co_await to->Write(from->head().raw_path() == "/short" ? "123" : "12345678901");
      if (!status.ok()) co_return status;
      co_return to->End();
    }(request, response);
  });
  for (const char* path : {"/short", "/long"}) {
    TestClient client(server.port());
    EXPECT_FALSE(client.Ask(Get(path)).has_value());
    EXPECT_LT(client.pending(), 10u);
  }
  EXPECT_TRUE(Eventually([&] { return server.server().stats().handler_errors == 2; }));
}

// --- Handlers that fail
// ------------------------------------------------------------------------------------------------

Task<absl::Status> Fails(std::string_view how, ServerResponse* response) {
  if (how == "/throws") throw std::runtime_error("on purpose");
  if (how == "/silent") co_return absl::OkStatus();
  if (how == "/notfound") co_return absl::NotFoundError("on purpose");
  if (how == "/invalid") co_return absl::InvalidArgumentError("on purpose");
  if (how == "/denied") co_return absl::PermissionDeniedError("on purpose");
  if (how == "/unavailable") co_return absl::UnavailableError("on purpose");
  if (how == "/late") {
    response->Begin(kText);
    absl::Status status = co_await response->Write("so far");
    if (status.ok()) status = co_await response->Flush();
    co_return absl::InternalError("on purpose");
  }
  co_return absl::DataLossError("on purpose");
}

TEST_P(AnswersTest, ErrorsOfHandlersBecomeAnswersAndTheConnectionGoesOn) {
  ServerUnderTest server(GetParam(), ServerOptions(), [](ServerRequest* request, ServerResponse* response) {
    return Fails(request->head().raw_path(), response);
  });
  TestClient client(server.port());
  for (const auto& [path, status] :
       {std::pair("/throws", 500), std::pair("/silent", 500), std::pair("/notfound", 404), std::pair("/invalid", 400),
        std::pair("/denied", 403), std::pair("/unavailable", 503), std::pair("/other", 500)}) {
    SCOPED_TRACE(path);
    const auto response = client.Ask(Get(path));
    ASSERT_TRUE(response.has_value());
    EXPECT_EQ(response->status, status);
    EXPECT_EQ(response->body.find("on purpose"), std::string::npos);  // our words are not the client's
  }
  EXPECT_EQ(server.server().stats().handler_errors, 7u);
}

TEST_P(AnswersTest, AnErrorBehindTheBeginningOfAnAnswerCutsIt) {
  ServerUnderTest server(GetParam(), ServerOptions(), [](ServerRequest* request, ServerResponse* response) {
    return Fails(request->head().raw_path(), response);
  });
  TestClient client(server.port());
  client.Send(Get("/late"));
  const std::string all = client.ReadToEnd();
  EXPECT_NE(all.find("so far"), std::string::npos);
  EXPECT_FALSE(all.ends_with("0\r\n\r\n")) << all;
}

TEST_P(AnswersTest, StatisticsCount) {
  ServerUnderTest server(GetParam(), ServerOptions(), &AnswerAtOnce);
  TestClient client(server.port());
  client.Ask(Get("/"));
  client.Ask(Get("/"));
  TestClient bad(server.port());
  EXPECT_EQ(bad.Ask("nonsense\r\n\r\n")->status, 400);
  const ServerStats stats = server.server().stats();
  EXPECT_EQ(stats.connections_accepted, 2u);
  EXPECT_EQ(stats.requests, 2u);
  EXPECT_EQ(stats.requests_refused, 1u);
  EXPECT_EQ(stats.handler_errors, 0u);
}

// Beyond the limit clients wait in the kernel's queue, and are served when others have gone.
TEST_P(AnswersTest, ConnectionsBeyondTheLimitWait) {
  ServerOptions options;
  options.connections_max = 2;
  ServerUnderTest server(GetParam(), options, &AnswerAtOnce);
  auto first = std::make_unique<TestClient>(server.port());
  TestClient second(server.port());
  ASSERT_TRUE(first->Ask(Get("/")).has_value());
  ASSERT_TRUE(second.Ask(Get("/")).has_value());
  TestClient third(server.port());
  third.Send(Get("/"));
  absl::SleepFor(absl::Milliseconds(50));
  EXPECT_EQ(server.server().stats().requests, 2u);
  first.reset();
  const auto response = third.ReadResponse();
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 200);
}

// --- The router
// --------------------------------------------------------------------------------------------------------

Handler Says(const char* what) {
  return [what](ServerRequest*, ServerResponse* response) {
    return [](ServerResponse* to, const char* text) -> Task<absl::Status> {
      to->Send(kText, text);
      co_return absl::OkStatus();
    }(response, what);
  };
}

TEST_P(AnswersTest, TheRouterFindsByPathAndMethod) {
  Router router;
  router.Handle(Method::kGet, "/", Says("root"));
  router.Handle(Method::kGet, "/a", Says("exact"));
  router.Handle(Method::kPost, "/a", Says("post"));
  router.Handle(Method::kGet, "/a/*", Says("below a"));
  router.Handle(Method::kGet, "/a/b/*", Says("below b"));
  router.Handle(Method::kGet, "/a/b/exact", Says("exact below b"));
  ServerUnderTest server(GetParam(), ServerOptions(),
                         [&router](auto* request, auto* response) { return router.Route(request, response); });
  TestClient client(server.port());
  for (const auto& [path, body] :
       {std::pair("/", "root"), std::pair("/?q=1", "root"), std::pair("/a", "exact"), std::pair("/a/", "below a"),
        std::pair("/a/x/y", "below a"), std::pair("/a/b", "below a"), std::pair("/a/b/", "below b"),
        std::pair("/a/b/c/d", "below b"), std::pair("/a/b/exact", "exact below b")}) {
    const auto response = client.Ask(Get(path));
    ASSERT_TRUE(response.has_value());
    EXPECT_EQ(response->body, body) << path;
  }
  EXPECT_EQ(client.Ask(Post("/a", ""))->body, "post");
  EXPECT_EQ(client.Ask(Get("/ab"))->status, 404);
  const auto wrong_method = client.Ask(Post("/a/b/c", ""));
  EXPECT_EQ(wrong_method->status, 405);
  EXPECT_EQ(wrong_method->header("allow"), "GET, HEAD");
  const auto head = client.Ask("HEAD /a HTTP/1.1\r\nHost: test\r\n\r\n", /*to_head=*/true);
  EXPECT_EQ(head->status, 200);
  EXPECT_EQ(head->header("content-length"), "5");
}

}  // namespace
}  // namespace evring::net::http
