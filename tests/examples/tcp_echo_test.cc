// The example echo server as a process: what is sent comes back, by many connections at once; a signal ends it with 0.

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/example_process.h"
#include "tests/support/test_client.h"

namespace evring::testing {
namespace {

class TcpEchoTest : public ::testing::TestWithParam<int> {
 protected:
  TcpEchoTest() : server_({"examples/tcp_echo", "--port=0", "--workers=" + std::to_string(GetParam())}) {
    port_ = server_.AwaitListening();
  }
  ExampleProcess server_;
  uint16_t port_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Workers, TcpEchoTest, ::testing::Values(1, 2, 4));

TEST_P(TcpEchoTest, WhatIsSentComesBack) {
  std::atomic<int> wrong{0};
  std::vector<std::thread> clients;
  for (int number = 0; number < 32; ++number) {
    clients.emplace_back([this, number, &wrong] {
      TestClient client(port_);
      for (int i = 0; i < 50; ++i) {
        const std::string text(static_cast<size_t>(1 + (i * 977 + number * 131) % 20000),
                               static_cast<char>('a' + i % 26));
        client.Send(text);
        if (!client.ReadAtLeast(text.size()) || client.Take(text.size()) != text) ++wrong;
      }
      client.HalfClose();
      if (!client.AtEnd()) ++wrong;
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(wrong.load(), 0);
  server_.Signal(SIGTERM);
  EXPECT_EQ(server_.AwaitEnd(), 0);
}

// Connections that are open, idle or with a client that does not read, do not hold the end up.
TEST_P(TcpEchoTest, ASignalEndsItWithConnectionsOpen) {
  TestClient idle(port_), does_not_read(port_, 4096);
  ASSERT_TRUE(idle.Send("x") && idle.ReadAtLeast(1));
  const timeval short_patience = {0, 200'000};
  setsockopt(does_not_read.fd(), SOL_SOCKET, SO_SNDTIMEO, &short_patience, sizeof(short_patience));
  const std::string block(64 << 10, 'x');
  while (send(does_not_read.fd(), block.data(), block.size(), MSG_NOSIGNAL) > 0) {
  }
  server_.Signal(SIGINT);
  EXPECT_EQ(server_.AwaitEnd(), 0);
  EXPECT_EQ(idle.Take(1), "x");
  EXPECT_TRUE(idle.AtEnd());
}

TEST(TcpEchoFlags, AnAddressThatIsNoneIsAnError) {
  EXPECT_EQ(RunProgram({"examples/tcp_echo", "--port=0", "--address=nonsense"}).code, 1);
}

}  // namespace
}  // namespace evring::testing
