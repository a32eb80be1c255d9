// memory_retry.h: what to do when the kernel has no memory left to lock for a ring.
//
// Rings count against RLIMIT_MEMLOCK of the user (unless the process may exceed it), and what a closed ring held comes
// back with a delay, up to a tenth of a second after the close. So a program that has just closed rings, or shares its
// user with one, can meet ENOMEM although there is room: it is worth a little patience.
// Checked by: tests/kevent/memory_retry_test.cc.

#ifndef EVRING_KEVENT_MEMORY_RETRY_H_
#define EVRING_KEVENT_MEMORY_RETRY_H_

#include <errno.h>
#include <time.h>

#include <algorithm>
#include <utility>

namespace evring::kevent {

inline constexpr long kMemoryRetryFirstMs = 2;
inline constexpr long kMemoryRetryLongestMs = 100;
inline constexpr long kMemoryRetryAllMs = 2000;

// Calls `attempt`, which answers 0 or more, or a negative errno, until it does not answer -ENOMEM, and between two
// calls `pause(ms)`: kMemoryRetryFirstMs, doubling up to kMemoryRetryLongestMs, until kMemoryRetryAllMs have gone into
// pauses. The last answer.
template <class Attempt, class Pause>
int RetryWithoutMemory(Attempt&& attempt, Pause&& pause) {
  long paused_ms = 0;
  for (long ms = kMemoryRetryFirstMs;; ms = std::min(ms * 2, kMemoryRetryLongestMs)) {
    const int rc = attempt();
    if (rc != -ENOMEM || paused_ms >= kMemoryRetryAllMs) return rc;
    pause(ms);
    paused_ms += ms;
  }
}

// The same, asleep in the pauses: blocks the thread for about two seconds at most.
template <class Attempt>
int RetryWithoutMemory(Attempt&& attempt) {
  return RetryWithoutMemory(std::forward<Attempt>(attempt), [](long ms) {
    const timespec pause{0, ms * 1'000'000};
    nanosleep(&pause, nullptr);  // cut short by a signal, the next attempt comes a little earlier
  });
}

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_MEMORY_RETRY_H_
