// replicated_counter.cc: looks for the bug of replicated_counter.h on a simulated network, seed by seed.
//
//   bazel run //examples:replicated_counter                       finds it, and prints the few faults that it takes
//   bazel run //examples:replicated_counter -- --remembers        the service with the bug fixed: nothing found
//   bazel run //examples:replicated_counter -- --seed=7 --seeds=1 one run
//
// Leaves with 1 if a run failed. The guide walks through it: docs/guide/simulation.md. Tested by
// tests/examples/replicated_counter_test.cc.

#include "examples/replicated_counter.h"

#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "net/address.h"
#include "net/listener.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/task_group.h"
#include "sim/explore.h"
#include "sim/faults.h"
#include "sim/random.h"
#include "sim/simulation.h"

ABSL_FLAG(bool, remembers, false, "run the service with the bug fixed");
ABSL_FLAG(uint64_t, seed, 1, "the first seed");
ABSL_FLAG(uint64_t, seeds, 1000, "how many seeds");
ABSL_FLAG(absl::Duration, duration, absl::ZeroDuration(), "instead of a number of seeds: for so long");

namespace {

using evring::Task;
using evring::net::Listener;
using evring::net::SocketAddress;

constexpr int kClients = 3;
constexpr int kAdditions = 4;  // of each

Task<absl::Status> Add(SocketAddress primary, int client, int64_t* sum, evring::sim::Random* random) {
  for (int number = 1; number <= kAdditions; ++number) {
    const int64_t amount = random->Between(1, 100);
    const absl::Status added =
        co_await counter::AskUntilDone(primary, absl::StrCat("add client", client, " ", number, " ", amount));
    if (!added.ok()) co_return added;
    *sum += amount;
  }
  co_return absl::OkStatus();
}

// Three replicas on three hosts, and clients. True: in the end every replica has the sum that the clients were told.
Task<bool> Scenario(evring::sim::Random* random, bool remembers) {
  std::vector<SocketAddress> addresses;
  for (int host = 1; host <= 3; ++host)
    addresses.push_back(*SocketAddress::Parse(absl::StrCat("10.0.0.", host, ":70")));
  const std::vector<SocketAddress> backups(addresses.begin() + 1, addresses.end());
  std::vector<Listener> listeners;
  std::vector<counter::Replica> replicas;
  for (size_t i = 0; i < addresses.size(); ++i) {
    listeners.push_back(*Listener::Listen(addresses[i]));
    replicas.emplace_back(i == 0 ? backups : std::vector<SocketAddress>(), remembers);
  }
  evring::TaskGroup servers;
  for (size_t i = 0; i < addresses.size(); ++i) co_await servers.Spawn(replicas[i].Serve(&listeners[i]));
  evring::TaskGroup clients;
  int64_t sum = 0;
  for (int client = 0; client < kClients; ++client) co_await clients.Spawn(Add(addresses[0], client, &sum, random));
  const absl::Status added = co_await clients.Join();
  for (Listener& listener : listeners) listener.Shutdown();
  const absl::Status served = co_await servers.Join();
  bool equal = added.ok() && served.ok();
  for (const counter::Replica& replica : replicas) equal = equal && replica.total() == sum;
  if (!equal) {
    std::printf("clients were told %lld; the replicas have", static_cast<long long>(sum));
    for (const counter::Replica& replica : replicas) std::printf(" %lld", static_cast<long long>(replica.total()));
    std::printf("\n");
  }
  co_return equal;
}

bool Holds(const evring::sim::SimulationOptions& options) {
  evring::sim::Simulation simulation(options);
  return simulation.Run(Scenario(simulation.random(), absl::GetFlag(FLAGS_remembers)));
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Looks for a bug in a small replicated counter, on a simulated network.");
  absl::ParseCommandLine(argc, argv);
  evring::sim::ExploreOptions options;
  options.simulation.seed = absl::GetFlag(FLAGS_seed);
  options.simulation.faults = evring::sim::FaultRules::Storm();
  options.seeds = absl::GetFlag(FLAGS_seeds);
  options.duration = absl::GetFlag(FLAGS_duration);
  options.progress = stderr;
  const evring::sim::Exploration found = evring::sim::Explore(options, Holds);
  if (found.failure.has_value()) {
    std::printf("%s", found.failure->ToString().c_str());
    return 1;
  }
  std::printf("nothing found: %s\n", found.Progress().c_str());
  return 0;
}
