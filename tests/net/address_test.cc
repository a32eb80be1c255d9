// address_test.cc: every form of an address there and back, every way to write one wrong, and what the kernel itself
// gives.

#include "net/address.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace evring::net {
namespace {

SocketAddress MustParse(absl::string_view text) {
  absl::StatusOr<SocketAddress> address = SocketAddress::Parse(text);
  EXPECT_TRUE(address.ok()) << text << ": " << address.status();
  return address.ok() ? *address : SocketAddress();
}

// The message of the refusal; empty if there was none.
std::string Refusal(const absl::StatusOr<SocketAddress>& address) {
  if (address.ok()) return "";
  EXPECT_EQ(address.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(address.status().message());
}

TEST(SocketAddress, IsUnspecifiedAtFirst) {
  const SocketAddress address;
  EXPECT_EQ(address.family(), AF_UNSPEC);
  EXPECT_EQ(address.size(), 0u);
  EXPECT_EQ(address.port(), 0);
  EXPECT_FALSE(address.is_loopback());
  EXPECT_EQ(address.ToString(), "unspecified");
  EXPECT_FALSE(SocketAddress::Parse("unspecified").ok());
}

TEST(SocketAddress, ParsesIPv4IntoTheKernelsForm) {
  const SocketAddress address = MustParse("192.0.2.7:8080");
  ASSERT_EQ(address.family(), AF_INET);
  ASSERT_EQ(address.size(), sizeof(sockaddr_in));
  const auto* v4 = reinterpret_cast<const sockaddr_in*>(address.data());
  EXPECT_EQ(v4->sin_addr.s_addr, htonl(0xc0000207));
  EXPECT_EQ(v4->sin_port, htons(8080));
  EXPECT_EQ(address.port(), 8080);
}

TEST(SocketAddress, ParsesIPv6IntoTheKernelsForm) {
  const SocketAddress address = MustParse("[2001:db8::ff]:443");
  ASSERT_EQ(address.family(), AF_INET6);
  ASSERT_EQ(address.size(), sizeof(sockaddr_in6));
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address.data());
  EXPECT_EQ(v6->sin6_addr.s6_addr[0], 0x20);
  EXPECT_EQ(v6->sin6_addr.s6_addr[15], 0xff);
  EXPECT_EQ(v6->sin6_port, htons(443));
  EXPECT_EQ(v6->sin6_scope_id, 0u);
}

TEST(SocketAddress, TakesAScopeByNameOrNumber) {
  const unsigned lo = if_nametoindex("lo");
  ASSERT_NE(lo, 0u);
  const SocketAddress by_name = MustParse("[fe80::1%lo]:80");
  EXPECT_EQ(reinterpret_cast<const sockaddr_in6*>(by_name.data())->sin6_scope_id, lo);
  EXPECT_EQ(by_name, MustParse(absl::StrCat("[fe80::1%", lo, "]:80")));
  EXPECT_EQ(by_name.ToString(), absl::StrCat("[fe80::1%", lo, "]:80"));
  // The number of an interface that this machine lacks stays a number: the kernel judges it.
  EXPECT_EQ(MustParse("[fe80::1%4294967295]:80").ToString(), "[fe80::1%4294967295]:80");
}

TEST(SocketAddress, WritesWhatItReads) {
  for (const char* text : {"0.0.0.0:0", "127.0.0.1:80", "255.255.255.255:65535", "[::]:0", "[::1]:65535",
                           "[::ffff:127.0.0.1]:1", "[2001:db8:1:2:3:4:5:6]:9", "[fe80::1%7]:80",
                           "unix:", "unix:/run/a.sock", "unix:relative", "unix:@name", "unix:@", "unix:./@name",
                           "unix:\\x40name", "unix:/a\\x0ab\\x5c", "unix:@\\x00\\x01", "unix:/\xc3\xa4", "unix:@a@b"}) {
    SCOPED_TRACE(text);
    const SocketAddress address = MustParse(text);
    EXPECT_EQ(address.ToString(), text);
    EXPECT_EQ(MustParse(address.ToString()), address);
  }
}

TEST(SocketAddress, NormalizesWhatIsWrittenInSeveralWays) {
  EXPECT_EQ(MustParse("[0:0:0:0:0:0:0:1]:00080").ToString(), "[::1]:80");
  EXPECT_EQ(MustParse("unix:/\\x61\\x2F").ToString(), "unix:/a/");
}

TEST(SocketAddress, SaysWhatIsWrong) {
  const struct {
    const char* text;
    const char* why;
  } cases[] = {
      {"", "a port is missing: host:port"},
      {"127.0.0.1", "a port is missing: host:port"},
      {"localhost:80", "not an IPv4 address, and names are not looked up"},
      {"127.0.0:80", "not an IPv4 address"},
      {"127.0.0.1.:80", "not an IPv4 address"},
      {"256.0.0.1:80", "not an IPv4 address"},
      {"127.0.0.01:80", "not an IPv4 address"},
      {" 127.0.0.1:80", "not an IPv4 address"},
      {":80", "a host is missing; every address of this machine is 0.0.0.0 or [::]"},
      {"::1:80", "an IPv6 address stands in brackets"},
      {"127.0.0.1:", "the port is not a number from 0 to 65535"},
      {"127.0.0.1:65536", "the port is not a number from 0 to 65535"},
      {"127.0.0.1:000080", "the port is not a number from 0 to 65535"},
      {"127.0.0.1:-1", "the port is not a number from 0 to 65535"},
      {"127.0.0.1:+1", "the port is not a number from 0 to 65535"},
      {"127.0.0.1: 1", "the port is not a number from 0 to 65535"},
      {"127.0.0.1:8o", "the port is not a number from 0 to 65535"},
      {"[::1", "the bracket is not closed"},
      {"[::1]", "a port is missing: [host]:port"},
      {"[::1]80", "a port is missing: [host]:port"},
      {"[::1]:99999", "the port is not a number from 0 to 65535"},
      {"[127.0.0.1]:80", "not an IPv6 address"},
      {"[]:80", "not an IPv6 address"},
      {"[::1::]:80", "not an IPv6 address"},
      {"[fe80::1%]:80", "neither an interface of this machine nor its number"},
      {"[fe80::1%no-such-if]:80", "neither an interface of this machine nor its number"},
      {"[fe80::1%0]:80", "neither an interface of this machine nor its number"},
      {"[fe80::1%4294967296]:80", "neither an interface of this machine nor its number"},
      {"[%lo]:80", "not an IPv6 address"},
      {"unix:/a\\b", "a backslash is written"},
      {"unix:/a\\x4", "a backslash is written"},
      {"unix:/a\\x4g", "a backslash is written"},
      {"unix:/a\\", "a backslash is written"},
      {"unix:/a\\x00b", "a path has no NUL byte"},
  };
  for (const auto& [text, why] : cases) {
    const std::string refusal = Refusal(SocketAddress::Parse(text));
    EXPECT_NE(refusal.find(why), std::string::npos) << text << ": " << refusal;
  }
}

TEST(SocketAddress, IsNotFooledByANulInTheText) {
  EXPECT_NE(Refusal(SocketAddress::Parse(absl::string_view("127.0.0.1\0x:80", 14))), "");
  EXPECT_NE(Refusal(SocketAddress::Parse(absl::string_view("[::1\0x]:80", 10))), "");
  EXPECT_NE(Refusal(SocketAddress::Parse(absl::string_view("unix:/a\0b", 9))), "");
  EXPECT_NE(Refusal(SocketAddress::Unix(absl::string_view("/a\0b", 4))), "");
}

TEST(SocketAddress, ARefusalShowsTheTextWithoutItsControlBytes) {
  const std::string refusal = Refusal(SocketAddress::Parse("evil\n:80"));
  EXPECT_EQ(refusal.find('\n'), std::string::npos);
  EXPECT_NE(refusal.find("evil\\n"), std::string::npos) << refusal;
}

TEST(SocketAddress, AnyAndLoopback) {
  EXPECT_EQ(SocketAddress::Any4(1).ToString(), "0.0.0.0:1");
  EXPECT_EQ(SocketAddress::Any6(2).ToString(), "[::]:2");
  EXPECT_EQ(SocketAddress::Loopback4(3).ToString(), "127.0.0.1:3");
  EXPECT_EQ(SocketAddress::Loopback6(4).ToString(), "[::1]:4");
}

TEST(SocketAddress, KnowsALoopback) {
  for (const char* text : {"127.0.0.1:0", "127.255.0.9:0", "[::1]:0", "[::ffff:127.9.9.9]:0"}) {
    EXPECT_TRUE(MustParse(text).is_loopback()) << text;
  }
  for (const char* text : {"126.0.0.1:0", "0.0.0.0:0", "[::]:0", "[::2]:0", "[::ffff:10.0.0.127]:0", "[::127.0.0.1]:0",
                           "unix:/a", "unix:@a"}) {
    EXPECT_FALSE(MustParse(text).is_loopback()) << text;
  }
}

TEST(SocketAddress, WithPortChangesThePortOnly) {
  EXPECT_EQ(MustParse("10.0.0.1:1").WithPort(2), MustParse("10.0.0.1:2"));
  EXPECT_EQ(MustParse("[fe80::1%3]:1").WithPort(65535), MustParse("[fe80::1%3]:65535"));
  EXPECT_EQ(MustParse("unix:@a").WithPort(2), MustParse("unix:@a"));
  EXPECT_EQ(SocketAddress().WithPort(2), SocketAddress());
}

TEST(SocketAddress, EqualMeansSameFamilyHostPortScopeOrName) {
  const char* const distinct[] = {"1.2.3.4:5", "1.2.3.4:6",   "1.2.3.5:5",          "[::1]:5", "[::2]:5",     "[::1]:6",
                                  "[::1%7]:5", "[::1%8]:5",   "[::ffff:1.2.3.4]:5", "unix:",   "unix:a",      "unix:@a",
                                  "unix:@",    "unix:\\x40a", "unix:@a\\x00",       "unix:a/", "unix:@a\\x01"};
  absl::flat_hash_set<SocketAddress> set;
  for (const char* a : distinct) {
    EXPECT_TRUE(set.insert(MustParse(a)).second) << a;
    EXPECT_FALSE(set.insert(MustParse(a)).second) << a;
    for (const char* b : distinct) EXPECT_EQ(MustParse(a) == MustParse(b), a == b) << a << " and " << b;
  }
  EXPECT_FALSE(set.contains(SocketAddress()));
}

TEST(SocketAddress, EqualityIgnoresWhatIsNoPartOfTheAddress) {
  sockaddr_in6 v6 = {};
  v6.sin6_family = AF_INET6;
  v6.sin6_flowinfo = 77;
  EXPECT_EQ(*SocketAddress::FromSockaddr(reinterpret_cast<sockaddr*>(&v6), sizeof(v6)), SocketAddress::Any6(0));
  sockaddr_in v4 = {};
  v4.sin_family = AF_INET;
  memset(v4.sin_zero, 0xff, sizeof(v4.sin_zero));
  EXPECT_EQ(*SocketAddress::FromSockaddr(reinterpret_cast<sockaddr*>(&v4), sizeof(v4)), SocketAddress::Any4(0));
  // A path counts up to its NUL, however much of the field is passed along.
  sockaddr_un local = {};
  local.sun_family = AF_UNIX;
  strcpy(local.sun_path, "/a");
  local.sun_path[5] = 'x';
  EXPECT_EQ(*SocketAddress::FromSockaddr(reinterpret_cast<sockaddr*>(&local), sizeof(local)), MustParse("unix:/a"));
}

TEST(SocketAddress, AUnixNameFillsItsFieldAndNoMore) {
  EXPECT_TRUE(SocketAddress::Unix(std::string(108, 'p')).ok());
  EXPECT_EQ(SocketAddress::Unix(std::string(108, 'p'))->size(), sizeof(sockaddr_un));
  EXPECT_NE(Refusal(SocketAddress::Unix(std::string(109, 'p'))).find("at most 108 bytes"), std::string::npos);
  EXPECT_TRUE(SocketAddress::Unix("@" + std::string(107, 'p')).ok());
  EXPECT_NE(Refusal(SocketAddress::Unix("@" + std::string(108, 'p'))).find("an abstract name 107"), std::string::npos);
  EXPECT_TRUE(SocketAddress::Parse("unix:" + std::string(108, 'p')).ok());
  EXPECT_NE(Refusal(SocketAddress::Parse("unix:" + std::string(109, 'p'))), "");
  // What counts is the bytes, not the text.
  std::string escaped = "unix:@";
  for (int i = 0; i < 107; ++i) escaped += "\\xff";
  EXPECT_TRUE(SocketAddress::Parse(escaped).ok());
}

TEST(SocketAddress, UnixTakesEveryByteAsItStands) {
  EXPECT_EQ(SocketAddress::Unix("/a\\x62")->ToString(), "unix:/a\\x5cx62");
  EXPECT_EQ(SocketAddress::Unix("@n")->ToString(), "unix:@n");
  EXPECT_EQ(SocketAddress::Unix("")->ToString(), "unix:");
  EXPECT_EQ(SocketAddress::Unix("")->size(), offsetof(sockaddr_un, sun_path));
}

TEST(SocketAddress, FromSockaddrRefusesWhatItCannotHold) {
  sockaddr_in v4 = {};
  v4.sin_family = AF_INET;
  const auto* any = reinterpret_cast<const sockaddr*>(&v4);
  EXPECT_NE(Refusal(SocketAddress::FromSockaddr(any, 0)).find("no family"), std::string::npos);
  EXPECT_NE(Refusal(SocketAddress::FromSockaddr(any, 1)).find("no family"), std::string::npos);
  EXPECT_NE(Refusal(SocketAddress::FromSockaddr(any, sizeof(v4) - 1)).find("does not have 15 bytes"),
            std::string::npos);
  EXPECT_NE(Refusal(SocketAddress::FromSockaddr(any, SocketAddress::capacity() + 1)), "");
  sockaddr_in6 v6 = {};
  v6.sin6_family = AF_INET6;
  EXPECT_NE(Refusal(SocketAddress::FromSockaddr(reinterpret_cast<sockaddr*>(&v6), sizeof(v6) - 1)), "");
  v4.sin_family = AF_NETLINK;
  EXPECT_NE(Refusal(SocketAddress::FromSockaddr(any, sizeof(v4))).find("neither IPv4, IPv6 nor Unix"),
            std::string::npos);
}

TEST(SocketAddressDeathTest, TheKernelCannotWriteMoreThanTheCapacity) {
  SocketAddress address;
  EXPECT_DEATH(address.set_size(SocketAddress::capacity() + 1), "room for capacity\\(\\) bytes");
}

// --- What the kernel gives
// -----------------------------------------------------------------------------------------------

class Fd {
 public:
  explicit Fd(int family) : fd_(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) { EXPECT_GE(fd_, 0) << strerror(errno); }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { close(fd_); }
  int get() const { return fd_; }

 private:
  const int fd_;
};

SocketAddress LocalAddress(int fd) {
  SocketAddress address;
  socklen_t size = SocketAddress::capacity();
  EXPECT_EQ(getsockname(fd, address.mutable_data(), &size), 0) << strerror(errno);
  address.set_size(size);
  return address;
}

TEST(SocketAddressKernel, GivesBackWhatWasBound) {
  for (const char* text : {"127.0.0.1:0", "unix:@evring \\x00 test"}) {
    SCOPED_TRACE(text);
    const SocketAddress address = MustParse(text);
    const Fd fd(address.family());
    ASSERT_EQ(bind(fd.get(), address.data(), address.size()), 0) << strerror(errno);
    const SocketAddress bound = LocalAddress(fd.get());
    EXPECT_EQ(bound.WithPort(0), address);
    EXPECT_EQ(bound.port() != 0, address.family() != AF_UNIX);
    EXPECT_EQ(MustParse(bound.ToString()), bound);
  }
}

TEST(SocketAddressKernel, GivesBackWhatWasBoundToIPv6) {
  const int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (probe < 0) GTEST_SKIP() << "this machine has no IPv6: " << strerror(errno);
  close(probe);
  const SocketAddress address = SocketAddress::Loopback6(0);
  const Fd fd(AF_INET6);
  if (bind(fd.get(), address.data(), address.size()) != 0 && errno == EADDRNOTAVAIL) {
    GTEST_SKIP() << "this machine has IPv6 switched off";
  }
  const SocketAddress bound = LocalAddress(fd.get());
  EXPECT_EQ(bound.WithPort(0), address);
  EXPECT_NE(bound.port(), 0);
  EXPECT_EQ(MustParse(bound.ToString()), bound);
}

TEST(SocketAddressKernel, AnUnboundUnixSocketIsUnnamed) {
  const Fd fd(AF_UNIX);
  EXPECT_EQ(LocalAddress(fd.get()), MustParse("unix:"));
}

// The longest path has no room for its NUL; the kernel counts one all the same when it gives the address back.
TEST(SocketAddressKernel, TheLongestPathCanBeConnectedToAsItIsGivenBack) {
  std::string folder = absl::StrCat(testing::TempDir(), "/evring_XXXXXX");
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const int before = open(".", O_PATH | O_CLOEXEC);
  ASSERT_GE(before, 0);
  ASSERT_EQ(chdir(folder.c_str()), 0);
  const std::string path(108, 'p');
  const SocketAddress address = *SocketAddress::Unix(path);
  {
    const Fd server(AF_UNIX);
    ASSERT_EQ(bind(server.get(), address.data(), address.size()), 0) << strerror(errno);
    ASSERT_EQ(listen(server.get(), 1), 0);
    const SocketAddress bound = LocalAddress(server.get());
    EXPECT_EQ(bound, address);
    const Fd client(AF_UNIX);
    EXPECT_EQ(connect(client.get(), bound.data(), bound.size()), 0) << strerror(errno);
  }
  EXPECT_EQ(unlink(path.c_str()), 0);
  ASSERT_EQ(fchdir(before), 0);
  close(before);
  rmdir(folder.c_str());
}

}  // namespace
}  // namespace evring::net
