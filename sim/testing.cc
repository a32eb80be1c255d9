#include "sim/testing.h"

#include <errno.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "kevent/sanitizer.h"
#include "sim/journal.h"

namespace evring::sim {
namespace {

constexpr uint64_t kSeedsDivisor = kevent::kSanitized ? 10 : 1;
constexpr uint64_t kShrinkRunsMax = 300;

// What the environment says, if it does. Fails the test if it is no number.
uint64_t NumberOr(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  if (text == nullptr) return otherwise;
  uint64_t number = 0;
  if (absl::SimpleAtoi(text, &number) && number != 0) return number;
  ADD_FAILURE() << name << ": \"" << text << "\" is not a number from 1 on";
  return otherwise;
}

// The faults with these numbers and no others.
FaultChoice Only(const std::vector<uint64_t>& numbers) {
  FaultChoice choice;
  choice.end = 0;
  for (const uint64_t number : numbers) choice.end = std::max(choice.end, number + 1);
  for (uint64_t number = 0; number < choice.end; ++number) choice.left_out.insert(number);
  for (const uint64_t number : numbers) choice.left_out.erase(number);
  return choice;
}

FaultChoice ChoiceOfEnvironment() {
  const char* text = std::getenv("EVRING_SIM_FAULTS");
  if (text == nullptr) return FaultChoice();
  std::vector<uint64_t> numbers;
  if (absl::string_view(text) == "none") return Only(numbers);
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    uint64_t number = 0;
    if (!absl::SimpleAtoi(part, &number) || number > Journal::kInjections * 64) {
      ADD_FAILURE() << "EVRING_SIM_FAULTS: \"" << text << "\" is neither numbers of faults nor `none`";
      break;
    }
    numbers.push_back(number);
  }
  return Only(numbers);
}

// A command that repeats the failure in one process.
std::string Again(const ExploreFailure& failure) {
  std::vector<std::string> settings = {absl::StrCat("EVRING_SIM_SEED=", failure.seed)};
  if (failure.run.injected < failure.first.injected && failure.run.injected <= Journal::kInjections) {
    std::string numbers;
    for (const Injection& fault : failure.run.faults) {
      absl::StrAppend(&numbers, numbers.empty() ? "" : ",", fault.number);
    }
    settings.push_back(absl::StrCat("EVRING_SIM_FAULTS=", numbers.empty() ? "none" : numbers));
  }
  const ::testing::TestInfo* test = ::testing::UnitTest::GetInstance()->current_test_info();
  const std::string name = absl::StrCat(test->test_suite_name(), ".", test->name());
  std::string command = "again:";
  if (const char* target = std::getenv("TEST_TARGET"); target != nullptr) {
    absl::StrAppend(&command, " bazel test ", target, " --test_filter=", name);
    for (const std::string& setting : settings) absl::StrAppend(&command, " --test_env=", setting);
  } else {
    for (const std::string& setting : settings) absl::StrAppend(&command, " ", setting);
    absl::StrAppend(&command, " ", program_invocation_name, " --gtest_filter=", name);
  }
  return command;
}

}  // namespace

Exploration RunSeeds(const TestOptions& options, const std::function<void(const SimulationOptions&)>& scenario) {
  ExploreOptions explore;
  explore.simulation = options.simulation();
  explore.simulation.seed = NumberOr("EVRING_SIM_FROM", 1);
  explore.seeds = NumberOr("EVRING_SIM_SEEDS", std::max<uint64_t>(1, options.seeds() / kSeedsDivisor));
  explore.duration = absl::Seconds(NumberOr("EVRING_SIM_SECONDS", 0));
  explore.run_max = options.run_max();
  explore.shrink_runs_max = kShrinkRunsMax;
  if (explore.duration > absl::ZeroDuration()) explore.progress = stderr;
  const uint64_t alone = NumberOr("EVRING_SIM_SEED", 0);
  const FaultChoice choice = ChoiceOfEnvironment();
  if (::testing::Test::HasFailure()) return Exploration();  // of what the environment says
  if (alone != 0) {
    explore.simulation.seed = alone;
    explore.simulation.choice = choice;
    scenario(explore.simulation);
    return Exploration();
  }
  Exploration exploration = Explore(explore, [&scenario](const SimulationOptions& simulation) {
    scenario(simulation);
    return !::testing::Test::HasFailure();
  });
  std::printf("%s\n", exploration.Progress().c_str());
  if (exploration.failure.has_value()) {
    ADD_FAILURE() << exploration.failure->ToString() << Again(*exploration.failure);
  }
  return exploration;
}

namespace internal {

void RunTest(const TestOptions& options, Task<void> (*body)()) {
  static_cast<void>(RunSeeds(options, [body](const SimulationOptions& run) {
    Simulation simulation(run);
    simulation.Run(body());
    const bool tells_itself = run.journal == nullptr;  // nobody else has the log
    if (tells_itself && ::testing::Test::HasFailure()) {
      std::printf("seed %llu fails\nlog, newest last:\n%s", static_cast<unsigned long long>(run.seed),
                  simulation.report().log.c_str());
    }
  }));
}

}  // namespace internal
}  // namespace evring::sim
