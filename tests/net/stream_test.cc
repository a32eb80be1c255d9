// Streams: both ways to receive, sending, ends, resets, stops, and the multishot receive beneath Receive(): what it
// does when nobody takes, when its buffers are out, and when its stream is closed from wherever. On this machine's
// kernel with 1, 2 and 4 workers, and on simulated ones.

#include "net/stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "net/listener.h"
#include "runtime/placement.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/timeout.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring::net {
namespace {

using ::evring::testing::CountIn;
using ::evring::testing::EventuallyInTask;
using ::evring::testing::Scaled;

class StreamTest : public ::evring::testing::EveryMachine {
 protected:
  // The task on a runtime of its own, after which no descriptor is left.
  static void Check(Task<> task, const RuntimeOptions& with = RuntimeOptions()) {
    const int before = CountIn("fd");
    RunOk(std::move(task), with);
    EXPECT_EQ(CountIn("fd"), before);
  }
};
INSTANTIATE_TEST_SUITE_P(Machines, StreamTest, ::evring::testing::MachinesWithoutErrors({1, 2, 4}),
                         ::evring::testing::MachineName);

// Of Linux itself: the sizes of its sockets' buffers, its options, its files; and of a multishot that nothing ends
// early, which simulated faults do.
class StreamOnLinuxTest : public StreamTest {};
INSTANTIATE_TEST_SUITE_P(Workers, StreamOnLinuxTest, ::evring::testing::RealMachines({1, 2, 4}),
                         ::evring::testing::MachineName);

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }
std::string_view Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Two ends of a TCP connection.
struct Ends {
  Ends(Stream a, Stream b) : near(std::move(a)), far(std::move(b)) {}
  Stream near, far;
};
Task<Ends> TcpPair() {
  auto listener = Listener::Listen(SocketAddress::Loopback4(0));
  EVRING_CHECK(listener.ok(), "a port can be had");
  auto near = co_await Stream::Connect(*listener->LocalAddress());
  auto far = co_await listener->Accept();
  EVRING_CHECK(near.ok() && far.ok(), "loopback connects");
  co_return Ends(*std::move(near), *std::move(far));
}
Ends UnixPair() {
  auto pair = Stream::Pair();
  EVRING_CHECK(pair.ok(), "socketpair");
  return Ends(std::move(pair->first), std::move(pair->second));
}

Task<Ends> MakePair(bool tcp) {
  if (tcp) co_return co_await TcpPair();
  co_return UnixPair();
}

// Everything until the end of the stream, by Receive().
Task<absl::StatusOr<std::string>> ReceiveAll(Stream* stream) {
  std::string all;
  for (;;) {
    auto received = co_await stream->Receive();
    if (!received.ok()) co_return received.status();
    if (received->empty()) co_return all;
    all.append(Text(received->data()));
  }
}

// So many bytes, by Read() or by Receive(), in however many pieces they come.
Task<absl::StatusOr<std::string>> Take(Stream* stream, size_t size, bool multishot) {
  std::string all;
  while (all.size() < size) {
    if (multishot) {
      auto received = co_await stream->Receive();
      if (!received.ok()) co_return received.status();
      if (received->empty()) break;
      all.append(Text(received->data()));
    } else {
      std::byte buffer[100];
      const absl::StatusOr<size_t> n = co_await stream->Read(buffer);
      if (!n.ok()) co_return n.status();
      if (*n == 0) break;
      all.append(Text(std::span(buffer).first(*n)));
    }
  }
  co_return all;
}

std::string Pattern(size_t size) {
  std::string all(size, '\0');
  uint32_t x = 7;
  for (char& c : all) {
    x = x * 1664525 + 1013904223;
    c = static_cast<char>(x >> 24);
  }
  return all;
}

// --- Data and ends
// -----------------------------------------------------------------------------------------------------

Task<> WriteAndRead() {
  for (const bool tcp : {true, false}) {
    Ends ends = co_await MakePair(tcp);
    CO_ASSERT_OK(co_await ends.near.Write(Bytes("hello")));
    EXPECT_EQ(*co_await Take(&ends.far, 5, /*multishot=*/false), "hello");
    // The other direction, received in the other way.
    CO_ASSERT_OK(co_await ends.far.Write(Bytes("and back")));
    EXPECT_EQ(*co_await Take(&ends.near, 8, /*multishot=*/true), "and back");
  }
}
TEST_P(StreamTest, WhatIsWrittenIsRead) { Check(WriteAndRead()); }

Task<> Vectored() {
  Ends ends = co_await TcpPair();
  const std::string a(100'000, 'a'), b, c(1, 'c'), d(70'000, 'd');
  const iovec pieces[] = {{const_cast<char*>(a.data()), a.size()},
                          {const_cast<char*>(b.data()), b.size()},
                          {const_cast<char*>(c.data()), c.size()},
                          {const_cast<char*>(d.data()), d.size()}};
  auto reader = co_await Spawn(ReceiveAll(&ends.far));
  CO_ASSERT_OK(co_await ends.near.WriteV(pieces));
  CO_ASSERT_OK(ends.near.Shutdown(Stream::Direction::kSend));
  const auto all = co_await std::move(reader);
  CO_ASSERT_OK(all.status());
  EXPECT_TRUE(*all == a + b + c + d);
}
TEST_P(StreamTest, AVectoredWriteSendsItsPiecesInOrder) { Check(Vectored()); }

Task<> HalfClose() {
  Ends ends = co_await TcpPair();
  CO_ASSERT_OK(co_await ends.near.Write(Bytes("last words")));
  CO_ASSERT_OK(ends.near.Shutdown(Stream::Direction::kSend));
  const auto all = co_await ReceiveAll(&ends.far);
  EXPECT_EQ(*all, "last words");
  CO_ASSERT_OK(co_await ends.far.Write(Bytes("heard")));  // the other direction is open
  ends.far.Close();
  EXPECT_EQ(*co_await ReceiveAll(&ends.near), "heard");
}
TEST_P(StreamTest, AHalfClosedStreamEndsAndStillReceives) { Check(HalfClose()); }

Task<> EndStays() {
  Ends ends = co_await TcpPair();
  ends.near.Close();
  ends.near.Close();
  for (int i = 0; i < 3; ++i) {
    auto received = co_await ends.far.Receive();
    CO_ASSERT_OK(received.status());
    EXPECT_TRUE(received->empty());
  }
  Ends unix_ends = UnixPair();
  unix_ends.near.Close();
  std::byte buffer[8];
  for (int i = 0; i < 3; ++i) EXPECT_EQ(*co_await unix_ends.far.Read(buffer), 0u);
}
TEST_P(StreamTest, TheEndIsSaidAgainAndAgain) { Check(EndStays()); }

// A close with data untaken resets a TCP connection.
Task<> Reset(bool multishot) {
  Ends ends = co_await TcpPair();
  CO_ASSERT_OK(co_await ends.far.Write(Bytes("never read")));
  std::byte first;
  EXPECT_EQ(*co_await ends.near.Read(std::span(&first, 1)), 1u);  // the rest is there, too
  ends.near.Close();
  absl::Status status;
  if (multishot) {
    status = (co_await ends.far.Receive()).status();
  } else {
    std::byte buffer[8];
    status = (co_await ends.far.Read(buffer)).status();
  }
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "ECONNRESET")) << status;
  status = co_await ends.far.Write(Bytes("too late"));
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;  // and SIGPIPE did not come
}
TEST_P(StreamTest, AResetIsUnavailableAndLaterSendsFail) {
  Check(Reset(false));
  Check(Reset(true));
}

// --- Big sends
// ---------------------------------------------------------------------------------------------------------

Task<> BigSend(size_t bytes) {
  Ends ends = co_await TcpPair();
  CO_ASSERT_OK(ends.near.SetSendBufferBytes(16 << 10));
  CO_ASSERT_OK(ends.far.SetReceiveBufferBytes(16 << 10));
  const std::string data = Pattern(bytes);
  auto writer = co_await Spawn([](Stream* s, std::string_view d) -> Task<absl::Status> {
    absl::Status status = co_await s->Write(Bytes(d));
    s->Close();
    co_return status;
  }(&ends.near, data));
  std::string all;
  std::vector<std::byte> buffer(50'000);
  for (int i = 0;; ++i) {
    if (i % 16 == 0) CO_ASSERT_OK(co_await Sleep(absl::Milliseconds(1)));
    const absl::StatusOr<size_t> n = co_await ends.far.Read(buffer);
    CO_ASSERT_OK(n.status());
    if (*n == 0) break;
    all.append(Text(std::span(buffer).first(*n)));
  }
  CO_ASSERT_OK(co_await std::move(writer));
  EXPECT_TRUE(all == data);
}
TEST_P(StreamTest, ASendLargerThanTheSocketsBuffersIsWhole) {
  Check(BigSend(machine().simulated() ? 60'000 : 3'000'000));
}

Task<> CancelledSend(size_t bytes) {
  Ends ends = co_await TcpPair();
  const std::string data = Pattern(bytes);
  const absl::Status status =
      co_await WithTimeout(absl::Milliseconds(30), [](Stream* s, std::string_view d) -> Task<absl::Status> {
        co_return co_await s->Write(Bytes(d));
      }(&ends.near, data));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  ends.near.Close();
  const auto all = co_await ReceiveAll(&ends.far);
  CO_ASSERT_OK(all.status());
  EXPECT_GT(all->size(), 0u);
  EXPECT_LT(all->size(), data.size());
  EXPECT_TRUE(data.starts_with(*all));  // a part, and its beginning
}
TEST_P(StreamTest, OfACancelledSendABeginningHasGoneOut) {
  Check(CancelledSend(machine().simulated() ? 60'000 : 30'000'000));
}

// --- Stops
// -------------------------------------------------------------------------------------------------------------

Task<absl::Status> TakeOne(Stream* stream, bool multishot, std::string* got) {
  if (multishot) {
    auto received = co_await stream->Receive();
    if (received.ok()) *got += Text(received->data());
    co_return received.status();
  }
  std::byte buffer[100];
  auto n = co_await stream->Read(buffer);
  if (n.ok()) *got += Text(std::span(buffer).first(*n));
  co_return n.status();
}

Task<> StopsLoseNothing(bool multishot) {
  Ends ends = co_await TcpPair();
  std::string got;
  std::string sent;
  // Stops before, while and after the receive waits, from this worker or another; data comes at any time.
  for (int i = 0; i < Scaled(400); ++i) {
    auto taker = co_await Spawn(TakeOne(&ends.far, multishot, &got));
    for (int k = 0; k < i % 4; ++k) co_await Yield();
    if (i % 3 == 0) {
      const std::string text = std::to_string(i) + ",";
      CO_ASSERT_OK(co_await ends.near.Write(Bytes(text)));
      sent += text;
    }
    if (i % 5 == 0) CO_ASSERT_OK(co_await Sleep(absl::Microseconds(100)));
    taker.RequestStop();
    const absl::Status status = co_await std::move(taker);
    EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
  }
  ends.near.Close();
  while (got.size() < sent.size()) {
    const absl::Status status = co_await TakeOne(&ends.far, multishot, &got);
    CO_ASSERT_OK(status);
  }
  EXPECT_EQ(got, sent);
}
TEST_P(StreamTest, AStopOfAReadLosesNothing) { Check(StopsLoseNothing(false)); }
TEST_P(StreamTest, AStopOfAReceiveLosesNothing) { Check(StopsLoseNothing(true)); }

// --- The multishot receive
// -------------------------------------------------------------------------------------------

// Buffers that one stream holds are bounded though nobody takes: the rest stays in the socket.
Task<> Backpressure() {
  Ends ends = UnixPair();
  CO_ASSERT_OK(co_await ends.near.Write(Bytes("first,")));
  auto first = co_await ends.far.Receive();  // arms it
  CO_ASSERT_OK(first.status());
  std::string all(Text(first->data()));
  first->Reset();
  std::string sent = "first,";
  for (int i = 0; i < 100; ++i) {
    const std::string text = std::to_string(i) + ",";
    CO_ASSERT_OK(co_await ends.near.Write(Bytes(text)));
    CO_ASSERT_OK(co_await Sleep(absl::Microseconds(200)));  // each on its own
    sent += text;
  }
  int in_socket = 0;
  EXPECT_EQ(ioctl(ends.far.socket().fd(), FIONREAD, &in_socket), 0);
  EXPECT_GT(in_socket, 200);  // of 290 bytes; without a limit the buffers would have run out at 64 receives
  ends.near.Close();
  const auto rest = co_await ReceiveAll(&ends.far);
  CO_ASSERT_OK(rest.status());
  EXPECT_EQ(all + *rest, sent);
}
TEST_P(StreamOnLinuxTest, ReceivesThatNobodyTakesArePaused) { Check(Backpressure()); }

char Letter(int i) { return static_cast<char>('A' + i); }

// All buffers of the workers are held by a task; others must get on, with memory of their own.
Task<> OutOfBuffers() {
  std::vector<Ends> held;
  std::vector<ReceivedBuffer> buffers;
  for (int i = 0; i < 40; ++i) {
    held.push_back(UnixPair());
    CO_ASSERT_OK(co_await held.back().near.Write(Bytes(std::string(1, Letter(i)))));
    auto received = co_await held.back().far.Receive();
    CO_ASSERT_OK(received.status());
    EXPECT_EQ(Text(received->data()), std::string(1, Letter(i)));
    buffers.push_back(*std::move(received));
  }
  for (int i = 0; i < 40; ++i) EXPECT_EQ(Text(buffers[static_cast<size_t>(i)].data()), std::string(1, Letter(i)));
  Ends ends = co_await TcpPair();
  const std::string data = Pattern(500'000);
  auto writer = co_await Spawn([](Stream* s, std::string_view d) -> Task<absl::Status> {
    absl::Status status = co_await s->Write(Bytes(d));
    s->Close();
    co_return status;
  }(&ends.near, data));
  const auto all = co_await ReceiveAll(&ends.far);
  CO_ASSERT_OK(co_await std::move(writer));
  CO_ASSERT_OK(all.status());
  EXPECT_TRUE(*all == data);
  // Given back, they serve again.
  buffers.clear();
  CO_ASSERT_OK(co_await held[0].near.Write(Bytes("!")));
  EXPECT_EQ(Text((co_await held[0].far.Receive())->data()), "!");
}
TEST_P(StreamTest, WithoutBuffersThereIsStillProgress) {
  RuntimeOptions few;
  few.buffers.initial = 2;
  few.buffers.max = 4;
  Check(OutOfBuffers(), few);
}

// Closed with data untaken, closed while armed, on this worker or on another; the peer sees the end each time.
Task<> CloseWhileArmed(int workers) {
  for (int i = 0; i < Scaled(300); ++i) {
    Ends ends = UnixPair();
    co_await ResumeOn(i % workers);
    std::string got;
    auto taker = co_await Spawn(TakeOne(&ends.far, true, &got));
    if (i % 2 == 0) CO_ASSERT_OK(co_await ends.near.Write(Bytes("x")));
    for (int k = 0; k < i % 3; ++k) co_await Yield();
    taker.RequestStop();
    static_cast<void>(co_await std::move(taker));
    if (i % 5 == 0) CO_ASSERT_OK(co_await ends.near.Write(Bytes("not taken")));
    co_await ResumeOn((i / 2) % workers);
    ends.far.Close();
    for (std::byte buffer[8];;) {
      const auto n = co_await ends.near.Read(buffer);
      if (!n.ok() || *n == 0) break;  // the end; a reset if data was left
    }
  }
}
TEST_P(StreamTest, ClosingAnArmedStreamLeavesNothing) { Check(CloseWhileArmed(workers())); }

Task<> KnowsTheEnd() {
  Ends ends = UnixPair();
  EXPECT_FALSE(ends.far.AtEnd());
  CO_ASSERT_OK(co_await ends.near.Write(Bytes("a")));
  EXPECT_EQ((co_await ends.far.Receive())->size(), 1u);
  EXPECT_FALSE(ends.far.AtEnd());
  ends.near.Close();
  Stream* far = &ends.far;
  // It comes by itself: the receive is armed.
  for (int i = 0; i < 1000 && !far->AtEnd(); ++i) CO_ASSERT_OK(co_await Sleep(absl::Milliseconds(1)));
  EXPECT_TRUE(far->AtEnd());
  EXPECT_TRUE((co_await far->Receive())->empty());
}
TEST_P(StreamOnLinuxTest, AnEndThatHasComeIsKnown) { Check(KnowsTheEnd()); }

// --- Connecting, options, addresses
// ------------------------------------------------------------------------------------

Task<> ConnectErrors() {
  uint16_t port;
  {
    auto listener = Listener::Listen(SocketAddress::Loopback4(0));
    port = listener->LocalAddress()->port();
  }
  auto refused = co_await Stream::Connect(SocketAddress::Loopback4(port));
  EXPECT_TRUE(absl::IsUnavailable(refused.status())) << refused.status();
  EXPECT_TRUE(absl::StrContains(refused.status().message(), "ECONNREFUSED")) << refused.status();
  EXPECT_TRUE(absl::StrContains(refused.status().message(), std::to_string(port))) << refused.status();
  auto stopped = co_await Spawn(Stream::Connect(SocketAddress::Loopback4(port)));
  stopped.RequestStop();
  const auto status = (co_await std::move(stopped)).status();
  EXPECT_TRUE(absl::IsCancelled(status) || absl::IsUnavailable(status)) << status;
}
TEST_P(StreamTest, ConnectSaysWhyItFails) { Check(ConnectErrors()); }

Task<> MissingAndForeign() {
  auto listener = Listener::Listen(SocketAddress::Loopback4(0));
  CO_ASSERT_OK(listener.status());
  const auto missing = co_await Stream::Connect(*SocketAddress::Unix("/nothing/here.sock"));
  EXPECT_TRUE(absl::IsNotFound(missing.status())) << missing.status();
  const auto foreign = co_await Stream::Connect(*listener->LocalAddress(), *SocketAddress::Parse("192.0.2.1:0"));
  EXPECT_EQ(kevent::StatusErrno(foreign.status()), EADDRNOTAVAIL) << foreign.status();
}
TEST_P(StreamOnLinuxTest, ConnectNeedsAPathThatIsThereAndAnAddressOfTheMachine) { Check(MissingAndForeign()); }

Task<absl::Status> WriteAll(Stream* stream, std::span<const std::byte> data) { co_return co_await stream->Write(data); }

Task<> ConnectFrom() {
  auto listener = Listener::Listen(SocketAddress::Loopback4(0));
  CO_ASSERT_OK(listener.status());
  const SocketAddress address = *listener->LocalAddress();
  auto near = co_await Stream::Connect(address, *SocketAddress::Parse("127.0.0.2:0"));
  CO_ASSERT_OK(near.status());
  auto far = co_await listener->Accept();
  CO_ASSERT_OK(far.status());
  const SocketAddress local = *near->socket().LocalAddress();
  EXPECT_EQ(local.ToString().substr(0, 10), "127.0.0.2:");
  EXPECT_EQ(*far->socket().PeerAddress(), local);
  const auto taken = co_await Stream::Connect(address, address);
  EXPECT_TRUE(absl::IsAlreadyExists(taken.status())) << taken.status();
  const auto refused = co_await Stream::Connect(local);
  EXPECT_NE(kevent::StatusErrno(refused.status()), 0) << refused.status();
}
TEST_P(StreamTest, ConnectMayNameItsOwnAddress) { Check(ConnectFrom()); }

Task<> Delivery() {
  Ends ends = co_await TcpPair();
  const std::array<std::byte, 100> data = {};
  CO_ASSERT_OK(co_await ends.near.Write(data));
  const bool delivered = co_await EventuallyInTask([&ends] { return ends.near.UndeliveredBytes() == 0; });
  EXPECT_TRUE(delivered);
  // What the peer's system has no room for is not delivered.
  absl::Status status;
  std::vector<std::byte> much(16 << 20);
  status = co_await WithTimeout(absl::Milliseconds(50), WriteAll(&ends.near, much));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_GT(ends.near.UndeliveredBytes(), 0);
  auto pair = Stream::Pair();
  CO_ASSERT_OK(pair.status());
  CO_ASSERT_OK(co_await pair->first.Write(data));
  EXPECT_EQ(pair->first.UndeliveredBytes(), 0);
  EXPECT_LT(Stream(Socket()).UndeliveredBytes(), 0);
}
TEST_P(StreamOnLinuxTest, TellsWhatIsNotDelivered) { Check(Delivery()); }

Task<> Options() {
  Ends ends = co_await TcpPair();
  Stream& s = ends.near;
  CO_ASSERT_OK(s.SetNoDelay(true));
  EXPECT_EQ(*s.socket().GetOption(IPPROTO_TCP, TCP_NODELAY, "TCP_NODELAY"), 1);
  CO_ASSERT_OK(s.SetNoDelay(false));
  EXPECT_EQ(*s.socket().GetOption(IPPROTO_TCP, TCP_NODELAY, "TCP_NODELAY"), 0);
  CO_ASSERT_OK(s.SetKeepAlive(true, absl::Milliseconds(1500), absl::Seconds(7), 3));
  EXPECT_EQ(*s.socket().GetOption(SOL_SOCKET, SO_KEEPALIVE, "SO_KEEPALIVE"), 1);
  EXPECT_EQ(*s.socket().GetOption(IPPROTO_TCP, TCP_KEEPIDLE, "TCP_KEEPIDLE"), 2);  // rounded up
  EXPECT_EQ(*s.socket().GetOption(IPPROTO_TCP, TCP_KEEPINTVL, "TCP_KEEPINTVL"), 7);
  EXPECT_EQ(*s.socket().GetOption(IPPROTO_TCP, TCP_KEEPCNT, "TCP_KEEPCNT"), 3);
  CO_ASSERT_OK(s.SetKeepAlive(false));
  EXPECT_EQ(*s.socket().GetOption(SOL_SOCKET, SO_KEEPALIVE, "SO_KEEPALIVE"), 0);
  CO_ASSERT_OK(s.SetReceiveBufferBytes(20'000));
  EXPECT_EQ(*s.socket().GetOption(SOL_SOCKET, SO_RCVBUF, "SO_RCVBUF"), 40'000);
  CO_ASSERT_OK(s.SetSendBufferBytes(30'000));
  EXPECT_EQ(*s.socket().GetOption(SOL_SOCKET, SO_SNDBUF, "SO_SNDBUF"), 60'000);
  CO_ASSERT_OK(s.SetUserTimeout(absl::Microseconds(1500)));
  EXPECT_EQ(*s.socket().GetOption(IPPROTO_TCP, TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT"), 2);
  EXPECT_EQ(*s.socket().LocalAddress(), *ends.far.socket().PeerAddress());
  EXPECT_EQ(*s.socket().PeerAddress(), *ends.far.socket().LocalAddress());
  EXPECT_FALSE(UnixPair().near.SetNoDelay(true).ok());
}
TEST_P(StreamOnLinuxTest, OptionsAndAddressesAreTheSockets) { Check(Options()); }

TEST_P(StreamTest, StreamsMove) {
  Check([]() -> Task<> {
    Ends ends = UnixPair();
    CO_ASSERT_OK(co_await ends.near.Write(Bytes("a")));
    EXPECT_EQ((co_await ends.far.Receive())->size(), 1u);
    Stream moved = std::move(ends.far);
    EXPECT_FALSE(ends.far.valid());
    EXPECT_TRUE(moved.valid());
    CO_ASSERT_OK(co_await ends.near.Write(Bytes("b")));
    EXPECT_EQ(Text((co_await moved.Receive())->data()), "b");
  }());
}

}  // namespace
}  // namespace evring::net
