// sim_bench.cc: how fast the simulator is: echo clients on a simulated network, without faults and with them. Counters:
// calls of the kernel and simulated seconds per real second, and bytes that went there and back.

#include <cstdint>

#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "sim/faults.h"
#include "sim/simulation.h"
#include "tests/sim/echo_scenario.h"

namespace evring::sim {
namespace {

void Echo(benchmark::State& state, const FaultRules& faults) {
  uint64_t seed = 1;
  uint64_t calls = 0;
  uint64_t clients = 0;
  absl::Duration simulated;
  for (auto _ : state) {
    Simulation simulation(Seeded(seed++, faults, static_cast<int>(state.range(0))));
    const Tally tally = simulation.Run(EchoScenario(simulation.random(), 50));
    clients += static_cast<uint64_t>(tally.whole + tally.failed);
    calls += simulation.report().calls;
    simulated += simulation.report().virtual_time;
  }
  using benchmark::Counter;
  state.counters["calls"] = Counter(static_cast<double>(calls), Counter::kIsRate);
  state.counters["clients"] = Counter(static_cast<double>(clients), Counter::kIsRate);
  state.counters["simulated_seconds"] = Counter(absl::ToDoubleSeconds(simulated), Counter::kIsRate);
}

void BM_Calm(benchmark::State& state) { Echo(state, FaultRules::None()); }
BENCHMARK(BM_Calm)->ArgName("workers")->Arg(1)->Arg(2)->Arg(4)->UseRealTime()->Unit(benchmark::kMillisecond);

void BM_Storm(benchmark::State& state) { Echo(state, FaultRules::Storm()); }
BENCHMARK(BM_Storm)->ArgName("workers")->Arg(1)->Arg(2)->Arg(4)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace evring::sim
