// The end of a server: Drain() under load, with requests under way, and past its time limit; and running out of
// descriptors.
//
// What is promised. A request counts as accepted if the send() of its last byte returned before Drain() was called, on
// a connection that the server has accepted (here: one that has had an answer before, or that stats() counts). Each
// accepted request gets its whole answer. A request that was sent later may find the connection closed, but an answer
// that has begun is whole.

#include <fcntl.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "runtime/sleep.h"
#include "tests/net/http/server_test_util.h"

namespace evring::net::http {
namespace {

class DrainTest : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Workers, DrainTest, ::testing::Values(1, 2, 4));

const std::string kAnswer(3000, 'a');

// Takes a moment for every other request, so that a drain finds requests in all their states.
Task<absl::Status> AnswerSlowly(ServerRequest* request, ServerResponse* response) {
  if (request->head().raw_path() == "/slow") {
    if (absl::Status status = co_await Sleep(absl::Milliseconds(2)); !status.ok()) co_return status;
  }
  response->Send(kText, kAnswer);
  co_return absl::OkStatus();
}

struct LoadCounts {
  std::atomic<int> answered{0};
  std::atomic<int> lost{0};    // accepted, and not answered
  std::atomic<int> broken{0};  // an answer that is not whole
  std::atomic<int> refused{0};
};

// Asks again and again, `depth` requests at a time, until the server closes.
void Load(uint16_t port, int depth, const std::atomic<bool>* draining, LoadCounts* counts) {
  TestClient client(port);
  bool accepted = false;
  for (int round = 0;; ++round) {
    std::string requests;
    for (int i = 0; i < depth; ++i) requests += Get(i % 2 == round % 2 ? "/slow" : "/fast");
    const bool sent = client.Send(requests);
    const bool in_time = sent && accepted && !draining->load();
    for (int i = 0; i < depth; ++i) {
      const auto response = client.ReadResponse();
      if (!response.has_value()) {
        if (client.pending() > 0) ++counts->broken;
        if (in_time) ++counts->lost;
        ++counts->refused;
        return;
      }
      ++counts->answered;
      accepted = true;
      if (response->status != 200 || response->body != kAnswer) ++counts->broken;
      if (response->header("connection") == "close") {
        if (in_time && i + 1 < depth) ++counts->lost;
        return;
      }
    }
  }
}

void DrainUnderLoad(int workers, int depth) {
  for (int repeat = 0; repeat < Scaled(8); ++repeat) {
    ServerUnderTest server(workers, ServerOptions(), &AnswerSlowly);
    std::atomic<bool> draining{false};
    LoadCounts counts;
    std::vector<std::thread> clients;
    for (int i = 0; i < 16; ++i) clients.emplace_back(&Load, server.port(), depth, &draining, &counts);
    EXPECT_TRUE(Eventually([&] { return counts.answered.load() > 300; }));
    draining.store(true);
    server.server().Drain();
    EXPECT_TRUE(server.Ended().ok());
    for (std::thread& client : clients) client.join();
    EXPECT_EQ(counts.lost.load(), 0);
    EXPECT_EQ(counts.broken.load(), 0);
    EXPECT_EQ(server.server().stats().connections_open, 0u);
  }
}

TEST_P(DrainTest, UnderLoadEachAcceptedRequestIsAnswered) { DrainUnderLoad(GetParam(), 1); }

TEST_P(DrainTest, UnderPipelinedLoadEachAcceptedRequestIsAnswered) { DrainUnderLoad(GetParam(), 16); }

// More requests in one go than a receive buffer holds, all in the socket when the drain begins. Requests end where
// buffers end: a server that holds no further byte must not take that for the end of the pipeline.
TEST_P(DrainTest, ALongPipelineIsAnsweredToItsEnd) {
  constexpr int kRequests = 400;
  const std::string padding(64 - Get("/fast", "X: \r\n").size(), 'x');
  const std::string request = Get("/fast", "X: " + padding + "\r\n");
  ASSERT_EQ(4096 % request.size(), 0u);
  ServerUnderTest server(GetParam(), ServerOptions(), &AnswerSlowly);
  TestClient client(server.port());
  ASSERT_TRUE(client.Ask(Get("/fast")).has_value());
  std::string requests = Get("/slow", "X: " + padding + "\r\n");  // the drain begins while it is handled
  for (int i = 1; i < kRequests; ++i) requests += request;
  ASSERT_TRUE(client.Send(requests));
  server.server().Drain();
  for (int i = 0; i < kRequests; ++i) {
    const auto response = client.ReadResponse();
    ASSERT_TRUE(response.has_value()) << "answer " << i;
    EXPECT_EQ(response->body, kAnswer);
  }
  EXPECT_TRUE(client.AtEnd());
  EXPECT_TRUE(server.Ended().ok());
}

// The connection is in the state between accept and its first receive when the drain begins.
TEST_P(DrainTest, ARequestOnAConnectionThatWasJustAcceptedIsAnswered) {
  for (int repeat = 0; repeat < Scaled(100); ++repeat) {
    ServerUnderTest server(GetParam(), ServerOptions(), &AnswerAtOnce);
    TestClient client(server.port());
    ASSERT_TRUE(client.Send(Get("/")));
    while (server.server().stats().connections_accepted == 0) {
    }
    server.server().Drain();
    ASSERT_TRUE(client.ReadResponse().has_value()) << "repeat " << repeat;
    client.Close();
    EXPECT_TRUE(server.Ended().ok());
  }
}

// A request that waits in its handler is answered in full, and the connection ends behind it.
TEST_P(DrainTest, ARequestInItsHandlerIsAnsweredAndTheConnectionEnds) {
  std::atomic<bool> begun{false}, go_on{false};
  ServerUnderTest server(GetParam(), ServerOptions(), [&](ServerRequest*, ServerResponse* response) {
    return [](ServerResponse* to, std::atomic<bool>* b, std::atomic<bool>* g) -> Task<absl::Status> {
      b->store(true);
      while (!g->load()) {
        if (absl::Status status = co_await Sleep(absl::Milliseconds(1)); !status.ok()) co_return status;
      }
      to->Send(kText, "done");
      co_return absl::OkStatus();
    }(response, &begun, &go_on);
  });
  TestClient client(server.port());
  client.Send(Get("/"));
  ASSERT_TRUE(Eventually([&] { return begun.load(); }));
  server.server().Drain();
  go_on.store(true);
  const auto response = client.ReadResponse();
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->body, "done");
  // The head says so where the end of the input is known when it is made; the connection is closed either way.
  EXPECT_TRUE(response->header("connection") == "close" || response->header("connection").empty());
  EXPECT_TRUE(client.AtEnd());
  client.Close();
  EXPECT_TRUE(server.Ended().ok());
}

// An upload that is under way when the drain begins goes on to its end.
TEST_P(DrainTest, AnUploadIsReceivedToItsEnd) {
  std::atomic<bool> begun{false};
  ServerUnderTest server(GetParam(), ServerOptions(), [&begun](ServerRequest* request, ServerResponse* response) {
    begun.store(true);
    return AnswerBody(request, response);
  });
  const std::string body(1 << 20, 'u');
  const std::string request = Post("/", body);
  TestClient client(server.port());
  client.Send(std::string_view(request).substr(0, 200000));
  ASSERT_TRUE(Eventually([&] { return begun.load(); }));
  server.server().Drain();
  absl::SleepFor(absl::Milliseconds(20));
  ASSERT_TRUE(client.Send(std::string_view(request).substr(200000)));
  const auto response = client.ReadResponse();
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 200);
  EXPECT_TRUE(response->body == body);
  EXPECT_TRUE(client.AtEnd());
  client.Close();
  EXPECT_TRUE(server.Ended().ok());
}

TEST_P(DrainTest, IdleConnectionsAreClosedAndNewOnesRefused) {
  ServerUnderTest server(GetParam(), ServerOptions(), &AnswerAtOnce);
  std::vector<std::unique_ptr<TestClient>> idle;
  for (int i = 0; i < 20; ++i) {
    idle.push_back(std::make_unique<TestClient>(server.port()));
    if (i % 2 == 0) {
      ASSERT_TRUE(idle.back()->Ask(Get("/")).has_value());
    }
  }
  ASSERT_TRUE(Eventually([&] { return server.server().stats().connections_open == 20; }));
  server.server().Drain();
  for (auto& client : idle) EXPECT_EQ(client->ReadToEnd(), "");
  idle.clear();
  EXPECT_TRUE(server.Ended().ok());
  TestClient late(server.port());
  EXPECT_FALSE(late.connected());
}

// A handler that does not end and a client that does not read: both are cut off.
TEST_P(DrainTest, AfterTheTimeLimitTheRestIsCutOff) {
  ServerOptions options;
  options.drain_timeout = absl::Milliseconds(100);
  std::atomic<int> begun{0}, stopped{0};
  ServerUnderTest server(GetParam(), options, [&](ServerRequest* request, ServerResponse* response) {
    return [](ServerRequest* from, ServerResponse* to, std::atomic<int>* b, std::atomic<int>* s) -> Task<absl::Status> {
      ++*b;
      absl::Status status;
      if (from->head().raw_path() == "/hangs") {
        status = co_await Sleep(absl::InfiniteDuration());
      } else {
        to->Begin(kText);
        while (status.ok()) status = co_await to->Write(kAnswer);
      }
      ++*s;
      co_return status;
    }(request, response, &begun, &stopped);
  });
  TestClient hangs(server.port()), does_not_read(server.port(), 4096);
  hangs.Send(Get("/hangs"));
  does_not_read.Send(Get("/endless"));
  ASSERT_TRUE(Eventually([&] { return begun.load() == 2; }));
  server.server().Drain();
  EXPECT_TRUE(server.Ended().ok());
  EXPECT_EQ(stopped.load(), 2);
  hangs.ReadToEnd();
  does_not_read.Close();
}

// Connections that the kernel has accepted, while the server has as many as it may, end with the drain: they do not
// wait for those that are served.
TEST_P(DrainTest, ConnectionsThatFoundNoRoomAreClosedAtOnce) {
  ServerOptions options;
  options.connections_max = 1;
  options.drain_timeout = absl::Minutes(10);
  std::atomic<bool> begun{false}, release{false};
  ServerUnderTest server(GetParam(), options, [&](ServerRequest* request, ServerResponse* response) {
    return [](ServerRequest*, ServerResponse* to, std::atomic<bool>* b, std::atomic<bool>* r) -> Task<absl::Status> {
      *b = true;
      while (!r->load()) {
        if (absl::Status status = co_await Sleep(absl::Milliseconds(1)); !status.ok()) co_return status;
      }
      to->Send(kText, kAnswer);
      co_return absl::OkStatus();
    }(request, response, &begun, &release);
  });
  TestClient served(server.port());
  served.Send(Get("/"));
  ASSERT_TRUE(Eventually([&] { return begun.load(); }));
  TestClient waits(server.port()), waits_too(server.port());
  waits.Send(Get("/"));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  server.server().Drain();
  waits.ReadToEnd();
  waits_too.ReadToEnd();
  release = true;
  const auto response = served.ReadResponse();
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->body, kAnswer);
  EXPECT_TRUE(server.Ended().ok());
}

TEST_P(DrainTest, DrainOfADrainedServerDoesNothing) {
  ServerUnderTest server(GetParam(), ServerOptions(), &AnswerAtOnce);
  server.server().Drain();
  server.server().Drain();
  EXPECT_TRUE(server.Ended().ok());
  server.server().Drain();
}

// --- Out of descriptors
// ------------------------------------------------------------------------------------------------

// The kernel looks at the limit when an accept is armed: one of these comes before the server.
class FewDescriptors {
 public:
  explicit FewDescriptors(rlim_t descriptors_max) {
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before_), 0);
    rlimit low = before_;
    low.rlim_cur = descriptors_max;
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  }
  ~FewDescriptors() { EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before_), 0); }

 private:
  rlimit before_;
};

// All descriptors that the process may have are taken: connections wait, those that are open are served on, and the
// server does not spin. When there are descriptors again, the waiting ones are served.
TEST_P(DrainTest, OutOfDescriptorsBacksOffAndRecovers) {
  const FewDescriptors few(64);
  ServerUnderTest server(GetParam(), ServerOptions(), &AnswerAtOnce);
  TestClient open(server.port());
  ASSERT_TRUE(open.Ask(Get("/")).has_value());
  const int spare = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_GE(spare, 0);
  std::vector<int> taken;
  for (int fd; (fd = fcntl(spare, F_DUPFD_CLOEXEC, 0)) >= 0;) taken.push_back(fd);
  ASSERT_FALSE(taken.empty());
  close(taken.back());  // one for the client that follows
  taken.pop_back();
  auto waiting = std::make_unique<TestClient>(server.port());
  EXPECT_TRUE(waiting->connected());  // by the kernel, into the queue
  EXPECT_TRUE(Eventually([&] { return server.server().stats().accept_errors > 0; }));
  const uint64_t runs_before = server.runtime().counters().tasks_run;
  const uint64_t errors_before = server.server().stats().accept_errors;
  EXPECT_TRUE(open.Ask(Get("/")).has_value());
  absl::SleepFor(absl::Milliseconds(300));
  // With pauses of 5 ms and more there is no room for many attempts in that time; a spin would make thousands.
  EXPECT_LT(server.server().stats().accept_errors - errors_before, 200u);
  EXPECT_LT(server.runtime().counters().tasks_run - runs_before, 2000u);
  for (const int fd : taken) close(fd);
  close(spare);
  const auto response = waiting->Ask(Get("/"));
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 200);
  waiting->Close();
  open.Close();
  server.ExpectAllClosed();
}

}  // namespace
}  // namespace evring::net::http
