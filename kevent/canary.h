// canary.h: bugs that a test can switch on, one at a time, to show that the simulated kernel finds them.
//
// EVRING_CANARY(kName) is a condition that makes the code around it wrong. It is the constant false, and the compiler
// drops what depends on it, unless the program is built with EVRING_CANARIES; then it is true while a test has said so
// by SetCanary(). Nothing but //tests/sim:canaried is built that way: all of the program or none of it, since headers
// differ. Checked by: tests/sim/canary_test.cc.

#ifndef EVRING_KEVENT_CANARY_H_
#define EVRING_KEVENT_CANARY_H_

#include <atomic>
#include <cstdint>

namespace evring::kevent {

enum class Canary : uint8_t {
  kNone,
  kWakeNotSent,              // a worker is chosen to be woken, and the message is not sent
  kInboxNotLookedAt,         // a worker parks without a last look at its inbox
  kBufferReturnedEarly,      // a received buffer goes back to the kernel while the task still reads it
  kCancelForgotten,          // a request that is to be cancelled is not
  kShortWriteTakenForWhole,  // a send that has sent a part answers OK
  kMultishotNotRearmed,      // a multishot that has ended with an event counts as armed
  kOverflowNotFlushed,       // completions that the kernel keeps for a full ring are not asked for
  kStolenTwice,              // a thief leaves the last of the tasks that it takes where it was
  kTimerNotRearmed,          // a deadline that was moved is not armed again when its timer fires
  kLateAcceptKept,           // a connection that nobody takes any more is not closed
  kNoSyncBeforeRename,       // a file is renamed over another before its data is on the disk
};

#ifdef EVRING_CANARIES

inline std::atomic<Canary> canary_on{Canary::kNone};

// With no runtime running.
inline void SetCanary(Canary canary) { canary_on.store(canary, std::memory_order_relaxed); }

#define EVRING_CANARY(name) \
  (::evring::kevent::canary_on.load(std::memory_order_relaxed) == ::evring::kevent::Canary::name)

#else

consteval bool IsCanary(Canary) { return false; }

#define EVRING_CANARY(name) (::evring::kevent::IsCanary(::evring::kevent::Canary::name))

#endif

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_CANARY_H_
