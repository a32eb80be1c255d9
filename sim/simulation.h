// simulation.h: runs a program of tasks on a simulated machine: the public face of evring::sim.
//
//     evring::sim::SimulationOptions options;
//     options.seed = 42;
//     options.faults = evring::sim::FaultRules::Storm();
//     evring::sim::Simulation simulation(options);
//     absl::Status status = simulation.Run(Scenario());
//
// The scenario is a task like any other: it listens, connects, sleeps and spawns by the calls that it uses elsewhere.
// What it awaits is served by the simulated kernel (kernel.h): time is virtual, every order and every fault is the
// seed's, and the same seed gives the same run.
//
// Threads: one Simulation runs at a time in a process; Run() once. Inside, tasks find it by Simulation::Current().

#ifndef EVRING_SIM_SIMULATION_H_
#define EVRING_SIM_SIMULATION_H_

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "kevent/check.h"
#include "runtime/runtime.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "sim/faults.h"
#include "sim/files.h"
#include "sim/kernel.h"

namespace evring::sim {

struct SimulationOptions : KernelOptions {
  SimulationOptions() = default;
  RuntimeOptions runtime;  // its kernel, workers and rescue are the simulation's own
};

// What a run has been.
struct SimulationReport {
  uint64_t digest = 0;  // of the whole log: equal for equal runs
  uint64_t log_lines = 0;
  uint64_t calls = 0;  // of the kernel
  absl::Duration virtual_time;
  std::vector<Injection> injected;
  int open_descriptors = 0;  // when the first task had ended
  // By worker, at the same time: the receive buffers that its ring has to pick from, by their numbers.
  std::vector<std::multiset<uint16_t>> buffers_held;
  std::shared_ptr<FileSystem> after_crash;  // if there was to be one
  std::string log;                          // the newest lines
};

class Simulation {
 public:
  explicit Simulation(const SimulationOptions& options);

  // Runs `first` to its end, then cancels whatever else still runs. A run in which nothing can happen any more, or that
  // goes on for ever, prints its seed and log and aborts.
  template <class T>
  T Run(Task<T> first) {
    auto runtime = Runtime::Create(runtime_options_);
    EVRING_CHECK(runtime.ok(), "a simulated machine has room for its runtime");
    auto handle = (*runtime)->Spawn(Main(this, std::move(first)));
    EVRING_CHECK(handle.ok(), "a new runtime takes tasks");
    const Running running(this);
    kernel_.Start();
    if constexpr (std::is_void_v<T>) {
      handle->Wait();
      StopTheRest(runtime->get());
    } else {
      T result = handle->Wait();
      StopTheRest(runtime->get());
      return result;
    }
  }

  // The one that runs, for its tasks. nullptr: none does.
  static Simulation* Current() { return current_; }

  // After Run().
  const SimulationReport& report() const { return report_; }

  // For a scenario: the virtual time, as monotonic as the machine's; the links.
  absl::Time Now() { return absl::UnixEpoch() + absl::Nanoseconds(kernel_.NowNs()); }
  Network* network() { return kernel_.network(); }
  // Calls of the kernel so far.
  uint64_t calls() const { return kernel_.calls(); }
  // For decisions of the scenario: a sequence that nothing else draws from.
  Random* random() { return &random_; }

 private:
  // While a Simulation runs. Written while its workers have not begun, and when they have ended.
  class Running {
   public:
    explicit Running(Simulation* simulation) {
      EVRING_CHECK(current_ == nullptr, "one simulation runs at a time");
      current_ = simulation;
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() { current_ = nullptr; }
  };

  template <class T>
  static Task<T> Main(Simulation* self, Task<T> first) {
    if constexpr (std::is_void_v<T>) {
      co_await std::move(first);
      self->End();
    } else {
      T result = co_await std::move(first);
      self->End();
      co_return result;
    }
  }
  void End();
  void StopTheRest(Runtime* runtime);

  static inline Simulation* current_ = nullptr;

  Kernel kernel_;
  Random random_;
  RuntimeOptions runtime_options_;
  const bool crashes_;
  SimulationReport report_;
  int64_t start_ns_;
};

}  // namespace evring::sim

#endif  // EVRING_SIM_SIMULATION_H_
