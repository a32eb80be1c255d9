#include "sim/simulation.h"

namespace evring::sim {

Simulation::Simulation(const SimulationOptions& options)
    : kernel_(options),
      random_(options.seed, /*stream=*/4),
      runtime_options_(options.runtime),
      crashes_(options.crash_at_call != 0) {
  runtime_options_.kernel = &kernel_;
  runtime_options_.workers = options.workers;
  runtime_options_.rescue_threshold = absl::InfiniteDuration();  // it is made of signals and real time
  start_ns_ = kernel_.world()->now();
}

void Simulation::End() {
  World* world = kernel_.world();
  world->Say("the first task has ended");
  report_.open_descriptors = kernel_.open_descriptors();
  report_.buffers_held = kernel_.BuffersHeld();
  report_.calls = kernel_.calls();
  if (crashes_) report_.after_crash = kernel_.TakeAfterCrash();
  report_.virtual_time = absl::Nanoseconds(world->now() - start_ns_);
  report_.injected = world->faults.injected();
  report_.digest = world->log.digest();
  report_.log_lines = world->log.lines();
  report_.log = world->log.Newest();
  kernel_.Finish();  // from here on other workers run too
}

void Simulation::StopTheRest(Runtime* runtime) {
  runtime->RequestStop();
  kernel_.LetTimePass();
  runtime->Shutdown();
}

}  // namespace evring::sim
