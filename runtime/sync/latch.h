// latch.h: waiting until something has happened a given number of times. Used once; for every round anew: barrier.h.
//
//   Latch ready(3);
//   … three servers: ready.CountDown();
//   absl::Status status = co_await ready.Wait();
//
// What was done before each CountDown() is visible after Wait().

#ifndef EVRING_RUNTIME_SYNC_LATCH_H_
#define EVRING_RUNTIME_SYNC_LATCH_H_

#include <cstdint>

#include "absl/status/status.h"
#include "kevent/check.h"
#include "runtime/sync/internal/awaiter.h"
#include "runtime/sync/internal/errors.h"
#include "runtime/sync/internal/latch_core.h"

namespace evring {

class LatchAwaiter;

class Latch {
 public:
  // 0: nobody ever waits.
  explicit constexpr Latch(uint64_t count) : core_(count) {}
  Latch(const Latch&) = delete;
  Latch& operator=(const Latch&) = delete;
  // With no Wait() going on; that is checked. Whoever was let through, by Wait() or open(), may destroy it at once if
  // all other waits have returned, though the last CountDown() may not have.
  ~Latch() { EVRING_CHECK(core_.zero()->idle(), "a latch is destroyed while a task waits for it"); }

  // Counts down by `n`; at zero all are let through that wait, and all that come. No further: that is checked. Any
  // thread.
  void CountDown(uint64_t n = 1) { core_.CountDown(n); }

  // The count is zero. Any thread.
  bool open() const { return core_.zero()->IsSet(); }

  // Suspends until the count is zero. Await on a worker.
  // absl::Status. kCancelled: a stop was requested first; if before the call, at once.
  [[nodiscard]] LatchAwaiter Wait();

  // Counts down by one and then is as Wait(). A stop takes nothing back: the task was there.
  [[nodiscard]] LatchAwaiter ArriveAndWait();

 private:
  friend class LatchAwaiter;

  using Core = internal::LatchCore<internal::RuntimeHost>;
  Core core_;
};

class [[nodiscard]] LatchAwaiter final : public internal::Awaiter<Latch::Core::Event, Latch::Core::Event::Node> {
 public:
  [[nodiscard]] absl::Status await_resume() const {
    if (cancelled()) [[unlikely]]
      return internal::LatchCancelled();
    return absl::OkStatus();
  }

 private:
  friend class Latch;
  explicit LatchAwaiter(Latch::Core::Event* zero) : Awaiter(zero) {}
};

inline LatchAwaiter Latch::Wait() { return LatchAwaiter(core_.zero()); }
inline LatchAwaiter Latch::ArriveAndWait() {
  CountDown();
  return Wait();
}

}  // namespace evring

#endif  // EVRING_RUNTIME_SYNC_LATCH_H_
