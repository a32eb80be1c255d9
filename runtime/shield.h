// shield.h: work that a stop does not interrupt, such as a last flush.
//
//   const absl::Status status = co_await Serve(stream);                  ends early with kCancelled after a stop
//   co_await Shielded(absl::Seconds(1), SayGoodbye(stream));             still waits, a second at most
//   co_await Sleep(absl::Seconds(1));                                    kCancelled again
//
// The task runs at once, on the same worker, as a child of the calling task that the stop of neither it nor anything
// above it reaches, whether it came before or comes meanwhile: not from a handle, a group, a deadline or the shutdown
// of the runtime. Its own children inherit that. A stop that is asked for inside (WithTimeout, a group's first error)
// works as ever.
//
// Nothing outside can cut it short, so it should be brief, and with a limit where it waits for somebody else: whoever
// joins the calling task waits for the shielded one as well, the shutdown of the runtime too.

#ifndef EVRING_RUNTIME_SHIELD_H_
#define EVRING_RUNTIME_SHIELD_H_

#include <coroutine>
#include <type_traits>
#include <utility>

#include "absl/time/time.h"
#include "kevent/check.h"
#include "runtime/context.h"
#include "runtime/run_result.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/timeout.h"
#include "runtime/transfer.h"
#include "runtime/worker.h"

namespace evring {
namespace internal {

// kLimited: the result tells of the limit.
template <class T, bool kLimited>
class [[nodiscard]] ShieldAwaiter final : private Wait {
 public:
  ShieldAwaiter(absl::Duration limit, Task<T> task) : limit_(limit), task_(std::move(task)) {}
  ShieldAwaiter(const ShieldAwaiter&) = delete;
  ShieldAwaiter& operator=(const ShieldAwaiter&) = delete;

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> waiting) {
    TaskContext* outer = waiting.promise().context();
    Worker* worker = Worker::Current();
    EVRING_CHECK(worker != nullptr, "a shielded task is awaited on a worker");
    auto* inner = new TimedTask<T>(outer->scheduler(), outer, std::move(task_), DeadlineAfter(worker->NowNs(), limit_),
                                   TimerWheel::kNever);
    inner_ = ContextRef<TimedTask<T>>::Share(inner);  // besides the running task's
    inner->RunInPlaceOf(*outer);
    inner->set_join_wait(this);
    inner->ShieldFromParent();
    inner->LinkToParent();
    outer->BeginJoin(this, waiting);
    EVRING_CHECK(inner->AddWaiter(outer), "it has not begun");
    inner->timer().Start(worker);
    return Transfer(inner->resume());
  }
  std::conditional_t<kLimited, RunResultType<T>, T> await_resume() {
    if constexpr (kLimited) {
      return inner_->TakeTimedResult();
    } else {
      return inner_->TakeResult();
    }
  }

 private:
  void OnStop() noexcept override {}  // that is the point

  const absl::Duration limit_;
  Task<T> task_;
  ContextRef<TimedTask<T>> inner_;
};

}  // namespace internal

// Runs `task` shielded and gives its result, or its exception. Await on a worker.
template <class T>
internal::ShieldAwaiter<T, false> Shielded(Task<T> task) {
  return internal::ShieldAwaiter<T, false>(absl::InfiniteDuration(), std::move(task));
}

// The same, but `task` is asked to stop `limit` from now; results as those of WithTimeout (timeout.h).
template <class T>
internal::ShieldAwaiter<T, true> Shielded(absl::Duration limit, Task<T> task) {
  return internal::ShieldAwaiter<T, true>(limit, std::move(task));
}

}  // namespace evring

#endif  // EVRING_RUNTIME_SHIELD_H_
