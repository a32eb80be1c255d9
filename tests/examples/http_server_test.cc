// The example HTTP server as a process, with 1, 2 and 4 workers: by curl, by wrk, by a pipelined load, and ended by
// SIGTERM under load.

#include <sys/resource.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/example_process.h"
#include "tests/support/test_client.h"

namespace evring::testing {
namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

class HttpServerTest : public ::testing::TestWithParam<int> {
 protected:
  HttpServerTest() {
    const char* base = std::getenv("TEST_TMPDIR");
    directory_ = std::string(base != nullptr ? base : "/tmp") + "/http_serverXXXXXX";
    EXPECT_NE(mkdtemp(directory_.data()), nullptr);
    big_.resize(10 << 20);
    uint32_t x = 99;
    for (char& c : big_) {
      x = x * 1664525 + 1013904223;
      c = static_cast<char>(x >> 24);
    }
    std::ofstream(directory_ + "/big.bin", std::ios::binary) << big_;
    server_ = std::make_unique<ExampleProcess>(std::vector<std::string>{"examples/http_server", "--port=0",
                                                                        "--workers=" + std::to_string(GetParam()),
                                                                        "--directory=" + directory_, "--drain=20s"});
    port_ = server_->AwaitListening();
  }
  ~HttpServerTest() override {
    for (const char* name : {"/big.bin", "/upload", "/got"}) std::remove((directory_ + name).c_str());
    rmdir(directory_.c_str());
  }
  std::string Url(const std::string& path) const { return "http://127.0.0.1:" + std::to_string(port_) + path; }

  // curl's output; it must leave with 0.
  std::string Curl(std::vector<std::string> arguments) const {
    std::vector<std::string> command = {"curl", "--silent", "--show-error", "--max-time", "60"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    const ProgramResult result = RunProgram(command);
    EXPECT_EQ(result.code, 0) << result.output;
    return result.output;
  }
  void ExpectOrderlyEnd() {
    server_->Signal(SIGTERM);
    EXPECT_EQ(server_->AwaitEnd(), 0);
  }

  std::string directory_;
  std::string big_;
  std::unique_ptr<ExampleProcess> server_;
  uint16_t port_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Workers, HttpServerTest, ::testing::Values(1, 2, 4));

TEST_P(HttpServerTest, CurlIsServed) {
  EXPECT_EQ(Curl({Url("/plaintext")}), "Hello, World!");
  EXPECT_EQ(Curl({Url("/json")}), "{\"message\":\"Hello, World!\",\"method\":\"GET\"}\n");
  EXPECT_EQ(Curl({"--head", Url("/plaintext")}).rfind("HTTP/1.1 200 OK\r\n", 0), 0u);
  EXPECT_EQ(Curl({"--data-binary", "some text", Url("/echo")}), "some text");
  EXPECT_EQ(Curl({"--output", "/dev/null", "--write-out", "%{http_code}", Url("/unknown")}), "404");
  EXPECT_EQ(Curl({"--output", "/dev/null", "--write-out", "%{http_code}", "--data", "x", Url("/plaintext")}), "405");
  // Three requests, one connection.
  EXPECT_EQ(Curl({"--write-out", " %{num_connects}\n", Url("/plaintext"), Url("/plaintext"), Url("/plaintext")}),
            "Hello, World! 1\nHello, World! 0\nHello, World! 0\n");
  EXPECT_NE(Curl({Url("/status")}).find("connections_open 1\n"), std::string::npos);
  ExpectOrderlyEnd();
}

TEST_P(HttpServerTest, CurlUploadsAndDownloadsArriveAsTheyAre) {
  const std::string got = directory_ + "/got";
  Curl({"--output", got, Url("/files/big.bin")});
  EXPECT_TRUE(ReadFile(got) == big_);
  // With a length (beyond 1 KiB curl says Expect: 100-continue), and chunked.
  const std::string upload = directory_ + "/upload";
  std::ofstream(upload, std::ios::binary) << big_.substr(0, 3'000'000);
  Curl({"--output", got, "--data-binary", "@" + upload, Url("/echo")});
  EXPECT_TRUE(ReadFile(got) == big_.substr(0, 3'000'000));
  Curl({"--output", got, "--header", "Transfer-Encoding: chunked", "--data-binary", "@" + upload, Url("/echo")});
  EXPECT_TRUE(ReadFile(got) == big_.substr(0, 3'000'000));
  ExpectOrderlyEnd();
}

TEST_P(HttpServerTest, WrkSeesNoError) {
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  ASSERT_GE(limit.rlim_cur, 600u) << "wrk needs descriptors";
  const ProgramResult wrk = RunProgram({"wrk", "-t1", "-c256", "-d2", Url("/plaintext")});
  EXPECT_EQ(wrk.code, 0);
  EXPECT_NE(wrk.output.find("requests in"), std::string::npos) << wrk.output;
  EXPECT_EQ(wrk.output.find("Socket errors"), std::string::npos) << wrk.output;
  EXPECT_EQ(wrk.output.find("Non-2xx"), std::string::npos) << wrk.output;
  EXPECT_EQ(wrk.output.find(" 0 requests in"), std::string::npos) << wrk.output;
  ExpectOrderlyEnd();
}

// Eight connections, sixteen requests ahead on each, bodies that tell which answer is whose.
TEST_P(HttpServerTest, APipelinedLoadIsAnsweredInOrder) {
  constexpr int kDepth = 16, kRounds = 100;
  std::vector<std::thread> clients;
  std::atomic<int> wrong{0};
  for (int number = 0; number < 8; ++number) {
    clients.emplace_back([this, number, &wrong] {
      TestClient client(port_);
      for (int round = 0; round < kRounds; ++round) {
        std::string requests;
        for (int i = 0; i < kDepth; ++i) {
          const std::string body = std::to_string(number * 1000000 + round * 100 + i);
          requests +=
              "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
        }
        client.Send(requests);
        for (int i = 0; i < kDepth; ++i) {
          const auto response = client.ReadResponse();
          if (!response.has_value() || response->body != std::to_string(number * 1000000 + round * 100 + i)) ++wrong;
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(wrong.load(), 0);
  ExpectOrderlyEnd();
}

// Each request that was sent before the signal, on a connection that the server has answered on before, is answered
// whole; no answer is cut; the process leaves with 0.
TEST_P(HttpServerTest, SigtermUnderLoadLosesNoRequest) {
  constexpr int kDepth = 8;
  const std::string request = "GET /json HTTP/1.1\r\nHost: test\r\n\r\n";
  std::string requests;
  for (int i = 0; i < kDepth; ++i) requests += request;
  std::atomic<bool> signalled{false};
  std::atomic<int> answered{0}, lost{0}, cut{0};
  std::vector<std::thread> clients;
  for (int number = 0; number < 16; ++number) {
    clients.emplace_back([&] {
      TestClient client(port_);
      for (bool accepted = false;;) {
        const bool sent = client.Send(requests);
        const bool in_time = sent && accepted && !signalled.load();
        for (int i = 0; i < kDepth; ++i) {
          const auto response = client.ReadResponse();
          if (!response.has_value()) {
            if (client.pending() > 0) ++cut;
            if (in_time) ++lost;
            return;
          }
          accepted = true;
          ++answered;
        }
      }
    });
  }
  while (answered.load() < 2000) std::this_thread::yield();
  signalled.store(true);
  server_->Signal(SIGTERM);
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(lost.load(), 0);
  EXPECT_EQ(cut.load(), 0);
  EXPECT_EQ(server_->AwaitEnd(), 0);
}

// An upload goes on behind the signal, and an idle connection is closed by it.
TEST_P(HttpServerTest, SigtermLetsAnUploadEnd) {
  TestClient idle(port_), upload(port_);
  ASSERT_TRUE(idle.Ask("GET /plaintext HTTP/1.1\r\nHost: test\r\n\r\n").has_value());
  upload.Send("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n01234");
  TestClient status(port_);
  while (status.Ask("GET /status HTTP/1.1\r\nHost: test\r\nX-Wait: 1\r\n\r\n")->body.find("connections_open 3") ==
         std::string::npos) {
  }
  usleep(50'000);  // the request is in its handler by then
  server_->Signal(SIGTERM);
  EXPECT_TRUE(idle.AtEnd());
  const auto response = upload.Ask("56789");
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->body, "0123456789");
  EXPECT_EQ(server_->AwaitEnd(), 0);
}

TEST(HttpServerFlags, WhatCannotBeServedIsSaid) {
  EXPECT_EQ(RunProgram({"examples/http_server", "--port=0", "--address=nonsense"}).code, 1);
  EXPECT_EQ(RunProgram({"examples/http_server", "--port=0", "--directory=/nothing/here"}).code, 1);
  EXPECT_EQ(RunProgram({"examples/http_server", "--port=0", "--workers=-1"}).code, 1);
}

}  // namespace
}  // namespace evring::testing
