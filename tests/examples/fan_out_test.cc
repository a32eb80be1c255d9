// The example that asks many times at once: against the example server, against one that never answers, and against
// none.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "gtest/gtest.h"
#include "tests/support/example_process.h"

namespace evring::testing {
namespace {

std::string Target(uint16_t port) { return "--target=127.0.0.1:" + std::to_string(port); }

// Takes connections into the kernel's queue and never answers; or, without `listening`, refuses them.
class DeafServer {
 public:
  explicit DeafServer(bool listening) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    if (listening) {
      EXPECT_EQ(listen(fd_, 100), 0);
    }
    port_ = ntohs(address.sin_port);
  }
  ~DeafServer() { close(fd_); }
  uint16_t port() const { return port_; }

 private:
  const int fd_;
  uint16_t port_ = 0;
};

TEST(FanOutExample, AllAreAnswered) {
  ExampleProcess server({"examples/http_server", "--port=0", "--workers=2"});
  const uint16_t port = server.AwaitListening();
  const ProgramResult result = RunProgram({"examples/fan_out", Target(port), "--requests=50", "--deadline=30s"});
  EXPECT_EQ(result.code, 0) << result.output;
  EXPECT_NE(result.output.find("answered 50, late 0, failed 0\n"), std::string::npos) << result.output;
  const ProgramResult unknown = RunProgram({"examples/fan_out", Target(port), "--path=/unknown", "--deadline=30s"});
  EXPECT_EQ(unknown.code, 1);
  EXPECT_NE(unknown.output.find("404"), std::string::npos) << unknown.output;
  server.Signal(SIGTERM);
  EXPECT_EQ(server.AwaitEnd(), 0);
}

TEST(FanOutExample, TheDeadlineCutsOffThoseThatAreNotAnswered) {
  const DeafServer deaf(/*listening=*/true);
  const ProgramResult result =
      RunProgram({"examples/fan_out", Target(deaf.port()), "--requests=20", "--deadline=100ms"});
  EXPECT_EQ(result.code, 1);
  EXPECT_NE(result.output.find("answered 0, late 20, failed 0\n"), std::string::npos) << result.output;
}

TEST(FanOutExample, ARefusedConnectionFails) {
  const DeafServer closed(/*listening=*/false);
  const ProgramResult result =
      RunProgram({"examples/fan_out", Target(closed.port()), "--requests=5", "--deadline=30s"});
  EXPECT_EQ(result.code, 1);
  EXPECT_NE(result.output.find("answered 0, late 0, failed 5\n"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("ECONNREFUSED"), std::string::npos) << result.output;
}

}  // namespace
}  // namespace evring::testing
