// mutex.h: mutual exclusion of tasks, across co_await.
//
//   absl::StatusOr<MutexGuard> guard = co_await mutex.Lock();
//   if (!guard.ok()) co_return guard.status();
//   … co_await stream.Write(…) …                  the guard goes with the task from worker to worker
//
// For sections that contain a co_await; one that does not is better off with a std::mutex or a SpinLock.
//
// Fair: who waits gets the mutex in the order of coming, handed over by the holder that unlocks; nobody gets in
// between. The task that gets it runs next on the worker of the one who unlocked.
//
// Any thread may TryLock, unlock and destroy. Not recursive: a task that locks twice waits for itself until it is
// stopped.

#ifndef EVRING_RUNTIME_SYNC_MUTEX_H_
#define EVRING_RUNTIME_SYNC_MUTEX_H_

#include <utility>

#include "absl/status/statusor.h"
#include "kevent/check.h"
#include "runtime/sync/internal/awaiter.h"
#include "runtime/sync/internal/errors.h"
#include "runtime/sync/internal/mutex_core.h"

namespace evring {

class CondVarAwaiter;
class LockAwaiter;
class MutexGuard;

class Mutex {
 public:
  constexpr Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  // Held by nobody and with no Lock() going on; that is checked. The task that was the last to get it may destroy it as
  // soon as it has unlocked.
  ~Mutex() { EVRING_CHECK(core_.idle(), "a mutex is destroyed while it is held"); }

  // Suspends until the mutex is the calling task's. Await on a worker.
  // absl::StatusOr<MutexGuard>. kCancelled: a stop was requested before the mutex was given to the task, which then
  // does not have it; if before the call, at once, though the mutex may be free.
  [[nodiscard]] LockAwaiter Lock();

  // Takes the mutex if it is free. Does not wait. An empty guard: it is held. Any thread.
  [[nodiscard]] MutexGuard TryLock();

 private:
  friend class LockAwaiter;
  friend class MutexGuard;

  using Core = internal::MutexCore<internal::RuntimeHost>;
  Core core_;
};

// A mutex that is held, until the end of its scope. May be moved and unlocked on any thread.
class [[nodiscard]] MutexGuard {
 public:
  MutexGuard() = default;
  MutexGuard(MutexGuard&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  MutexGuard& operator=(MutexGuard&& other) noexcept {
    if (this != &other) {
      Unlock();
      core_ = std::exchange(other.core_, nullptr);
    }
    return *this;
  }
  ~MutexGuard() { Unlock(); }

  // False for a guard that is empty, was moved from, or unlocked.
  explicit operator bool() const { return core_ != nullptr; }

  // Now, and not at the end of the scope. No effect on an empty guard. The mutex is not touched once it is free or
  // handed over.
  void Unlock() {
    if (core_ != nullptr) std::exchange(core_, nullptr)->Unlock();
  }

 private:
  friend class CondVarAwaiter;
  friend class LockAwaiter;
  friend class Mutex;
  explicit MutexGuard(Mutex::Core* core) : core_(core) {}

  Mutex::Core* core_ = nullptr;
};

class [[nodiscard]] LockAwaiter final : public internal::Awaiter<Mutex::Core, Mutex::Core::Node> {
 public:
  absl::StatusOr<MutexGuard> await_resume() {
    if (cancelled()) [[unlikely]]
      return internal::LockCancelled();
    return MutexGuard(core());
  }

 private:
  friend class Mutex;
  explicit LockAwaiter(Mutex::Core* core) : Awaiter(core) {}
};

inline LockAwaiter Mutex::Lock() { return LockAwaiter(&core_); }
inline MutexGuard Mutex::TryLock() { return MutexGuard(core_.TryLock() ? &core_ : nullptr); }

}  // namespace evring

#endif  // EVRING_RUNTIME_SYNC_MUTEX_H_
