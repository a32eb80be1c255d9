// watches_test.cc: a directory that others write in is followed, on machines that the seed chooses, and among faults
// (watches_scenario.h); and such a run is a function of its seed.

#include <cstdint>

#include "gtest/gtest.h"
#include "sim/faults.h"
#include "sim/simulation.h"
#include "tests/sim/seeds.h"
#include "tests/sim/watches_scenario.h"

namespace evring::sim {
namespace {

SimulationOptions Machine(uint64_t seed) {
  SimulationOptions options;
  options.seed = seed;
  options.workers = 1 + static_cast<int>(seed % 4);
  return options;
}

TEST(Watches, FollowWhatHappensWithoutFaults) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Simulation simulation(Machine(seed));
    simulation.Run(WatchesScenario());
    EXPECT_EQ(simulation.report().open_descriptors, 0);
  }
}

TEST(Watches, TheSameSeedIsTheSameRun) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    uint64_t digests[2];
    for (uint64_t& digest : digests) {
      SimulationOptions options = Machine(seed);
      options.faults = FaultRules::Storm();
      Simulation simulation(options);
      simulation.Run(WatchesScenario());
      digest = simulation.report().digest;
      EXPECT_GT(simulation.report().injected.size(), 0u);
    }
    EXPECT_EQ(digests[0], digests[1]) << "seed " << seed;
  }
}

// Every second machine has so little room for events that they are lost for that, too.
TEST(WatchesStorm, WhoFollowsKnowsInTheEnd) {
  RunSeeds(1000, [](const SimulationOptions& seeded) {
    SimulationOptions options = seeded;
    options.workers = 1 + static_cast<int>(options.seed % 4);
    options.faults = FaultRules::Storm();
    if (options.seed % 2 == 0) options.inotify.events = 4;
    Simulation simulation(options);
    simulation.Run(WatchesScenario());
    EXPECT_EQ(simulation.report().open_descriptors, 0);
  });
}

}  // namespace
}  // namespace evring::sim
