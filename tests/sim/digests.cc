// digests.cc: prints the digest of a hundred runs under faults, one a line: for two programs, of whichever compilers,
// to be compared.

#include <cinttypes>
#include <cstdint>
#include <cstdio>

#include "sim/faults.h"
#include "sim/simulation.h"
#include "tests/sim/echo_scenario.h"

int main() {
  using namespace evring::sim;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    const int workers = 1 + static_cast<int>(seed % 4);
    Simulation simulation(Seeded(seed, FaultRules::Storm(), workers));
    static_cast<void>(simulation.Run(EchoScenario(simulation.random(), 8)));
    std::printf("seed %" PRIu64 ", %d workers: %016" PRIx64 " of %" PRIu64 " lines\n", seed, workers,
                simulation.report().digest, simulation.report().log_lines);
  }
}
