// explore_test.cc: whatever goes wrong in a run is found, whichever way the run ends; the faults that do not matter are
// dropped; the failure that is left can be repeated.
//
// The bugs are in the scenarios: programs that hold only as long as one kind of fault does not happen.

#include "sim/explore.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/check.h"
#include "kevent/sanitizer.h"
#include "net/stream.h"
#include "runtime/sleep.h"
#include "runtime/sync/event.h"
#include "runtime/task.h"
#include "sim/journal.h"
#include "sim/simulation.h"

namespace evring::sim {
namespace {

ExploreOptions Everyday(uint64_t seeds) {
  ExploreOptions options;
  options.simulation.faults = FaultRules::Everyday();
  options.seeds = seeds;
  return options;
}

// Sends 100 bytes through a pair, ten times, and takes what one receive brings for all of them. How often that was
// wrong.
Task<int> TakesOneReceiveForAll() {
  int wrong = 0;
  for (int i = 0; i < 10; ++i) {
    absl::StatusOr<std::pair<net::Stream, net::Stream>> pair = net::Stream::Pair();
    EVRING_CHECK(pair.ok(), "a pair");
    std::array<std::byte, 100> bytes = {};
    EVRING_CHECK((co_await pair->first.Write(bytes)).ok(), "a write");
    const absl::StatusOr<size_t> n = co_await pair->second.Read(bytes);
    EVRING_CHECK(n.ok(), "a read");
    if (*n != bytes.size()) ++wrong;
    static_cast<void>(co_await Sleep(absl::Milliseconds(1)));
  }
  co_return wrong;
}

bool AnswersFalse(const SimulationOptions& options) {
  Simulation simulation(options);
  return simulation.Run(TakesOneReceiveForAll()) == 0;
}

Task<> NothingComes() {
  Event event;
  static_cast<void>(co_await event.Wait());
}

// The same bug, which stops the first task for good.
bool Hangs(const SimulationOptions& options) {
  Simulation simulation(options);
  simulation.Run([]() -> Task<> {
    if (co_await TakesOneReceiveForAll() != 0) co_await NothingComes();
  }());
  return true;
}

// --- Finding

TEST(Explore, ARunThatHoldsIsNoFailure) {
  const Exploration found = Explore(Everyday(20), [](const SimulationOptions& options) {
    Simulation simulation(options);
    return simulation.Run(TakesOneReceiveForAll()) <= 10;
  });
  EXPECT_FALSE(found.failure.has_value());
  EXPECT_EQ(found.seeds, 20u);
  EXPECT_EQ(found.different, 20u);
  EXPECT_GT(found.injected, 20u);
  EXPECT_NE(found.Progress().find(" states seen, "), std::string::npos) << found.Progress();
}

// What the runs have gone through: less than they have lines, more with more seeds, and the same for the same seeds.
TEST(Explore, CountsTheStatesThatItHasSeen) {
  const Scenario scenario = [](const SimulationOptions& options) {
    Simulation simulation(options);
    return simulation.Run(TakesOneReceiveForAll()) <= 10;
  };
  const uint64_t few = Explore(Everyday(2), scenario).states;
  const uint64_t many = Explore(Everyday(100), scenario).states;
  EXPECT_GT(few, 3u);
  EXPECT_GT(many, few);
  EXPECT_LT(many, 5000u) << "times and numbers make no state";
  EXPECT_EQ(Explore(Everyday(100), scenario).states, many);
}

TEST(Explore, FindsAFalseAnswer) {
  const Exploration found = Explore(Everyday(100), AnswersFalse);
  ASSERT_TRUE(found.failure.has_value());
  EXPECT_EQ(found.failure->run.what, "the scenario answered false");
  EXPECT_EQ(found.failure->seed, found.seeds);
}

TEST(Explore, FindsATaskThatWaitsForNothing) {
  const Exploration found = Explore(Everyday(100), Hangs);
  ASSERT_TRUE(found.failure.has_value());
  EXPECT_EQ(found.failure->run.what, "it was ended by SIGABRT");
  EXPECT_NE(found.failure->run.output.find("nothing will ever happen"), std::string::npos);
}

TEST(Explore, WhatAFailedRunWroteIsItsOwn) {
  const Exploration found = Explore(Everyday(10), [](const SimulationOptions& options) {
    std::printf("%s\n", std::string(10 - options.seed, '.').c_str());
    return options.seed < 5;
  });
  ASSERT_TRUE(found.failure.has_value());
  EXPECT_EQ(found.failure->seed, 5u);
  EXPECT_EQ(found.failure->run.output, ".....\n");
}

TEST(Explore, FindsAFailedCheck) {
  const Exploration found = Explore(Everyday(100), [](const SimulationOptions& options) {
    EVRING_CHECK(AnswersFalse(options), "the invariant holds");
    return true;
  });
  ASSERT_TRUE(found.failure.has_value());
  EXPECT_EQ(found.failure->run.what, "it was ended by SIGABRT");
  EXPECT_NE(found.failure->run.output.find("the invariant holds"), std::string::npos);
}

TEST(Explore, FindsAnException) {
  const Exploration found = Explore(Everyday(100), [](const SimulationOptions& options) {
    if (!AnswersFalse(options)) throw std::runtime_error("thrown by it");
    return true;
  });
  ASSERT_TRUE(found.failure.has_value());
  EXPECT_EQ(found.failure->run.what, "the scenario threw an exception");
  EXPECT_NE(found.failure->run.output.find("thrown by it"), std::string::npos);
}

TEST(Explore, FindsAProcessThatLeaves) {
  const Exploration found = Explore(Everyday(1), [](const SimulationOptions&) -> bool { _exit(3); });
  ASSERT_TRUE(found.failure.has_value());
  EXPECT_EQ(found.failure->run.what, "it left with code 3");
}

TEST(Explore, KillsARunThatTakesTooLong) {
  ExploreOptions options = Everyday(1);
  options.run_max = absl::Milliseconds(200);
  options.shrink_runs_max = 0;
  const Exploration found = Explore(options, [](const SimulationOptions& simulation) {
    static_cast<void>(AnswersFalse(simulation));
    for (;;) pause();
    return true;
  });
  ASSERT_TRUE(found.failure.has_value());
  EXPECT_EQ(found.failure->run.what, "it took longer than 200ms");
}

TEST(Explore, FindsALeak) {
#ifdef EVRING_ASAN
  const Exploration found = Explore(Everyday(1), [](const SimulationOptions&) {
    void* volatile leaked = std::malloc(100);
    leaked = nullptr;
    return leaked == nullptr;
  });
  ASSERT_TRUE(found.failure.has_value());
  EXPECT_EQ(found.failure->run.what, "it leaked memory");
#else
  GTEST_SKIP() << "leaks are seen by LeakSanitizer, which this build is without";
#endif
}

// --- Shrinking

// Of several failures the first that is left with one fault, where there is one (see KeepsAllThatMatter); else the
// last.
Exploration ShrunkMost(const Scenario& scenario) {
  ExploreOptions options = Everyday(100);
  for (int failures = 1;; ++failures) {
    Exploration found = Explore(options, scenario);
    if (!found.failure.has_value() || found.failure->run.faults.size() == 1 || failures == 5) return found;
    options.simulation.seed = found.failure->seed + 1;
  }
}

TEST(Explore, DropsTheFaultsThatDoNotMatter) {
  for (const Scenario& scenario : {Scenario(AnswersFalse), Scenario(Hangs)}) {
    const Exploration found = ShrunkMost(scenario);
    ASSERT_TRUE(found.failure.has_value());
    EXPECT_GT(found.failure->first.injected, 1u);
    EXPECT_TRUE(found.failure->shrunk);
    ASSERT_EQ(found.failure->run.faults.size(), 1u);
    EXPECT_EQ(found.failure->run.faults[0].fault, Fault::kShortReceive);
    EXPECT_FALSE(found.failure->choice.left_out.contains(found.failure->run.faults[0].number));
  }
}

bool IsWrongOnceAtMost(const SimulationOptions& options) {
  Simulation simulation(options);
  return simulation.Run(TakesOneReceiveForAll()) < 2;
}

// Two faults are needed, and are kept. Others may be: those without which the two would not come, or without any one of
// which as many others do; so of several failures the best is looked at.
TEST(Explore, KeepsAllThatMatter) {
  ExploreOptions options = Everyday(200);
  int needed_min = 100;
  bool dropped = false;
  for (int failures = 0; failures < 5; ++failures) {
    const Exploration found = Explore(options, IsWrongOnceAtMost);
    ASSERT_TRUE(found.failure.has_value());
    EXPECT_TRUE(found.failure->shrunk);
    dropped = dropped || found.failure->run.injected < found.failure->first.injected;
    int needed = 0;
    for (const Injection& injection : found.failure->run.faults) {
      if (injection.fault == Fault::kShortReceive) ++needed;
      SimulationOptions without = options.simulation;
      without.seed = found.failure->seed;
      without.choice = found.failure->choice;
      without.choice.left_out.insert(injection.number);
      const RunOutcome run = RunApart(without, options.run_max, IsWrongOnceAtMost);
      EXPECT_TRUE(!run.failed || run.injected >= found.failure->run.injected) << "fault " << injection.number;
    }
    EXPECT_GE(needed, 2);
    needed_min = std::min(needed_min, needed);
    options.simulation.seed = found.failure->seed + 1;
  }
  EXPECT_EQ(needed_min, 2);
  EXPECT_TRUE(dropped);
}

TEST(Explore, AFailureWithoutFaultsIsShrunkToNone) {
  const Exploration found = Explore(Everyday(1), [](const SimulationOptions& options) {
    static_cast<void>(AnswersFalse(options));
    return false;
  });
  ASSERT_TRUE(found.failure.has_value());
  EXPECT_TRUE(found.failure->shrunk);
  EXPECT_EQ(found.failure->run.injected, 0u);
}

TEST(Explore, GivesUpAfterAsManyRunsAsToldTo) {
  ExploreOptions options = Everyday(100);
  options.shrink_runs_max = 1;
  const Exploration found = Explore(options, AnswersFalse);
  ASSERT_TRUE(found.failure.has_value());
  EXPECT_EQ(found.failure->shrink_runs, 1u);
  EXPECT_FALSE(found.failure->shrunk);
}

// --- Repeating

TEST(Explore, AFailureCanBeRepeated) {
  const ExploreOptions options = Everyday(100);
  for (const Scenario& scenario : {Scenario(AnswersFalse), Scenario(Hangs)}) {
    const Exploration found = Explore(options, scenario);
    ASSERT_TRUE(found.failure.has_value());
    SimulationOptions again = options.simulation;
    again.seed = found.failure->seed;
    EXPECT_EQ(RunApart(again, options.run_max, scenario).digest, found.failure->first.digest);
    again.choice = found.failure->choice;
    const RunOutcome repeated = RunApart(again, options.run_max, scenario);
    EXPECT_TRUE(repeated.failed);
    EXPECT_EQ(repeated.digest, found.failure->run.digest);
    EXPECT_EQ(repeated.log, found.failure->run.log);
    EXPECT_NE(repeated.digest, found.failure->first.digest);
  }
}

TEST(Explore, ARunApartIsTheRunHere) {
  const ExploreOptions options = Everyday(100);
  const Exploration found = Explore(options, AnswersFalse);
  ASSERT_TRUE(found.failure.has_value());
  SimulationOptions again = options.simulation;
  again.seed = found.failure->seed;
  again.choice = found.failure->choice;
  Simulation simulation(again);
  EXPECT_NE(simulation.Run(TakesOneReceiveForAll()), 0);
  EXPECT_EQ(simulation.report().digest, found.failure->run.digest);
  EXPECT_EQ(simulation.report().log, found.failure->run.log);
  ASSERT_EQ(simulation.report().injected.size(), found.failure->run.faults.size());
  EXPECT_EQ(found.failure->run.injected, found.failure->run.faults.size());
  for (size_t i = 0; i < found.failure->run.faults.size(); ++i) {
    EXPECT_EQ(simulation.report().injected[i].number, found.failure->run.faults[i].number);
    EXPECT_EQ(simulation.report().injected[i].fault, found.failure->run.faults[i].fault);
  }
}

// --- What it says

TEST(Explore, SaysHowFarItHasComeAndStopsInTime) {
  ExploreOptions options = Everyday(0);
  options.duration = absl::Milliseconds(300);
  options.progress_every = absl::ZeroDuration();
  std::FILE* progress = std::tmpfile();
  ASSERT_NE(progress, nullptr);
  options.progress = progress;
  const Exploration found = Explore(options, [](const SimulationOptions& simulation) {
    static_cast<void>(AnswersFalse(simulation));
    return true;
  });
  EXPECT_GE(found.elapsed, options.duration);
  EXPECT_GT(found.seeds, 0u);
  std::rewind(progress);
  std::array<char, 200> line;
  uint64_t lines = 0;
  while (std::fgets(line.data(), line.size(), progress) != nullptr) {
    ++lines;
    EXPECT_EQ(std::string(line.data()).find(std::to_string(lines) + " seeds, "), 0u) << line.data();
    EXPECT_NE(std::string(line.data()).find(" faults injected, "), std::string::npos);
    EXPECT_NE(std::string(line.data()).find(" runs per second"), std::string::npos);
  }
  EXPECT_EQ(lines, found.seeds);
  std::fclose(progress);
}

TEST(Explore, SaysWhatIsNeededToRepeatAFailure) {
  const Exploration found = ShrunkMost(AnswersFalse);
  ASSERT_TRUE(found.failure.has_value());
  ASSERT_EQ(found.failure->run.faults.size(), 1u);
  const std::string text = found.failure->ToString();
  EXPECT_EQ(text.find("seed " + std::to_string(found.failure->seed) + " fails: the scenario answered false"), 0u);
  EXPECT_NE(text.find(std::to_string(found.failure->run.faults[0].number) + ": short-receive\n"), std::string::npos);
  for (const uint64_t number : found.failure->choice.left_out) {
    EXPECT_NE(text.find(" " + std::to_string(number)), std::string::npos);
  }
  EXPECT_NE(text.find("fault short-receive\n"), std::string::npos);  // a line of the log
}

TEST(Journal, KeepsTheNewestLines) {
  const auto journal = std::make_unique<Journal>();
  std::string all;
  for (int i = 0; i < 60'000; ++i) {
    const std::string line = "line " + std::to_string(i) + "\n";
    journal->AddLine(line, static_cast<uint64_t>(i));
    all += line;
  }
  ASSERT_GT(all.size(), Journal::kLogBytes);
  const std::string kept = journal->log();
  EXPECT_GT(kept.size(), Journal::kLogBytes - 20);
  EXPECT_LE(kept.size(), Journal::kLogBytes);
  EXPECT_EQ(kept, all.substr(all.size() - kept.size()));
  EXPECT_EQ(kept.substr(0, 5), "line ");
  EXPECT_EQ(journal->digest(), 59'999u);
}

}  // namespace
}  // namespace evring::sim
