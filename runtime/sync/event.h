// event.h: a flag that tasks can wait for. Stays set until it is reset.
//
//   Event done;
//   std::thread thread([&done] { Compute(); done.Set(); });
//   absl::Status status = co_await done.Wait();
//
// What was done before Set() is visible after the Wait() that it lets through, and after a Reset() that clears it. A
// task that waits for "there is work" resets, looks for work, and waits if there is none; who brings work puts it in
// place and sets. Nothing is missed.

#ifndef EVRING_RUNTIME_SYNC_EVENT_H_
#define EVRING_RUNTIME_SYNC_EVENT_H_

#include "absl/status/status.h"
#include "kevent/check.h"
#include "runtime/sync/internal/awaiter.h"
#include "runtime/sync/internal/errors.h"
#include "runtime/sync/internal/event_core.h"

namespace evring {

class EventAwaiter;

class Event {
 public:
  // Not set, unless said otherwise.
  constexpr Event() : core_(false) {}
  explicit constexpr Event(bool set) : core_(set) {}
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  // With no Wait() going on; that is checked. Whoever has seen the event set, by Wait() or is_set(), may destroy it at
  // once, though the Set() may not have returned, if all other waits have: Set() does not touch the event afterwards.
  ~Event() { EVRING_CHECK(core_.idle(), "an event is destroyed while a task waits for it"); }

  // Lets all through that wait, and all that come until Reset(). Any thread, any number of times.
  void Set() { core_.Set(); }

  // From here on Wait() waits again. Who was let through before is not called back. Any thread.
  void Reset() { core_.Reset(); }

  // Any thread.
  bool is_set() const { return core_.IsSet(); }

  // Suspends until the event is set. Await on a worker.
  // absl::Status. OK: it was set, and may have been reset since. kCancelled: a stop was requested first; if before the
  // call, at once.
  [[nodiscard]] EventAwaiter Wait();

 private:
  friend class EventAwaiter;

  using Core = internal::EventCore<internal::RuntimeHost>;
  Core core_;
};

class [[nodiscard]] EventAwaiter final : public internal::Awaiter<Event::Core, Event::Core::Node> {
 public:
  [[nodiscard]] absl::Status await_resume() const {
    if (cancelled()) [[unlikely]]
      return internal::WaitCancelled();
    return absl::OkStatus();
  }

 private:
  friend class Event;
  explicit EventAwaiter(Event::Core* core) : Awaiter(core) {}
};

inline EventAwaiter Event::Wait() { return EventAwaiter(&core_); }

}  // namespace evring

#endif  // EVRING_RUNTIME_SYNC_EVENT_H_
