// simulation_test.cc: a simulated machine as its users see it: virtual time, connections, faults; the same run for the
// same seed, with one worker and with several; a run that cannot end is reported.

#include "sim/simulation.h"

#include <netinet/in.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "net/address.h"
#include "net/listener.h"
#include "net/stream.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/event.h"
#include "runtime/task.h"
#include "runtime/task_group.h"
#include "runtime/timeout.h"

namespace evring::sim {
namespace {

SimulationOptions Seeded(uint64_t seed, const FaultRules& faults = FaultRules::None(), int workers = 1) {
  SimulationOptions options;
  options.seed = seed;
  options.faults = faults;
  options.workers = workers;
  return options;
}

Task<> SleepOnce(absl::Duration d) { EXPECT_TRUE((co_await Sleep(d)).ok()); }

TEST(Simulation, AYearPassesInNoTime) {
  Simulation simulation(Seeded(1));
  const absl::Time start = absl::Now();
  simulation.Run(SleepOnce(absl::Hours(24 * 365)));
  EXPECT_GE(simulation.report().virtual_time, absl::Hours(24 * 365));
  EXPECT_LT(simulation.report().virtual_time, absl::Hours(24 * 365) + absl::Seconds(1));
  EXPECT_LT(absl::Now() - start, absl::Hours(1));
}

Task<int> Answer() { co_return 42; }

TEST(Simulation, HandsOnWhatTheFirstTaskReturns) {
  Simulation simulation(Seeded(1));
  EXPECT_EQ(simulation.Run(Answer()), 42);
}

// --- Connections
// -------------------------------------------------------------------------------------------------------

Task<> Echo(net::Stream stream) {
  std::array<std::byte, 300> buffer;
  for (;;) {
    const absl::StatusOr<size_t> n = co_await stream.Read(buffer);
    if (!n.ok() || *n == 0) co_return;
    const absl::Status status = co_await stream.Write(std::span(buffer).first(*n));
    if (!status.ok()) co_return;
  }
}

// Echoes until the listener is shut down. Errors of accept that pass are slept over.
Task<absl::Status> Serve(net::Listener* listener) {
  TaskGroup connections(TaskGroup::OnError::kGoOn);
  for (;;) {
    absl::StatusOr<net::Stream> stream = co_await listener->Accept();
    if (stream.ok()) {
      co_await connections.Spawn(Echo(*std::move(stream)));
      continue;
    }
    if (absl::IsInvalidArgument(stream.status()) || absl::IsCancelled(stream.status())) break;
    static_cast<void>(co_await Sleep(absl::Milliseconds(1)));
  }
  static_cast<void>(co_await connections.Join());
  co_return absl::OkStatus();
}

struct Tally {
  int whole = 0;
  int failed = 0;
};

// Sends `size` bytes and expects them back: all of them, or an error.
Task<> Client(net::SocketAddress address, size_t size, uint64_t seed, Tally* tally) {
  absl::StatusOr<net::Stream> stream = co_await net::Stream::Connect(address);
  if (!stream.ok()) {
    ++tally->failed;
    co_return;
  }
  std::vector<std::byte> sent(size);
  Random random(seed);
  for (std::byte& b : sent) b = static_cast<std::byte>(random.Next());
  absl::Status status = co_await stream->Write(sent);
  if (status.ok()) status = stream->Shutdown(net::Stream::Direction::kSend);
  std::vector<std::byte> received;
  std::array<std::byte, 500> buffer;
  while (status.ok()) {
    const absl::StatusOr<size_t> n = co_await stream->Read(buffer);
    if (!n.ok()) status = n.status();
    if (!n.ok() || *n == 0) break;
    received.insert(received.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(*n));
  }
  if (status.ok() && received.size() == size) {
    EXPECT_EQ(received, sent);
    ++tally->whole;
  } else {
    // Cut short, but never altered.
    EXPECT_LE(received.size(), size);
    EXPECT_TRUE(std::equal(received.begin(), received.end(), sent.begin()));
    ++tally->failed;
  }
}

Task<Tally> EchoScenario(Random* random, int clients) {
  Tally tally;
  absl::StatusOr<net::Listener> listener = net::Listener::Listen(*net::SocketAddress::Parse("10.0.0.1:80"));
  EXPECT_TRUE(listener.ok()) << listener.status();
  if (!listener.ok()) co_return tally;
  JoinHandle<absl::Status> server = co_await Spawn(Serve(&*listener));
  const absl::StatusOr<net::SocketAddress> address = listener->socket().LocalAddress();
  {
    TaskGroup group(TaskGroup::OnError::kGoOn);
    for (int i = 0; i < clients; ++i) {
      co_await group.Spawn(Client(*address, static_cast<size_t>(random->Between(1, 2000)), random->Next(), &tally));
      if (random->OneIn(3)) static_cast<void>(co_await Sleep(absl::Microseconds(random->Between(0, 2000))));
    }
    const absl::Status joined = co_await group.Join();
    EXPECT_TRUE(joined.ok()) << joined;
  }
  listener->Shutdown();
  const absl::Status served = co_await std::move(server);
  EXPECT_TRUE(served.ok()) << served;
  co_return tally;
}

TEST(Simulation, EveryClientGetsItsBytesBack) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Simulation simulation(Seeded(seed));
    const Tally tally = simulation.Run(EchoScenario(simulation.random(), 10));
    EXPECT_EQ(tally.whole, 10) << "seed " << seed;
    EXPECT_EQ(tally.failed, 0) << "seed " << seed;
    EXPECT_LE(simulation.report().open_descriptors, 1) << "seed " << seed;
  }
}

TEST(Simulation, EverydayTroubleChangesNothing) {
  uint64_t injected = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    for (int workers : {1, 3}) {
      Simulation simulation(Seeded(seed, FaultRules::Everyday(), workers));
      const Tally tally = simulation.Run(EchoScenario(simulation.random(), 10));
      EXPECT_EQ(tally.whole, 10) << "seed " << seed;
      injected += simulation.report().injected.size();
    }
  }
  EXPECT_GT(injected, 1000u);
}

TEST(Simulation, AStormEndsInAnswersOrErrors) {
  int failed = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    for (int workers : {1, 3}) {
      Simulation simulation(Seeded(seed, FaultRules::Storm(), workers));
      const Tally tally = simulation.Run(EchoScenario(simulation.random(), 10));
      EXPECT_EQ(tally.whole + tally.failed, 10) << "seed " << seed;
      EXPECT_LE(simulation.report().open_descriptors, 1) << "seed " << seed;
      failed += tally.failed;
    }
  }
  EXPECT_GT(failed, 0);
}

// --- The same seed
// -----------------------------------------------------------------------------------------------------

TEST(Simulation, TheSameSeedIsTheSameRun) {
  std::set<uint64_t> digests;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    for (int workers : {1, 4}) {
      uint64_t digest = 0;
      std::string log;
      for (int run = 0; run < 2; ++run) {
        Simulation simulation(Seeded(seed, FaultRules::Storm(), workers));
        static_cast<void>(simulation.Run(EchoScenario(simulation.random(), 5)));
        if (run == 1) {
          EXPECT_EQ(simulation.report().digest, digest) << "seed " << seed << ", " << workers << " workers";
          EXPECT_EQ(simulation.report().log, log);
        }
        digest = simulation.report().digest;
        log = simulation.report().log;
      }
      digests.insert(digest);
    }
  }
  EXPECT_EQ(digests.size(), 100u) << "and another seed is another run";
}

TEST(Simulation, AFaultCanBeLeftOut) {
  Simulation whole(Seeded(7, FaultRules::Storm()));
  static_cast<void>(whole.Run(EchoScenario(whole.random(), 5)));
  ASSERT_FALSE(whole.report().injected.empty());
  SimulationOptions options = Seeded(7, FaultRules::Storm());
  for (const Injection& injection : whole.report().injected) options.left_out.insert(injection.number);
  Simulation without(options);
  static_cast<void>(without.Run(EchoScenario(without.random(), 5)));
  for (const Injection& injection : without.report().injected)
    EXPECT_FALSE(options.left_out.contains(injection.number));
}

// --- Runs that cannot end
// ----------------------------------------------------------------------------------------------

Task<> WaitForNothing() {
  Event event;
  static_cast<void>(co_await event.Wait());
}

TEST(SimulationDeathTest, ALostWakeUpIsReported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Simulation simulation(Seeded(3));
        simulation.Run(WaitForNothing());
      },
      "nothing will ever happen(.|\n)*seed 3");
}

Task<> SleepForEver() {
  for (;;) static_cast<void>(co_await Sleep(absl::Seconds(1)));
}

TEST(SimulationDeathTest, AnEndlessRunIsReported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        SimulationOptions options = Seeded(3);
        options.calls_max = 10'000;
        Simulation simulation(options);
        simulation.Run(SleepForEver());
      },
      "goes on for ever(.|\n)*seed 3");
}

}  // namespace
}  // namespace evring::sim
