// once.h: a value that is made when it is first asked for, by one of those who ask.
//
//   Once<Config> config;
//   absl::StatusOr<Config*> c = co_await config.GetOrMake([] { return LoadConfig(); });     a
//   Task<absl::StatusOr<Config>>
//
// One maker runs at a time; the others wait for it, in the order of their coming. If it fails (an error, an exception,
// a stop) its caller is told, and the next in line runs its own; failures are not kept. Once there, the value stays, at
// the same address, and all that wait go on together.
//
// It is a semaphore (semaphore.h) of one permit, for who makes the value, and of as many as there can be when it is
// there.

#ifndef EVRING_RUNTIME_SYNC_ONCE_H_
#define EVRING_RUNTIME_SYNC_ONCE_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/sync/semaphore.h"
#include "runtime/task.h"

namespace evring {

template <class T>
class Once {
 public:
  // Not made yet. With no GetOrMake() going on when it is destroyed; that is checked for those that wait.
  constexpr Once() = default;
  Once(const Once&) = delete;
  Once& operator=(const Once&) = delete;

  // The value, or nullptr: it is not there yet. Does not wait. Any thread. What was done before it was made is visible.
  T* TryGet() { return there_.load(std::memory_order_acquire) ? &*value_ : nullptr; }  // pairs with Publish()

  // The value; if it is not there, makes it by `make()`, a Task<absl::StatusOr<T>>, or waits for somebody else who
  // does. Await on a worker. `make` and what it refers to live until this ends; it must not ask for the same value, for
  // which it would wait until it is stopped. absl::StatusOr<T*>, not null. An error of this caller's own make(), whose
  // exceptions pass through as well. kCancelled: a stop was requested while this waited, or before the call if the
  // value was not there.
  template <class Make>
  Task<absl::StatusOr<T*>> GetOrMake(Make make) {
    if (T* value = TryGet(); value != nullptr) co_return value;
    absl::Status acquired = co_await making_.Acquire();
    if (!acquired.ok()) co_return acquired;
    if (T* value = TryGet(); value != nullptr) co_return value;
    Turn turn(this);
    absl::StatusOr<T> made = co_await make();
    if (!made.ok()) co_return made.status();
    turn.Publish(*std::move(made));
    co_return TryGet();
  }

  // Puts `value` in place if there is none and nobody makes one; else it is destroyed. Does not wait. Any thread.
  bool TrySet(T value) {
    if (TryGet() != nullptr || !making_.TryAcquire()) return false;
    if (TryGet() != nullptr) return false;
    Turn(this).Publish(std::move(value));
    return true;
  }

 private:
  // The right to make the value. Goes to the next if nothing comes of it.
  class Turn {
   public:
    explicit Turn(Once* once) : once_(once) {}
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() {
      if (once_ != nullptr) once_->making_.Release();
    }
    void Publish(T&& value) {
      once_->value_.emplace(std::move(value));
      once_->there_.store(true, std::memory_order_release);  // publishes the value to TryGet()
      std::exchange(once_, nullptr)->making_.Release(kAll);
    }

   private:
    Once* once_;
  };

  // Each who waits or comes too late takes one of these and gives none back.
  static constexpr uint64_t kAll = (uint64_t{1} << 62) - 1;

  Semaphore making_{1};
  std::atomic<bool> there_{false};
  std::optional<T> value_;
};

}  // namespace evring

#endif  // EVRING_RUNTIME_SYNC_ONCE_H_
