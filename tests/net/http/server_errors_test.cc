// What ServerOptions::on_error is told, and what not: handlers that fail, requests that are refused or late, clients
// that leave. Over loopback, with 1, 2 and 4 workers.

#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "runtime/sleep.h"
#include "runtime/worker.h"
#include "tests/net/http/server_test_util.h"

namespace evring::net::http {
namespace {

using Source = ServerError::Source;

// Keeps what the hook is told.
class ErrorLog {
 public:
  void AddTo(ServerOptions* options) {
    options->on_error = [this](const ServerError& error) {
      EXPECT_NE(Worker::Current(), nullptr) << "told on a worker";
      ServerError copy = error;
      // A Status that two threads share looks like a race to ThreadSanitizer: Abseil counts where that does not see it.
      copy.status = absl::Status(error.status.code(), error.status.message());
      std::lock_guard lock(mutex_);
      errors_.push_back(std::move(copy));
    };
  }
  size_t size() {
    std::lock_guard lock(mutex_);
    return errors_.size();
  }
  // Waits for the only one, and takes it.
  ServerError TakeOne() {
    EXPECT_TRUE(Eventually([this] { return size() == 1; })) << size() << " errors";
    std::lock_guard lock(mutex_);
    if (errors_.empty()) return ServerError();
    ServerError first = errors_.front();
    errors_.clear();
    return first;
  }

 private:
  std::mutex mutex_;
  std::vector<ServerError> errors_;
};

SocketAddress AddressOf(const TestClient& client) {
  sockaddr_storage address;
  socklen_t size = sizeof(address);
  EXPECT_EQ(getsockname(client.fd(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  return *SocketAddress::FromSockaddr(reinterpret_cast<sockaddr*>(&address), size);
}

Task<absl::Status> Fails(std::string_view how, ServerResponse* response) {
  if (how == "/throws") throw std::runtime_error("on purpose");
  if (how == "/throws-a-number") throw 5;
  if (how == "/silent") co_return absl::OkStatus();
  if (how == "/short") {
    response->Begin(kText, 10);
    co_return absl::OkStatus();
  }
  if (how == "/late") {
    response->Begin(kText);
    static_cast<void>((co_await response->Flush()).ok());
    co_return absl::DataLossError("on purpose");
  }
  if (how == "/missing?a=b") co_return absl::NotFoundError("on purpose");
  response->Send(kText, "here\n");
  co_return absl::OkStatus();
}

Task<absl::Status> AnswerOrFail(ServerRequest* request, ServerResponse* response) {
  return Fails(request->head().target(), response);
}

class ErrorsTest : public ::testing::TestWithParam<int> {
 protected:
  // A server with `handler` that tells log_.
  std::unique_ptr<ServerUnderTest> Serve(Handler handler, ServerOptions options = ServerOptions()) {
    log_.AddTo(&options);
    return std::make_unique<ServerUnderTest>(GetParam(), options, std::move(handler));
  }

  ErrorLog log_;
};
INSTANTIATE_TEST_SUITE_P(Workers, ErrorsTest, ::testing::Values(1, 2, 4));

TEST_P(ErrorsTest, OfHandlersComeWithTheRequestAndThePeer) {
  const auto server = Serve(&AnswerOrFail);
  for (const auto& [target, code, says] :
       {std::tuple("/missing?a=b", absl::StatusCode::kNotFound, "on purpose"),
        std::tuple("/throws", absl::StatusCode::kInternal, "handler: on purpose"),
        std::tuple("/throws-a-number", absl::StatusCode::kInternal, "an exception that is no std::exception"),
        std::tuple("/silent", absl::StatusCode::kInternal, "did not answer"),
        std::tuple("/short", absl::StatusCode::kInvalidArgument, "10 bytes shorter"),
        std::tuple("/late", absl::StatusCode::kDataLoss, "on purpose")}) {
    SCOPED_TRACE(target);
    TestClient client(server->port());
    const SocketAddress peer = AddressOf(client);
    client.Send(
        absl::StrCat("GET /fine HTTP/1.1\r\nHost: test\r\n\r\nDELETE ", target, " HTTP/1.1\r\nHost: test\r\n\r\n"));
    const ServerError error = log_.TakeOne();
    EXPECT_EQ(error.source, Source::kHandler);
    EXPECT_EQ(error.status.code(), code) << error.status;
    EXPECT_NE(error.status.message().find(says), absl::string_view::npos) << error.status;
    EXPECT_EQ(error.peer, peer) << error.peer.ToString();
    EXPECT_EQ(error.request_line, absl::StrCat("DELETE ", target, " HTTP/1.1"));
  }
  server->server().Drain();
  EXPECT_TRUE(server->Ended().ok());
  EXPECT_EQ(log_.size(), 0u) << "each once";
}

TEST_P(ErrorsTest, OfConnectionsSayHowTheRequestWasRefused) {
  ServerOptions options;
  options.limits.target_bytes_max = 100;
  options.limits.body_bytes_max = 100;
  options.head_timeout = absl::Milliseconds(50);
  options.body_timeout = absl::Milliseconds(50);
  const auto server = Serve(&AnswerBody, options);
  const std::string long_path(200, 'x');
  const std::string chunked = "POST /c HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const auto& [sent, code, says, request_line] :
       {std::tuple(std::string("nonsense\r\n\r\n"), absl::StatusCode::kInvalidArgument, "refused with 400", ""),
        std::tuple(Get("/" + long_path), absl::StatusCode::kResourceExhausted, "refused with 414", ""),
        std::tuple(std::string("GET / HTTP/2.0\r\n\r\n"), absl::StatusCode::kUnimplemented, "refused with 505", ""),
        std::tuple(std::string("GET / HT"), absl::StatusCode::kDeadlineExceeded, "refused with 408", ""),
        std::tuple(chunked + "zz\r\n", absl::StatusCode::kInvalidArgument, "refused with 400", "POST /c HTTP/1.1"),
        std::tuple(chunked + "200\r\n", absl::StatusCode::kResourceExhausted, "refused with 413", "POST /c HTTP/1.1"),
        std::tuple(chunked + "2\r\n", absl::StatusCode::kDeadlineExceeded, "refused with 408", "POST /c HTTP/1.1")}) {
    SCOPED_TRACE(sent);
    TestClient client(server->port());
    const SocketAddress peer = AddressOf(client);
    client.Send(sent);
    const ServerError error = log_.TakeOne();
    EXPECT_EQ(error.source, Source::kConnection);
    EXPECT_EQ(error.status.code(), code) << error.status;
    EXPECT_NE(error.status.message().find(says), absl::string_view::npos) << error.status;
    EXPECT_EQ(error.peer, peer) << error.peer.ToString();
    EXPECT_EQ(error.request_line, request_line);
    client.ReadToEnd();
  }
  server->ExpectAllClosed();
  EXPECT_EQ(log_.size(), 0u) << "each once";
}

Task<absl::Status> StreamMuch(ServerRequest*, ServerResponse* response) {
  response->Begin(kText);
  const std::string piece(100'000, 'x');
  for (int i = 0; i < 200; ++i) {
    if (absl::Status status = co_await response->Write(piece); !status.ok()) co_return status;
  }
  co_return response->End();
}

// The handler's error is one that follows.
TEST_P(ErrorsTest, AClientThatDoesNotReadIsOne) {
  ServerOptions options;
  options.write_timeout = absl::Milliseconds(100);
  const auto server = Serve(&StreamMuch, options);
  TestClient client(server->port(), 4096);
  client.Send(Get("/much"));
  const ServerError error = log_.TakeOne();
  EXPECT_EQ(error.source, Source::kConnection);
  EXPECT_TRUE(absl::IsDeadlineExceeded(error.status)) << error.status;
  EXPECT_EQ(error.request_line, "GET /much HTTP/1.1");
  client.Close();
  server->ExpectAllClosed();
  EXPECT_EQ(log_.size(), 0u);
}

Task<absl::Status> StopsWithItsServer(ServerRequest*, ServerResponse*) { co_return co_await Sleep(absl::Hours(1)); }

TEST_P(ErrorsTest, ClientsThatLeaveIdleConnectionsAndStopsAreNone) {
  ServerOptions options;
  options.idle_timeout = absl::Milliseconds(50);
  {
    const auto server = Serve(&StreamMuch, options);
    {
      TestClient idle(server->port());
      EXPECT_TRUE(idle.AtEnd()) << "closed as idle";
      TestClient left(server->port());
      left.HalfClose();
      EXPECT_TRUE(left.AtEnd());
      TestClient in_head(server->port());
      in_head.Send("GET / HT");
      in_head.HalfClose();
      in_head.ReadToEnd();
      TestClient reset(server->port());
      reset.Send("GET / HT");
      reset.Reset();
      TestClient while_sending(server->port(), 4096);
      while_sending.Send(Get("/"));
      EXPECT_TRUE(while_sending.ReadAtLeast(100));
      while_sending.Reset();
    }
    EXPECT_TRUE(Eventually([&] { return server->server().stats().connections_accepted == 5; }));
    server->ExpectAllClosed();
  }
  {
    const auto server = Serve(&AnswerBody, options);
    {
      TestClient in_body(server->port());
      in_body.Send(absl::StrCat("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12345"));
      EXPECT_TRUE(Eventually([&] { return server->server().stats().requests == 1; }));
      in_body.Reset();
    }
    server->ExpectAllClosed();
    EXPECT_EQ(server->server().stats().handler_errors, 1u);
  }
  options.drain_timeout = absl::Milliseconds(50);
  {
    const auto server = Serve(&StopsWithItsServer, options);
    TestClient client(server->port());
    client.Send(Get("/"));
    EXPECT_TRUE(Eventually([&] { return server->server().stats().requests == 1; }));
    server->server().Drain();
    EXPECT_TRUE(server->Ended().ok());
  }
  EXPECT_EQ(log_.size(), 0u) << log_.TakeOne().status;
}

}  // namespace
}  // namespace evring::net::http
