// raw_server_test: the raw loops, as processes of their own, over real sockets, in both receive modes.
//
// What is measured must be right first: each test asks for exact bytes, exact counts or an exact end. Faults are made
// from outside: clients that reset, that do not read, that cut requests anywhere, and a limit on descriptors.

#include <dirent.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "bench/server_process.h"
#include "gtest/gtest.h"
#include "tests/bench/client_socket.h"

namespace evring::bench {
namespace {

constexpr char kRequest[] = "GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

std::string Times(int count, const std::string& text) {
  std::string all;
  for (int i = 0; i < count; ++i) {
    all += text;
  }
  return all;
}

// Bytes in which a shift or a swap shows.
std::string Pattern(size_t size, unsigned seed) {
  std::string text(size, '\0');
  for (char& byte : text) {
    seed = seed * 1664525 + 1013904223;
    byte = static_cast<char>(seed >> 24);
  }
  return text;
}

class RawServerTest : public testing::TestWithParam<const char*> {
 protected:
  void StartServer(const std::string& program, uint64_t descriptors_max = 0) {
    absl::StatusOr<std::unique_ptr<ServerProcess>> server = ServerProcess::Start(
        {.command = {program, absl::StrCat("--receive=", GetParam())}, .descriptors_max = descriptors_max});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  void TearDown() override {
    if (server_ != nullptr) {
      EXPECT_EQ(server_->Stop(absl::Seconds(10)), absl::OkStatus());
    }
  }

  ClientSocket Connect(int receive_bytes = 0) { return ClientSocket(server_->port(), receive_bytes); }

  int OpenDescriptors() {
    int count = 0;
    DIR* const folder = opendir(absl::StrCat("/proc/", server_->pid(), "/fd").c_str());
    EXPECT_NE(folder, nullptr);
    while (readdir(folder) != nullptr) {
      ++count;
    }
    closedir(folder);
    return count;
  }
  // Connections are closed a moment after their clients left.
  void ExpectDescriptorsSettleAt(int count) {
    const absl::Time deadline = absl::Now() + absl::Seconds(10);
    while (OpenDescriptors() != count && absl::Now() < deadline) {
      absl::SleepFor(absl::Milliseconds(5));
    }
    EXPECT_EQ(OpenDescriptors(), count);
  }

  // One HTTP reply, whole and right; returns its Date.
  static std::string ExpectReply(const std::string& text) {
    const std::string before = "HTTP/1.1 200 OK\r\nServer: evring\r\nDate: ";
    const std::string after = "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 13\r\n\r\nHello, World!";
    EXPECT_EQ(text.size(), before.size() + 29 + after.size());
    EXPECT_EQ(text.substr(0, before.size()), before);
    EXPECT_EQ(text.substr(std::min(text.size(), before.size() + 29)), after);
    return text.substr(std::min(text.size(), before.size()), 29);
  }
  static size_t ReplyBytes() { return 146; }

  void ExpectReplies(ClientSocket* client, int count) {
    for (int i = 0; i < count; ++i) {
      const std::string reply = client->Receive(ReplyBytes());
      ASSERT_EQ(reply.size(), ReplyBytes()) << "reply " << i << " of " << count;
      ExpectReply(reply);
    }
  }

  std::unique_ptr<ServerProcess> server_;
};

class RawEchoTest : public RawServerTest {
 protected:
  void SetUp() override { StartServer("bench/raw_echo"); }
};
class RawHttpTest : public RawServerTest {
 protected:
  void SetUp() override { StartServer("bench/raw_http"); }
};

TEST_P(RawEchoTest, BytesComeBackInOrderOnEveryConnection) {
  std::vector<ClientSocket> clients;
  for (int i = 0; i < 100; ++i) {
    clients.push_back(Connect());
  }
  for (unsigned round = 0; round < 20; ++round) {
    for (unsigned i = 0; i < clients.size(); ++i) {
      clients[i].Send(Pattern(64, round * 1000 + i));
    }
    for (unsigned i = 0; i < clients.size(); ++i) {
      ASSERT_EQ(clients[i].Receive(64), Pattern(64, round * 1000 + i)) << "client " << i << ", round " << round;
    }
  }
}

TEST_P(RawEchoTest, AHalfClosedClientGetsEverythingAndThenTheEnd) {
  ClientSocket client = Connect();
  const std::string data = Pattern(100'000, 7);
  client.Send(data);
  client.HalfClose();
  EXPECT_EQ(client.Receive(data.size()), data);
  EXPECT_TRUE(client.AtEnd());
}

// A client that sends without reading fills the server's send buffer: a send is cut short, what came after it queues
// and the receive is paused. Each byte must still come back.
TEST_P(RawEchoTest, AClientThatDoesNotReadForAWhileLosesNothing) {
  const std::string data = Pattern(40'000'000, 3);
  ClientSocket client = Connect(4096);
  const size_t taken = client.SendSome(data, 300);
  ASSERT_LT(taken, data.size()) << "the server took everything: it never had to wait";
  client.HalfClose();
  EXPECT_TRUE(client.Receive(taken + 1) == data.substr(0, taken)) << "of " << taken << " bytes";
}

// More such clients than there are receive buffers for (1024, of which each holds 64 and more), and one that behaves:
// whoever finds no buffer is only delayed until the others read.
TEST_P(RawEchoTest, RunningOutOfReceiveBuffersOnlyDelays) {
  constexpr unsigned kHogs = 18;
  std::vector<ClientSocket> hogs;
  std::vector<std::string> sent;
  for (unsigned i = 0; i < kHogs; ++i) {
    hogs.push_back(Connect(4096));
    sent.push_back(Pattern(5'000'000, i));
    sent.back().resize(hogs.back().SendSome(sent.back(), 100));
    hogs.back().HalfClose();
  }
  ClientSocket late = Connect();
  late.Send("late");
  std::vector<std::string> received(kHogs);
  std::vector<std::thread> readers;
  for (unsigned i = 0; i < kHogs; ++i) {
    readers.emplace_back([&, i] { received[i] = hogs[i].Receive(sent[i].size() + 1); });
  }
  for (std::thread& reader : readers) {
    reader.join();
  }
  for (unsigned i = 0; i < kHogs; ++i) {
    EXPECT_TRUE(received[i] == sent[i]) << "hog " << i << ": " << received[i].size() << " of " << sent[i].size();
  }
  EXPECT_EQ(late.Receive(4), "late");
}

TEST_P(RawEchoTest, AClientThatDoesNotReadDoesNotStopTheOthers) {
  ClientSocket hog = Connect(4096);
  hog.SendSome(Pattern(40'000'000, 1), 300);
  ClientSocket other = Connect();
  for (unsigned i = 0; i < 100; ++i) {
    other.Send(Pattern(64, i));
    ASSERT_EQ(other.Receive(64), Pattern(64, i));
  }
}

// Twice ten clients that do not read, reset while each holds 64 receive buffers and more. Had they been kept, the four
// that come then would take the rest of the 1024, and nothing would be left for one that behaves.
TEST_P(RawEchoTest, ResetsGiveTheReceiveBuffersBack) {
  const std::string data = Pattern(20'000'000, 1);
  std::vector<ClientSocket> hogs;
  for (const unsigned count : {10, 10, 4}) {
    for (ClientSocket& hog : hogs) {
      hog.Reset();
    }
    hogs.clear();
    for (unsigned i = 0; i < count; ++i) {
      hogs.push_back(Connect(4096));
      hogs.back().SendSome(data, 50);
    }
  }
  ClientSocket next = Connect();
  next.Send("next");
  EXPECT_EQ(next.Receive(4), "next");
}

TEST_P(RawEchoTest, ResetsFreeTheConnectionAndNothingElse) {
  ClientSocket witness = Connect();
  witness.Send("one");
  ASSERT_EQ(witness.Receive(3), "one");
  const int before = OpenDescriptors();
  for (int i = 0; i < 300; ++i) {
    ClientSocket client = Connect(i % 3 == 0 ? 4096 : 0);
    client.SendSome(Pattern(i % 3 == 0 ? 1'000'000 : 64, i), 1);  // a third are reset with the server's send stuck
    client.Reset();
  }
  ExpectDescriptorsSettleAt(before);
  witness.Send("two");
  EXPECT_EQ(witness.Receive(3), "two");
}

TEST_P(RawServerTest, RunningOutOfDescriptorsOnlyDelaysTheConnectionsBeyondThem) {
  StartServer("bench/raw_echo", 24);
  std::vector<ClientSocket> clients;
  for (int i = 0; i < 60; ++i) {
    clients.push_back(Connect());
  }
  while (!clients.empty()) {  // the oldest is served, and leaves its descriptor to one that waits
    clients.front().Send("ping");
    ASSERT_EQ(clients.front().Receive(4), "ping") << clients.size() << " were left";
    clients.front().Reset();
    std::vector<ClientSocket> rest;
    for (size_t i = 1; i < clients.size(); ++i) {
      rest.push_back(std::move(clients[i]));
    }
    clients.swap(rest);
  }
}

TEST_P(RawHttpTest, ARequestGetsTheReplyWithADateOfNow) {
  ClientSocket client = Connect();
  for (int i = 0; i < 3; ++i) {
    const absl::Time before = absl::Now() - absl::Seconds(1);  // the Date is cut to its second, by a coarse clock
    client.Send(kRequest);
    const std::string date = ExpectReply(client.Receive(ReplyBytes()));
    absl::Time parsed;
    std::string error;
    ASSERT_TRUE(absl::ParseTime("%a, %d %b %Y %H:%M:%S GMT", date, &parsed, &error)) << date << ": " << error;
    EXPECT_GE(parsed, before - absl::Milliseconds(50));
    EXPECT_LE(parsed, absl::Now());
    absl::SleepFor(absl::Milliseconds(600));  // over a second in all: the block of replies changes between them
  }
}

TEST_P(RawHttpTest, PipelinedRequestsGetOneReplyEach) {
  ClientSocket client = Connect();
  for (const int depth : {2, 16, 63, 64, 65, 1000}) {
    client.Send(Times(depth, kRequest));
    ExpectReplies(&client, depth);
  }
  client.HalfClose();
  EXPECT_TRUE(client.AtEnd());  // not one more
}

TEST_P(RawHttpTest, RequestsMayBeCutAnywhere) {
  ClientSocket client = Connect();
  const std::string two = Times(2, kRequest);
  for (size_t cut = 1; cut < two.size(); ++cut) {
    client.Send(two.substr(0, cut));
    if (cut >= two.size() / 2) {
      ExpectReplies(&client, 1);  // so that the first part was taken before the second is sent
    } else {
      absl::SleepFor(absl::Milliseconds(1));
    }
    client.Send(two.substr(cut));
    ExpectReplies(&client, cut >= two.size() / 2 ? 1 : 2);
  }
  for (const char byte : std::string(kRequest)) {
    client.Send(std::string(1, byte));
  }
  ExpectReplies(&client, 1);
}

TEST_P(RawHttpTest, AClientThatDoesNotReadForAWhileGetsEveryReply) {
  ClientSocket client = Connect(4096);
  constexpr int kRequests = 60'000;  // 8.8 MB of replies: more than any send buffer takes
  client.Send(Times(kRequests, kRequest));
  absl::SleepFor(absl::Milliseconds(100));
  ExpectReplies(&client, kRequests);
}

TEST_P(RawHttpTest, AForeignRequestEndsTheConnectionAfterTheRepliesBeforeIt) {
  for (const char* const bad : {"GET / HTTP/1.1\r\n\r\n", "POST /plaintext HTTP/1.1\r\n\r\n", "x"}) {
    ClientSocket client = Connect();
    client.Send(kRequest + std::string(bad));
    ExpectReplies(&client, 1);
    EXPECT_TRUE(client.AtEnd()) << bad;
  }
}

TEST_P(RawHttpTest, ARequestOfMoreThan4096BytesEndsTheConnection) {
  ClientSocket client = Connect();
  client.Send(absl::StrCat("GET /plaintext HTTP/1.1\r\nHost: ", std::string(3000, 'a'), "\r\n\r\n"));
  ExpectReplies(&client, 1);
  client.SendSome(absl::StrCat("GET /plaintext HTTP/1.1\r\nHost: ", std::string(6000, 'a'), "\r\n\r\n"), 1000);
  EXPECT_TRUE(client.AtEnd());
}

// TearDown checks the exit code; here the server has a stuck send, a silent connection and a half request by then.
TEST_P(RawHttpTest, SigtermEndsItWithConnectionsOpen) {
  ClientSocket silent = Connect();
  ClientSocket half = Connect();
  half.Send("GET /plain");
  ClientSocket stuck = Connect(4096);
  stuck.Send(Times(60'000, kRequest));
  EXPECT_EQ(server_->Stop(absl::Seconds(10)), absl::OkStatus());
}

const auto kModes = testing::Values("multishot", "oneshot");
const auto kModeName = [](const testing::TestParamInfo<const char*>& mode) { return std::string(mode.param); };
INSTANTIATE_TEST_SUITE_P(Modes, RawServerTest, kModes, kModeName);
INSTANTIATE_TEST_SUITE_P(Modes, RawEchoTest, kModes, kModeName);
INSTANTIATE_TEST_SUITE_P(Modes, RawHttpTest, kModes, kModeName);

}  // namespace
}  // namespace evring::bench
