// cancellation.h: asking tasks to stop, and finding out that one was asked.
//
//   CancelSource source;                                        any thread may fire it: source.RequestStop()
//   auto r = co_await WithCancellation(source.token(), Work()); Work and its children stop when it fires
//   if (co_await StopRequested()) co_return;                    in a loop that computes and never waits
//
// A stop is a request: it ends every wait of the task and of its descendants, the one that goes on and all later ones,
// with kCancelled (joins excepted, which wait for a child that was asked to stop as well). What the task makes of that
// is its own affair; it ends by returning. A stop is never taken back.
//
// Tokens are inherited: a child's own stop is requested as soon as its parent's is. A token is a counted reference; it
// may be asked on any thread, at any time, also after the task has ended.

#ifndef EVRING_RUNTIME_CANCELLATION_H_
#define EVRING_RUNTIME_CANCELLATION_H_

#include <atomic>
#include <coroutine>
#include <type_traits>
#include <utility>

#include "kevent/check.h"
#include "runtime/context.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/transfer.h"

namespace evring {

namespace internal {
class CancelRegistration;
}

// Whether a stop was requested of a task or of a CancelSource. Copyable; any thread.
class CancelToken {
 public:
  // Of nothing: no stop ever comes.
  CancelToken() = default;
  explicit CancelToken(ContextRef<TaskContext> context) : context_(std::move(context)) {}

  bool stop_requested() const { return context_ && context_->stop_requested(); }

 private:
  friend class internal::CancelRegistration;

  ContextRef<TaskContext> context_;
};

// A stop that belongs to no task. Any thread; may be destroyed while tokens of it are in use.
class CancelSource {
 public:
  CancelSource() : context_(ContextRef<TaskContext>::Adopt(new TaskContext(nullptr, nullptr))) {}

  // Asks everything that was tied to a token of this to stop, and calls the callbacks, on this thread, before it
  // returns. Any number of times; the first counts.
  void RequestStop() { context_->RequestStop(); }
  bool stop_requested() const { return context_->stop_requested(); }
  CancelToken token() const { return CancelToken(context_); }

 private:
  ContextRef<TaskContext> context_;
};

namespace internal {

// Ties OnStopRequested() to a token. The derived class calls Register() last in its constructor and Deregister() first
// in its destructor.
class CancelRegistration : private StopObserver {
 protected:
  CancelRegistration() = default;
  ~CancelRegistration() { EVRING_CHECK(!context_, "deregistered before it is destroyed"); }

  // Calls OnStop() on this thread if the stop was requested before.
  void Register(const CancelToken& token);
  // OnStop() is not running any more when this returns, and will not run, unless it is OnStop() that has called this.
  void Deregister();

 private:
  virtual void OnStop() noexcept = 0;
  void OnStopRequested() noexcept final;

  ContextRef<TaskContext> context_;
  bool* destroyed_ = nullptr;        // where OnStopRequested() learns that it must not touch this any more
  std::atomic<bool> called_{false};  // OnStop() has returned
};

class CurrentTokenAwaiter : private CurrentContextAwaiter {
 public:
  using CurrentContextAwaiter::await_ready;
  using CurrentContextAwaiter::await_suspend;
  CancelToken await_resume() const { return CancelToken(ContextRef<TaskContext>::Share(context_)); }
};

class StopRequestedAwaiter : private CurrentContextAwaiter {
 public:
  using CurrentContextAwaiter::await_ready;
  using CurrentContextAwaiter::await_suspend;
  bool await_resume() const noexcept { return context_->stop_requested(); }
};

// A task that stops with its parent, and with a token.
template <class T>
class CancellableTask final : public Spawned<T>, private CancelRegistration {
 public:
  using Spawned<T>::Spawned;
  void Tie(const CancelToken& token) { Register(token); }

 private:
  void OnEnded() noexcept override { Deregister(); }
  void OnStop() noexcept override { this->RequestStop(); }
};

}  // namespace internal

// Calls `callback()` once when the stop of `token` is requested: on the thread that requests it, or in the constructor
// if that was before. The callback must not throw, block, or wait for a task.
//
// The destructor waits until a call that runs on another thread has returned; inside the callback itself it does not
// wait. So whatever the callback uses need only live as long as this. Any thread.
template <class Callback>
class [[nodiscard]] CancelCallback final : private internal::CancelRegistration {
 public:
  CancelCallback(const CancelToken& token, Callback callback) : callback_(std::move(callback)) { Register(token); }
  ~CancelCallback() { Deregister(); }

 private:
  void OnStop() noexcept override { callback_(); }

  Callback callback_;
};

// `co_await CurrentToken()`: the token of the calling task (within WithTimeout, WithCancellation and the like, of that
// scope). Never suspends.
[[nodiscard]] inline internal::CurrentTokenAwaiter CurrentToken() { return {}; }

// `co_await StopRequested()`: whether the calling task was asked to stop. Never suspends; costs a load.
[[nodiscard]] inline internal::StopRequestedAwaiter StopRequested() { return {}; }

template <class T>
class [[nodiscard]] CancellationAwaiter final : private Wait {
 public:
  CancellationAwaiter(CancelToken token, Task<T> task) : token_(std::move(token)), task_(std::move(task)) {}
  CancellationAwaiter(const CancellationAwaiter&) = delete;
  CancellationAwaiter& operator=(const CancellationAwaiter&) = delete;

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> waiting) {
    TaskContext* outer = waiting.promise().context();
    auto* inner = new internal::CancellableTask<T>(outer->scheduler(), outer, std::move(task_));
    inner_ = ContextRef<internal::CancellableTask<T>>::Share(inner);  // besides the running task's
    inner->RunInPlaceOf(*outer);
    inner->set_join_wait(this);
    inner->LinkToParent();
    outer->BeginJoin(this, waiting);  // a stop that was requested before came along with the link
    EVRING_CHECK(inner->AddWaiter(outer), "it has not begun");
    inner->Tie(token_);
    return Transfer(inner->resume());
  }
  T await_resume() { return inner_->TakeResult(); }

 private:
  void OnStop() noexcept override {}  // the inner task is told as a child

  const CancelToken token_;
  Task<T> task_;
  ContextRef<internal::CancellableTask<T>> inner_;
};

// Runs `task` at once, on the same worker, as a child of the calling task that is asked to stop by `token` as well; the
// result is the task's own, its exception travels on. Returns when it has ended, never earlier. Await on a worker.
template <class T>
CancellationAwaiter<T> WithCancellation(CancelToken token, Task<T> task) {
  return CancellationAwaiter<T>(std::move(token), std::move(task));
}

}  // namespace evring

#endif  // EVRING_RUNTIME_CANCELLATION_H_
