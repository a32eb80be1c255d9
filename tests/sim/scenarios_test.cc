// scenarios_test.cc: each scenario holds on machines that the seed chooses, without faults and among them, and such a
// run is a function of its seed. What must hold stands in the scenarios: the kinds of events that a task can wait for
// besides bytes (kinds_scenario.h); who follows a directory that others write in (watches_scenario.h).

#include <cstdint>
#include <ostream>
#include <string>

#include "gtest/gtest.h"
#include "runtime/task.h"
#include "sim/faults.h"
#include "sim/simulation.h"
#include "tests/sim/kinds_scenario.h"
#include "tests/sim/seeds.h"
#include "tests/sim/watches_scenario.h"

namespace evring::sim {
namespace {

struct Scenario {
  const char* name;
  Task<> (*run)();
};

void PrintTo(const Scenario& scenario, std::ostream* os) { *os << scenario.name; }

class Scenarios : public ::testing::TestWithParam<Scenario> {
 protected:
  static SimulationOptions Machine(const SimulationOptions& seeded) {
    SimulationOptions options = seeded;
    options.workers = 1 + static_cast<int>(options.seed % 4);
    return options;
  }
  static SimulationOptions Machine(uint64_t seed) {
    SimulationOptions options;
    options.seed = seed;
    return Machine(options);
  }
};

INSTANTIATE_TEST_SUITE_P(All, Scenarios,
                         ::testing::Values(Scenario{"Kinds", &KindsScenario}, Scenario{"Watches", &WatchesScenario}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(Scenarios, HoldWithoutFaults) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Simulation simulation(Machine(seed));
    simulation.Run(GetParam().run());
    EXPECT_EQ(simulation.report().open_descriptors, 0);
  }
}

TEST_P(Scenarios, WithTheSameSeedAreTheSameRun) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    uint64_t digests[2];
    for (uint64_t& digest : digests) {
      SimulationOptions options = Machine(seed);
      options.faults = FaultRules::Storm();
      Simulation simulation(options);
      simulation.Run(GetParam().run());
      digest = simulation.report().digest;
      EXPECT_GT(simulation.report().injected.size(), 0u);
    }
    EXPECT_EQ(digests[0], digests[1]) << "seed " << seed;
  }
}

// Every second machine has so little room for events of files that they are lost for that, too.
TEST_P(Scenarios, HoldAmongFaults) {
  RunSeeds(1000, [](const SimulationOptions& seeded) {
    SimulationOptions options = Machine(seeded);
    options.faults = FaultRules::Storm();
    if (options.seed % 2 == 0) options.inotify.events = 4;
    Simulation simulation(options);
    simulation.Run(GetParam().run());
    EXPECT_EQ(simulation.report().open_descriptors, 0);
  });
}

}  // namespace
}  // namespace evring::sim
