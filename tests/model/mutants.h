// mutants.h: the code under test with one access gone wrong, for every access and every way to go wrong that makes a
// difference to it. A model test that is worth its name fails on each; those that it cannot fail on are listed in the
// test, with the reason.

#ifndef EVRING_TESTS_MODEL_MUTANTS_H_
#define EVRING_TESTS_MODEL_MUTANTS_H_

#include <functional>
#include <string>
#include <vector>

#include "tests/model/explorer.h"

namespace evring::model {

// All mutants of the accesses in the source file that ends in `file`.
std::vector<Mutant> MutantsOf(const std::vector<Site>& sites, const std::string& file);

struct Scenario {
  std::string name;
  Options options;
  std::function<void(Execution&)> setup;
};

// What the model cannot see broken, and why. `mutant` is as in MutationReport::missed.
struct Exempt {
  std::string mutant;
  std::string reason;
};

struct MutationReport {
  int mutants = 0;
  int found = 0;
  // Empty if all is well. "StealInto: compare_exchange(release) without release" if no scenario failed on that; also
  // exemptions that match nothing, and scenarios that fail on the code as it is.
  std::vector<std::string> missed;
  std::string text;  // a line for each mutant: who found it, after how many schedules
};

// Explores each mutant of `file`, but for the exempt, with the scenarios, in order, until one fails.
MutationReport Mutate(const std::vector<Scenario>& scenarios, const std::string& file,
                      const std::vector<Exempt>& exempt);

}  // namespace evring::model

#endif  // EVRING_TESTS_MODEL_MUTANTS_H_
