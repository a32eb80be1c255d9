// kinds_test.cc: the kinds of events that a task can wait for besides bytes, on machines that the seed chooses, and
// among faults (kinds_scenario.h); and that such a run is a function of its seed.

#include <cstdint>

#include "gtest/gtest.h"
#include "sim/faults.h"
#include "sim/simulation.h"
#include "tests/sim/kinds_scenario.h"
#include "tests/sim/seeds.h"

namespace evring::sim {
namespace {

SimulationOptions Machine(uint64_t seed) {
  SimulationOptions options;
  options.seed = seed;
  options.workers = 1 + static_cast<int>(seed % 4);
  return options;
}

TEST(Kinds, AreServedWithoutFaults) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Simulation simulation(Machine(seed));
    simulation.Run(KindsScenario());
    EXPECT_EQ(simulation.report().open_descriptors, 0);
  }
}

TEST(Kinds, TheSameSeedIsTheSameRun) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    uint64_t digests[2];
    for (uint64_t& digest : digests) {
      SimulationOptions options = Machine(seed);
      options.faults = FaultRules::Storm();
      Simulation simulation(options);
      simulation.Run(KindsScenario());
      digest = simulation.report().digest;
      EXPECT_GT(simulation.report().injected.size(), 0u);
    }
    EXPECT_EQ(digests[0], digests[1]) << "seed " << seed;
  }
}

TEST(KindsStorm, NothingIsLostAndNobodyHasWhatIsAnothers) {
  RunSeeds(1000, [](const SimulationOptions& seeded) {
    SimulationOptions options = seeded;
    options.workers = 1 + static_cast<int>(options.seed % 4);
    options.faults = FaultRules::Storm();
    Simulation simulation(options);
    simulation.Run(KindsScenario());
    EXPECT_EQ(simulation.report().open_descriptors, 0);
  });
}

}  // namespace
}  // namespace evring::sim
