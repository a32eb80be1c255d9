#include "tests/runtime/machines.h"

#include <cstdio>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "sim/simulation.h"

namespace evring::testing {
namespace {

// The task, as a child that may ask itself to stop; then time for the requests of what it let go of to end.
Task<> AndLetEnd(Task<> task) {
  JoinHandle<> handle = co_await Spawn(std::move(task));
  co_await std::move(handle);
  const absl::Status slept = co_await Sleep(absl::Seconds(10));
  EXPECT_TRUE(slept.ok());
}

}  // namespace

void RunSimulated(Task<void> task, const Machine& machine, const RuntimeOptions& with) {
  sim::SimulationOptions options;
  options.seed = machine.seed;
  options.workers = machine.workers;
  options.faults = machine.faults;
  options.runtime = with;
  sim::Simulation simulation(options);
  simulation.Run(AndLetEnd(std::move(task)));
  EXPECT_GT(simulation.report().calls, 0u) << "of the simulated kernel";
  EXPECT_EQ(simulation.report().open_descriptors, 0);
  if (::testing::Test::HasFailure()) std::printf("%s", simulation.report().log.c_str());
}

}  // namespace evring::testing
