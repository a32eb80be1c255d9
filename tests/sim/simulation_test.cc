// simulation_test.cc: a simulated machine as its users see it: virtual time, connections, faults; the same run for the
// same seed, with one worker and with several; a run that cannot end is reported.

#include "sim/simulation.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/sleep.h"
#include "runtime/sync/event.h"
#include "runtime/task.h"
#include "tests/sim/echo_scenario.h"

namespace evring::sim {
namespace {

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

Task<> SleepOften() {
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE((co_await Sleep(absl::Milliseconds(1))).ok());
}

TEST(Simulation, AClockThatJumpsEndsSleepsLateAndNoneEarly) {
  SimulationOptions options = Seeded(1);
  options.faults[Fault::kClockJump].ppm = 10'000;
  Simulation simulation(options);
  simulation.Run(SleepOften());
  const size_t jumps = simulation.report().injected.size();
  EXPECT_GT(jumps, 10u);
  EXPECT_GT(simulation.report().virtual_time, absl::Seconds(10)) << "jumps of seconds and minutes are among them";
  EXPECT_NE(simulation.report().log.find("fault clock-jump"), std::string::npos);
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

Network::Link Cut() {
  Network::Link link;
  link.cut = true;
  return link;
}

// The time until "x" comes back over a link that is cut for a while.
Task<absl::Duration> AskAcrossACut(Simulation* simulation) {
  auto listener = net::Listener::Listen(*net::SocketAddress::Parse("10.0.0.1:80"));
  JoinHandle<absl::Status> server = co_await Spawn(Serve(&*listener));
  auto stream = co_await net::Stream::Connect(*net::SocketAddress::Parse("10.0.0.1:80"),
                                              *net::SocketAddress::Parse("10.0.0.2:0"));
  EXPECT_TRUE(stream.ok()) << stream.status();
  const absl::Time start = simulation->Now();
  simulation->network()->SetLink("10.0.0.1", "10.0.0.2", Cut());
  std::array<std::byte, 1> byte = {};
  EXPECT_TRUE((co_await stream->Write(byte)).ok());
  static_cast<void>(co_await Sleep(absl::Seconds(30)));
  // Another pair of hosts does not notice.
  auto other = co_await net::Stream::Connect(*net::SocketAddress::Parse("10.0.0.1:80"),
                                             *net::SocketAddress::Parse("10.0.0.3:0"));
  EXPECT_TRUE(other.ok()) << other.status();
  EXPECT_TRUE((co_await other->Write(byte)).ok());
  const absl::StatusOr<size_t> other_n = co_await other->Read(byte);
  EXPECT_TRUE(other_n.ok() && *other_n == 1) << other_n.status();
  EXPECT_LT(simulation->Now() - start, absl::Seconds(31));
  simulation->network()->SetLink("10.0.0.1", "10.0.0.2", Network::Link());
  const absl::StatusOr<size_t> n = co_await stream->Read(byte);
  EXPECT_TRUE(n.ok() && *n == 1) << n.status();
  const absl::Duration took = simulation->Now() - start;
  stream->Close();
  other->Close();
  listener->Shutdown();
  static_cast<void>(co_await std::move(server));
  co_return took;
}

TEST(Simulation, ACutLinkHoldsBackWhatIsSent) {
  Simulation simulation(Seeded(5));
  const absl::Duration took = simulation.Run(AskAcrossACut(&simulation));
  EXPECT_GE(took, absl::Seconds(30));
  EXPECT_LT(took, absl::Seconds(32));
}

// How long it takes until so many bytes have come back over a link that loses some of what is sent.
Task<absl::Duration> AskAcrossALossyLink(Simulation* simulation, uint32_t loss_ppm, size_t size) {
  auto listener = net::Listener::Listen(*net::SocketAddress::Parse("10.0.0.1:80"));
  JoinHandle<absl::Status> server = co_await Spawn(Serve(&*listener));
  Network::Link link;
  link.loss_ppm = loss_ppm;
  simulation->network()->SetLink("10.0.0.1", "10.0.0.2", link);
  const absl::Time start = simulation->Now();
  auto stream = co_await net::Stream::Connect(*net::SocketAddress::Parse("10.0.0.1:80"),
                                              *net::SocketAddress::Parse("10.0.0.2:0"));
  EXPECT_TRUE(stream.ok()) << stream.status();
  std::vector<std::byte> sent(100);
  std::vector<std::byte> back;
  std::array<std::byte, 300> buffer;
  for (size_t round = 0; round * sent.size() < size; ++round) {
    for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<std::byte>(round + i);
    EXPECT_TRUE((co_await stream->Write(sent)).ok());
    back.clear();
    while (back.size() < sent.size()) {
      const absl::StatusOr<size_t> n = co_await stream->Read(buffer);
      EXPECT_TRUE(n.ok() && *n != 0) << n.status();
      if (!n.ok() || *n == 0) break;
      back.insert(back.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(*n));
    }
    EXPECT_EQ(back, sent) << "whole, and in order";
  }
  const absl::Duration took = simulation->Now() - start;
  stream->Close();
  listener->Shutdown();
  static_cast<void>(co_await std::move(server));
  co_return took;
}

TEST(Simulation, ALossyLinkDelaysWhatIsSentAndLosesNothing) {
  Simulation clean(Seeded(5));
  EXPECT_LT(clean.Run(AskAcrossALossyLink(&clean, 0, 5000)), absl::Milliseconds(100));
  Simulation lossy(Seeded(5));
  const absl::Duration took = lossy.Run(AskAcrossALossyLink(&lossy, 200'000, 5000));
  // Of 100 segments about 20 are lost once, 4 twice, …
  EXPECT_GE(took, absl::Seconds(2));
  EXPECT_LT(took, absl::Seconds(30));
}

// How many of a thousand connects take a second or longer over a link that loses one segment in ten.
Task<int> ConnectsThatAreLate(Simulation* simulation) {
  auto listener = net::Listener::Listen(*net::SocketAddress::Parse("10.0.0.1:80"));
  Network::Link link;
  link.loss_ppm = 100'000;
  simulation->network()->SetLink("10.0.0.1", "10.0.0.2", link);
  int late = 0;
  for (int i = 0; i < 1000; ++i) {
    const absl::Time start = simulation->Now();
    auto stream = co_await net::Stream::Connect(*net::SocketAddress::Parse("10.0.0.1:80"),
                                                *net::SocketAddress::Parse("10.0.0.2:0"));
    EXPECT_TRUE(stream.ok()) << stream.status();
    if (simulation->Now() - start >= absl::Seconds(1)) ++late;
  }
  co_return late;
}

TEST(Simulation, ALossyLinkLosesHandshakesEitherWay) {
  Simulation simulation(Seeded(5));
  const int late = simulation.Run(ConnectsThatAreLate(&simulation));
  // The request is lost in 100 of them, the answer in another 90.
  EXPECT_GT(late, 150);
  EXPECT_LT(late, 230);
}

Task<absl::Status> WriteIntoTheVoid(Simulation* simulation) {
  auto listener = net::Listener::Listen(*net::SocketAddress::Parse("10.0.0.1:80"));
  auto stream = co_await net::Stream::Connect(*net::SocketAddress::Parse("10.0.0.1:80"),
                                              *net::SocketAddress::Parse("10.0.0.2:0"));
  EXPECT_TRUE(stream.ok()) << stream.status();
  Network::Link link;
  link.loss_ppm = 1'000'000;
  simulation->network()->SetLink("10.0.0.1", "10.0.0.2", link);
  std::array<std::byte, 1> byte = {};
  EXPECT_TRUE((co_await stream->Write(byte)).ok());
  co_return (co_await stream->Read(byte)).status();
}

TEST(Simulation, WhatIsLostAgainAndAgainIsGivenUpAsInLinux) {
  Simulation simulation(Seeded(5));
  const absl::Status status = simulation.Run(WriteIntoTheVoid(&simulation));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_GE(simulation.report().virtual_time, absl::Seconds(924));
  EXPECT_LT(simulation.report().virtual_time, absl::Seconds(926));
}

Task<absl::Status> ConnectAcrossACut(Simulation* simulation) {
  auto listener = net::Listener::Listen(*net::SocketAddress::Parse("10.0.0.1:80"));
  simulation->network()->SetLink("10.0.0.1", "10.0.0.2", Cut());
  auto stream = co_await net::Stream::Connect(*net::SocketAddress::Parse("10.0.0.1:80"),
                                              *net::SocketAddress::Parse("10.0.0.2:0"));
  co_return stream.status();
}

TEST(Simulation, AConnectAcrossACutTimesOutAsInLinux) {
  Simulation simulation(Seeded(5));
  const absl::Status status = simulation.Run(ConnectAcrossACut(&simulation));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  // Requests after 1, 3, 7, 15, 31 and 63 seconds, as tcp_syn_retries of 6 has it, and 64 after the last.
  EXPECT_GE(simulation.report().virtual_time, absl::Seconds(127));
  EXPECT_LT(simulation.report().virtual_time, absl::Seconds(128));
}

// --- The same seed

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
  for (const Injection& injection : whole.report().injected) options.choice.left_out.insert(injection.number);
  Simulation without(options);
  static_cast<void>(without.Run(EchoScenario(without.random(), 5)));
  for (const Injection& injection : without.report().injected)
    EXPECT_FALSE(options.choice.left_out.contains(injection.number));
}

// --- Runs that cannot end

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
