// machines.h: where a test of tasks runs: on the kernel of this machine, with several counts of workers, and on a
// simulated one (sim/simulation.h), where each seed has its own order of things and its own faults.
//
//   class SleepTest : public EveryMachine {};
//   INSTANTIATE_TEST_SUITE_P(Machines, SleepTest, Machines());
//   TEST_P(SleepTest, NeverEndsEarly) { RunOk(NeverEarly()); }
//
// Simulated, time is virtual and nothing outside of the tasks takes part: tests that have threads of their own, measure
// real time or look at real descriptors stay with EveryWorkerCount (runtime_test_util.h), and say why.
//
// Of sim/ it includes the faults only: what includes this is compiled again and again.
//
// Of the simulated machines seed n has 1 + n % 4 workers, and by turns no faults, those of every day and a storm. The
// name of a case says its seed:
//
//   --gtest_filter='*Seed7*'    that seed
//   EVRING_SIM_SEEDS=n          so many instead of three dozen, which go through all combinations
//   EVRING_SIM_FROM=n           from that seed on

#ifndef EVRING_TESTS_RUNTIME_MACHINES_H_
#define EVRING_TESTS_RUNTIME_MACHINES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/options.h"
#include "runtime/task.h"
#include "sim/faults.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring::testing {

struct Machine {
  int workers = 1;
  uint64_t seed = 0;      // 0: the kernel of this machine
  const char* name = "";  // of its faults
  sim::FaultRules faults = sim::FaultRules::None();

  bool simulated() const { return seed != 0; }
  // `n` rounds on this machine's kernel, a fiftieth of them simulated: there each is an order that was chosen, not one
  // of many alike.
  int Rounds(int n) const { return simulated() ? std::max(n / 50, 8) : Scaled(n); }

  std::string ToString() const {
    return simulated() ? absl::StrCat("Seed", seed, "Workers", workers, name) : absl::StrCat("Workers", workers);
  }
  friend std::ostream& operator<<(std::ostream& out, const Machine& machine) { return out << machine.ToString(); }
};

// What is simulated: the worst that happens, and how many workers there are; 0: it is the seed's.
struct Simulated {
  Simulated(bool errors, int workers, uint64_t seeds) : errors(errors), workers(workers), seeds(seeds) {}
  bool errors;
  int workers;
  uint64_t seeds;
};

inline Machine SimulatedMachine(uint64_t seed, const Simulated& simulated) {
  Machine machine;
  machine.seed = seed;
  machine.workers = simulated.workers != 0 ? simulated.workers : 1 + static_cast<int>(seed % 4);
  const uint64_t faults = seed % 3;
  if (faults == 0) {
    machine.name = "Calm";
  } else if (faults == 1 || !simulated.errors) {
    machine.name = "Everyday";
    machine.faults = sim::FaultRules::Everyday();
  } else {
    machine.name = "Storm";
    machine.faults = sim::FaultRules::Storm();
    machine.faults[sim::Fault::kClockJump] = {};  // tests say by when something has happened
  }
  return machine;
}

// One on which nothing goes wrong.
inline Machine CalmMachine(int workers = 1) {
  return SimulatedMachine(/*seed=*/3, Simulated(/*errors=*/false, workers, /*seeds=*/1));
}

inline uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

inline std::vector<Machine> RealMachinesWith(const std::vector<int>& workers) {
  std::vector<Machine> machines(workers.size());
  for (size_t i = 0; i < workers.size(); ++i) machines[i].workers = workers[i];
  return machines;
}

inline auto MachinesWith(const std::vector<int>& real_workers, const Simulated& simulated) {
  std::vector<Machine> machines = RealMachinesWith(real_workers);
  const uint64_t from = std::max<uint64_t>(1, FromEnvironment("EVRING_SIM_FROM", 1));
  const uint64_t n = FromEnvironment("EVRING_SIM_SEEDS", simulated.seeds);
  for (uint64_t i = 0; i < n; ++i) machines.push_back(SimulatedMachine(from + i, simulated));
  return ::testing::ValuesIn(machines);
}

inline auto Machines(const std::vector<int>& real_workers = {1, 2, 4, 8}) {
  return MachinesWith(real_workers, Simulated(/*errors=*/true, /*workers=*/0, /*seeds=*/36));
}
// For what is said of connections that do not fail.
inline auto MachinesWithoutErrors(const std::vector<int>& real_workers) {
  return MachinesWith(real_workers, Simulated(/*errors=*/false, /*workers=*/0, /*seeds=*/36));
}
// For what a simulated machine does not have, and says so.
inline auto SimulatedMachines() { return MachinesWith({}, Simulated(/*errors=*/false, /*workers=*/0, /*seeds=*/4)); }
// For what is said of one worker only: the order in which its tasks run, say.
inline auto MachinesOfOneWorker() { return MachinesWith({1}, Simulated(/*errors=*/true, /*workers=*/1, /*seeds=*/12)); }
inline auto RealMachines(const std::vector<int>& workers = {1, 2, 4, 8}) {
  return ::testing::ValuesIn(RealMachinesWith(workers));
}

inline std::string MachineName(const ::testing::TestParamInfo<Machine>& info) { return info.param.ToString(); }

// --- A run

// Runs `task` on the simulated `machine`; then there is time for the requests of what it let go of to end, and nothing
// may be left. `with`: anything but workers and kernel.
void RunSimulated(Task<void> task, const Machine& machine, const RuntimeOptions& with);

// Runs a task that must not fail. `with`: anything but workers and kernel.
inline void RunOk(Task<void> task, const Machine& machine, RuntimeOptions with = RuntimeOptions()) {
  with.workers = machine.workers;
  if (machine.simulated()) return RunSimulated(std::move(task), machine, with);
  RunOk(std::move(task), with);
}

template <class T>
Task<> KeepValue(Task<T> task, std::optional<T>* value) {
  value->emplace(co_await std::move(task));
}
template <class T>
T RunValue(Task<T> task, const Machine& machine, RuntimeOptions with = RuntimeOptions()) {
  with.workers = machine.workers;
  if (!machine.simulated()) return RunValue(std::move(task), with);
  std::optional<T> value;
  RunSimulated(KeepValue(std::move(task), &value), machine, with);
  return *std::move(value);
}

// The cases of a suite derived from this run on the machine of their parameter.
class EveryMachine : public ::testing::TestWithParam<Machine> {
 protected:
  static const Machine& machine() { return GetParam(); }
  static int workers() { return machine().workers; }
  static int Rounds(int n) { return machine().Rounds(n); }
  static void RunOk(Task<void> task, const RuntimeOptions& with = RuntimeOptions()) {
    ::evring::testing::RunOk(std::move(task), machine(), with);
  }
  template <class T>
  static T RunValue(Task<T> task) {
    return ::evring::testing::RunValue(std::move(task), machine());
  }
  // Calls `round` again until it says that what it is there for has happened, such as that a stop has met a wait. That
  // is a matter of chance on this machine; a simulated one goes its seed's way, once.
  template <class Round>
  static void RepeatUntil(Round round) {
    const absl::Time end = absl::Now() + absl::Seconds(30);
    while (!round() && !machine().simulated()) {
      ASSERT_FALSE(::testing::Test::HasFailure());
      ASSERT_LT(absl::Now(), end) << "it does not happen";
    }
  }
};

}  // namespace evring::testing

#endif  // EVRING_TESTS_RUNTIME_MACHINES_H_
