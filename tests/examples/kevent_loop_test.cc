// The event loop in C as a process: connections are echoed while the timer ticks, the child is seen, a signal ends it.

#include <signal.h>

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/example_process.h"
#include "tests/support/test_client.h"

namespace evring::testing {
namespace {

TEST(KeventLoopExample, ServesSocketsTimerChildAndSignal) {
  ExampleProcess loop({"examples/kevent_loop"});
  const uint16_t port = loop.AwaitListening();
  ASSERT_NE(port, 0);
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(std::make_unique<TestClient>(port));
  // One that does not read holds nobody up; its megabytes do not fit into the buffers.
  TestClient silent(port, 4096);
  const std::string block(1 << 20, 'x');
  const timeval short_patience = {0, 200'000};
  setsockopt(silent.fd(), SOL_SOCKET, SO_SNDTIMEO, &short_patience, sizeof(short_patience));
  while (send(silent.fd(), block.data(), block.size(), MSG_NOSIGNAL) > 0) {
  }
  for (int round = 0; round < 5; ++round) {
    for (size_t i = 0; i < clients.size(); ++i) {
      const std::string text(1000 * (i + 1), static_cast<char>('a' + round));
      ASSERT_TRUE(clients[i]->Send(text));
      ASSERT_TRUE(clients[i]->ReadAtLeast(text.size()));
      EXPECT_EQ(clients[i]->Take(text.size()), text);
    }
  }
  clients[0]->HalfClose();
  EXPECT_TRUE(clients[0]->AtEnd());
  loop.Signal(SIGTERM);
  EXPECT_EQ(loop.AwaitEnd(), 0);
  EXPECT_NE(loop.output().find(" ended with 7\n"), std::string::npos) << loop.output();
  EXPECT_NE(loop.output().find("signal 15\n21 connections, "), std::string::npos) << loop.output();
  EXPECT_NE(loop.output().find("the timer ticked\n"), std::string::npos) << loop.output();
}

}  // namespace
}  // namespace evring::testing
