#include "tests/model/mutants.h"

#include <algorithm>
#include <sstream>

#include "tests/model/engine.h"

namespace evring::model {
namespace {

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// Without file and line, which move with every edit.
std::string NameOf(const Mutant& mutant) {
  const std::string text = mutant.ToString();
  return text.substr(text.find(' ') + 1);
}

}  // namespace

std::vector<Mutant> MutantsOf(const std::vector<Site>& sites, const std::string& file) {
  std::vector<Mutant> mutants;
  for (const Site& site : sites) {
    if (!EndsWith(site.where.file_name(), file)) continue;
    const auto add = [&](bool applies, Change change) {
      if (applies) mutants.push_back({.site = site, .change = change});
    };
    const bool reads_and_writes = site.op == Op::kReadModifyWrite || site.op == Op::kCompareExchange;
    add(Acquires(site.order), Change::kDropAcquire);
    add(site.op == Op::kCompareExchange && Acquires(site.failure), Change::kDropAcquireOnFailure);
    add(Releases(site.order), Change::kDropRelease);
    add(site.op == Op::kStore || reads_and_writes, Change::kNoWrite);
    add(reads_and_writes, Change::kTwoSteps);
    add(site.op == Op::kCompareExchange, Change::kNoCompare);
  }
  return mutants;
}

MutationReport Mutate(const std::vector<Scenario>& scenarios, const std::string& file,
                      const std::vector<Exempt>& exempt) {
  MutationReport report;
  std::vector<Mutant> mutants;
  for (const Scenario& scenario : scenarios) {
    const Result result = Explore(scenario.options, scenario.setup);
    if (!result.complete) report.missed.push_back(scenario.name + " fails without a mutant");
    for (const Mutant& mutant : MutantsOf(result.sites, file)) {
      const bool known = std::any_of(mutants.begin(), mutants.end(), [&](const Mutant& m) {
        return m.site == mutant.site && m.change == mutant.change;
      });
      if (!known) mutants.push_back(mutant);
    }
  }
  report.mutants = static_cast<int>(mutants.size());
  std::vector<bool> used(exempt.size());
  std::ostringstream text;
  for (const Mutant& mutant : mutants) {
    const auto it =
        std::find_if(exempt.begin(), exempt.end(), [&](const Exempt& e) { return e.mutant == NameOf(mutant); });
    if (it != exempt.end()) {
      used[it - exempt.begin()] = true;
      text << mutant.ToString() << ": exempt, " << it->reason << "\n";
      continue;
    }
    uint64_t schedules = 0;
    bool found = false;
    for (auto scenario = scenarios.begin(); scenario != scenarios.end() && !found; ++scenario) {
      Options options = scenario->options;
      options.mutant = mutant;
      const Result result = Explore(options, scenario->setup);
      schedules += result.schedules + result.redundant;
      if (!result.failure) continue;
      found = true;
      text << mutant.ToString() << ": " << scenario->name << ", after " << schedules
           << " schedules: " << result.failure->what << "\n";
    }
    if (found) {
      ++report.found;
    } else {
      report.missed.push_back(NameOf(mutant));
      text << mutant.ToString() << ": NOT FOUND in " << schedules << " schedules\n";
    }
  }
  for (size_t i = 0; i < exempt.size(); ++i) {
    if (!used[i]) report.missed.push_back(exempt[i].mutant + " is exempt, but there is no such mutant");
  }
  report.text = std::move(text).str();
  return report;
}

}  // namespace evring::model
