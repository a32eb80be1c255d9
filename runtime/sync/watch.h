// watch.h: a value that changes, and tasks that want to know the latest, such as a configuration.
//
//   Watch<Config> config(Load());
//   … config.Set(Load()) …
//
//   uint64_t seen = 0;
//   for (;;) {
//     absl::StatusOr<WatchValue<Config>> latest = co_await config.Next(seen);
//     if (!latest.ok()) break;
//     seen = latest->version;
//     Apply(*latest->value);
//   }
//
// Who is slow sees the latest when it looks and not what was in between; for every value: broadcast.h. Versions count
// from 1, the initial value. Values are shared and never change; one stays as long as anybody has it. Set() allocates
// it; no wait allocates.

#ifndef EVRING_RUNTIME_SYNC_WATCH_H_
#define EVRING_RUNTIME_SYNC_WATCH_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kevent/check.h"
#include "runtime/sync/internal/awaiter.h"
#include "runtime/sync/internal/errors.h"
#include "runtime/sync/internal/publish_core.h"

namespace evring {

template <class T>
struct WatchValue {
  WatchValue(std::shared_ptr<const T> v, uint64_t n) : value(std::move(v)), version(n) {}
  std::shared_ptr<const T> value;  // not null
  uint64_t version;
};

template <class T>
class NextAwaiter;

template <class T>
class Watch {
 public:
  // std::bad_alloc if there is no memory.
  explicit Watch(T initial) : core_(1) { core_.Publish(std::make_shared<const T>(std::move(initial))); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  // With no Next() going on; that is checked for those that wait. Whoever was told of the last value or of Close() may
  // destroy it at once if all others have returned, though the Set() or Close() may not have.
  ~Watch() { EVRING_CHECK(core_.idle(), "a watched value is destroyed while a task waits for it"); }

  // Replaces the value and wakes all that wait. Any thread. std::bad_alloc if there is no memory, and nothing changes.
  // absl::Status. kFailedPrecondition: closed.
  absl::Status Set(T value) {
    if (core_.Publish(std::make_shared<const T>(std::move(value)))) return absl::OkStatus();
    return internal::WatchNotSet();
  }

  // The latest. Does not wait. Any thread.
  WatchValue<T> Get() {
    typename Core::Taken taken;
    const auto answer = core_.Take(0, &taken);
    EVRING_CHECK(answer == Core::Answer::kThere, "there is a value from the beginning");
    return WatchValue<T>(std::move(taken.value), taken.next);
  }

  // Suspends until there is a later version than `seen`, at most the latest: that is checked. 0: any. Await on a
  // worker. absl::StatusOr<WatchValue<T>>. kOutOfRange: closed, and `seen` was the last. kCancelled: a stop was
  // requested before there was a later one; if before the call, at once.
  [[nodiscard]] NextAwaiter<T> Next(uint64_t seen) { return NextAwaiter<T>(&core_, seen); }

  // As Next(), but does not wait: kUnavailable if there is no later one. Any thread.
  absl::StatusOr<WatchValue<T>> TryNext(uint64_t seen) { return Told(&core_, seen); }

  // The value stays as it is from here on. Any thread, any number of times.
  void Close() { core_.Close(); }

 private:
  friend class NextAwaiter<T>;

  using Core = internal::PublishCore<std::shared_ptr<const T>, internal::RuntimeHost>;

  static absl::StatusOr<WatchValue<T>> Told(Core* core, uint64_t seen) {
    typename Core::Taken taken;
    switch (core->Take(seen, &taken)) {
      case Core::Answer::kThere:
        return WatchValue<T>(std::move(taken.value), taken.next);
      case Core::Answer::kClosed:
        return internal::WatchClosed();
      case Core::Answer::kWait:
        break;
    }
    return internal::WatchUnchanged();
  }

  Core core_;
};

template <class T>
class [[nodiscard]] NextAwaiter final
    : public internal::Awaiter<typename Watch<T>::Core, typename Watch<T>::Core::Node> {
  using Core = typename Watch<T>::Core;

 public:
  absl::StatusOr<WatchValue<T>> await_resume() {
    if (this->cancelled()) [[unlikely]]
      return internal::WatchCancelled();
    return Watch<T>::Told(this->core(), this->wanted);
  }

 private:
  friend class Watch<T>;
  NextAwaiter(Core* core, uint64_t seen) : internal::Awaiter<Core, typename Core::Node>(core, seen) {}
};

}  // namespace evring

#endif  // EVRING_RUNTIME_SYNC_WATCH_H_
