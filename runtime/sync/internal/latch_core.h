// latch_core.h: the algorithm of Latch: a counter, and an event that is set by whoever brings it to zero.
//
//   H1  The counter goes down by read-modify-writes that acquire and release: who brings it to zero has seen what all
//       did before they counted down, and by the event those see it who wait.
//   H2  The event is set after the last of them: whoever sees it set may destroy the latch (event_core.h). So nothing
//       but the event is looked at by who waits.
//
// Checked by: tests/model/sync_latch_model_test.cc.

#ifndef EVRING_RUNTIME_SYNC_INTERNAL_LATCH_CORE_H_
#define EVRING_RUNTIME_SYNC_INTERNAL_LATCH_CORE_H_

#include <atomic>
#include <cstdint>

#include "kevent/check.h"
#include "runtime/sync/internal/event_core.h"

namespace evring::internal {

template <class Host>
class LatchCore {
 public:
  using Event = EventCore<Host>;

  explicit constexpr LatchCore(uint64_t count) : count_(count), zero_(count == 0) {}

  Event* zero() { return &zero_; }
  const Event* zero() const { return &zero_; }

  void CountDown(uint64_t n) {
    if (n == 0) return;
    const uint64_t before = count_.fetch_sub(n, std::memory_order_acq_rel);  // H1: all of them pair with each other
    EVRING_CHECK(before >= n, "a latch is counted down to zero and no further");
    if (before == n) zero_.Set();  // the last touch
  }

 private:
  typename Host::Atomics::template Atomic<uint64_t> count_;
  Event zero_;
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_SYNC_INTERNAL_LATCH_CORE_H_
