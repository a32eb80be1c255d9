// barrier.h: tasks that work in phases: none goes on to the next before all have done with this one.
//
//   Barrier barrier(kTasks, [&]() noexcept { Swap(&grid, &next); });
//   … each of kTasks tasks:
//   for (…) {
//     Compute(…);
//     absl::Status status = co_await barrier.ArriveAndWait();
//     if (!status.ok()) { barrier.Drop(); co_return status; }
//   }
//
// The last to arrive runs the completion, before any of them goes on. What each did before it arrived is visible to the
// completion, and what that did to all.
//
// A stop takes the arrival back: none of the others goes on on the strength of a task that is not there. So they wait,
// until it arrives again, or says with Drop() that it never will. (A barrier that counted it all the same would let
// them on once and hold them in the next phase; one that broke for all would end tasks that nobody has stopped.)

#ifndef EVRING_RUNTIME_SYNC_BARRIER_H_
#define EVRING_RUNTIME_SYNC_BARRIER_H_

#include <cstdint>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "kevent/check.h"
#include "runtime/sync/internal/awaiter.h"
#include "runtime/sync/internal/barrier_core.h"
#include "runtime/sync/internal/errors.h"

namespace evring {

struct NoCompletion {
  void operator()() const noexcept {}
};

template <class Completion>
class BarrierAwaiter;

template <class Completion = NoCompletion>
class Barrier {
  static_assert(std::is_nothrow_invocable_v<Completion&>, "tasks that wait would never be woken");

 public:
  // `expected` tasks, at least one; that is checked. `completion` is called at the end of each phase, by the thread on
  // which the last arrives (or is dropped); it does not use the barrier.
  explicit Barrier(uint64_t expected, Completion completion = Completion()) : core_(expected, std::move(completion)) {
    EVRING_CHECK(expected > 0, "a barrier is for one task at least");
  }
  Barrier(const Barrier&) = delete;
  Barrier& operator=(const Barrier&) = delete;
  // With no ArriveAndWait() going on; that is checked. When all have passed the last time, any of them may destroy it.
  ~Barrier() { EVRING_CHECK(core_.idle(), "a barrier is destroyed while a task waits for it"); }

  // Suspends until all that are expected have arrived; does not suspend the last of them. Await on a worker. Not more
  // at a time than are expected; that is checked.
  // absl::Status. OK: all were there. kCancelled: a stop was requested before they were, and this task has not arrived;
  // if before the call, at once.
  [[nodiscard]] BarrierAwaiter<Completion> ArriveAndWait() { return BarrierAwaiter<Completion>(&core_); }

  // From this phase on one less is expected: a task that has not arrived in it will not come back. If all others have
  // arrived they pass. Any thread. No more often than there are tasks that have not arrived; that is checked.
  void Drop() { core_.Drop(); }

  // How many are expected in this phase. Any thread.
  uint64_t expected() { return core_.expected(); }

 private:
  friend class BarrierAwaiter<Completion>;

  using Core = internal::BarrierCore<Completion, internal::RuntimeHost>;
  Core core_;
};

template <class Completion>
class [[nodiscard]] BarrierAwaiter final
    : public internal::Awaiter<typename Barrier<Completion>::Core, typename Barrier<Completion>::Core::Node> {
  using Core = typename Barrier<Completion>::Core;

 public:
  [[nodiscard]] absl::Status await_resume() const {
    if (this->cancelled()) [[unlikely]]
      return internal::BarrierCancelled();
    return absl::OkStatus();
  }

 private:
  friend class Barrier<Completion>;
  explicit BarrierAwaiter(Core* core) : internal::Awaiter<Core, typename Core::Node>(core) {}
};

}  // namespace evring

#endif  // EVRING_RUNTIME_SYNC_BARRIER_H_
