// http_server.cc: a small HTTP server with the usual kinds of routes, until SIGINT or SIGTERM; then it drains.
//
//   bazel run -c opt //examples:http_server -- --port=8080 --directory=/some/files
//
//   GET  /            where to go          GET  /plaintext   a fixed text
//   GET  /json        a JSON object        POST /echo        the body that was sent, as it comes
//   GET  /status      counters             GET  /files/…     the files below --directory
//
// Tested by tests/examples/http_server_test.cc.

#include <signal.h>

#include <cstdio>
#include <optional>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "net/http/file_server.h"
#include "net/http/router.h"
#include "net/http/server.h"
#include "net/listener.h"
#include "runtime/os/signals.h"
#include "runtime/runtime.h"

ABSL_FLAG(std::string, address, "127.0.0.1", "address to listen on; an IPv6 address stands in brackets");
ABSL_FLAG(uint16_t, port, 8080, "port to listen on; 0: one that the kernel picks");
ABSL_FLAG(int, workers, 0, "worker threads; 0: one per CPU");
ABSL_FLAG(std::string, directory, "", "directory to serve below /files/; empty: none");
ABSL_FLAG(absl::Duration, drain, absl::Seconds(20), "how long requests under way may take after SIGINT or SIGTERM");

namespace {

using evring::Task;
namespace http = evring::net::http;

constexpr char kText[] = "text/plain; charset=utf-8";

Task<absl::Status> Index(http::ServerRequest*, http::ServerResponse* response) {
  response->Send(kText, "evring: /plaintext /json /echo /status /files/\n");
  co_return absl::OkStatus();
}

Task<absl::Status> Json(http::ServerRequest* request, http::ServerResponse* response) {
  std::string body = "{\"message\":\"Hello, World!\",\"method\":\"";
  body.append(request->head().method_name()).append("\"}\n");
  response->Send("application/json", body);
  co_return absl::OkStatus();
}

// Streams the body back while it comes: memory stays flat however long it is.
Task<absl::Status> EchoBody(http::ServerRequest* request, http::ServerResponse* response) {
  auto piece = co_await request->ReadBody();
  if (!piece.ok()) co_return piece.status();
  response->Begin("application/octet-stream", request->head().content_length());
  while (!piece->empty()) {
    if (absl::Status status = co_await response->Write(*piece); !status.ok()) co_return status;
    piece = co_await request->ReadBody();
    if (!piece.ok()) co_return piece.status();
  }
  co_return response->End();
}

// Counters of the server and of the workers, one a line.
std::string StatusPage(const http::ServerStats& s, const evring::Runtime& runtime) {
  const evring::WorkerCounters w = runtime.counters();
  return absl::StrFormat(
      "workers %d\nconnections_accepted %d\nconnections_open %d\nrequests %d\nrequests_refused %d\n"
      "handler_errors %d\naccept_errors %d\ntasks_run %d\nring_enters %d\nring_completions %d\nring_overflows %d\n"
      "parks %d\nwakes_sent %d\nspurious_wakes %d\nsteals %d\nrescues %d\nrescued_events %d\ntimers_fired %d\n",
      runtime.workers(), s.connections_accepted, s.connections_open, s.requests, s.requests_refused, s.handler_errors,
      s.accept_errors, w.tasks_run, w.enters, w.completions, w.overflow_episodes, w.parks, w.wakes_sent,
      w.spurious_wakes, w.steals, w.rescues, w.rescued_events, w.timers_fired);
}

Task<absl::Status> Serve(const evring::Runtime* runtime, evring::SignalSet* signals) {
  auto address =
      evring::net::SocketAddress::Parse(absl::StrCat(absl::GetFlag(FLAGS_address), ":", absl::GetFlag(FLAGS_port)));
  if (!address.ok()) co_return address.status();
  auto listener = evring::net::Listener::Listen(*address);
  if (!listener.ok()) co_return listener.status();

  http::ServerOptions options;
  options.drain_timeout = absl::GetFlag(FLAGS_drain);
  auto hello = http::PreparedResponse::Create(http::StatusCode::kOk, kText, "Hello, World!",
                                              http::ServerStamp(options.server_name));
  if (!hello.ok()) co_return hello.status();
  std::optional<http::FileServer> files;
  if (const std::string directory = absl::GetFlag(FLAGS_directory); !directory.empty()) {
    auto opened = http::FileServer::Open(directory, "/files/");
    if (!opened.ok()) co_return opened.status();
    files.emplace(*std::move(opened));
  }

  http::Router router;
  http::Server server(options, [&router](auto* request, auto* response) { return router.Route(request, response); });
  router.Handle(http::Method::kGet, "/", &Index);
  router.Handle(http::Method::kGet, "/json", &Json);
  router.Handle(http::Method::kPost, "/echo", &EchoBody);
  router.Handle(http::Method::kGet, "/plaintext", [&hello](auto*, http::ServerResponse* response) {
    return [](const http::PreparedResponse* text, http::ServerResponse* to) -> Task<absl::Status> {
      to->Send(*text);
      co_return absl::OkStatus();
    }(&*hello, response);
  });
  router.Handle(http::Method::kGet, "/status", [&server, runtime](auto*, http::ServerResponse* response) {
    return [](http::Server* s, const evring::Runtime* r, http::ServerResponse* to) -> Task<absl::Status> {
      to->Send(kText, StatusPage(s->stats(), *r));
      co_return absl::OkStatus();
    }(&server, runtime, response);
  });
  if (files.has_value()) {
    router.Handle(http::Method::kGet, "/files/*",
                  [&files](auto* request, auto* response) { return files->Handle(request, response); });
  }

  std::printf("listening on %s\n", listener->LocalAddress()->ToString().c_str());
  std::fflush(stdout);
  auto serving = co_await evring::Spawn(server.Serve(&*listener));
  auto signal = co_await signals->Next();
  if (signal.ok()) std::fprintf(stderr, "http_server: signal %d, draining\n", *signal);
  server.Drain();
  absl::Status served = co_await std::move(serving);
  co_return signal.ok() ? served : signal.status();
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("A small HTTP server; see the head of examples/http_server.cc for its routes.");
  absl::ParseCommandLine(argc, argv);
  auto signals = evring::SignalSet::Block({SIGINT, SIGTERM});
  if (!signals.ok()) return std::fprintf(stderr, "%s\n", signals.status().ToString().c_str()), 1;
  evring::RuntimeOptions options;
  options.workers = absl::GetFlag(FLAGS_workers);
  auto runtime = evring::Runtime::Create(options);
  if (!runtime.ok()) return std::fprintf(stderr, "http_server: %s\n", runtime.status().ToString().c_str()), 1;
  auto serving = (*runtime)->Spawn(Serve(runtime->get(), &*signals));
  const absl::Status status = serving.ok() ? serving->Wait() : serving.status();
  if (!status.ok()) return std::fprintf(stderr, "http_server: %s\n", status.ToString().c_str()), 1;
  return 0;
}
