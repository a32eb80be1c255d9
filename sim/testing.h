// testing.h: GoogleTest cases whose body is a task on a simulated machine, run with one seed after another.
//
//   SIM_TEST(Counter, CountsEveryAdditionOnce) {
//     const auto address = net::SocketAddress::Parse("10.0.0.1:80");
//     CO_ASSERT_OK_AND_ASSIGN(net::Listener listener, net::Listener::Listen(*address));
//     …
//     CO_ASSERT_OK(co_await Sleep(absl::Hours(24)));  // takes no time
//     EXPECT_EQ(total, 42);
//   }
//   SIM_TEST_WITH(Counter, SurvivesAStorm, TestOptions().Seeds(1000).Workers(3).Faults(FaultRules::Storm())) { … }
//
// The body is a coroutine, a Task<void>: it awaits something, or says `co_return`. EXPECT_… serve in it, and
// CO_ASSERT_… (co_assert.h) where it cannot go on. Simulation::Current() is its machine: the virtual time, the links
// between hosts, a sequence of random numbers.
//
// Each seed has a process of its own (explore.h), so a failed check, a crash, a sanitizer's report or a wait that
// nothing ends is the failure of one seed, and can be shrunk; a fork costs less than a run. The first seed that fails
// is the failure of the test: its text has the seed, the faults that matter, the log and what the run wrote, and last a
// command that repeats it in one process, for a debugger. What can be set from outside:
//
//   EVRING_SIM_SEED=n        that seed alone, in the process of the test
//   EVRING_SIM_FAULTS=3,17   with it: only these faults, by their numbers; `none`
//   EVRING_SIM_FROM=n        from that seed on
//   EVRING_SIM_SEEDS=n       so many seeds
//   EVRING_SIM_SECONDS=n     each test for so long instead, with a line of progress each second on stderr
//
// Threads: the one that runs the tests, while the process has no other (explore.h).

#ifndef EVRING_SIM_TESTING_H_
#define EVRING_SIM_TESTING_H_

#include <cstdint>
#include <functional>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/check.h"
#include "runtime/task.h"
#include "sim/co_assert.h"
#include "sim/explore.h"
#include "sim/faults.h"
#include "sim/simulation.h"

namespace evring::sim {

// With what a test is run. Setters, to be written in one expression.
class TestOptions {
 public:
  // A hundred seeds from 1 on; one worker; what happens every day, which a correct program does not notice.
  TestOptions() { simulation_.faults = FaultRules::Everyday(); }

  // So many, one at least; under a sanitizer, where a run takes many times as long, a tenth of them.
  TestOptions& Seeds(uint64_t n) {
    EVRING_CHECK(n > 0, "a test has a seed");
    seeds_ = n;
    return *this;
  }
  TestOptions& Workers(int n) {
    EVRING_CHECK(n > 0, "a machine has a worker");
    simulation_.workers = n;
    return *this;
  }
  TestOptions& Faults(const FaultRules& faults) {
    simulation_.faults = faults;
    return *this;
  }
  // Real time of one run, after which it has failed.
  TestOptions& RunMax(absl::Duration d) {
    run_max_ = d;
    return *this;
  }
  // Everything else of the machine: its disk, its buffers, its runtime. Seed, faults and workers too.
  TestOptions& Machine(const SimulationOptions& simulation) {
    simulation_ = simulation;
    return *this;
  }

  uint64_t seeds() const { return seeds_; }
  const SimulationOptions& simulation() const { return simulation_; }
  absl::Duration run_max() const { return run_max_; }

 private:
  uint64_t seeds_ = 100;
  SimulationOptions simulation_;
  absl::Duration run_max_ = absl::Seconds(60);
};

// What SIM_TEST does, for a test that makes its Simulation itself: `scenario` runs one with the options that it is
// given, which it may change as a function of the seed, and says by EXPECT_… what has not held. What has been explored;
// nothing if one seed ran alone. Inside of a test of GoogleTest.
Exploration RunSeeds(const TestOptions& options, const std::function<void(const SimulationOptions&)>& scenario);

namespace internal {

void RunTest(const TestOptions& options, Task<void> (*body)());

}  // namespace internal
}  // namespace evring::sim

#define SIM_TEST(suite, name) SIM_TEST_WITH(suite, name, ::evring::sim::TestOptions())

// The third argument: a TestOptions.
#define SIM_TEST_WITH(suite, name, ...)                                                           \
  static ::evring::Task<void> suite##_##name##_SimBody();                                         \
  TEST(suite, name) { ::evring::sim::internal::RunTest(__VA_ARGS__, &suite##_##name##_SimBody); } \
  static ::evring::Task<void> suite##_##name##_SimBody()

#endif  // EVRING_SIM_TESTING_H_
