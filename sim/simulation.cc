#include "sim/simulation.h"

namespace evring::sim {
namespace {

KernelOptions OfKernel(const SimulationOptions& options) {
  KernelOptions kernel;
  kernel.seed = options.seed;
  kernel.workers = options.workers;
  kernel.faults = options.faults;
  kernel.left_out = options.left_out;
  kernel.socket_buffer_bytes = options.socket_buffer_bytes;
  kernel.descriptors_max = options.descriptors_max;
  kernel.files = options.files.get();
  kernel.crash_at_call = options.crash_at_call;
  kernel.calls_max = options.calls_max;
  kernel.log_lines = options.log_lines;
  kernel.journal = options.journal;
  return kernel;
}

}  // namespace

Simulation::Simulation(const SimulationOptions& options)
    : files_(options.files),
      kernel_(OfKernel(options)),
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
  report_.open_descriptors = kernel_.open_descriptors();
  report_.calls = kernel_.calls();
  if (crashes_) report_.after_crash = kernel_.TakeAfterCrash();
  report_.virtual_time = absl::Nanoseconds(world->now() - start_ns_);
  kernel_.Finish();
  report_.injected = world->faults.injected();
  report_.digest = world->log.digest();
  report_.log_lines = world->log.lines();
  report_.log = world->log.Newest();
}

}  // namespace evring::sim
