// The code of docs/guide/network.md, word for word (tests/house/guide_test.sh), and that it does what is said there.

#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "net/address.h"
#include "net/buffered_reader.h"
#include "net/buffered_writer.h"
#include "net/listener.h"
#include "net/stream.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/semaphore.h"
#include "runtime/task.h"
#include "runtime/task_group.h"
#include "runtime/timeout.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring::guide {
namespace {

Task<absl::Status> EchoLines(net::Stream* stream, Deadline* idle) {
  net::BufferedReader reader(stream);
  net::BufferedWriter writer(stream);
  for (;;) {
    const absl::StatusOr<absl::string_view> line = co_await reader.ReadLine(/*limit=*/1000);
    if (absl::IsOutOfRange(line.status())) co_return absl::OkStatus();  // the peer has said all it had to say
    if (!line.ok()) co_return line.status();
    idle->MoveTo(absl::Minutes(1));
    absl::Status status = co_await writer.Write(*line);
    if (status.ok()) status = co_await writer.Write("\n");
    if (status.ok()) status = co_await writer.Flush();
    if (!status.ok()) co_return status;
  }
}

Task<> ServeConnection(net::Stream stream, Semaphore* places) {
  Deadline idle(absl::Minutes(1), /*nearest=*/absl::Seconds(1));
  const absl::Status status = co_await WithDeadline(&idle, EchoLines(&stream, &idle));
  status.IgnoreError();  // a server would count it
  places->Release();
}

Task<absl::Status> Serve(net::Listener* listener) {
  Semaphore places(1000);
  TaskGroup connections;
  absl::Status status;
  while (status.ok()) {
    status = co_await places.Acquire();
    if (!status.ok()) break;
    absl::StatusOr<net::Stream> stream = co_await listener->Accept();
    if (stream.ok()) {
      co_await connections.Spawn(ServeConnection(*std::move(stream), &places));
      continue;
    }
    places.Release();
    if (absl::IsResourceExhausted(stream.status())) {
      status = co_await Sleep(absl::Milliseconds(50));   // out of descriptors: some connection will end
    } else if (!absl::IsUnavailable(stream.status())) {  // of that one connection only
      status = stream.status();
    }
  }
  static_cast<void>(co_await connections.Join());  // connections end without a status
  co_return status;
}

Task<absl::StatusOr<std::string>> Ask(net::SocketAddress address, std::string line) {
  absl::StatusOr<net::Stream> stream = co_await net::Stream::Connect(address);
  if (!stream.ok()) co_return stream.status();
  line += '\n';
  const absl::Status written = co_await stream->Write(std::as_bytes(std::span(line)));
  if (!written.ok()) co_return written;
  net::BufferedReader reader(&*stream);
  const absl::StatusOr<absl::string_view> answer = co_await reader.ReadLine(/*limit=*/1000);
  if (!answer.ok()) co_return answer.status();
  co_return std::string(*answer);
}

Task<absl::StatusOr<std::string>> TalkToOurselves(std::string line) {
  absl::StatusOr<net::Listener> listener = net::Listener::Listen(net::SocketAddress::Loopback4(0));
  if (!listener.ok()) co_return listener.status();
  const absl::StatusOr<net::SocketAddress> address = listener->LocalAddress();
  if (!address.ok()) co_return address.status();

  JoinHandle<absl::Status> server = co_await Spawn(Serve(&*listener));
  absl::StatusOr<std::string> answer = co_await WithTimeout(absl::Minutes(1), Ask(*address, std::move(line)));
  server.RequestStop();
  const absl::Status served = co_await std::move(server);
  EXPECT_TRUE(absl::IsCancelled(served));
  co_return answer;
}

TEST(TheNetwork, WhatIsSentComesBack) { EXPECT_EQ(*evring::Run(TalkToOurselves("hello")), "hello"); }

TEST(TheNetwork, ALineThatIsTooLongEndsTheConnection) {
  const absl::StatusOr<std::string> answer = evring::Run(TalkToOurselves(std::string(2000, 'x')));
  EXPECT_FALSE(answer.ok());
  EXPECT_FALSE(absl::IsDeadlineExceeded(answer.status())) << answer.status();
}

Task<> Echo(net::Stream stream) {
  for (;;) {
    auto received = co_await stream.Receive();
    if (!received.ok() || received->empty()) co_return;
    const absl::Status written = co_await stream.Write(received->data());
    if (!written.ok()) co_return;
  }
}

Task<absl::StatusOr<std::string>> EchoOnce() {
  absl::StatusOr<std::pair<net::Stream, net::Stream>> pair = net::Stream::Pair();
  if (!pair.ok()) co_return pair.status();
  JoinHandle<> echo = co_await Spawn(Echo(std::move(pair->second)));
  const std::string line = "over a Unix socket\n";
  const absl::Status written = co_await pair->first.Write(std::as_bytes(std::span(line)));
  if (!written.ok()) co_return written;
  net::BufferedReader reader(&pair->first);
  const absl::StatusOr<absl::string_view> answer = co_await reader.ReadLine(100);
  if (!answer.ok()) co_return answer.status();
  std::string text(*answer);
  pair->first.Close();
  co_await std::move(echo);
  co_return text;
}

TEST(TheNetwork, WhatTheKernelsBuffersReceiveComesBack) { EXPECT_EQ(*evring::Run(EchoOnce()), "over a Unix socket"); }

}  // namespace
}  // namespace evring::guide
