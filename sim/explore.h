// explore.h: runs a scenario with one seed after another until one fails, and finds the few faults that matter for it.
//
//     bool MyServiceSurvives(const evring::sim::SimulationOptions& options) {
//       evring::sim::Simulation simulation(options);
//       const Tally tally = simulation.Run(Clients(simulation.random()));
//       return tally.lost == 0;
//     }
//     evring::sim::ExploreOptions options;
//     options.simulation.faults = evring::sim::FaultRules::Storm();
//     options.duration = absl::Minutes(10);
//     evring::sim::Exploration found = evring::sim::Explore(options, MyServiceSurvives);
//     if (found.failure) std::cerr << found.failure->ToString();
//
// Each run has a process of its own, forked from the caller, so whatever goes wrong is this run's failure and no more:
// the scenario answers false, throws, or ends the process; a check fails; a wake-up is lost; a sanitizer reports (leaks
// too); the run takes longer than `run_max` of real time and is killed. What the run has been reaches the caller in
// shared memory (journal.h), whatever its end.
//
// Shrinking. With the failing seed, faults are left out as long as the run still fails and fewer are left: all of them;
// all but one, which is enough for most; then by halves, by quarters, at last one at a time, until no single one can be
// dropped. Leaving one out changes what comes after it; so after each step the faults of that run are what counts, and
// none that is newer than the last of the run that was found. SimulationOptions with the seed and `choice` of the
// failure repeat the shortest run, byte by byte.
//
// Threads: by a process that has one thread (fork(2) takes only that one along); ThreadSanitizer insists on it.

#ifndef EVRING_SIM_EXPLORE_H_
#define EVRING_SIM_EXPLORE_H_

#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "sim/faults.h"
#include "sim/journal.h"
#include "sim/simulation.h"

namespace evring::sim {

// Makes a Simulation of these options, runs it, and answers whether what must hold has held. It may change the options
// first, always in the same way for the same seed, but for `seed`, `choice` and `journal`. In the child.
using Scenario = std::function<bool(const SimulationOptions&)>;

struct ExploreOptions {
  ExploreOptions() = default;
  SimulationOptions simulation;  // of every run; its seed is the first one
  uint64_t seeds = 1000;         // how many at most
  // For so long in real time, whatever `seeds` says; zero: it is `seeds` that counts.
  absl::Duration duration = absl::ZeroDuration();
  absl::Duration run_max = absl::Seconds(60);  // real time of one run
  uint64_t shrink_runs_max = 2000;             // a failure is shrunk in as many runs at most; 0: not at all
  // Who is told how far it has come, one line every `progress_every`; nullptr: nobody. Borrowed.
  std::FILE* progress = nullptr;
  absl::Duration progress_every = absl::Seconds(1);
};

// What one run has come to.
struct RunOutcome {
  bool failed = false;
  std::string what;     // how it failed
  uint64_t digest = 0;  // of its log; as SimulationReport::digest
  uint64_t injected = 0;
  std::vector<Injection> faults;  // those injected: all of them, but for the first Journal::kInjections
  std::string log;                // its newest lines
  std::string output;             // the end of what it wrote to stdout and stderr
};

struct ExploreFailure {
  uint64_t seed = 0;
  FaultChoice choice;  // with which it fails as follows
  RunOutcome run;      // the shortest that failed
  RunOutcome first;    // the run as it was found, with nothing left out
  uint64_t shrink_runs = 0;
  bool shrunk = false;  // no single fault of `run` can be dropped; false: it was given up before

  // The seed, the faults that are left, the log of the shortest run and what it wrote.
  std::string ToString() const;
};

struct Exploration {
  uint64_t seeds = 0;      // done, the failing one included
  uint64_t injected = 0;   // faults in all of them
  uint64_t different = 0;  // digests seen
  uint64_t states = 0;     // seen in all of them: Journal::states()
  absl::Duration elapsed;
  std::optional<ExploreFailure> failure;

  // "1000 seeds, 1000 different runs, 34567 faults injected, 2345 states seen, 812 runs per second". That states still
  // come says that going on is worth it.
  std::string Progress() const;
};

// Runs `scenario` with the seeds from options.simulation.seed on, until one fails or it is enough. `scenario` is
// borrowed.
Exploration Explore(const ExploreOptions& options, const Scenario& scenario);

// One run in a process of its own: with the seed and `choice` of a failure, that failure again.
RunOutcome RunApart(const SimulationOptions& options, absl::Duration run_max, const Scenario& scenario);

}  // namespace evring::sim

#endif  // EVRING_SIM_EXPLORE_H_
