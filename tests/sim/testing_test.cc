// testing_test.cc: SIM_TEST and CO_ASSERT_… as their users see them: tests that hold, and what those say that do not
// (failing_tests.cc, run as a process).

#include "sim/testing.h"

#include <stdlib.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "net/address.h"
#include "net/listener.h"
#include "net/stream.h"
#include "runtime/placement.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "tests/support/example_process.h"

namespace evring::sim {
namespace {

using evring::testing::ProgramResult;
using evring::testing::RunProgram;

// --- Tests that hold

SIM_TEST(SimTest, TimeIsVirtual) {
  const absl::Time start = Simulation::Current()->Now();
  CO_ASSERT_OK(co_await Sleep(absl::Hours(24)));
  const absl::Duration took = Simulation::Current()->Now() - start;
  EXPECT_GE(took, absl::Hours(24));
  EXPECT_LT(took, absl::Hours(25));
}

SIM_TEST_WITH(SimTest, HasTheWorkersThatItAsksFor, TestOptions().Seeds(10).Workers(3)) {
  co_await Yield();
  EXPECT_EQ(WorkerCount(), 3);
}

Task<absl::StatusOr<net::Stream>> AcceptOne(net::Listener* listener) { co_return co_await listener->Accept(); }

SIM_TEST_WITH(SimTest, HasANetworkOfHosts, TestOptions().Seeds(20).Faults(FaultRules::None())) {
  const net::SocketAddress server = *net::SocketAddress::Parse("10.0.0.1:80");
  CO_ASSERT_OK_AND_ASSIGN(net::Listener listener, net::Listener::Listen(server));
  Network::Link slow;
  slow.latency_min_ns = slow.latency_max_ns = absl::ToInt64Nanoseconds(absl::Seconds(1));
  Simulation::Current()->network()->SetLink("10.0.0.1", "10.0.0.2", slow);
  JoinHandle<absl::StatusOr<net::Stream>> accepting = co_await Spawn(AcceptOne(&listener));
  const absl::Time start = Simulation::Current()->Now();
  CO_ASSERT_OK_AND_ASSIGN(net::Stream near,
                          co_await net::Stream::Connect(server, *net::SocketAddress::Parse("10.0.0.2:0")));
  CO_ASSERT_OK_AND_ASSIGN(net::Stream far, co_await std::move(accepting));
  const std::array<std::byte, 1> sent = {};
  CO_ASSERT_OK(co_await near.Write(sent));
  std::array<std::byte, 1> received = {};
  CO_ASSERT_OK_AND_ASSIGN(const size_t n, co_await far.Read(received));
  CO_ASSERT_EQ(n, 1u);
  EXPECT_GE(Simulation::Current()->Now() - start, absl::Seconds(1));
}

TEST(SimTest, NoneIsCurrentOutside) { EXPECT_EQ(Simulation::Current(), nullptr); }

// --- Assertions

Task<int> Later(int value) {
  co_await Yield();
  co_return value;
}
Task<absl::StatusOr<std::unique_ptr<int>>> Owned() {
  co_await Yield();
  co_return std::make_unique<int>(7);
}

SIM_TEST_WITH(CoAssert, WhatHoldsGoesOn, TestOptions().Seeds(1)) {
  CO_ASSERT_TRUE(co_await Later(1) == 1);
  CO_ASSERT_FALSE(co_await Later(1) == 2) << "not printed";
  CO_ASSERT_EQ(co_await Later(3), 3);
  CO_ASSERT_NE(co_await Later(3), 4);
  CO_ASSERT_LT(co_await Later(3), 4);
  CO_ASSERT_LE(co_await Later(3), 3);
  CO_ASSERT_GT(co_await Later(3), 2);
  CO_ASSERT_GE(co_await Later(3), 3);
  CO_ASSERT_OK(absl::OkStatus());
  CO_ASSERT_OK(co_await Owned());
  CO_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<int> seven, co_await Owned());
  CO_ASSERT_NE(seven, nullptr);
  EXPECT_EQ(*seven, 7);
  bool else_is_mine = true;
  if (*seven == 7)
    CO_ASSERT_TRUE(true);
  else
    else_is_mine = false;
  EXPECT_TRUE(else_is_mine);
}

// --- Tests that fail

ProgramResult RunFailing(const std::string& name) {
  unsetenv("TEST_TARGET");  // the command that is printed is for this program then
  return RunProgram({"tests/sim/failing_tests", "--gtest_filter=" + name});
}
bool Says(const ProgramResult& result, const std::string& text) {
  return result.output.find(text) != std::string::npos;
}

TEST(FailingSimTest, SaysSeedExpectationAndHowToRepeatIt) {
  const ProgramResult result = RunFailing("Failing.AnExpectationOfEverySeed");
  EXPECT_EQ(result.code, 1);
  EXPECT_TRUE(Says(result, "seed 1 fails: the scenario answered false")) << result.output;
  EXPECT_TRUE(Says(result, "faults: 0 of ")) << result.output;
  EXPECT_TRUE(Says(result, "failing_tests.cc:")) << result.output;
  EXPECT_TRUE(Says(result, "it goes on")) << result.output;
  EXPECT_TRUE(Says(result, "again: EVRING_SIM_SEED=1 ")) << result.output;
  EXPECT_TRUE(Says(result, "--gtest_filter=Failing.AnExpectationOfEverySeed")) << result.output;
}

TEST(FailingSimTest, AFatalAssertionEndsTheBody) {
  const ProgramResult result = RunFailing("Failing.AFatalAssertion");
  EXPECT_EQ(result.code, 1);
  EXPECT_TRUE(Says(result, "Expected: (1 + 1) == (3)\n  Actual: 2 and 3 by arithmetic")) << result.output;
  EXPECT_FALSE(Says(result, "it goes on")) << result.output;
}

TEST(FailingSimTest, NamesTheFaultThatMattersAndRepeatsTheRun) {
  const ProgramResult result = RunFailing("Failing.AShortReadTakenForAll");
  EXPECT_EQ(result.code, 1);
  // Most of them do not; which are left beside the one that does is the seed's (Explore.KeepsAllThatMatter).
  int matter = 0;
  int all = 0;
  const size_t told = result.output.find("faults: ");
  ASSERT_NE(told, std::string::npos) << result.output;
  EXPECT_EQ(std::sscanf(result.output.c_str() + told, "faults: %d of %d matter", &matter, &all), 2) << result.output;
  EXPECT_GE(matter, 1);
  EXPECT_LE(2 * matter, all);
  EXPECT_TRUE(Says(result, ": short-receive\n")) << result.output;
  const size_t at = result.output.find("again: EVRING_SIM_SEED=");
  ASSERT_NE(at, std::string::npos) << result.output;
  const std::string settings = result.output.substr(at + 7, result.output.find(" --gtest", at) - at - 7);
  EXPECT_TRUE(settings.find(" EVRING_SIM_FAULTS=") != std::string::npos) << settings;
  const std::string line = settings + " --gtest_filter=Failing.AShortReadTakenForAll";
  const ProgramResult again = RunProgram({"/bin/sh", "-c", line});
  EXPECT_EQ(again.code, 1) << line;
  EXPECT_TRUE(Says(again, "fault short-receive")) << again.output;
  // The same run without it holds.
  const std::string without = settings.substr(0, settings.find("EVRING_SIM_FAULTS")) +
                              "EVRING_SIM_FAULTS=none tests/sim/failing_tests "
                              "--gtest_filter=Failing.AShortReadTakenForAll";
  const ProgramResult held = RunProgram({"/bin/sh", "-c", without});
  EXPECT_EQ(held.code, 0) << without << held.output;
}

TEST(FailingSimTest, AWaitThatNothingEndsIsAFailureOfItsSeed) {
  const ProgramResult result = RunFailing("Failing.AWaitThatNothingEnds");
  EXPECT_EQ(result.code, 1);
  EXPECT_TRUE(Says(result, "seed 1 fails: it was ended by SIGABRT")) << result.output;
  EXPECT_TRUE(Says(result, "nothing will ever happen")) << result.output;
}

TEST(FailingSimTest, OtherSeedsAreOtherRuns) {
  // So many also where the sanitizers make do with fewer.
  const ProgramResult result =
      RunProgram({"/bin/sh", "-c", "EVRING_SIM_SEEDS=20 tests/sim/failing_tests --gtest_filter=Failing.OnlyOneSeed"});
  EXPECT_EQ(result.code, 1);
  EXPECT_FALSE(Says(result, "seed 1 fails")) << result.output;
  const ProgramResult first =
      RunProgram({"/bin/sh", "-c", "EVRING_SIM_SEED=1 tests/sim/failing_tests --gtest_filter=Failing.OnlyOneSeed"});
  EXPECT_EQ(first.code, 0) << first.output;
}

TEST(FailingSimTest, EachRunHasAProcessOfItsOwn) { EXPECT_EQ(RunFailing("Passing.*").code, 0); }

TEST(FailingSimTest, WhatIsNoNumberIsRefused) {
  for (const char* setting :
       {"EVRING_SIM_SEED=x", "EVRING_SIM_FROM=0", "EVRING_SIM_SEEDS=", "EVRING_SIM_FAULTS=1,,2"}) {
    const ProgramResult result =
        RunProgram({"/bin/sh", "-c", std::string(setting) + " tests/sim/failing_tests --gtest_filter=Passing.*"});
    EXPECT_EQ(result.code, 1) << setting;
    EXPECT_TRUE(Says(result, std::string(setting).substr(0, std::string(setting).find('=')) + ": ")) << result.output;
  }
}

}  // namespace
}  // namespace evring::sim
