// http_storm_test.cc: an HTTP server and many clients on a simulated network that does to them what the seed says.
//
// Clients keep connections alive, pipeline, upload in chunks, send a byte now and then, read slowly, shut their side
// early or leave in the middle. What must hold, whatever goes wrong: each request gets exactly one whole answer, its
// own and in its turn, or the connection ends; an answer that was cut is never taken for a whole one; no request is
// handled twice. Where nothing may go wrong (Everyday), each gets its answer. At the end no task, no descriptor and no
// receive buffer is missing.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "net/address.h"
#include "net/buffered_reader.h"
#include "net/buffered_writer.h"
#include "net/http/router.h"
#include "net/http/server.h"
#include "net/listener.h"
#include "net/stream.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/semaphore.h"
#include "runtime/task.h"
#include "runtime/task_group.h"
#include "runtime/timeout.h"
#include "sim/random.h"
#include "sim/simulation.h"
#include "tests/sim/seeds.h"

namespace evring::sim {
namespace {

using net::http::Method;
using net::http::Router;
using net::http::Server;
using net::http::ServerOptions;
using net::http::ServerRequest;
using net::http::ServerResponse;

constexpr char kText[] = "text/plain";
constexpr size_t kBodyMax = 64 << 10;

// What a run is about.
struct Site {
  bool whole = false;           // nothing that ends a connection happens to it: answers are due
  bool draining = false;        // the server is drained in the middle
  bool short_patience = false;  // the server gives up slow clients
  bool drained = false;         // by now
  std::map<int, int> handled;   // how often, by the number of the request
  std::set<int> late;           // those handled after the drain
  int alive = 0;                // tasks, handlers included
};

std::string Letters(uint64_t seed, size_t size) {
  std::string text(size, '\0');
  Random random(seed);
  for (char& c : text) c = static_cast<char>('a' + random.Below(26));
  return text;
}

// --- The server
// --------------------------------------------------------------------------------------------------------

// The number at the end of the path.
int NumberOf(const ServerRequest& request) {
  const std::string path(request.head().raw_path());
  int number = -1;
  EXPECT_TRUE(absl::SimpleAtoi(path.substr(path.rfind('/') + 1), &number)) << path;
  return number;
}

std::string TextOf(int number) { return absl::StrCat("this is ", number, "\n"); }

struct Streamed {
  explicit Streamed(int number) : random(static_cast<uint64_t>(number), 7), pieces(1 + random.Below(8)) {}
  std::string Piece() {
    const size_t size = 1 + random.Below(3000);
    return Letters(random.Next(), size);
  }
  Random random;
  uint64_t pieces;
};

Task<absl::Status> Text(ServerRequest* request, ServerResponse* response) {
  response->Send(kText, TextOf(NumberOf(*request)));
  co_return absl::OkStatus();
}

Task<absl::Status> Echo(ServerRequest* request, ServerResponse* response) {
  const absl::StatusOr<std::string> body = co_await request->ReadWholeBody(kBodyMax);
  if (!body.ok()) co_return body.status();
  response->Send(kText, *body);
  co_return absl::OkStatus();
}

// Each piece goes on as it comes, while the rest of the request is not here yet.
Task<absl::Status> Relay(ServerRequest* request, ServerResponse* response) {
  response->Begin(kText);
  for (;;) {
    const absl::StatusOr<std::string_view> piece = co_await request->ReadBody();
    if (!piece.ok()) co_return piece.status();
    if (piece->empty()) co_return response->End();
    const absl::Status status = co_await response->Write(*piece);
    if (!status.ok()) co_return status;
  }
}

// Every other one does not care whether what it has written went out.
Task<absl::Status> Stream(ServerRequest* request, ServerResponse* response) {
  const int number = NumberOf(*request);
  Streamed streamed(number);
  response->Begin(kText);
  for (uint64_t i = 0; i < streamed.pieces; ++i) {
    const std::string piece = streamed.Piece();
    absl::Status status = co_await response->Write(piece);
    if (status.ok() && i % 2 == 1) status = co_await response->Flush();
    if (status.ok() && i % 3 == 2) status = co_await Sleep(absl::Milliseconds(1));
    if (!status.ok() && number % 2 == 0) co_return status;
  }
  co_return response->End();
}

// Gives up in the middle of its answer.
Task<absl::Status> Torn(ServerRequest* request, ServerResponse* response) {
  const std::string text = TextOf(NumberOf(*request));
  if (text.size() % 2 == 0) {
    response->Begin(kText);
  } else {
    response->Begin(kText, text.size() + 1);
  }
  const absl::Status status = co_await response->Write(text);
  if (!status.ok()) co_return status;
  co_return absl::InternalError("given up");
}

Task<absl::Status> Wait(ServerRequest* request, ServerResponse* response) {
  const int number = NumberOf(*request);
  const absl::Status status = co_await Sleep(absl::Milliseconds(number % 50));
  if (!status.ok()) co_return status;
  response->Send(kText, TextOf(number));
  co_return absl::OkStatus();
}

Task<absl::Status> Throw(ServerRequest*, ServerResponse*) {
  co_await Yield();
  throw std::runtime_error("thrown");
}

void AddRoutes(Router* router) {
  router->Handle(Method::kGet, "/text/*", &Text);
  router->Handle(Method::kPost, "/text/*", &Text);
  router->Handle(Method::kPost, "/echo/*", &Echo);
  router->Handle(Method::kPost, "/relay/*", &Relay);
  router->Handle(Method::kGet, "/stream/*", &Stream);
  router->Handle(Method::kGet, "/torn/*", &Torn);
  router->Handle(Method::kGet, "/wait/*", &Wait);
  router->Handle(Method::kGet, "/throw/*", &Throw);
}

Task<absl::Status> Handle(Site* site, const Router* router, ServerRequest* request, ServerResponse* response) {
  const Alive alive(&site->alive);
  const int number = NumberOf(*request);
  EXPECT_EQ(++site->handled[number], 1) << "request " << number << " is handled again";
  if (site->drained) site->late.insert(number);
  co_return co_await router->Route(request, response);
}

// --- Requests, and the answers that they are due
// -----------------------------------------------------------------------

struct Exchange {
  int number = 0;
  std::string request;
  int status = 200;
  std::string body;
  bool no_body = false;  // the answer to HEAD has none
  bool torn = false;     // the answer is never whole
  bool has_body = false;
  bool last = false;      // the server closes the connection behind its answer
  bool begun = false;     // a part of it at least was sent
  bool answered = false;  // in full
};

std::string InChunks(Random* random, std::string_view body) {
  std::string chunked;
  while (!body.empty()) {
    const size_t n = std::min<size_t>(body.size(), 1 + random->Below(500));
    absl::StrAppend(&chunked, absl::Hex(n), "\r\n", std::string(body.substr(0, n)), "\r\n");
    body.remove_prefix(n);
  }
  return chunked + (random->OneIn(4) ? "0\r\nTrailing: yes\r\n\r\n" : "0\r\n\r\n");
}

std::string WithBody(Random* random, std::string head, std::string_view body) {
  if (random->OneIn(2)) {
    absl::StrAppend(&head, "Transfer-Encoding: chunked\r\n\r\n");
    return head + InChunks(random, body);
  }
  absl::StrAppend(&head, "Content-Length: ", body.size(), "\r\n\r\n", std::string(body));
  return head;
}

Exchange MakeExchange(Random* random, int number) {
  Exchange e;
  e.number = number;
  const auto head = [&](const char* method, const char* path) {
    return absl::StrCat(method, " ", path, number, " HTTP/1.1\r\nHost: 10.0.0.1\r\n");
  };
  const std::string body = Letters(random->Next(), random->Below(random->OneIn(4) ? 9000 : 300));
  e.body = TextOf(number);
  const uint64_t kind = random->Below(12);
  e.has_body = kind >= 3 && kind <= 6;
  switch (kind) {
    case 0:
    case 1:
      e.request = head("GET", "/text/") + "\r\n";
      break;
    case 2:
      e.request = head("HEAD", "/text/") + "\r\n";
      e.no_body = true;
      break;
    case 3:
      e.request = WithBody(random, head("POST", "/text/"), body);  // which nobody reads
      break;
    case 4:
    case 5:
      e.request = WithBody(random, head("POST", "/echo/") + (random->OneIn(3) ? "Expect: 100-continue\r\n" : ""), body);
      e.body = body;
      break;
    case 6:
      e.request = WithBody(random, head("POST", "/relay/"), body);
      e.body = body;
      break;
    case 7:
    case 8: {
      e.request = head("GET", "/stream/") + "\r\n";
      e.body.clear();
      Streamed streamed(number);
      for (uint64_t i = 0; i < streamed.pieces; ++i) e.body += streamed.Piece();
      break;
    }
    case 9:
      e.request = head("GET", "/wait/") + "\r\n";
      break;
    case 10:
      if (random->OneIn(2)) {
        e.request = head("GET", "/throw/") + "\r\n";
        e.status = 500;
        e.body = "Internal Server Error\n";
      } else {
        e.request = head("GET", "/nowhere/") + "\r\n";
        e.status = 404;
        e.body = "Not Found\n";
      }
      break;
    default:
      if (random->OneIn(3)) {
        e.request = head("GET", "/torn/") + "\r\n";
        e.torn = true;
      } else if (random->OneIn(2)) {
        e.request = head("GET", "/text/") + "No colon\r\n\r\n";
        e.status = 400;
        e.last = true;
      } else {
        e.request = head("GET", "/text/") + "Connection: close\r\n\r\n";
        e.last = true;
      }
  }
  return e;
}

// --- Clients
// -----------------------------------------------------------------------------------------------------------

struct Answer {
  Answer() = default;
  int status = 0;
  bool close = false;
  std::string body;
};

using Reader = net::BufferedReader<net::Stream>;

// kOutOfRange: the connection has ended in front of it. Any other error: it is not whole.
Task<absl::StatusOr<Answer>> ReadAnswer(Reader* reader, bool no_body) {
  Answer answer;
  absl::StatusOr<absl::string_view> line = co_await reader->ReadLine(200);
  if (!line.ok()) co_return line.status();
  if (*line == "HTTP/1.1 100 Continue") {
    line = co_await reader->ReadLine(200);
    if (line.ok()) {
      EXPECT_EQ(*line, "");
    }
    if (line.ok()) line = co_await reader->ReadLine(200);
    if (!line.ok()) co_return absl::DataLossError("after 100");
  }
  const std::vector<std::string> parts = absl::StrSplit(*line, absl::MaxSplits(' ', 2));
  if (parts.size() != 3 || parts[0] != "HTTP/1.1" || !absl::SimpleAtoi(parts[1], &answer.status)) {
    ADD_FAILURE() << "no status line: " << *line;
    co_return absl::InternalError("no answer");
  }
  int64_t length = -1;
  bool chunked = false;
  for (;;) {
    line = co_await reader->ReadLine(200);
    if (!line.ok()) co_return absl::DataLossError("in the head");
    if (line->empty()) break;
    const std::pair<std::string, std::string> field = absl::StrSplit(*line, absl::MaxSplits(": ", 1));
    if (field.first == "Content-Length") {
      EXPECT_TRUE(absl::SimpleAtoi(field.second, &length)) << field.second;
    }
    if (field.first == "Transfer-Encoding") chunked = field.second == "chunked";
    if (field.first == "Connection") answer.close = field.second == "close";
  }
  EXPECT_TRUE(chunked != (length >= 0)) << "the answer has one length";
  if (no_body && answer.status == 200) co_return answer;  // an unfinished HEAD is refused like any other request
  if (!chunked) {
    const absl::StatusOr<absl::string_view> body = co_await reader->ReadExactly(static_cast<size_t>(length));
    if (!body.ok()) co_return absl::DataLossError("in the body");
    answer.body = std::string(*body);
    co_return answer;
  }
  for (;;) {
    line = co_await reader->ReadLine(200);
    if (!line.ok()) co_return absl::DataLossError("in front of a chunk");
    const std::string size_text(*line);
    const size_t size = std::strtoull(size_text.c_str(), nullptr, 16);
    const absl::StatusOr<absl::string_view> chunk = co_await reader->ReadExactly(size + 2);
    if (!chunk.ok()) co_return absl::DataLossError("in a chunk");
    EXPECT_EQ(chunk->substr(size), "\r\n");
    if (size == 0) co_return answer;
    answer.body.append(chunk->data(), size);
  }
}

struct Talk {
  explicit Talk(net::Stream stream, uint64_t window) : stream(std::move(stream)), window(window) {}
  net::Stream stream;
  Semaphore window;  // requests that may be under way
  std::vector<Exchange> exchanges;
  size_t write_bytes_max = 0;  // after which the client sends no more
  bool shuts_early = false;    // its side, when it has sent all
};

// Sends the requests: in one piece or trickling.
Task<> SendRequests(Site* site, Talk* talk, uint64_t seed) {
  const Alive alive(&site->alive);
  Random random(seed);
  const bool trickles = random.OneIn(3);
  const size_t piece_max = trickles ? 60 : 2000;
  net::BufferedWriter<net::Stream> writer(&talk->stream, random.OneIn(2) ? 0 : 256);
  size_t left = talk->write_bytes_max;
  for (Exchange& exchange : talk->exchanges) {
    if (!talk->window.TryAcquire()) {
      absl::Status status = co_await writer.Flush();
      if (status.ok()) status = co_await talk->window.Acquire();
      if (!status.ok()) break;
    }
    for (std::string_view rest = exchange.request; !rest.empty() && left > 0 && writer.status().ok();) {
      exchange.begun = true;
      const size_t n = std::min({rest.size(), left, static_cast<size_t>(1 + random.Below(piece_max))});
      if (!(co_await writer.Write(absl::string_view(rest.data(), n))).ok()) break;
      rest.remove_prefix(n);
      left -= n;
      if (!trickles || !random.OneIn(2)) continue;
      absl::Status status = co_await writer.Flush();
      if (status.ok()) status = co_await Sleep(absl::Microseconds(random.Below(20'000)));
      if (!status.ok()) break;
    }
    if (left == 0 || !writer.status().ok()) break;
  }
  static_cast<void>(co_await writer.Flush());
  writer.Abandon();
  if (talk->shuts_early || left == 0) static_cast<void>(talk->stream.Shutdown(net::Stream::Direction::kSend));
}

// Reads the answers, each of which must be the one that is due.
Task<> ReadAnswers(Site* site, Talk* talk, uint64_t seed) {
  Random random(seed);
  const bool dawdles = random.OneIn(3);
  Reader reader(&talk->stream, 16 + random.Below(2000));
  for (Exchange& exchange : talk->exchanges) {
    if (dawdles) static_cast<void>(co_await Sleep(absl::Microseconds(random.Below(30'000))));
    const absl::StatusOr<Answer> answer = co_await ReadAnswer(&reader, exchange.no_body);
    if (!answer.ok()) co_return;
    if (!site->whole && answer->status == 408) {  // it was not sent to its end
      EXPECT_TRUE(answer->close);
      break;
    }
    EXPECT_FALSE(exchange.torn) << "a torn answer counts as whole";
    EXPECT_EQ(answer->status, exchange.status) << exchange.request;
    if (exchange.status != 400) {
      EXPECT_EQ(answer->body, exchange.no_body ? "" : exchange.body) << exchange.request;
    }
    exchange.answered = true;
    talk->window.Release();
    if (exchange.last) {
      EXPECT_TRUE(answer->close);
    }
    if (answer->close) {
      EXPECT_TRUE(exchange.last || site->draining) << "closed for no reason";
      break;
    }
  }
  static_cast<void>(talk->stream.Shutdown(net::Stream::Direction::kSend));
  const absl::StatusOr<absl::string_view> more = co_await reader.Peek(1);
  EXPECT_FALSE(more.ok()) << "more answers than requests: " << *more;
}

Task<> Converse(Site* site, Talk* talk, uint64_t seed) {
  Random random(seed);
  TaskGroup sender(TaskGroup::OnError::kGoOn);
  const uint64_t sender_seed = random.Next();
  co_await sender.Spawn(SendRequests(site, talk, sender_seed));
  co_await ReadAnswers(site, talk, random.Next());
  sender.RequestStop();
  static_cast<void>(co_await sender.Join());
}

// What is due to the client, which has talked to the end (`in_full`) or left.
void CheckAnswers(const Site& site, const Talk& talk, bool in_full) {
  // A drained server receives what had come before, and bodies that it was in the middle of; then it closes.
  const auto received = [&site](const Exchange& exchange) {
    return site.handled.contains(exchange.number) && !(exchange.has_body && site.late.contains(exchange.number));
  };
  const bool due = site.whole && in_full;
  size_t sent = talk.write_bytes_max;
  for (const Exchange& exchange : talk.exchanges) {
    if (exchange.answered && exchange.status != 400) {
      EXPECT_TRUE(site.handled.contains(exchange.number)) << "an answer of nobody: " << exchange.request;
    }
    if (exchange.torn || sent < exchange.request.size()) break;
    sent -= exchange.request.size();
    if (due && (!site.draining || received(exchange))) {
      EXPECT_TRUE(exchange.answered) << exchange.request;
    }
    if (exchange.last) break;
  }
}

Task<> Client(Site* site, net::SocketAddress address, int first_number, uint64_t seed) {
  const Alive alive(&site->alive);
  Random random(seed);
  absl::StatusOr<net::Stream> stream = co_await net::Stream::Connect(address);
  if (!stream.ok()) {
    if (site->whole && !site->draining) ADD_FAILURE() << stream.status();
    co_return;
  }
  Talk talk(*std::move(stream), random.OneIn(2) ? 1 : 1 + random.Below(8));
  const int n = static_cast<int>(1 + random.Below(8));
  size_t bytes = 0;
  for (int i = 0; i < n; ++i) {
    talk.exchanges.push_back(MakeExchange(&random, first_number + i));
    bytes += talk.exchanges.back().request.size();
  }
  talk.write_bytes_max = random.OneIn(6) ? 1 + random.Below(bytes) : bytes + 1;
  talk.shuts_early = random.OneIn(4);
  const bool leaves = random.OneIn(5);
  const absl::Duration stay = leaves ? absl::Microseconds(random.Below(100'000)) : absl::InfiniteDuration();
  const uint64_t talk_seed = random.Next();
  const absl::Status talked = co_await WithTimeout(stay, Converse(site, &talk, talk_seed));
  talk.stream.Close();
  CheckAnswers(*site, talk, talked.ok());
}

// --- The storm
// ---------------------------------------------------------------------------------------------------------

Task<> DrainLater(Site* site, Server* server, absl::Duration d) {
  const Alive alive(&site->alive);
  static_cast<void>(co_await Sleep(d));
  site->drained = true;
  server->Drain();
}

Task<> ServeClients(Site* site, Random* random, const ServerOptions& options) {
  const Alive alive(&site->alive);
  Router router;
  AddRoutes(&router);
  Server server(options, [site, &router](ServerRequest* request, ServerResponse* response) {
    return Handle(site, &router, request, response);
  });
  absl::StatusOr<net::Listener> listener = net::Listener::Listen(*net::SocketAddress::Parse("10.0.0.1:80"));
  EXPECT_TRUE(listener.ok()) << listener.status();
  if (!listener.ok()) co_return;
  JoinHandle<absl::Status> serving = co_await Spawn(server.Serve(&*listener));
  {
    TaskGroup group(TaskGroup::OnError::kGoOn);
    if (site->draining) {
      const absl::Duration d = absl::Microseconds(random->Below(60'000));
      co_await group.Spawn(DrainLater(site, &server, d));
    }
    const int clients = static_cast<int>(random->Between(3, 12));
    for (int i = 0; i < clients; ++i) {
      const uint64_t seed = random->Next();
      co_await group.Spawn(Client(site, *net::SocketAddress::Parse("10.0.0.1:80"), 100 * (i + 1), seed));
      if (random->OneIn(2)) static_cast<void>(co_await Sleep(absl::Microseconds(random->Below(10'000))));
    }
    static_cast<void>(co_await group.Join());
  }
  server.Drain();
  const absl::Status served = co_await std::move(serving);
  EXPECT_TRUE(served.ok()) << served;
  const net::http::ServerStats stats = server.stats();
  EXPECT_EQ(stats.connections_open, 0u);
  EXPECT_EQ(stats.requests, site->handled.size());
}

Task<BuffersLent> Storm(Site* site, Random* random, const ServerOptions* options) {
  co_await ServeClients(site, random, *options);
  co_return co_await Settle();
}

// `site` says what kind of run it is.
void RunStorm(SimulationOptions options, Site site) {
  Random random(options.seed, /*stream=*/11);
  DrawMachine(&random, {.socket_buffer_bytes = 700, .buffer_bytes = 512, .buffers_max = 8}, &options);
  ServerOptions server;
  server.drain_timeout = absl::Hours(1);
  if (random.OneIn(4)) server.connections_max = 3;
  if (site.short_patience) {
    server.idle_timeout = absl::Milliseconds(20);
    server.head_timeout = absl::Milliseconds(20);
    server.body_timeout = absl::Milliseconds(20);
    server.write_timeout = absl::Milliseconds(20);
  }
  Simulation simulation(options);
  const BuffersLent lent = simulation.Run(Storm(&site, simulation.random(), &server));
  EXPECT_EQ(site.alive, 0) << "tasks that have not ended";
  ExpectAllBack(simulation.report(), lent);
}

constexpr uint64_t kSeeds = 1000;

TEST(HttpStorm, EverydayTroubleCostsNoAnswer) {
  RunSeeds(kSeeds, [](SimulationOptions options) {
    options.faults = FaultRules::Everyday();
    Site site;
    site.whole = true;
    RunStorm(options, std::move(site));
  });
}

TEST(HttpStorm, EachRequestGetsOneWholeAnswerOrTheConnectionEnds) {
  RunSeeds(kSeeds, [](SimulationOptions options) {
    options.faults = FaultRules::Storm();
    RunStorm(options, Site());
  });
}

TEST(HttpStorm, SlowClientsAreGivenUpAndOthersAreNot) {
  RunSeeds(kSeeds, [](SimulationOptions options) {
    options.faults = FaultRules::Storm();
    Site site;
    site.short_patience = true;
    RunStorm(options, std::move(site));
  });
}

TEST(HttpStorm, DrainingAnswersWhatWasHandled) {
  RunSeeds(kSeeds, [](SimulationOptions options) {
    // Half of the runs are a storm whose faults hit no connection that is made, and make no client slow.
    Site site;
    site.draining = true;
    site.whole = options.seed % 2 == 0;
    options.faults = FaultRules::Storm();
    if (site.whole) {
      for (const Fault fault : {Fault::kReceiveError, Fault::kSendError, Fault::kReset, Fault::kClockJump}) {
        options.faults[fault].ppm = 0;
      }
    }
    RunStorm(options, std::move(site));
  });
}

}  // namespace
}  // namespace evring::sim
