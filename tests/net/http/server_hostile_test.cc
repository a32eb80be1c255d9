// The server against requests that break rules, over sockets. Each case of hostile_requests.h is sent whole, byte by
// byte, and with the sending side closed behind it; the answer must be the right one, the connection must end, the next
// good request must be served, and at the end no connection and no descriptor may be left. Then clients that are too
// slow.

#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/net/http/hostile_requests.h"
#include "tests/net/http/server_test_util.h"

namespace evring::net::http {
namespace {

enum class Way { kWhole, kBytewise, kHalfClosed };

constexpr size_t kBytewiseMax = 2 << 10;

// Short where a test waits for it, too long to be reached where not.
ServerOptions Patient() {
  ServerOptions options;
  options.idle_timeout = absl::Milliseconds(300);
  options.head_timeout = absl::Milliseconds(300);
  options.body_timeout = absl::Milliseconds(300);
  return options;
}

class HostileTest : public ::testing::TestWithParam<std::tuple<int, bool>> {
 protected:
  static int workers() { return std::get<0>(GetParam()); }
  static bool reads_body() { return std::get<1>(GetParam()); }
  static Handler handler() { return reads_body() ? Handler(&AnswerBody) : Handler(&AnswerAtOnce); }
};

INSTANTIATE_TEST_SUITE_P(, HostileTest, ::testing::Combine(::testing::Values(1, 2), ::testing::Bool()),
                         [](const auto& param) {
                           return std::to_string(std::get<0>(param.param)) +
                                  (std::get<1>(param.param) ? "workersReadBody" : "workersSkipBody");
                         });

void ExpectServed(uint16_t port) {
  TestClient client(port);
  const auto response = client.Ask(Get("/good"));
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 200);
}

// A refusal of the body comes too late for a handler that has answered without it: the connection ends then.
bool IsRefusal(const TestResponse& response, const RequestCase& c, bool reads_body) {
  if (response.status == c.status) return true;
  return !reads_body && response.status == 200 && c.bytes.find("\r\n\r\n") != std::string::npos;
}

void RunCase(uint16_t port, const RequestCase& c, Way way, bool reads_body) {
  TestClient client(port);
  ASSERT_TRUE(client.connected());
  if (way == Way::kBytewise) {
    client.SendBytewise(c.bytes);
  } else {
    client.Send(c.bytes);
  }
  if (way == Way::kHalfClosed) client.HalfClose();
  if (c.status == RequestCase::kServed) {
    for (int i = 0; i < c.requests; ++i) {
      const auto response = client.ReadResponse();
      ASSERT_TRUE(response.has_value()) << "answer " << i << " does not come";
      EXPECT_EQ(response->status, 200);
    }
    client.HalfClose();
    EXPECT_TRUE(client.AtEnd());
  } else if (c.status == RequestCase::kUnfinished) {
    // 400 or 408, or a close without a word; behind a handler that does not wait for the body, its answer.
    while (const auto response = client.ReadResponse()) {
      EXPECT_TRUE(response->status == 400 || response->status == 408 || (!reads_body && response->status == 200))
          << response->status;
    }
  } else {
    const auto response = client.ReadResponse();
    ASSERT_TRUE(response.has_value()) << "closed without an answer";
    EXPECT_TRUE(IsRefusal(*response, c, reads_body)) << response->status << " instead of " << c.status;
    if (response->status == c.status) {
      EXPECT_EQ(response->header("connection"), "close");
      EXPECT_TRUE(client.AtEnd());
      EXPECT_FALSE(client.reset());  // which could have destroyed the answer on its way
    } else {
      client.HalfClose();
      client.ReadToEnd();
    }
  }
}

TEST_P(HostileTest, EachIsAnsweredOrClosedAndTheNextIsServed) {
  ServerUnderTest server(workers(), Patient(), handler());
  const std::vector<RequestCase> cases = HostileRequests();
  ASSERT_GE(cases.size(), 60u);
  for (const RequestCase& c : cases) {
    for (const Way way : {Way::kWhole, Way::kBytewise, Way::kHalfClosed}) {
      if (way == Way::kBytewise && c.bytes.size() >= kBytewiseMax) continue;
      SCOPED_TRACE(c.name + (way == Way::kWhole ? "" : way == Way::kBytewise ? ", bytewise" : ", half-closed"));
      RunCase(server.port(), c, way, reads_body());
    }
    SCOPED_TRACE("behind " + c.name);
    ExpectServed(server.port());
  }
  server.ExpectAllClosed();
}

// Clients that go away in the middle of whatever they send, by a close or a reset: nothing is left of them.
TEST_P(HostileTest, ClientsThatVanishLeaveNothing) {
  ServerUnderTest server(workers(), Patient(), handler());
  for (const RequestCase& c : HostileRequests()) {
    TestClient closes(server.port());
    closes.Send(std::string_view(c.bytes).substr(0, c.bytes.size() / 2));
    TestClient resets(server.port());
    resets.Send(c.bytes);
    resets.Reset();
  }
  ExpectServed(server.port());
  server.ExpectAllClosed();
}

// --- Clients that are slow
// ---------------------------------------------------------------------------------------------

class SlowClientTest : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Workers, SlowClientTest, ::testing::Values(1, 2));

constexpr absl::Duration kShort = absl::Milliseconds(100);

TEST_P(SlowClientTest, SilenceAfterConnectingIsClosed) {
  ServerOptions options;
  options.idle_timeout = kShort;
  ServerUnderTest server(GetParam(), options, &AnswerBody);
  TestClient client(server.port());
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(server.server().stats().requests_refused, 0u);
  client.Close();
  server.ExpectAllClosed();
}

TEST_P(SlowClientTest, SilenceAfterAnAnswerIsClosed) {
  ServerOptions options;
  options.idle_timeout = kShort;
  ServerUnderTest server(GetParam(), options, &AnswerBody);
  TestClient client(server.port());
  ASSERT_TRUE(client.Ask(Get("/")).has_value());
  EXPECT_EQ(client.ReadToEnd(), "");
  client.Close();
  server.ExpectAllClosed();
}

TEST_P(SlowClientTest, AHeadThatStopsIsAnswered408) {
  ServerOptions options;
  options.head_timeout = kShort;
  ServerUnderTest server(GetParam(), options, &AnswerBody);
  TestClient client(server.port());
  const auto response = client.Ask("GET / HTTP/1.1\r\nHost: te");
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 408);
  EXPECT_EQ(response->header("connection"), "close");
  EXPECT_TRUE(client.AtEnd());
  client.Close();
  server.ExpectAllClosed();
}

// Each byte comes in time, all of them together do not.
TEST_P(SlowClientTest, AHeadThatTricklesIsAnswered408) {
  ServerOptions options;
  options.head_timeout = absl::Milliseconds(200);
  ServerUnderTest server(GetParam(), options, &AnswerBody);
  TestClient client(server.port());
  client.Send("GET / HTTP/1.1\r\nX-Endless: ");
  // The last sends meet a server that has answered; they must not destroy the answer on its way.
  for (int i = 0; i < 40 && client.Send("a"); ++i) absl::SleepFor(absl::Milliseconds(10));
  const auto response = client.ReadResponse();
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 408);
}

TEST_P(SlowClientTest, ABodyThatStopsIsAnswered408) {
  ServerOptions options;
  options.body_timeout = kShort;
  ServerUnderTest server(GetParam(), options, &AnswerBody);
  for (const char* request : {"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhello",
                              "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"}) {
    TestClient client(server.port());
    const auto response = client.Ask(request);
    ASSERT_TRUE(response.has_value());
    EXPECT_EQ(response->status, 408);
    EXPECT_TRUE(client.AtEnd());
  }
  server.ExpectAllClosed();
}

// A body may be slow, as long as pieces keep coming: the limit is for the time between them.
TEST_P(SlowClientTest, ASlowBodyThatKeepsComingIsServed) {
  ServerOptions options;
  options.body_timeout = absl::Seconds(20);
  options.head_timeout = kShort;
  options.idle_timeout = kShort;
  ServerUnderTest server(GetParam(), options, &AnswerBody);
  TestClient client(server.port());
  client.Send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n");
  for (int i = 0; i < 10; ++i) {
    absl::SleepFor(absl::Milliseconds(30));
    client.Send("x");
  }
  const auto response = client.ReadResponse();
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->body, "xxxxxxxxxx");
}

TEST_P(SlowClientTest, ATruncatedBodyThatIsClosedIsNotServed) {
  ServerUnderTest server(GetParam(), ServerOptions(), &AnswerBody);
  TestClient client(server.port());
  client.Send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\nb");
  client.HalfClose();
  const auto response = client.ReadResponse();
  EXPECT_TRUE(!response.has_value() || response->status == 400);
  client.Close();
  server.ExpectAllClosed();
}

}  // namespace
}  // namespace evring::net::http
