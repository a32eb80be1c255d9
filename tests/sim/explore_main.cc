// explore_main.cc: looks for a seed that breaks the runtime on a small machine, for as long as asked.
//
//   bazel run --config=opt //tests/sim:explore -- --duration=10m
//   bazel run --config=opt //tests/sim:explore -- --seed=42 --seeds=1
//   bazel run --config=opt //tests/sim:explore -- --seed=42 --left_out=0,1,5 --end=9
//
// The first goes on for ten minutes, or until a seed fails, which it shrinks and prints, to leave with 1; a line of
// progress each second. The last repeats one seed without these faults and without those from number 9 on.
//
// What runs: small_machine.h.

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/numbers.h"
#include "absl/time/time.h"
#include "sim/explore.h"
#include "tests/sim/small_machine.h"

ABSL_FLAG(uint64_t, seed, 1, "the first seed");
ABSL_FLAG(uint64_t, seeds, 10'000, "how many seeds, if no duration is given");
ABSL_FLAG(absl::Duration, duration, absl::ZeroDuration(), "go on for so long");
ABSL_FLAG(absl::Duration, run_max, absl::Seconds(60), "real time of a run, after which it has failed");
ABSL_FLAG(std::vector<std::string>, left_out, {}, "numbers of faults: run `seed` alone, without them");
ABSL_FLAG(uint64_t, end, evring::sim::FaultChoice().end,
          "number of a fault: run `seed` alone, without it and later ones");

int main(int argc, char** argv) {
  using namespace evring::sim;
  absl::ParseCommandLine(argc, argv);
  ExploreOptions options;
  options.simulation.seed = absl::GetFlag(FLAGS_seed);
  options.seeds = absl::GetFlag(FLAGS_seeds);
  options.duration = absl::GetFlag(FLAGS_duration);
  options.run_max = absl::GetFlag(FLAGS_run_max);
  options.progress = stdout;
  for (const std::string& text : absl::GetFlag(FLAGS_left_out)) {
    uint64_t number = 0;
    if (!absl::SimpleAtoi(text, &number)) {
      std::fprintf(stderr, "--left_out: %s is not a number\n", text.c_str());
      return 2;
    }
    options.simulation.choice.left_out.insert(number);
  }
  options.simulation.choice.end = absl::GetFlag(FLAGS_end);
  if (!options.simulation.choice.left_out.empty() || options.simulation.choice.end != FaultChoice().end) {
    options.seeds = 1;
    options.duration = absl::ZeroDuration();
    options.shrink_runs_max = 0;
  }
  const Exploration found = Explore(options, small_machine::Run);
  if (!found.failure) return 0;
  std::printf("%s", found.failure->ToString().c_str());
  return 1;
}
