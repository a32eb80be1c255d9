// measure_test: the driver's machinery against the raw servers and against servers that misbehave.
//
// Slices are short and nothing is asserted about how fast anything is: what must hold is that every
// slice has its numbers, that a wrong reply, a lost connection, silence and a failed start are errors, and whose.

#include "bench/measure.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "bench/load_client.h"
#include "bench/raw_ring.h"
#include "bench/report.h"
#include "bench/server_process.h"
#include "gtest/gtest.h"

namespace evring::bench {
namespace {

// A server in this process that takes connections one after the other and does with each what the test says.
class FakeServer {
 public:
  explicit FakeServer(std::function<void(int)> serve, int connections = 1)
      : listener_(ListenAndAnnounce("127.0.0.1", 0)) {
    thread_ = std::thread([this, connections, serve = std::move(serve)] {
      for (int i = 0; i < connections; ++i) {
        const int fd = accept(listener_, nullptr, nullptr);
        ASSERT_GE(fd, 0);
        serve(fd);
        close(fd);
      }
    });
  }
  ~FakeServer() {
    thread_.join();
    close(listener_);
  }
  uint16_t port() const {
    sockaddr_in name;
    socklen_t size = sizeof(name);
    EXPECT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&name), &size), 0);
    return ntohs(name.sin_port);
  }

 private:
  const int listener_;
  std::thread thread_;
};

std::unique_ptr<LoadClient> ConnectOneEcho(uint16_t port) {
  absl::StatusOr<std::unique_ptr<LoadClient>> client = LoadClient::Connect({.connections = 1}, "127.0.0.1", port);
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

MeasureOptions Quick() {
  MeasureOptions options;
  options.rounds = 3;
  options.generations = 2;
  options.slice = absl::Milliseconds(100);
  options.lead = absl::Milliseconds(1);
  options.count_syscalls = false;
  return options;
}

const ServerSpec kEchoMultishot = {"raw_multishot", {"bench/raw_echo", "--receive=multishot"}};
const ServerSpec kEchoOneshot = {"raw_oneshot", {"bench/raw_echo", "--receive=oneshot"}};
const ServerSpec kHttp = {"raw_http", {"bench/raw_http"}};

void ExpectAllNumbers(const Scenario& scenario, const std::vector<ServerSpec>& servers) {
  const absl::StatusOr<Measurement> measurement = Measure(scenario, servers, Quick());
  ASSERT_TRUE(measurement.ok()) << measurement.status();
  ASSERT_EQ(measurement->servers.size(), servers.size());
  EXPECT_EQ(measurement->rate > 0, scenario.paced);
  for (size_t i = 0; i < servers.size(); ++i) {
    const ServerSamples& samples = measurement->servers[i];
    EXPECT_EQ(samples.name, servers[i].name);
    ASSERT_EQ(samples.cpu_ns_per_request.size(), 3u);
    ASSERT_EQ(samples.requests_per_second.size(), 3u);
    for (int round = 0; round < 3; ++round) {
      EXPECT_GT(samples.cpu_ns_per_request[round], 0);
      EXPECT_GT(samples.requests_per_second[round], 0);
    }
    EXPECT_GT(samples.latency.total(), 0u);
    EXPECT_TRUE(absl::StrContains(FormatReport(scenario, Quick(), *measurement), servers[i].name));
  }
}

TEST(Measure, EchoSaturatedHasEveryNumberForEveryServer) {
  ExpectAllNumbers({"echo", {Protocol::kEcho, 8, 1}, false}, {kEchoMultishot, kEchoOneshot});
}
TEST(Measure, EchoPacedHasEveryNumberForEveryServer) {
  ExpectAllNumbers({"echo_paced", {Protocol::kEcho, 8, 1}, true}, {kEchoMultishot, kEchoOneshot});
}
TEST(Measure, HttpPipelinedHasEveryNumber) { ExpectAllNumbers({"http", {Protocol::kHttp, 8, 16}, false}, {kHttp}); }

TEST(Measure, AServerThatDoesNotStartIsNamed) {
  const absl::StatusOr<Measurement> measurement =
      Measure({"echo", {}, false}, {kEchoMultishot, {"gone", {"bench/no_such_program"}}}, Quick());
  EXPECT_EQ(measurement.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(absl::StrContains(measurement.status().message(), "gone: ")) << measurement.status();
}

TEST(Measure, AServerThatLeavesBeforeItListensIsAnErrorWithItsOutput) {
  const absl::StatusOr<Measurement> measurement =
      Measure({"echo", {}, false}, {{"brief", {"/bin/echo", "out of luck"}}}, Quick());
  EXPECT_EQ(measurement.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(absl::StrContains(measurement.status().message(), "out of luck")) << measurement.status();
}

TEST(Measure, AServerOfAnotherProtocolIsAnError) {
  EXPECT_EQ(Measure({"http", {Protocol::kHttp, 2, 1}, false}, {kEchoMultishot}, Quick()).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(Measure({"echo", {Protocol::kEcho, 2, 1}, false}, {kHttp}, Quick()).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST(Measure, OptionsThatMeasureNothingAreRefused) {
  MeasureOptions options = Quick();
  options.rounds = 0;
  EXPECT_EQ(Measure({"echo", {}, false}, {kEchoMultishot}, options).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Measure({"echo", {}, false}, {}, Quick()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Measure({"echo", {Protocol::kEcho, 0, 1}, false}, {kEchoMultishot}, Quick()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(LoadClient, OneWrongByteIsDataLoss) {
  FakeServer server([](int fd) {
    char data[64];
    ASSERT_EQ(recv(fd, data, sizeof(data), MSG_WAITALL), 64);
    data[63] ^= 1;
    ASSERT_EQ(send(fd, data, sizeof(data), MSG_NOSIGNAL), 64);
    recv(fd, data, 1, 0);  // until the client leaves
  });
  const std::unique_ptr<LoadClient> client = ConnectOneEcho(server.port());
  client->Start(0, 1);
  EXPECT_EQ(client->Advance(absl::Seconds(10)).status().code(), absl::StatusCode::kDataLoss);
}

TEST(LoadClient, MoreBytesThanWereAskedForAreDataLoss) {
  FakeServer server([](int fd) {
    char data[65] = {};
    ASSERT_EQ(recv(fd, data, 64, MSG_WAITALL), 64);
    ASSERT_EQ(send(fd, data, 65, MSG_NOSIGNAL), 65);
    recv(fd, data, 1, 0);
  });
  const std::unique_ptr<LoadClient> client = ConnectOneEcho(server.port());
  client->Start(0, 1);
  EXPECT_EQ(client->Advance(absl::Seconds(10)).status().code(), absl::StatusCode::kDataLoss);
}

// The client asks once to learn the length of a reply; then 200s and, of the same length, a 500 among them.
TEST(LoadClient, AnHttpReplyOfAnotherStatusIsDataLoss) {
  int asked = 0;
  FakeServer server(
      [&asked](int fd) {
        char data[4096];
        while (recv(fd, data, sizeof(data), 0) > 0) {
          const std::string head = ++asked == 5 ? "HTTP/1.1 500 No" : "HTTP/1.1 200 OK";
          const std::string reply = head + "\r\nContent-Length: 2\r\n\r\nok";
          ASSERT_EQ(send(fd, reply.data(), reply.size(), MSG_NOSIGNAL), static_cast<ssize_t>(reply.size()));
        }
      },
      2);
  absl::StatusOr<std::unique_ptr<LoadClient>> client =
      LoadClient::Connect({.protocol = Protocol::kHttp, .connections = 1}, "127.0.0.1", server.port());
  ASSERT_TRUE(client.ok()) << client.status();
  (*client)->Start(0, 1);
  EXPECT_EQ((*client)->Advance(absl::Seconds(10)).status().code(), absl::StatusCode::kDataLoss);
}

TEST(LoadClient, AConnectionThatEndsIsUnavailable) {
  FakeServer server([](int fd) {
    char byte;
    ASSERT_EQ(recv(fd, &byte, 1, 0), 1);
  });
  const std::unique_ptr<LoadClient> client = ConnectOneEcho(server.port());
  client->Start(0, 1);
  EXPECT_EQ(client->Advance(absl::Seconds(10)).status().code(), absl::StatusCode::kUnavailable);
}

TEST(LoadClient, AReplyThatNeverComesEndsTheDrain) {
  FakeServer server([](int fd) {
    char data[128];
    while (recv(fd, data, sizeof(data), 0) > 0) {
    }
  });
  std::unique_ptr<LoadClient> client = ConnectOneEcho(server.port());
  client->Start(0, 1);
  const absl::StatusOr<LoadResult> result = client->Advance(absl::Milliseconds(5));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->requests, 0u);
  EXPECT_EQ(client->Drain().code(), absl::StatusCode::kDeadlineExceeded);
}

// The server answers each request after 20 ms, one at a time; ten fall due meanwhile. They wait, and are counted, and
// the latency of those that are answered includes the wait.
TEST(LoadClient, APaceThatTheServerDoesNotKeepShowsInOverdueAndLatency) {
  FakeServer server([](int fd) {
    char data[64];
    while (recv(fd, data, sizeof(data), MSG_WAITALL) == 64) {
      usleep(20'000);
      send(fd, data, sizeof(data), MSG_NOSIGNAL);
    }
  });
  const std::unique_ptr<LoadClient> client = ConnectOneEcho(server.port());
  client->Start(500, 1);
  const absl::StatusOr<LoadResult> result = client->Advance(absl::Milliseconds(400));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(result->overdue, 100u);
  EXPECT_GT(result->latency.Quantile(1), 100'000'000u) << "a request that was due for 20 requests' time";
  EXPECT_EQ(client->Drain(), absl::OkStatus());
}

TEST(ServerProcess, AKilledServerIsReportedByStop) {
  absl::StatusOr<std::unique_ptr<ServerProcess>> server = ServerProcess::Start({.command = kHttp.command});
  ASSERT_TRUE(server.ok()) << server.status();
  ASSERT_EQ(kill((*server)->pid(), SIGKILL), 0);
  EXPECT_EQ((*server)->Stop(absl::Seconds(10)).code(), absl::StatusCode::kInternal);
}

TEST(ServerProcess, AServerThatLeavesWithAnotherCodeIsReportedByStop) {
  absl::StatusOr<std::unique_ptr<ServerProcess>> server = ServerProcess::Start(
      {.command = {"/bin/sh", "-c", "trap 'exit 3' TERM; echo listening on 127.0.0.1:1; while :; do sleep 0.1; done"}});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ((*server)->Stop(absl::Seconds(10)).code(), absl::StatusCode::kInternal);
}

TEST(ServerProcess, AServerThatIgnoresSigtermIsKilledAfterTheWait) {
  absl::StatusOr<std::unique_ptr<ServerProcess>> server = ServerProcess::Start(
      {.command = {"/bin/sh", "-c", "trap '' TERM; echo listening on 127.0.0.1:1; while :; do sleep 0.1; done"}});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ((*server)->port(), 1);
  const pid_t pid = (*server)->pid();
  EXPECT_EQ((*server)->Stop(absl::Milliseconds(50)).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(kill(pid, 0), -1) << "it is still there";
}

TEST(ServerProcess, ALineWithoutAPortIsAnError) {
  const absl::StatusOr<std::unique_ptr<ServerProcess>> server =
      ServerProcess::Start({.command = {"/bin/sh", "-c", "echo listening on nothing; sleep 5"}});
  EXPECT_EQ(server.status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace evring::bench
