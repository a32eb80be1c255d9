// cond_var.h: waiting, with a mutex let go, until somebody says that what the mutex guards has changed.
//
//   absl::StatusOr<MutexGuard> guard = co_await mutex.Lock();
//   if (!guard.ok()) co_return guard.status();
//   while (queue.empty()) {
//     absl::Status status = co_await not_empty.Wait(&*guard);
//     if (!status.ok()) co_return status;         the guard is empty: the mutex is not held
//   }
//
// A stop ends Wait() at once and without the mutex. To lock it again first, as std::condition_variable and absl::Mutex
// do, could take as long as anybody holds it, and a task that is asked to stop would neither stop nor say so. The guard
// knows: after an error it is empty, and its destructor unlocks nothing.
//
// A notification is never lost to a stop: who was notified and is stopped before it has the mutex again passes it on to
// the next in line. There are no wake-ups without a notification; yet look again in a loop, as others may have had the
// mutex in between.
//
// Fair: who waits is notified in the order of coming, and then stands in line for the mutex. So NotifyAll() wakes each
// task when it is its turn, and not all to compete for one mutex.

#ifndef EVRING_RUNTIME_SYNC_COND_VAR_H_
#define EVRING_RUNTIME_SYNC_COND_VAR_H_

#include <coroutine>
#include <utility>

#include "absl/status/status.h"
#include "kevent/check.h"
#include "runtime/context.h"
#include "runtime/sync/internal/awaiter.h"
#include "runtime/sync/internal/cond_var_core.h"
#include "runtime/sync/internal/errors.h"
#include "runtime/sync/mutex.h"

namespace evring {

class CondVarAwaiter;

class CondVar {
 public:
  constexpr CondVar() = default;
  CondVar(const CondVar&) = delete;
  CondVar& operator=(const CondVar&) = delete;
  // With no Wait() going on; that is checked for those that nobody has notified. When the last Wait() has ended it may
  // be destroyed at once, though the notification that ended it may not have returned.
  ~CondVar() { EVRING_CHECK(core_.idle(), "a condition variable is destroyed while a task waits for it"); }

  // Lets go of the mutex of `*guard`, suspends until it is notified, and takes the mutex again. Await on a worker, at
  // once; `*guard` is not touched by others and stays where it is meanwhile. It must hold a mutex; that is checked.
  // Tasks may wait with different mutexes.
  // absl::Status. OK: it was notified, `*guard` holds the mutex again. kCancelled: a stop was requested before it had
  // the mutex again, which it has let go, and `*guard` is empty; if before the call, at once.
  [[nodiscard]] CondVarAwaiter Wait(MutexGuard* guard);

  // Notifies the first that waits, if any does; all that wait now. Any thread, with the mutex or without.
  void NotifyOne() { core_.NotifyOne(); }
  void NotifyAll() { core_.NotifyAll(); }

 private:
  friend class CondVarAwaiter;

  using Core = internal::CondVarCore<internal::RuntimeHost>;
  Core core_;
};

class [[nodiscard]] CondVarAwaiter final : public internal::Suspension<CondVar::Core, CondVar::Core::Node> {
 public:
  bool await_ready() const noexcept { return false; }

  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
    return this->Suspend(handle.promise().context(), handle);
  }

  [[nodiscard]] absl::Status await_resume() {
    if (state == State::kCancelled) [[unlikely]] {
      if (!released) mutex->Unlock();
      return internal::CondVarCancelled();
    }
    *guard_ = MutexGuard(mutex);
    return absl::OkStatus();
  }

 private:
  friend class CondVar;
  // Takes over what `guard` holds.
  CondVarAwaiter(CondVar::Core* core, MutexGuard* guard)
      : Suspension(core, std::exchange(guard->core_, nullptr)), guard_(guard) {
    EVRING_CHECK(mutex != nullptr, "a task waits at a condition variable with a mutex that it holds");
  }

  MutexGuard* const guard_;
};

inline CondVarAwaiter CondVar::Wait(MutexGuard* guard) { return CondVarAwaiter(&core_, guard); }

}  // namespace evring

#endif  // EVRING_RUNTIME_SYNC_COND_VAR_H_
