// options.h: what can be set when a runtime is made.

#ifndef EVRING_RUNTIME_OPTIONS_H_
#define EVRING_RUNTIME_OPTIONS_H_

#include <signal.h>

#include "absl/time/time.h"
#include "kevent/buffer_ring.h"
#include "kevent/kernel.h"
#include "kevent/ring.h"

namespace evring {

struct RuntimeOptions {
  RuntimeOptions() = default;

  // Worker threads, each with its ring; 0: as many as the CPUs that the affinity mask and the cgroup's quota allow. At
  // most 64.
  int workers = 0;

  // Who serves the rings.
  kevent::Kernel* kernel = kevent::SystemKernel();
  kevent::RingOptions ring;
  // Buffers for multishot receives, per worker. The group number is the runtime's.
  kevent::BufferRingOptions buffers;

  // A worker that stays inside one task for longer than this has its completions taken over by another (between one and
  // two times the threshold, plus about 0.1 ms). InfiniteDuration switches that off; so does a single worker.
  absl::Duration rescue_threshold = absl::Milliseconds(2);
  // The signal that asks a busy worker for its completions. Blocking calls in tasks may see EINTR from it where the
  // kernel does not restart them (nanosleep, poll, …).
  int rescue_signal = SIGURG;

  // How late the timers of tasks (Sleep, Interval, timeouts) may come, so that neighbouring deadlines share a wake-up
  // (timer_slack.h). At most an hour.
  absl::Duration timer_slack = absl::ZeroDuration();

  // Threads for RunBlocking(): made when needed, ended after `blocking_idle` without work.
  int blocking_threads_max = 64;
  absl::Duration blocking_idle = absl::Seconds(10);
};

}  // namespace evring

#endif  // EVRING_RUNTIME_OPTIONS_H_
