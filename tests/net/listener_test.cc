// Listeners: accepting under load, stops that lose no connection, shutdown and close from wherever, Unix paths,
// options. On this machine's kernel with 1, 2 and 4 workers, and on simulated ones.

#include "net/listener.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "net/stream.h"
#include "runtime/placement.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/timeout.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"
#include "tests/support/test_client.h"

namespace evring::net {
namespace {

using ::evring::testing::CountIn;
using ::evring::testing::Scaled;
using ::evring::testing::TestClient;

class ListenerTest : public ::evring::testing::EveryMachine {
 protected:
  // The task on a runtime of its own, after which no descriptor is left.
  static void Check(Task<> task) {
    const int before = CountIn("fd");
    RunOk(std::move(task));
    EXPECT_EQ(CountIn("fd"), before);
  }
};
INSTANTIATE_TEST_SUITE_P(Machines, ListenerTest, ::evring::testing::MachinesWithoutErrors({1, 2, 4}),
                         ::evring::testing::MachineName);

// With clients that are threads, or what the simulated network does not have: files of sockets, shared ports, IPv4 on a
// socket of IPv6.
class ListenerOnLinuxTest : public ListenerTest {};
INSTANTIATE_TEST_SUITE_P(Workers, ListenerOnLinuxTest, ::evring::testing::RealMachines({1, 2, 4}),
                         ::evring::testing::MachineName);

Listener ListenOnLoopback(const ListenOptions& options = ListenOptions()) {
  auto listener = Listener::Listen(SocketAddress::Loopback4(0), options);
  EVRING_CHECK(listener.ok(), "a port can be had");
  return *std::move(listener);
}

Task<absl::Status> AcceptOne(Listener* listener, std::vector<Stream>* accepted) {
  auto stream = co_await listener->Accept();
  if (stream.ok()) accepted->push_back(*std::move(stream));
  co_return stream.status();
}

Task<> AcceptsAll() {
  Listener listener = ListenOnLoopback();
  const SocketAddress address = *listener.LocalAddress();
  std::vector<JoinHandle<absl::StatusOr<Stream>>> connecting;
  for (int i = 0; i < 100; ++i) connecting.push_back(co_await Spawn(Stream::Connect(address)));
  std::vector<Stream> accepted;
  for (int i = 0; i < 100; ++i) CO_ASSERT_OK(co_await AcceptOne(&listener, &accepted));
  for (auto& handle : connecting) {
    auto stream = co_await std::move(handle);
    CO_ASSERT_OK(stream.status());
  }
  EXPECT_EQ(*accepted[0].socket().LocalAddress(), address);
  EXPECT_NE(fcntl(accepted[0].socket().fd(), F_GETFD) & FD_CLOEXEC, 0);
}
TEST_P(ListenerTest, EachConnectionIsAcceptedOnce) { Check(AcceptsAll()); }

// Stops of the accepting task, before, while and after it waits: the connections are there for the next.
Task<> StopsLoseNothing(int workers) {
  Listener listener = ListenOnLoopback();
  const SocketAddress address = *listener.LocalAddress();
  std::vector<Stream> accepted, connected;
  for (int i = 0; i < Scaled(300); ++i) {
    co_await ResumeOn(i % workers);
    auto accepting = co_await Spawn(AcceptOne(&listener, &accepted));
    for (int k = 0; k < i % 4; ++k) co_await Yield();
    if (i % 3 == 0) {
      auto stream = co_await Stream::Connect(address);
      CO_ASSERT_OK(stream.status());
      connected.push_back(*std::move(stream));
    }
    accepting.RequestStop();
    const absl::Status status = co_await std::move(accepting);
    EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
  }
  while (accepted.size() < connected.size()) {
    const absl::Status status = co_await WithTimeout(absl::Seconds(30), AcceptOne(&listener, &accepted));
    CO_ASSERT_OK(status);
  }
}
TEST_P(ListenerTest, AStopOfAnAcceptLosesNoConnection) { Check(StopsLoseNothing(workers())); }

// Connections that come while the accept is armed and nobody takes are closed with the listener: their clients see it.
Task<> LateOnes(int workers) {
  for (int i = 0; i < Scaled(100); ++i) {
    co_await ResumeOn(i % workers);
    Listener listener = ListenOnLoopback();
    const SocketAddress address = *listener.LocalAddress();
    std::vector<Stream> accepted;
    auto accepting = co_await Spawn(AcceptOne(&listener, &accepted));
    co_await Yield();
    accepting.RequestStop();
    static_cast<void>(co_await std::move(accepting));
    std::vector<Stream> clients;
    for (int k = 0; k < 3; ++k) {
      auto stream = co_await Stream::Connect(address);
      CO_ASSERT_OK(stream.status());
      clients.push_back(*std::move(stream));
    }
    if (i % 2 == 0) CO_ASSERT_OK(co_await Sleep(absl::Microseconds(300)));
    co_await ResumeOn((i / 2) % workers);
    listener.Close();
    listener.Close();
    for (Stream& client : clients) {
      std::byte buffer[8];
      const auto n = co_await client.Read(buffer);
      EXPECT_TRUE(!n.ok() || *n == 0);
    }
  }
}
TEST_P(ListenerTest, UntakenConnectionsAreClosedWithTheListener) { Check(LateOnes(workers())); }

Task<> Shutdowns() {
  Listener listener = ListenOnLoopback();
  const SocketAddress address = *listener.LocalAddress();
  std::vector<Stream> accepted;
  auto accepting = co_await Spawn(AcceptOne(&listener, &accepted));
  CO_ASSERT_OK(co_await Sleep(absl::Milliseconds(2)));
  listener.Shutdown();
  absl::Status status = co_await std::move(accepting);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  status = co_await AcceptOne(&listener, &accepted);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  listener.Shutdown();
  EXPECT_TRUE(absl::IsUnavailable((co_await Stream::Connect(address)).status()));
}
TEST_P(ListenerTest, ShutdownEndsAcceptsAndRefusesClients) { Check(Shutdowns()); }

Task<> PortsInUse() {
  Listener first = ListenOnLoopback();
  const SocketAddress address = *first.LocalAddress();
  const auto second = Listener::Listen(address);
  EXPECT_TRUE(absl::IsAlreadyExists(second.status())) << second.status();
  EXPECT_TRUE(absl::StrContains(second.status().message(), address.ToString())) << second.status();
  // Moving takes the port along.
  Listener moved = std::move(first);
  EXPECT_FALSE(first.valid());
  EXPECT_EQ(*moved.LocalAddress(), address);
  moved.Close();
  EXPECT_TRUE(Listener::Listen(address).ok());
  co_return;
}
TEST_P(ListenerTest, PortsAreTakenAndGivenBack) { Check(PortsInUse()); }

Task<> PortsShared() {
  ListenOptions shared;
  shared.reuse_port = true;
  Listener a = ListenOnLoopback(shared);
  EXPECT_TRUE(Listener::Listen(*a.LocalAddress(), shared).ok());
  const auto elsewhere = Listener::Listen(*SocketAddress::Parse("192.0.2.1:0"));  // an address of documentation
  EXPECT_TRUE(absl::IsUnavailable(elsewhere.status())) << elsewhere.status();
  co_return;
}
TEST_P(ListenerOnLinuxTest, PortsAreSharedIfAskedForAndAddressesAreTheMachines) { Check(PortsShared()); }

Task<> Version6() {
  ListenOptions options;
  auto both = Listener::Listen(SocketAddress::Any6(0));
  if (!both.ok() && absl::IsInvalidArgument(both.status())) co_return;  // a system without IPv6
  CO_ASSERT_OK(both.status());
  const uint16_t port = both->LocalAddress()->port();
  auto four = co_await Stream::Connect(SocketAddress::Loopback4(port));
  EXPECT_TRUE(four.ok()) << four.status();
  options.ipv6_only = true;
  auto six = Listener::Listen(SocketAddress::Any6(0), options);
  CO_ASSERT_OK(six.status());
  EXPECT_FALSE((co_await Stream::Connect(SocketAddress::Loopback4(six->LocalAddress()->port()))).ok());
}
TEST_P(ListenerOnLinuxTest, AnIPv6WildcardServesIPv4UnlessToldNot) { Check(Version6()); }

// --- Unix
// --------------------------------------------------------------------------------------------------------------

std::string SocketPath(int number) {
  const char* base = std::getenv("TEST_TMPDIR");
  // A socket's path is short; the test's own folder may be deep.
  std::string directory = base != nullptr && std::string_view(base).size() < 60 ? base : "/tmp";
  return absl::StrCat(directory, "/evring_", getpid(), "_", number, ".sock");
}
bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

// Of a Unix listener the kernel's own request does not end.
Task<> UnixShutdowns(int number) {
  auto listener = Listener::Listen(*SocketAddress::Unix(SocketPath(number)));
  CO_ASSERT_OK(listener.status());
  std::vector<Stream> accepted;
  auto accepting = co_await Spawn(AcceptOne(&*listener, &accepted));
  CO_ASSERT_OK(co_await Sleep(absl::Milliseconds(2)));
  listener->Shutdown();
  absl::Status status = co_await std::move(accepting);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  status = co_await WithTimeout(absl::Seconds(20), AcceptOne(&*listener, &accepted));
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  listener->Shutdown();
}
TEST_P(ListenerTest, ShutdownEndsTheAcceptOfAUnixListener) { Check(UnixShutdowns(100 + workers())); }

Task<> UnixPaths(int number) {
  const std::string path = SocketPath(number);
  const SocketAddress address = *SocketAddress::Unix(path);
  {
    auto listener = Listener::Listen(address);
    CO_ASSERT_OK(listener.status());
    EXPECT_TRUE(Exists(path));
    auto client = co_await Stream::Connect(address);
    CO_ASSERT_OK(client.status());
    auto served = co_await listener->Accept();
    CO_ASSERT_OK(served.status());
    // A path that is listened on is not stale.
    EXPECT_TRUE(absl::IsAlreadyExists(Listener::Listen(address).status()));
    EXPECT_TRUE(Exists(path));
  }
  EXPECT_FALSE(Exists(path));

  // Left by a process that has ended without removing it.
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(bind(fd, address.data(), address.size()), 0);
  close(fd);
  EXPECT_TRUE(Exists(path));
  ListenOptions keep;
  keep.unlink_stale_unix_path = false;
  EXPECT_TRUE(absl::IsAlreadyExists(Listener::Listen(address, keep).status()));
  EXPECT_TRUE(Listener::Listen(address).ok());
  EXPECT_FALSE(Exists(path));

  // A file that is no socket is never removed.
  EXPECT_EQ(close(open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
  EXPECT_TRUE(absl::IsAlreadyExists(Listener::Listen(address).status()));
  EXPECT_TRUE(Exists(path));
  EXPECT_EQ(unlink(path.c_str()), 0);

  EXPECT_TRUE(absl::IsNotFound(Listener::Listen(*SocketAddress::Unix("/nothing/here/a.sock")).status()));
  EXPECT_TRUE(Listener::Listen(*SocketAddress::Unix(absl::StrCat("@evring_", getpid(), "_", number))).ok());
}
TEST_P(ListenerOnLinuxTest, UnixPathsComeAndGoWithTheListener) { Check(UnixPaths(workers())); }

// A client that connects and resets at once is a connection like others, or an error that does not end the accepting.
Task<> ResetClients() {
  Listener listener = ListenOnLoopback();
  const uint16_t port = listener.LocalAddress()->port();
  for (int i = 0; i < 20; ++i) TestClient(port).Reset();
  TestClient good(port);
  EXPECT_TRUE(good.Send("good"));
  for (int accepted = 0; accepted < 21; ++accepted) {
    auto stream = co_await listener.Accept();
    if (!stream.ok()) {
      EXPECT_TRUE(absl::IsUnavailable(stream.status())) << stream.status();
      continue;
    }
    std::byte buffer[8];
    const auto n = co_await stream->Read(buffer);
    if (n.ok() && *n == 4) co_return;
  }
  ADD_FAILURE() << "the good client was not accepted";
}
TEST_P(ListenerOnLinuxTest, ClientsThatResetAtOnceDoNotDisturbOthers) { Check(ResetClients()); }

}  // namespace
}  // namespace evring::net
