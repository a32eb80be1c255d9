// shared_mutex.h: one writer or any number of readers at a time, across co_await.
//
//   absl::StatusOr<ReaderGuard> reading = co_await table_mutex.LockShared();
//   absl::StatusOr<WriterGuard> writing = co_await table_mutex.Lock();
//
// Fair, readers and writers alike: who waits is served in the order of coming. Readers that wait one behind the other
// are let in together. So neither side can starve the other, as a stream of readers starves writers where readers go
// first, and a stream of writers readers where writers do. What that costs: a reader that comes while a writer waits
// waits behind it, though readers are inside. Hence a task that has the mutex, shared or not, must not lock it again:
// it may wait for a writer who waits for it, until one of them is stopped.
//
// It is a semaphore with as many permits as there can be: a reader takes one, a writer takes all of them
// (internal/semaphore_core.h). There is no way from reader to writer: two readers who want it wait for each other.
//
// Any thread may try, unlock and destroy.

#ifndef EVRING_RUNTIME_SYNC_SHARED_MUTEX_H_
#define EVRING_RUNTIME_SYNC_SHARED_MUTEX_H_

#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "kevent/check.h"
#include "runtime/sync/internal/awaiter.h"
#include "runtime/sync/internal/errors.h"
#include "runtime/sync/internal/semaphore_core.h"

namespace evring {

class SharedMutex;

namespace internal {

using SharedMutexCore = SemaphoreCore<RuntimeHost>;
inline constexpr uint64_t kOneReader = 1;
inline constexpr uint64_t kOneWriter = SharedMutexCore::kPermitsMax;

// A shared mutex that is held, until the end of its scope. May be moved and unlocked on any thread.
template <uint64_t kPermits>
class [[nodiscard]] SharedMutexGuard {
 public:
  SharedMutexGuard() = default;
  SharedMutexGuard(SharedMutexGuard&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  SharedMutexGuard& operator=(SharedMutexGuard&& other) noexcept {
    if (this != &other) {
      Unlock();
      core_ = std::exchange(other.core_, nullptr);
    }
    return *this;
  }
  ~SharedMutexGuard() { Unlock(); }

  // False for a guard that is empty, was moved from, or unlocked.
  explicit operator bool() const { return core_ != nullptr; }

  // Now, and not at the end of the scope. No effect on an empty guard. The mutex is not touched once it is free or
  // handed over.
  void Unlock() {
    if (core_ != nullptr) std::exchange(core_, nullptr)->Release(kPermits);
  }

  // From writer to reader without letting another writer in between; lets in the readers that wait first in line. The
  // writer's guard is empty afterwards; an empty one gives an empty one.
 [[nodiscard]] SharedMutexGuard<kOneReader> Downgrade() &&
     requires(kPermits == kOneWriter) {
       SharedMutexCore* core = std::exchange(core_, nullptr);
       if (core != nullptr) core->Release(kOneWriter - kOneReader);
       return SharedMutexGuard<kOneReader>(core);
     }

     private : friend class evring::SharedMutex;
  template <uint64_t>
  friend class SharedMutexGuard;
  template <uint64_t>
  friend class SharedLockAwaiter;
  explicit SharedMutexGuard(SharedMutexCore* core) : core_(core) {}

  SharedMutexCore* core_ = nullptr;
};

template <uint64_t kPermits>
class [[nodiscard]] SharedLockAwaiter final : public Awaiter<SharedMutexCore, SharedMutexCore::Node> {
 public:
  absl::StatusOr<SharedMutexGuard<kPermits>> await_resume() {
    if (cancelled()) [[unlikely]]
      return SharedLockCancelled();
    return SharedMutexGuard<kPermits>(core());
  }

 private:
  friend class evring::SharedMutex;
  explicit SharedLockAwaiter(SharedMutexCore* core) : Awaiter(core, kPermits) {}
};

}  // namespace internal

using ReaderGuard = internal::SharedMutexGuard<internal::kOneReader>;
using WriterGuard = internal::SharedMutexGuard<internal::kOneWriter>;

class SharedMutex {
 public:
  constexpr SharedMutex() : core_(internal::kOneWriter) {}
  SharedMutex(const SharedMutex&) = delete;
  SharedMutex& operator=(const SharedMutex&) = delete;
  // Held by nobody and with no Lock() or LockShared() going on; that is checked. The task that was the last to get it
  // may destroy it as soon as all have unlocked.
  ~SharedMutex() {
    EVRING_CHECK(core_.idle() && core_.permits() == internal::kOneWriter,
                 "a shared mutex is destroyed while it is held");
  }

  // Suspends until nobody else has the mutex and it is the calling task's turn. Await on a worker.
  // absl::StatusOr<WriterGuard>. kCancelled: a stop was requested before the mutex was given to the task, which then
  // does not have it; if before the call, at once, though the mutex may be free.
  [[nodiscard]] internal::SharedLockAwaiter<internal::kOneWriter> Lock() {
    return internal::SharedLockAwaiter<internal::kOneWriter>(&core_);
  }

  // Suspends until no writer has the mutex and none that came before waits. Await on a worker.
  // absl::StatusOr<ReaderGuard>. kCancelled: as for Lock().
  [[nodiscard]] internal::SharedLockAwaiter<internal::kOneReader> LockShared() {
    return internal::SharedLockAwaiter<internal::kOneReader>(&core_);
  }

  // Take the mutex if nobody waits and it is free, or has readers only. Do not wait. An empty guard: it is not.
  // Any thread.
  [[nodiscard]] WriterGuard TryLock() { return WriterGuard(core_.TryAcquire(internal::kOneWriter) ? &core_ : nullptr); }
  [[nodiscard]] ReaderGuard TryLockShared() {
    return ReaderGuard(core_.TryAcquire(internal::kOneReader) ? &core_ : nullptr);
  }

 private:
  internal::SharedMutexCore core_;
};

}  // namespace evring

#endif  // EVRING_RUNTIME_SYNC_SHARED_MUTEX_H_
