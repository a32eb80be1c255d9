// model_test.h: what the tests here do with their scenarios: explore each, break every access of the code, leave out
// every rule of the machine around it. Each prints what it took.
//
// A sanitizer looks at the code that runs, not at the schedules, which are the same in every build: with one, scenarios
// have one preemption at most, and what is broken is not looked for.

#ifndef EVRING_TESTS_MODEL_MODEL_TEST_H_
#define EVRING_TESTS_MODEL_MODEL_TEST_H_

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kevent/sanitizer.h"
#include "tests/model/explorer.h"
#include "tests/model/mutants.h"

namespace evring::model {

// For INSTANTIATE_TEST_SUITE_P.
inline std::string NameOfScenario(const testing::TestParamInfo<Scenario>& info) { return info.param.name; }

// All interleavings of the scenario, within its bounds, hold.
inline void ExpectHolds(const Scenario& scenario) {
  Options options = scenario.options;
  if (kevent::kSanitized) options.preemptions = 1;
  const Result result = Explore(options, scenario.setup);
  EXPECT_TRUE(result.complete) << result.ToString();
  std::printf("%s", result.ToString().c_str());
}

// Each mutant of `file` but the exempt ones, of which there are `mutants_min` at least, fails a scenario.
inline void ExpectMutantsFound(const std::vector<Scenario>& scenarios, const std::string& file, int mutants_min,
                               const std::vector<Exempt>& exempt = {}) {
  if (kevent::kSanitized) GTEST_SKIP() << "mutants are looked for without a sanitizer";
  const MutationReport report = Mutate(scenarios, file, exempt);
  EXPECT_EQ(report.missed, std::vector<std::string>()) << report.text;
  EXPECT_GE(report.found, mutants_min) << report.text;
  std::printf("%s", report.text.c_str());
}

// A machine that breaks a rule of the protocol: what it does, and the scenarios with it.
struct Canary {
  std::string does;
  std::vector<Scenario> scenarios;
};

// Each canary fails one of its scenarios. `machine` is what does it: "A worker".
inline void ExpectCanariesFound(const std::string& machine, const std::vector<Canary>& canaries) {
  if (kevent::kSanitized) GTEST_SKIP() << "canaries are looked for without a sanitizer";
  for (const Canary& canary : canaries) {
    const std::string name = machine + " that " + canary.does;
    uint64_t schedules = 0;
    std::string found;
    for (const Scenario& scenario : canary.scenarios) {
      const Result result = Explore(scenario.options, scenario.setup);
      schedules += result.schedules + result.redundant;
      if (!result.failure) continue;
      found = scenario.name + ", after " + std::to_string(schedules) + " schedules: " + result.failure->what;
      break;
    }
    EXPECT_NE(found, "") << name << " went unnoticed for " << schedules << " schedules";
    std::printf("%s: %s\n", name.c_str(), found.c_str());
  }
}

}  // namespace evring::model

#endif  // EVRING_TESTS_MODEL_MODEL_TEST_H_
