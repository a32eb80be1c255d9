// server_test_util.h: an HTTP server on a runtime of its own in this process, for tests that talk to it over loopback.

#ifndef EVRING_TESTS_NET_HTTP_SERVER_TEST_UTIL_H_
#define EVRING_TESTS_NET_HTTP_SERVER_TEST_UTIL_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "net/http/server.h"
#include "net/listener.h"
#include "runtime/runtime.h"
#include "tests/runtime/runtime_test_util.h"
#include "tests/support/test_client.h"

namespace evring::net::http {

using ::evring::testing::CountIn;
using ::evring::testing::Eventually;
using ::evring::testing::Scaled;
using ::evring::testing::TestClient;
using ::evring::testing::TestResponse;

inline constexpr char kText[] = "text/plain";

inline Task<absl::Status> ServeOwned(Server* server, Listener listener) { co_return co_await server->Serve(&listener); }

// Serves on a port of 127.0.0.1 from its construction on. The destructor drains it, unless that was done.
class ServerUnderTest {
 public:
  ServerUnderTest(int workers, const ServerOptions& options, Handler handler)
      : descriptors_before_(CountIn("fd")), server_(std::make_unique<Server>(options, std::move(handler))) {
    RuntimeOptions runtime_options;
    runtime_options.workers = workers;
    // The kernel counts the memory of rings, and gives that of closed ones back some time later: a test that makes many
    // runtimes one after the other, or beside other tests, may have to wait for it.
    auto runtime = Runtime::Create(runtime_options);
    EVRING_CHECK(Eventually([&] {
                   if (absl::IsResourceExhausted(runtime.status())) runtime = Runtime::Create(runtime_options);
                   return runtime.ok();
                 }),
                 "a runtime can be had");
    auto listener = Listener::Listen(SocketAddress::Loopback4(0));
    EVRING_CHECK(listener.ok(), "a port can be had");
    runtime_ = *std::move(runtime);
    port_ = listener->LocalAddress()->port();
    descriptors_running_ = CountIn("fd");
    serving_ = runtime_->Spawn(ServeOwned(server_.get(), *std::move(listener)));
    EVRING_CHECK(serving_->ok(), "a new runtime takes tasks");
  }
  ~ServerUnderTest() {
    if (serving_.has_value()) {
      server_->Drain();
      EXPECT_TRUE(Ended().ok());
    }
    runtime_.reset();
    EXPECT_EQ(CountIn("fd"), descriptors_before_);
  }

  uint16_t port() const { return port_; }
  Server& server() { return *server_; }
  Runtime& runtime() { return *runtime_; }

  // Waits until Serve() returns.
  absl::Status Ended() {
    absl::Status status = (*serving_)->Wait();
    serving_.reset();
    return status;
  }
  // The server has closed every connection, and no descriptor is left of them.
  void ExpectAllClosed() {
    EXPECT_TRUE(Eventually([this] { return server_->stats().connections_open == 0; }))
        << server_->stats().connections_open << " connections are open";
    EXPECT_TRUE(Eventually([this] { return CountIn("fd") == descriptors_running_; }))
        << CountIn("fd") << " descriptors, " << descriptors_running_ << " at the start";
  }

 private:
  const int descriptors_before_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Runtime> runtime_;
  std::optional<absl::StatusOr<JoinHandle<absl::Status>>> serving_;
  uint16_t port_ = 0;
  int descriptors_running_ = 0;
};

inline std::string Get(const std::string& path, const std::string& fields = "") {
  return absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: test\r\n", fields, "\r\n");
}
inline std::string Post(const std::string& path, const std::string& body, const std::string& fields = "") {
  return absl::StrCat("POST ", path, " HTTP/1.1\r\nHost: test\r\nContent-Length: ", body.size(), "\r\n", fields, "\r\n",
                      body);
}

// The body that was sent, and nothing else.
inline Task<absl::Status> AnswerBody(ServerRequest* request, ServerResponse* response) {
  absl::StatusOr<std::string> body = co_await request->ReadWholeBody(32 << 20);
  if (!body.ok()) co_return body.status();
  response->Send(kText, *body);
  co_return absl::OkStatus();
}

// Does not look at the body.
inline Task<absl::Status> AnswerAtOnce(ServerRequest*, ServerResponse* response) {
  response->Send(kText, "here\n");
  co_return absl::OkStatus();
}

}  // namespace evring::net::http

#endif  // EVRING_TESTS_NET_HTTP_SERVER_TEST_UTIL_H_
