#include "bench/measure.h"

#include <sys/resource.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "bench/server_process.h"
#include "bench/syscall_counter.h"

namespace evring::bench {
namespace {

constexpr absl::Duration kStopPatience = absl::Seconds(10);
constexpr int kRateTrials = 6;
constexpr double kFirstRate = 100'000;
constexpr uint64_t kSpareDescriptors = 256;

// A server that runs, and the connections to it.
struct Contestant {
  std::unique_ptr<ServerProcess> server;
  std::unique_ptr<LoadClient> client;
};

struct Slice {
  LoadResult load;
  absl::Duration cpu;

  double CpuNsPerRequest() const { return absl::ToDoubleNanoseconds(cpu) / static_cast<double>(load.requests); }
  double Busy() const { return absl::ToDoubleSeconds(cpu) / load.seconds; }
};

absl::Status Named(const ServerSpec& spec, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(spec.name, ": ", status.message()));
}

std::vector<size_t> ShuffledOrder(size_t size, std::mt19937_64* random) {
  std::vector<size_t> order(size);
  std::iota(order.begin(), order.end(), size_t{0});
  std::shuffle(order.begin(), order.end(), *random);
  return order;
}

absl::StatusOr<Contestant> StartContestant(const Scenario& scenario, const ServerSpec& spec,
                                           const MeasureOptions& options) {
  absl::StatusOr<std::unique_ptr<ServerProcess>> server =
      ServerProcess::Start({.command = spec.command, .cpu = options.server_cpu, .descriptors_max = 0});
  if (!server.ok()) {
    return server.status();
  }
  absl::StatusOr<std::unique_ptr<LoadClient>> client =
      LoadClient::Connect(scenario.shape, (*server)->address(), (*server)->port());
  if (!client.ok()) {
    return client.status();
  }
  return Contestant{*std::move(server), *std::move(client)};
}

absl::StatusOr<Slice> RunSlice(const Contestant& contestant, double rate, uint64_t seed,
                               const MeasureOptions& options) {
  contestant.client->Start(rate, seed);
  const absl::StatusOr<LoadResult> lead = contestant.client->Advance(options.lead);
  if (!lead.ok()) {
    return lead.status();
  }
  const absl::StatusOr<absl::Duration> before = contestant.server->CpuTime();
  absl::StatusOr<LoadResult> load = contestant.client->Advance(options.slice);
  const absl::StatusOr<absl::Duration> after = contestant.server->CpuTime();
  for (const absl::Status& status : {before.status(), load.status(), after.status(), contestant.client->Drain()}) {
    if (!status.ok()) {
      return status;
    }
  }
  if (load->requests == 0) {
    return absl::DeadlineExceededError("answered nothing in a whole slice");
  }
  return Slice{*std::move(load), *after - *before};
}

absl::StatusOr<double> CountSyscalls(const Contestant& contestant, double rate, const MeasureOptions& options) {
  const absl::StatusOr<SyscallCounter> counter = SyscallCounter::Attach(contestant.server->pid());
  if (!counter.ok()) {
    return counter.status();
  }
  contestant.client->Start(rate, options.seed);
  const absl::StatusOr<uint64_t> before = counter->Read();
  const absl::StatusOr<LoadResult> load = contestant.client->Advance(options.slice);
  const absl::StatusOr<uint64_t> after = counter->Read();
  for (const absl::Status& status : {before.status(), load.status(), after.status(), contestant.client->Drain()}) {
    if (!status.ok()) {
      return status;
    }
  }
  return static_cast<double>(*after - *before) / static_cast<double>(load->requests);
}

// A rate at which the server is `paced_busy` busy. Busy grows with the rate, slower than in proportion: a server that
// sleeps between requests pays to wake.
absl::StatusOr<double> FindRate(const Contestant& contestant, const MeasureOptions& options) {
  double rate = kFirstRate;
  for (int trial = 0; trial < kRateTrials; ++trial) {
    const absl::StatusOr<Slice> slice = RunSlice(contestant, rate, options.seed, options);
    if (!slice.ok()) {
      return slice.status();
    }
    rate *= std::clamp(options.paced_busy / slice->Busy(), 0.5, 2.0);
  }
  return rate;
}

// One generation's rounds over servers that are up.
absl::Status RunRounds(const std::vector<ServerSpec>& specs, const std::vector<Contestant>& contestants, int rounds,
                       const MeasureOptions& options, std::mt19937_64* random, Measurement* measurement) {
  for (int round = 0; round < rounds; ++round) {
    const uint64_t seed = (*random)();  // the same arrivals for every server of the round
    for (const size_t i : ShuffledOrder(specs.size(), random)) {
      const absl::StatusOr<Slice> slice = RunSlice(contestants[i], measurement->rate, seed, options);
      if (!slice.ok()) {
        return Named(specs[i], slice.status());
      }
      ServerSamples& samples = measurement->servers[i];
      samples.requests_per_second.push_back(static_cast<double>(slice->load.requests) / slice->load.seconds);
      samples.cpu_ns_per_request.push_back(slice->CpuNsPerRequest());
      samples.busy.push_back(slice->Busy());
      samples.latency.Merge(slice->load.latency);
      samples.overdue += slice->load.overdue;
    }
  }
  return absl::OkStatus();
}

absl::Status RaiseDescriptorLimit(uint64_t wanted) {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted) {
    limit.rlim_cur = std::min<rlim_t>(wanted, limit.rlim_max);
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  return limit.rlim_cur >= wanted ? absl::OkStatus()
                                  : absl::ResourceExhaustedError(
                                        absl::StrCat("needs ", wanted, " descriptors; the limit is ", limit.rlim_max));
}

}  // namespace

absl::StatusOr<Measurement> Measure(const Scenario& scenario, const std::vector<ServerSpec>& servers,
                                    const MeasureOptions& options) {
  if (servers.empty() || options.rounds < 1 || options.generations < 1 || options.slice <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        "needs at least one server, one round, one generation and a slice of some length");
  }
  absl::Status raised =
      RaiseDescriptorLimit(servers.size() * static_cast<uint64_t>(scenario.shape.connections) + kSpareDescriptors);
  if (!raised.ok()) {
    return raised;
  }
  std::mt19937_64 random(options.seed);
  Measurement measurement;
  for (const ServerSpec& spec : servers) {
    measurement.servers.emplace_back().name = spec.name;
  }
  for (int generation = 0; generation < options.generations; ++generation) {
    std::vector<Contestant> contestants(servers.size());
    for (const size_t i : ShuffledOrder(servers.size(), &random)) {
      absl::StatusOr<Contestant> contestant = StartContestant(scenario, servers[i], options);
      if (!contestant.ok()) {
        return Named(servers[i], contestant.status());
      }
      contestants[i] = *std::move(contestant);
    }
    if (scenario.paced && measurement.rate == 0) {
      const absl::StatusOr<double> rate = options.rate > 0 ? options.rate : FindRate(contestants[0], options);
      if (!rate.ok()) {
        return Named(servers[0], rate.status());
      }
      measurement.rate = *rate;
    }
    const int rounds = options.rounds / options.generations + (generation < options.rounds % options.generations);
    absl::Status ran = RunRounds(servers, contestants, rounds, options, &random, &measurement);
    if (!ran.ok()) {
      return ran;
    }
    for (size_t i = 0; i < servers.size(); ++i) {
      if (options.count_syscalls && generation + 1 == options.generations) {
        measurement.servers[i].syscalls_per_request = CountSyscalls(contestants[i], measurement.rate, options);
      }
      contestants[i].client.reset();
      const absl::Status stopped = contestants[i].server->Stop(kStopPatience);
      if (!stopped.ok()) {
        return Named(servers[i], stopped);
      }
    }
  }
  return measurement;
}

}  // namespace evring::bench
