// digests.cc: prints the digests of three hundred runs under faults, one a line: for two programs, of whichever
// compilers, to be compared.

#include <cinttypes>
#include <cstdint>
#include <cstdio>

#include "sim/faults.h"
#include "sim/simulation.h"
#include "tests/sim/echo_scenario.h"
#include "tests/sim/kinds_scenario.h"
#include "tests/sim/watches_scenario.h"

namespace evring::sim {
namespace {

template <class F>
void Print(const char* scenario, F run) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    const int workers = 1 + static_cast<int>(seed % 4);
    Simulation simulation(Seeded(seed, FaultRules::Storm(), workers));
    run(&simulation);
    std::printf("seed %" PRIu64 ", %s, %d workers: %016" PRIx64 " of %" PRIu64 " lines\n", seed, scenario, workers,
                simulation.report().digest, simulation.report().log_lines);
  }
}

}  // namespace
}  // namespace evring::sim

int main() {
  using evring::sim::Simulation;
  evring::sim::Print("echo", [](Simulation* simulation) {
    static_cast<void>(simulation->Run(evring::sim::EchoScenario(simulation->random(), 8)));
  });
  evring::sim::Print("kinds", [](Simulation* simulation) { simulation->Run(evring::sim::KindsScenario()); });
  evring::sim::Print("watches", [](Simulation* simulation) { simulation->Run(evring::sim::WatchesScenario()); });
}
