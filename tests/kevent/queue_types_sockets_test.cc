// Sockets and pipes through a queue, with real ones: readiness; receive, send, accept, connect, bind and listen done.
// DESIGN.md row K5. Bind and listen run twice, on the kernel's operations and on helper threads.

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "kevent/kevent.h"
#include "kevent/queue.h"
#include "tests/kevent/queue_types.h"

namespace evring::kevent {
namespace {

Event PollRequest(int fd, int events, uint32_t flags = 0) {
  return Request(EventType::kPoll, fd, events, nullptr, flags);
}

sockaddr_in Loopback(uint16_t port = 0) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

Fd TcpSocket() { return Fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)); }

// A socket that listens on the loopback interface.
class Server {
 public:
  explicit Server(int backlog = 16) : fd_(TcpSocket()), address_(Loopback()) {
    EXPECT_EQ(bind(fd_.get(), reinterpret_cast<sockaddr*>(&address_), sizeof(address_)), 0);
    socklen_t size = sizeof(address_);
    EXPECT_EQ(getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address_), &size), 0);
    EXPECT_TRUE(backlog < 0 || listen(fd_.get(), backlog) == 0);
  }
  int fd() const { return fd_.get(); }
  const sockaddr_in& address() const { return address_; }
  Fd Connected() const {
    Fd client = TcpSocket();
    EXPECT_EQ(connect(client.get(), reinterpret_cast<const sockaddr*>(&address_), sizeof(address_)), 0);
    return client;
  }

 private:
  Fd fd_;
  sockaddr_in address_;
};

// One whose queue of connections is full, so that connecting to it waits.
class FullServer : public Server {
 public:
  FullServer() : Server(/*backlog=*/0) {
    waiting_.push_back(Connected());
    const Fd more = TcpSocket();
    fcntl(more.get(), F_SETFL, O_NONBLOCK);
    EXPECT_EQ(connect(more.get(), reinterpret_cast<const sockaddr*>(&address()), sizeof(sockaddr_in)), -1);
  }

 private:
  std::vector<Fd> waiting_;
};

Event ConnectRequest(int fd, const sockaddr_in& address) {
  return Request(EventType::kConnect, fd, sizeof(address), &address);
}

// What the peer of a closed connection reads; one that stays open makes it fail.
void ExpectClosed(int fd) {
  const timeval patience = {.tv_sec = kPatienceMs / 1000, .tv_usec = 0};
  ASSERT_EQ(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
  char byte;
  const ssize_t n = recv(fd, &byte, 1, 0);
  EXPECT_TRUE(n == 0 || (n < 0 && errno == ECONNRESET)) << "the accepted descriptor is open still";
}

void FillUp(int fd) {
  const std::string block(4096, 'x');
  while (send(fd, block.data(), block.size(), MSG_DONTWAIT) > 0) {
  }
}

// --- Readiness
// --------------------------------------------------------------------------------------------------------

TEST(QueueTypesPoll, TellsWhatAPipeIsReadyFor) {
  auto queue = MakeQueue();
  Pair pipe = Pair::Pipe();
  EXPECT_EQ(Outcome(queue.get(), PollRequest(pipe.there(), POLLOUT)), POLLOUT);
  const Event request = PollRequest(pipe.here(), POLLIN);
  ASSERT_GT(queue->Submit(request), 0);
  Event record;
  EXPECT_FALSE(queue->TryNext(&record));
  ASSERT_EQ(write(pipe.there(), "x", 1), 1);
  EXPECT_EQ(LastRecord(queue.get(), request).result, POLLIN);
  pipe.CloseThere();
  EXPECT_EQ(Outcome(queue.get(), PollRequest(pipe.here(), POLLIN)), POLLIN | POLLHUP);
}

TEST(QueueTypesPoll, TellsWhatASocketIsReadyFor) {
  auto queue = MakeQueue();
  Pair pair;
  EXPECT_EQ(Outcome(queue.get(), PollRequest(pair.here(), POLLIN | POLLOUT)), POLLOUT);
  const Event request = PollRequest(pair.here(), POLLRDHUP);
  ASSERT_GT(queue->Submit(request), 0);
  ASSERT_EQ(shutdown(pair.there(), SHUT_WR), 0);
  EXPECT_EQ(LastRecord(queue.get(), request).result, POLLRDHUP);
  EXPECT_EQ(Outcome(queue.get(), PollRequest(-1, POLLIN)), -EBADF);
}

TEST(QueueTypesPoll, IsCancelledAndTornDown) {
  Pair pipe = Pair::Pipe();
  ExpectCancelAndTearDown(PollRequest(pipe.here(), POLLIN));
  ExpectCancelAndTearDown(PollRequest(pipe.here(), POLLIN, KEVENT_LEVEL));
}

// --- Receive and send
// -------------------------------------------------------------------------------------------------

TEST(QueueTypesReceive, FillsTheBuffer) {
  auto queue = MakeQueue();
  Pair pair;
  char buffer[16] = {};
  kevent_io io = {.buffer = buffer, .size = sizeof(buffer), .offset = 0, .flags = MSG_PEEK};
  Event request = Request(EventType::kReceive, pair.here(), 0, &io);
  ASSERT_GT(queue->Submit(request), 0);
  ASSERT_EQ(write(pair.there(), "hello", 5), 5);
  EXPECT_EQ(LastRecord(queue.get(), request).result, 5);
  EXPECT_STREQ(buffer, "hello");
  io.flags = 0;
  io.size = 2;
  EXPECT_EQ(Outcome(queue.get(), request), 2) << "MSG_PEEK has left it there";
  pair.CloseThere();
  EXPECT_EQ(Outcome(queue.get(), request), 2);
  EXPECT_EQ(Outcome(queue.get(), request), 1);
  EXPECT_EQ(Outcome(queue.get(), request), 0) << "the end of the stream";
}

TEST(QueueTypesReceive, WaitsOnANonblockingSocketToo) {
  auto queue = MakeQueue();
  Pair pair(SOCK_STREAM | SOCK_NONBLOCK);
  char byte = 0;
  const kevent_io io = {.buffer = &byte, .size = 1, .offset = 0, .flags = 0};
  const Event request = Request(EventType::kReceive, pair.here(), 0, &io);
  ASSERT_GT(queue->Submit(request), 0);
  Event record;
  EXPECT_FALSE(queue->TryNext(&record));
  ASSERT_EQ(write(pair.there(), "x", 1), 1);
  EXPECT_EQ(LastRecord(queue.get(), request).result, 1);
  EXPECT_EQ(byte, 'x');
}

TEST(QueueTypesReceive, IsCancelledAndTornDown) {
  Pair pair;
  char byte;
  const kevent_io io = {.buffer = &byte, .size = 1, .offset = 0, .flags = 0};
  ExpectCancelAndTearDown(Request(EventType::kReceive, pair.here(), 0, &io));
}

TEST(QueueTypesSend, ArrivesAndTellsHowMuch) {
  auto queue = MakeQueue();
  Pair pair;
  char text[] = "hello";
  const kevent_io io = {.buffer = text, .size = 5, .offset = 0, .flags = 0};
  EXPECT_EQ(Outcome(queue.get(), Request(EventType::kSend, pair.here(), 0, &io)), 5);
  char got[16] = {};
  EXPECT_EQ(read(pair.there(), got, sizeof(got)), 5);
  EXPECT_STREQ(got, "hello");
}

// SIGPIPE would end the test.
TEST(QueueTypesSend, ToNobodyIsAnErrorAndNoSignal) {
  auto queue = MakeQueue();
  Pair pair;
  pair.CloseThere();
  char byte = 'x';
  const kevent_io io = {.buffer = &byte, .size = 1, .offset = 0, .flags = 0};
  EXPECT_EQ(Outcome(queue.get(), Request(EventType::kSend, pair.here(), 0, &io)), -EPIPE);
}

TEST(QueueTypesSend, IsCancelledAndTornDown) {
  Pair pair;
  FillUp(pair.here());
  char byte = 'x';
  const kevent_io io = {.buffer = &byte, .size = 1, .offset = 0, .flags = 0};
  ExpectCancelAndTearDown(Request(EventType::kSend, pair.here(), 0, &io));
}

// --- Accept
// -----------------------------------------------------------------------------------------------------------

TEST(QueueTypesAccept, GivesADescriptorWithTheFlagsAskedFor) {
  auto queue = MakeQueue();
  const Server server;
  const Event request = Request(EventType::kAccept, server.fd(), SOCK_NONBLOCK, nullptr);
  const int64_t number = queue->Submit(request);
  ASSERT_GT(number, 0);
  const Fd client = server.Connected();
  const Event record = LastRecord(queue.get(), request);
  const Fd accepted(record.result);
  EXPECT_EQ(record.payload, static_cast<uint64_t>(number));
  EXPECT_EQ(fcntl(accepted.get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  EXPECT_EQ(fcntl(accepted.get(), F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  ASSERT_EQ(write(client.get(), "x", 1), 1);
  EXPECT_EQ(Outcome(queue.get(), PollRequest(accepted.get(), POLLIN)), POLLIN) << "it is that connection";
}

TEST(QueueTypesAccept, GoesOnUntilItIsCancelled) {
  auto queue = MakeQueue();
  const Server server;
  const Event request = Request(EventType::kAccept, server.fd(), 0, nullptr, KEVENT_MULTI);
  const int64_t number = queue->Submit(request);
  for (int i = 0; i < 3; ++i) {
    const Fd client = server.Connected();
    const Event record = NextRecord(queue.get());
    const Fd accepted(record.result);
    EXPECT_EQ(record.cookie, request.cookie);
    EXPECT_FALSE(record.last());
  }
  EXPECT_EQ(queue->Cancel(number), 0);
  EXPECT_EQ(LastRecord(queue.get(), request).result, -ECANCELED);
}

TEST(QueueTypesAccept, EndsWithAnErrorThoughItWouldGoOn) {
  auto queue = MakeQueue();
  const Fd not_listening = TcpSocket();
  EXPECT_EQ(Outcome(queue.get(), Request(EventType::kAccept, not_listening.get(), 0, nullptr, KEVENT_MULTI)), -EINVAL);
}

TEST(QueueTypesAccept, IsCancelledAndTornDown) {
  const Server server;
  ExpectCancelAndTearDown(Request(EventType::kAccept, server.fd(), 0, nullptr));
  ExpectCancelAndTearDown(Request(EventType::kAccept, server.fd(), 0, nullptr, KEVENT_MULTI));
}

// A connection that was accepted before the cancel is the consumer's, who closes it.
TEST(QueueTypesAccept, ALateCancelLeavesTheConnection) {
  auto queue = MakeQueue();
  const Server server;
  const Event request = Request(EventType::kAccept, server.fd(), 0, nullptr);
  const int64_t number = queue->Submit(request);
  const Fd client = server.Connected();
  AwaitCompletion(queue.get());
  EXPECT_EQ(queue->Cancel(number), 0);
  Fd accepted(LastRecord(queue.get(), request).result);
  accepted.Close();
  ExpectClosed(client.get());
}

TEST(QueueTypesAccept, WhatNobodyHasTakenIsClosedWithTheQueue) {
  const Server server;
  for (const bool cancelled : {false, true}) {
    auto queue = MakeQueue();
    const int64_t number = queue->Submit(Request(EventType::kAccept, server.fd(), 0, nullptr, KEVENT_MULTI));
    const Fd client = server.Connected();
    AwaitCompletion(queue.get());
    EXPECT_TRUE(!cancelled || queue->Cancel(number) == 0);
    queue.reset();
    ExpectClosed(client.get());
  }
}

// Records that were put back are dropped like others, from the ring and from the line before it.
TEST(QueueTypesAccept, WhatWasPutBackIsClosedWithTheQueue) {
  const Server server;
  auto queue = MakeQueue();
  const Event request = Request(EventType::kAccept, server.fd(), 0, nullptr);
  std::vector<Fd> clients;
  for (uint32_t i = 0; i < 2; ++i) {
    clients.push_back(server.Connected());
    ASSERT_GT(queue->Submit(request), 0);
    const Event record = NextRecord(queue.get());
    Event filler;
    filler.type = EventType::kUser;
    for (uint32_t n = i * queue->entries(); n > 0; --n) ASSERT_EQ(queue->Post(filler), 0);
    ASSERT_EQ(queue->Post(record), 0);
  }
  queue.reset();
  for (const Fd& client : clients) ExpectClosed(client.get());
}

// --- Connect
// ----------------------------------------------------------------------------------------------------------

TEST(QueueTypesConnect, TellsWhetherItIsConnected) {
  auto queue = MakeQueue();
  const Server server;
  const Fd client = TcpSocket();
  EXPECT_EQ(Outcome(queue.get(), ConnectRequest(client.get(), server.address())), 0);
  sockaddr_in peer;
  socklen_t size = sizeof(peer);
  EXPECT_EQ(getpeername(client.get(), reinterpret_cast<sockaddr*>(&peer), &size), 0);
  EXPECT_EQ(peer.sin_port, server.address().sin_port);

  const Server not_listening(/*backlog=*/-1);
  const Fd refused = TcpSocket();
  EXPECT_EQ(Outcome(queue.get(), ConnectRequest(refused.get(), not_listening.address())), -ECONNREFUSED);
}

// The kernel gives the request up when the connection is there, for want of its thread; the queue begins it again, on a
// socket that has been connecting.
TEST(QueueTypesConnect, OfAThreadThatEndedGoesOn) {
  auto queue = MakeQueue();
  const FullServer server;
  const Fd client = TcpSocket();
  const Event request = ConnectRequest(client.get(), server.address());
  std::thread([&] { EXPECT_GT(queue->Submit(request), 0); }).join();
  const Fd accepted(accept(server.fd(), nullptr, nullptr));  // makes room
  EXPECT_EQ(LastRecord(queue.get(), request).result, 0);
}

TEST(QueueTypesConnect, IsCancelledAndTornDown) {
  const FullServer server;
  {
    auto queue = MakeQueue();
    const Fd client = TcpSocket();
    const Event request = ConnectRequest(client.get(), server.address());
    const int64_t number = queue->Submit(request);
    EXPECT_EQ(queue->Cancel(number), 0);
    EXPECT_EQ(LastRecord(queue.get(), request).result, -ECANCELED);
  }
  auto queue = MakeQueue();
  const Fd client = TcpSocket();
  ASSERT_GT(queue->Submit(ConnectRequest(client.get(), server.address())), 0);
  queue.reset();
}

// --- Bind and listen
// --------------------------------------------------------------------------------------------------

class QueueTypesBind : public WithAndWithoutOperations {};
INSTANTIATE_TEST_SUITE_P(Forms, QueueTypesBind, ::testing::Bool(), FormName);

TEST_P(QueueTypesBind, AndListenMakeAServer) {
  auto queue = Make();
  const Fd fd = TcpSocket();
  sockaddr_in address = Loopback();
  const Event bind = Request(EventType::kBind, fd.get(), sizeof(address), &address);
  EXPECT_EQ(Outcome(queue.get(), bind), 0);
  EXPECT_EQ(Outcome(queue.get(), bind), -EINVAL) << "bound already, bind(2)";
  EXPECT_EQ(Outcome(queue.get(), Request(EventType::kListen, fd.get(), 16, nullptr)), 0);
  socklen_t size = sizeof(address);
  ASSERT_EQ(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  const Fd client = TcpSocket();
  EXPECT_EQ(connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  const Fd second = TcpSocket();
  EXPECT_EQ(Outcome(queue.get(), Request(EventType::kBind, second.get(), sizeof(address), &address)), -EADDRINUSE);
}

TEST_P(QueueTypesBind, AndListenRefuseWhatIsNoSocket) {
  auto queue = Make();
  Pair pipe = Pair::Pipe();
  const sockaddr_in address = Loopback();
  EXPECT_EQ(Outcome(queue.get(), Request(EventType::kBind, pipe.here(), sizeof(address), &address)), -ENOTSOCK);
  EXPECT_EQ(Outcome(queue.get(), Request(EventType::kListen, pipe.here(), 16, nullptr)), -ENOTSOCK);
  EXPECT_EQ(Outcome(queue.get(), Request(EventType::kListen, -1, 16, nullptr)), -EBADF);
}

// They do not wait, so a cancel comes too late or before they begin; and a queue is destroyed with them at any moment.
TEST_P(QueueTypesBind, AndListenAreCancelledAndTornDown) {
  const sockaddr_in address = Loopback();
  auto queue = Make();
  const Fd fd = TcpSocket();
  for (const Event& request : {Request(EventType::kBind, fd.get(), sizeof(address), &address),
                               Request(EventType::kListen, fd.get(), 16, nullptr)}) {
    const int64_t number = queue->Submit(request);
    ASSERT_GT(number, 0);
    EXPECT_EQ(queue->Cancel(number), 0);
    const int32_t result = LastRecord(queue.get(), request).result;
    EXPECT_TRUE(result == 0 || result == -ECANCELED) << result;
    EXPECT_EQ(queue->Cancel(number), -ENOENT);
  }
  const Fd other = TcpSocket();
  ASSERT_GT(queue->Submit(Request(EventType::kBind, other.get(), sizeof(address), &address)), 0);
  ASSERT_GT(queue->Submit(Request(EventType::kListen, other.get(), 16, nullptr)), 0);
  queue.reset();
}

}  // namespace
}  // namespace evring::kevent
