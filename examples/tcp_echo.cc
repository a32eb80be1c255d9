// tcp_echo.cc: sends back whatever it receives, on every connection, until SIGINT or SIGTERM.
//
//   bazel run -c opt //examples:tcp_echo -- --port=7777
//
// Shows a listener, one task per connection, and how a stop ends them all. Tested by tests/examples/tcp_echo_test.cc.

#include <signal.h>

#include <cstdio>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "net/listener.h"
#include "net/stream.h"
#include "runtime/os/signals.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/task_group.h"

ABSL_FLAG(std::string, address, "127.0.0.1", "address to listen on; an IPv6 address stands in brackets");
ABSL_FLAG(uint16_t, port, 7777, "port to listen on; 0: one that the kernel picks");
ABSL_FLAG(int, workers, 0, "worker threads; 0: one per CPU");

namespace {

using evring::Task;

Task<> Echo(evring::net::Stream stream) {
  for (;;) {
    auto received = co_await stream.Receive();
    if (!received.ok() || received->empty()) co_return;
    if (!(co_await stream.Write(received->data())).ok()) co_return;
  }
}

Task<absl::Status> Serve(evring::net::Listener* listener) {
  evring::TaskGroup connections;
  absl::Status status;
  while (status.ok()) {
    auto stream = co_await listener->Accept();
    if (stream.ok()) {
      stream->SetNoDelay(true).IgnoreError();  // a Unix socket has none
      co_await connections.Spawn(Echo(*std::move(stream)));
    } else if (absl::IsResourceExhausted(stream.status())) {
      status = co_await evring::Sleep(absl::Milliseconds(50));  // out of descriptors: some connection will end
    } else if (!absl::IsUnavailable(stream.status())) {
      status = stream.status();
    }
  }
  static_cast<void>(co_await connections.Join());  // connections end without a status
  co_return status;
}

Task<absl::Status> Main(evring::SignalSet* signals) {
  auto address =
      evring::net::SocketAddress::Parse(absl::StrCat(absl::GetFlag(FLAGS_address), ":", absl::GetFlag(FLAGS_port)));
  if (!address.ok()) co_return address.status();
  auto listener = evring::net::Listener::Listen(*address);
  if (!listener.ok()) co_return listener.status();
  std::printf("listening on %s\n", listener->LocalAddress()->ToString().c_str());
  std::fflush(stdout);

  auto server = co_await evring::Spawn(Serve(&*listener));
  absl::Status status = (co_await signals->Next()).status();
  server.RequestStop();
  absl::Status served = co_await std::move(server);
  co_return absl::IsCancelled(served) ? status : served;
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Sends back whatever it receives.");
  absl::ParseCommandLine(argc, argv);
  auto signals = evring::SignalSet::Block({SIGINT, SIGTERM});
  if (!signals.ok()) return std::fprintf(stderr, "%s\n", signals.status().ToString().c_str()), 1;
  evring::RuntimeOptions options;
  options.workers = absl::GetFlag(FLAGS_workers);
  const absl::Status status = evring::Run(Main(&*signals), options);
  if (!status.ok()) return std::fprintf(stderr, "tcp_echo: %s\n", status.ToString().c_str()), 1;
  return 0;
}
