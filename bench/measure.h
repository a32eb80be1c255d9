// measure.h: measures several servers under one scenario, side by side.
//
// Used by the driver `compare` and by its test, on one thread.
//
// The machine's speed drifts by more than the servers differ. So all servers are up at the same time, each with its
// connections open and silent while another has its turn, and rounds are short: in each, every server gets one slice of
// load, in an order shuffled anew, and ratios are taken within the round. Where the loader puts code and heap differs
// between two starts of one program by about a percent, so the servers are started anew a few times in a run (a
// generation), in shuffled order as well.
//
// A slice is `lead` of traffic that warms caches and is not counted, `slice` that is, then the replies still due.
// CPU time is read from the server's process clock at both ends of the counted part.

#ifndef EVRING_BENCH_MEASURE_H_
#define EVRING_BENCH_MEASURE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/latency_histogram.h"
#include "bench/load_client.h"

namespace evring::bench {

struct Scenario {
  std::string name;
  LoadShape shape;
  bool paced = false;  // at a rate that keeps the first server `paced_busy` busy; otherwise closed: saturated
};

struct ServerSpec {
  std::string name;
  std::vector<std::string> command;
};

struct MeasureOptions {
  int rounds = 30;  // in all, dealt out over the generations
  int generations = 3;
  absl::Duration slice = absl::Milliseconds(400);
  absl::Duration lead = absl::Milliseconds(20);
  double paced_busy = 0.8;
  double rate = 0;      // paced: requests per second; 0: found by trial
  int server_cpu = -1;  // -1: any
  bool count_syscalls = true;
  uint64_t seed = 1;
};

// What was seen of one server; the vectors have a value per round.
struct ServerSamples {
  std::string name;
  std::vector<double> requests_per_second;
  std::vector<double> cpu_ns_per_request;
  std::vector<double> busy;  // share of the time that it was on a CPU; above 1 with several threads
  LatencyHistogram latency;
  uint64_t overdue = 0;
  absl::StatusOr<double> syscalls_per_request = absl::UnavailableError("not counted");
};

struct Measurement {
  double rate = 0;  // paced: requests per second, the same for all; 0: closed
  std::vector<ServerSamples> servers;
};

// Any error of a server or of its load ends the measurement with the server's name in front.
absl::StatusOr<Measurement> Measure(const Scenario& scenario, const std::vector<ServerSpec>& servers,
                                    const MeasureOptions& options);

}  // namespace evring::bench

#endif  // EVRING_BENCH_MEASURE_H_
