// small_machine.h: what a runtime goes through on a simulated machine that is too small for it: rings of 16
// completions, four buffers of 64 bytes for each worker, sockets of 256 bytes, one to four workers. Each scenario says
// what must hold; the seed says which one runs, and all else.
//
// A run that hangs, or in which a check fails, ends its process; what a scenario itself finds wrong it says on stderr.

#ifndef EVRING_TESTS_SIM_SMALL_MACHINE_H_
#define EVRING_TESTS_SIM_SMALL_MACHINE_H_

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kevent/kernel.h"
#include "net/address.h"
#include "net/listener.h"
#include "net/stream.h"
#include "runtime/os/file.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/channel.h"
#include "runtime/sync/event.h"
#include "runtime/task.h"
#include "runtime/task_group.h"
#include "runtime/timeout.h"
#include "sim/random.h"
#include "sim/simulation.h"
#include "tests/sim/accept_loop.h"

namespace evring::sim::small_machine {

// What must hold. By the tasks of one run, of which one runs at a time.
class Verdict {
 public:
  void Require(bool held, const char* what) {
    if (held) return;
    if (held_) std::fprintf(stderr, "broken: %s\n", what);
    held_ = false;
  }
  bool held() const { return held_; }

 private:
  bool held_ = true;
};

inline std::vector<std::byte> Content(uint64_t seed, size_t size) {
  std::vector<std::byte> content(size);
  Random random(seed);
  for (std::byte& b : content) b = static_cast<std::byte>(random.Next());
  return content;
}

// --- Echo over TCP: every client gets its bytes back, in order and unaltered; all of them where nothing may fail

inline Task<> Echo(net::Stream stream) {
  for (;;) {
    const absl::StatusOr<ReceivedBuffer> piece = co_await stream.Receive();
    if (!piece.ok() || piece->empty()) co_return;
    const absl::Status status = co_await stream.Write(piece->data());
    if (!status.ok()) co_return;
  }
}

inline Task<> WriteInPieces(net::Stream* stream, std::span<const std::byte> content, uint64_t seed) {
  Random random(seed);
  while (!content.empty()) {
    const size_t n = std::min<size_t>(content.size(), 1 + random.Below(400));
    const absl::Status status = co_await stream->Write(content.first(n));
    if (!status.ok()) {
      static_cast<void>(stream->Shutdown(net::Stream::Direction::kBoth));  // or both ends would wait
      co_return;
    }
    content = content.subspan(n);
    if (random.OneIn(4)) static_cast<void>(co_await Sleep(absl::Microseconds(random.Between(0, 3000))));
  }
  static_cast<void>(stream->Shutdown(net::Stream::Direction::kSend));
}

inline Task<> EchoClient(net::SocketAddress address, size_t size, uint64_t seed, bool must_be_whole, Verdict* verdict) {
  absl::StatusOr<net::Stream> stream = co_await net::Stream::Connect(address);
  if (!stream.ok()) {
    verdict->Require(!must_be_whole, "a connection fails on a network that loses nothing");
    co_return;
  }
  const std::vector<std::byte> sent = Content(seed, size);
  TaskGroup writer;
  co_await writer.Spawn(WriteInPieces(&*stream, sent, seed));
  size_t received = 0;
  for (;;) {
    const absl::StatusOr<ReceivedBuffer> piece = co_await stream->Receive();
    if (!piece.ok() || piece->empty()) break;
    co_await Yield();  // others receive while this one has a buffer
    const std::span<const std::byte> data = piece->data();
    verdict->Require(received + data.size() <= size && std::equal(data.begin(), data.end(), sent.begin() + received),
                     "bytes come back altered");
    received += data.size();
    if (received > size) break;
  }
  verdict->Require(!must_be_whole || received == size, "bytes are missing");
  static_cast<void>(stream->Shutdown(net::Stream::Direction::kBoth));
  static_cast<void>(co_await writer.Join());
}

inline Task<> EchoScenario(Random* random, bool must_be_whole, Verdict* verdict) {
  absl::StatusOr<net::Listener> listener = net::Listener::Listen(*net::SocketAddress::Parse("10.0.0.1:80"));
  if (!listener.ok()) co_return verdict->Require(false, "it cannot listen");
  const absl::StatusOr<net::SocketAddress> address = listener->socket().LocalAddress();
  TaskGroup server;
  co_await server.Spawn(AcceptLoop(&*listener, &Echo));
  TaskGroup clients(TaskGroup::OnError::kGoOn);
  const int n = 2 + static_cast<int>(random->Below(7));
  for (int i = 0; i < n; ++i) {
    const auto size = static_cast<size_t>(random->Between(1, 3000));
    const uint64_t seed = random->Next();
    co_await clients.Spawn(EchoClient(*address, size, seed, must_be_whole, verdict));
    if (random->OneIn(3)) static_cast<void>(co_await Sleep(absl::Microseconds(random->Between(0, 2000))));
  }
  static_cast<void>(co_await clients.Join());
  listener->Shutdown();
  static_cast<void>(co_await server.Join());
}

// --- Socket pairs: what a send has acknowledged arrives, also before a send that ran out of time

inline Task<> PairWriter(net::Stream stream, uint64_t seed, size_t* acknowledged) {
  Random random(seed);
  const std::vector<std::byte> content = Content(seed, 20'000);
  std::span<const std::byte> rest = content;
  while (!rest.empty()) {
    const size_t n = std::min<size_t>(rest.size(), 1 + random.Below(2000));
    const bool bounded = random.OneIn(2);
    const absl::Duration bound = absl::Microseconds(random.Between(1, 5000));
    const auto write = [](net::Stream* to, std::span<const std::byte> data) -> Task<absl::Status> {
      co_return co_await to->Write(data);
    };
    absl::Status status;
    if (bounded) {
      status = co_await WithTimeout(bound, write(&stream, rest.first(n)));
    } else {
      status = co_await stream.Write(rest.first(n));
    }
    if (!status.ok()) co_return;
    *acknowledged += n;
    rest = rest.subspan(n);
  }
}

inline Task<> PairReader(net::Stream stream, uint64_t seed, bool by_receive, size_t* acknowledged, Verdict* verdict) {
  Random random(seed + 1);
  const std::vector<std::byte> sent = Content(seed, 20'000);
  std::array<std::byte, 300> buffer;
  size_t received = 0;
  for (;;) {
    std::span<const std::byte> data;
    ReceivedBuffer piece;
    if (by_receive) {
      absl::StatusOr<ReceivedBuffer> got = co_await stream.Receive();
      if (!got.ok()) co_return;
      piece = *std::move(got);
      data = piece.data();
    } else {
      const absl::StatusOr<size_t> n = co_await stream.Read(buffer);
      if (!n.ok()) co_return;
      data = std::span(buffer).first(*n);
    }
    if (data.empty()) break;
    if (random.OneIn(8)) static_cast<void>(co_await Sleep(absl::Microseconds(random.Between(0, 3000))));
    verdict->Require(
        received + data.size() <= sent.size() && std::equal(data.begin(), data.end(), sent.begin() + received),
        "bytes arrive altered");
    received += data.size();
    if (!verdict->held()) co_return;
  }
  verdict->Require(received >= *acknowledged, "acknowledged bytes are missing");
}

inline Task<> PairScenario(Random* random, Verdict* verdict) {
  TaskGroup group(TaskGroup::OnError::kGoOn);
  std::array<size_t, 4> acknowledged = {};
  for (size_t& count : acknowledged) {
    absl::StatusOr<std::pair<net::Stream, net::Stream>> pair = net::Stream::Pair();
    if (!pair.ok()) co_return verdict->Require(false, "there is no pair");
    const uint64_t seed = random->Next();
    co_await group.Spawn(PairWriter(std::move(pair->first), seed, &count));
    co_await group.Spawn(PairReader(std::move(pair->second), seed, random->OneIn(2), &count, verdict));
  }
  static_cast<void>(co_await group.Join());
}

// --- Stops: every wait ends when its group is stopped from another worker, and when its deadline passes

inline Task<> WaitForBytes(net::Stream* stream, bool by_receive, Verdict* verdict) {
  std::array<std::byte, 64> buffer;
  absl::Status status;
  if (by_receive) {
    status = (co_await stream->Receive()).status();
  } else {
    status = (co_await stream->Read(buffer)).status();
  }
  verdict->Require(!status.ok(), "bytes come from nowhere");
}

inline Task<> WaitAndMoveOn(net::Stream* stream, Deadline* deadline, uint64_t seed, Verdict* verdict) {
  Random random(seed);
  for (uint64_t i = random.Below(4); i > 0; --i) {
    static_cast<void>(co_await Sleep(absl::Microseconds(random.Between(100, 3000))));
    deadline->MoveTo(absl::Milliseconds(random.Between(5, 20)));
  }
  co_await WaitForBytes(stream, random.OneIn(2), verdict);
}

inline Task<> WaitWithDeadline(uint64_t seed, Verdict* verdict) {
  absl::StatusOr<std::pair<net::Stream, net::Stream>> pair = net::Stream::Pair();
  if (!pair.ok()) co_return verdict->Require(false, "there is no pair");
  Deadline deadline(absl::Milliseconds(5), absl::Milliseconds(5));
  static_cast<void>(co_await WithDeadline(&deadline, WaitAndMoveOn(&pair->first, &deadline, seed, verdict)));
}

inline Task<> WaitUntilStopped(uint64_t seed, bool* waits, Verdict* verdict) {
  absl::StatusOr<std::pair<net::Stream, net::Stream>> pair = net::Stream::Pair();
  if (!pair.ok()) co_return verdict->Require(false, "there is no pair");
  Random random(seed);
  if (random.OneIn(4)) static_cast<void>(co_await Sleep(absl::Microseconds(random.Between(0, 50))));
  *waits = true;
  co_await WaitForBytes(&pair->first, random.OneIn(4), verdict);
}

inline Task<> StopScenario(Random* random, Verdict* verdict) {
  for (int round = 0; round < 6; ++round) {
    TaskGroup timed(TaskGroup::OnError::kGoOn);
    for (int i = 0; i < 3; ++i) co_await timed.Spawn(WaitWithDeadline(random->Next(), verdict));
    static_cast<void>(co_await timed.Join());
  }
  for (int round = 0; round < 40; ++round) {
    TaskGroup stopped(TaskGroup::OnError::kGoOn);
    std::array<bool, 2> wait = {};
    for (bool& waits : wait) co_await stopped.Spawn(WaitUntilStopped(random->Next(), &waits, verdict));
    // Another worker takes the first of them. It is on its way to sleep when the stop comes.
    for (int i = 0; i < 200 && !wait[0]; ++i) kevent::Kernel::Current()->Yield();
    if (random->OneIn(3)) static_cast<void>(co_await Sleep(absl::Microseconds(random->Between(0, 100))));
    stopped.RequestStop();
    static_cast<void>(co_await stopped.Join());
  }
}

// --- Sharing: tasks that are ready run although their worker is busy, if there is another one

inline Task<> Mark(bool* ran, Verdict* verdict) {
  verdict->Require(!*ran, "a task runs twice");
  *ran = true;
  co_return;
}

inline Task<> SharingScenario(int workers, Verdict* verdict) {
  for (int round = 0; round < 10; ++round) {
    static_cast<void>(co_await Sleep(absl::Milliseconds(2)));  // all others have parked by then
    TaskGroup group;
    std::array<bool, 3> ran = {};
    for (bool& one : ran) co_await group.Spawn(Mark(&one, verdict));
    // Busy, but for the looks that others get: of the three, the last one is this worker's own.
    const auto shared = [&] { return ran[0] && ran[1]; };
    for (int i = 0; i < 5000 && !shared(); ++i) kevent::Kernel::Current()->Yield();
    verdict->Require(workers == 1 || shared(), "tasks wait for a busy worker while others sleep");
    static_cast<void>(co_await group.Join());
  }
}

// --- Overflow: completions that found the ring full come in although the worker has always something to run

inline Task<> ReadOne(net::Stream* stream, int* done) {
  std::array<std::byte, 1> buffer;
  static_cast<void>(co_await stream->Read(buffer));
  ++*done;
}

inline Task<> WriteOne(net::Stream* stream, int* done) {
  const std::array<std::byte, 1> buffer = {};
  const absl::Status status = co_await stream->Write(buffer);
  if (!status.ok()) static_cast<void>(stream->Shutdown(net::Stream::Direction::kBoth));  // or the reader would wait
  ++*done;
}

inline Task<> OverflowScenario(Random* random, Verdict* verdict) {
  std::vector<std::pair<net::Stream, net::Stream>> pairs;
  for (int i = 0; i < 40; ++i) {
    absl::StatusOr<std::pair<net::Stream, net::Stream>> pair = net::Stream::Pair();
    if (!pair.ok()) co_return verdict->Require(false, "there is no pair");
    pairs.push_back(*std::move(pair));
  }
  for (int round = 0; round < 3; ++round) {
    TaskGroup group(TaskGroup::OnError::kGoOn);
    int done = 0;
    for (auto& [a, b] : pairs) co_await group.Spawn(ReadOne(&a, &done));
    static_cast<void>(co_await Sleep(absl::Milliseconds(1)));
    for (auto& [a, b] : pairs) co_await group.Spawn(WriteOne(&b, &done));
    // Never out of work, until all is done.
    const int all = 2 * static_cast<int>(pairs.size());
    for (int i = 0; i < 20'000 && done < all; ++i) {
      co_await Yield();
      if (random->OneIn(8)) kevent::Kernel::Current()->Yield();
    }
    verdict->Require(done == all, "completions stay away from a busy worker");
    static_cast<void>(co_await group.Join());
  }
}

// --- Channels and events between workers: each value comes out once, each waiter is let through

inline Task<> Produce(Channel<int>* channel, int first, int n, Event* start) {
  static_cast<void>(co_await start->Wait());
  for (int i = 0; i < n; ++i) {
    int value = first + i;
    static_cast<void>(co_await channel->Send(std::move(value)));
    if (i % 16 == 0) co_await Yield();
  }
}

inline Task<> ConsumeAll(Channel<int>* channel, std::vector<int>* seen) {
  for (;;) {
    const absl::StatusOr<int> value = co_await channel->Receive();
    if (!value.ok()) co_return;
    ++(*seen)[static_cast<size_t>(*value)];
    if (*value % 8 == 0) static_cast<void>(co_await Sleep(absl::Microseconds(20)));
  }
}

inline Task<> ChannelScenario(Random* random, Verdict* verdict) {
  constexpr int kEach = 60;
  constexpr int kProducers = 4;
  Channel<int> channel(random->Below(4));
  Event start;
  std::vector<int> seen(kEach * kProducers);
  TaskGroup producers;
  TaskGroup consumers;
  for (int i = 0; i < kProducers; ++i) co_await producers.Spawn(Produce(&channel, i * kEach, kEach, &start));
  for (int i = 0; i < 3; ++i) co_await consumers.Spawn(ConsumeAll(&channel, &seen));
  static_cast<void>(co_await Sleep(absl::Milliseconds(1)));
  start.Set();
  static_cast<void>(co_await producers.Join());
  channel.Close();
  static_cast<void>(co_await consumers.Join());
  verdict->Require(std::all_of(seen.begin(), seen.end(), [](int n) { return n == 1; }), "a value comes out not once");
}

// --- Connections that nobody takes: they are closed with the listener

inline Task<> ConnectAndGo(net::SocketAddress address) {
  const absl::StatusOr<net::Stream> stream = co_await net::Stream::Connect(address);
  if (stream.ok()) static_cast<void>(co_await Sleep(absl::Milliseconds(1)));
}

inline Task<> BacklogScenario(Random* random, Verdict* verdict) {
  for (int round = 0; round < 4; ++round) {
    absl::StatusOr<net::Listener> listener = net::Listener::Listen(*net::SocketAddress::Parse("10.0.0.1:0"));
    if (!listener.ok()) co_return verdict->Require(false, "it cannot listen");
    const absl::StatusOr<net::SocketAddress> address = listener->socket().LocalAddress();
    TaskGroup clients(TaskGroup::OnError::kGoOn);
    for (int i = 0; i < 6; ++i) co_await clients.Spawn(ConnectAndGo(*address));
    const auto accept = [](net::Listener* from) -> Task<absl::Status> { co_return (co_await from->Accept()).status(); };
    static_cast<void>(co_await WithTimeout(absl::Milliseconds(1), accept(&*listener)));
    static_cast<void>(co_await Sleep(absl::Microseconds(random->Between(0, 500))));
    listener->Close();
    static_cast<void>(co_await clients.Join());
  }
}

// --- A crash: a file that is replaced again and again is whole afterwards, and no older than the newest that was saved

inline constexpr char kPath[] = "/data/config";

// Version n of it: several pages, so that it can be torn.
inline std::string Version(int n) { return n == 0 ? "" : std::string(9000, static_cast<char>('a' + n)); }

// Saves three versions; `saved`: at which call of the kernel each had been saved, 0 for those that have failed.
inline Task<> SaveVersions(const Simulation* simulation, std::array<uint64_t, 4>* saved) {
  for (int n = 1; n <= 3; ++n) {
    const std::string text = Version(n);
    const absl::Status status = co_await ReplaceFile(kPath, std::as_bytes(std::span(text)));
    if (status.ok()) (*saved)[static_cast<size_t>(n)] = simulation->calls();
  }
}

inline Task<std::string> Load() {
  std::string text;
  const absl::StatusOr<File> file = co_await File::Open(kPath, O_RDONLY);
  if (!file.ok()) co_return text;
  std::array<std::byte, 4096> buffer;
  for (;;) {
    const absl::StatusOr<size_t> n = co_await file->ReadAt(buffer, text.size());
    if (!n.ok()) co_return "an error";
    if (*n == 0) co_return text;
    text.append(reinterpret_cast<const char*>(buffer.data()), *n);
  }
}

inline bool RunCrash(SimulationOptions options) {
  options.crash_at_call = 1 + Random(options.seed, /*stream=*/17).Below(60);
  Simulation before(options);
  std::array<uint64_t, 4> saved = {};
  before.Run(SaveVersions(&before, &saved));
  SimulationOptions again;
  again.seed = options.seed;
  again.files = before.report().after_crash;
  Simulation after(again);
  const std::string found = after.Run(Load());
  int oldest = 0;
  for (int n = 1; n <= 3; ++n) {
    const uint64_t at = saved[static_cast<size_t>(n)];
    if (at != 0 && at < options.crash_at_call) oldest = n;
  }
  Verdict verdict;
  bool whole = false;
  for (int n = oldest; n <= 3; ++n) whole = whole || found == Version(n);
  verdict.Require(whole, "a crash leaves a torn file, or an older one than was saved");
  verdict.Require(before.report().open_descriptors == 0, "descriptors are left open");
  return verdict.held();
}

// --- One of them

// What is closed while a request refers to it is closed with the request's last completion, some visits to the ring
// later.
inline Task<> AndSettle(Task<> scenario) {
  co_await std::move(scenario);
  for (int i = 0; i < 10; ++i) static_cast<void>(co_await Sleep(absl::Seconds(1)));
}

inline Task<> Pick(uint64_t which, int workers, bool storm, Random* random, Verdict* verdict) {
  switch (which) {
    case 0:
      return EchoScenario(random, /*must_be_whole=*/!storm, verdict);
    case 1:
      return PairScenario(random, verdict);
    case 2:
      return StopScenario(random, verdict);
    case 3:
      return SharingScenario(workers, verdict);
    case 4:
      return OverflowScenario(random, verdict);
    case 5:
      return ChannelScenario(random, verdict);
    default:
      return BacklogScenario(random, verdict);
  }
}

inline constexpr uint64_t kScenarios = 8;

// What the seed says. Even seeds have faults that a program must not notice, odd ones those that it must survive.
inline bool Run(const SimulationOptions& from) {
  SimulationOptions options = from;
  const uint64_t which = options.seed % kScenarios;
  const uint64_t turn = options.seed / kScenarios;
  const bool storm = turn % 2 == 1;
  options.faults = storm ? FaultRules::Storm() : FaultRules::Everyday();
  options.workers = 1 + static_cast<int>(turn / 2 % 4);
  options.socket_buffer_bytes = 256;
  options.calls_max = 2'000'000;
  options.runtime.ring.sq_entries = 8;
  options.runtime.ring.cq_entries = 16;
  options.runtime.buffers.buffer_bytes = 64;
  options.runtime.buffers.initial = 2;
  options.runtime.buffers.max = 4;
  if (which == 4) options.faults[Fault::kDeferred].ppm = 0;  // what comes late brings in what was there before
  if (which == 7) return RunCrash(options);
  Simulation simulation(options);
  Verdict verdict;
  simulation.Run(AndSettle(Pick(which, options.workers, storm, simulation.random(), &verdict)));
  verdict.Require(simulation.report().open_descriptors == 0, "descriptors are left open");
  return verdict.held();
}

}  // namespace evring::sim::small_machine

#endif  // EVRING_TESTS_SIM_SMALL_MACHINE_H_
