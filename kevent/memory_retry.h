// memory_retry.h: what to do when the kernel has no memory left to lock for a ring.
//
// Rings count against RLIMIT_MEMLOCK of the user (unless the process may exceed it), and what a closed ring held comes
// back with a delay, up to a tenth of a second after the close. So a program that has just closed rings, or shares its
// user with one, can meet ENOMEM although there is room: it is worth a little patience.

#ifndef EVRING_KEVENT_MEMORY_RETRY_H_
#define EVRING_KEVENT_MEMORY_RETRY_H_

#include <errno.h>
#include <time.h>

#include <algorithm>

namespace evring::kevent {

// Calls `attempt`, which answers 0 or more, or a negative errno, until it does not answer -ENOMEM, for about two
// seconds at most. The last answer. Blocks the thread meanwhile.
template <class Attempt>
int RetryWithoutMemory(Attempt&& attempt) {
  constexpr long kFirstMs = 2, kLongestMs = 100, kAllMs = 2000;
  long waited_ms = 0;
  for (long ms = kFirstMs;; ms = std::min(ms * 2, kLongestMs)) {
    const int rc = attempt();
    if (rc != -ENOMEM || waited_ms >= kAllMs) return rc;
    const timespec pause{0, ms * 1'000'000};
    nanosleep(&pause, nullptr);
    waited_ms += ms;
  }
}

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_MEMORY_RETRY_H_
