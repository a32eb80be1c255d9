// semaphore.h: a number of permits that tasks take and give back, such as connections at a time or bytes in flight.
//
// Fair: who waits is served in the order of coming, whatever he demands. A demand for more than there will ever be
// waits until it is stopped, and everybody behind it does.

#ifndef EVRING_RUNTIME_SYNC_SEMAPHORE_H_
#define EVRING_RUNTIME_SYNC_SEMAPHORE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "kevent/check.h"
#include "runtime/sync/internal/awaiter.h"
#include "runtime/sync/internal/errors.h"
#include "runtime/sync/internal/semaphore_core.h"

namespace evring {

class AcquireAwaiter;

class Semaphore {
 public:
  // At most 2^62 - 1 permits, at any time; that is checked.
  explicit constexpr Semaphore(uint64_t permits) : core_(permits) {}
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;
  // With no Acquire() going on; that is checked. Whoever has got the last permits of a Release() may destroy it at
  // once, though that Release() may not have returned.
  ~Semaphore() { EVRING_CHECK(core_.idle(), "a semaphore is destroyed while a task waits for it"); }

  // Suspends until `n` permits are there and nobody who came before waits, and takes them. Await on a worker.
  // absl::Status. OK: they are taken; what was done before their Release() is visible. kCancelled: a stop was
  // requested first, nothing is taken; if before the call, at once, though the permits may be there.
  [[nodiscard]] AcquireAwaiter Acquire(uint64_t n = 1);

  // Takes `n` permits if they are there and nobody waits. Does not wait. Any thread.
  [[nodiscard]] bool TryAcquire(uint64_t n = 1) { return core_.TryAcquire(n); }

  // Adds `n` permits and lets those through for whom they suffice. Any thread; it need not be who acquired them.
  void Release(uint64_t n = 1) { core_.Release(n); }

  // Those that are there now; an instant later it may be different. Any thread.
  uint64_t permits() const { return core_.permits(); }

 private:
  friend class AcquireAwaiter;

  using Core = internal::SemaphoreCore<internal::RuntimeHost>;
  Core core_;
};

class [[nodiscard]] AcquireAwaiter final : public internal::Awaiter<Semaphore::Core, Semaphore::Core::Node> {
 public:
  [[nodiscard]] absl::Status await_resume() const {
    if (cancelled()) [[unlikely]]
      return internal::AcquireCancelled();
    return absl::OkStatus();
  }

 private:
  friend class Semaphore;
  AcquireAwaiter(Semaphore::Core* core, uint64_t n) : Awaiter(core, n) {}
};

inline AcquireAwaiter Semaphore::Acquire(uint64_t n) { return AcquireAwaiter(&core_, n); }

}  // namespace evring

#endif  // EVRING_RUNTIME_SYNC_SEMAPHORE_H_
