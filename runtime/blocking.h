// blocking.h: calls that block, on threads of their own.
//
//   absl::StatusOr<std::string> text = co_await RunBlocking([path] { return ReadWholeFile(path); });
//
// A call that blocks inside a task holds up its worker; here it runs on a thread of the runtime's pool
// (RuntimeOptions::blocking_threads_max), and the task waits. Jobs beyond the pool's size queue in order.

#ifndef EVRING_RUNTIME_BLOCKING_H_
#define EVRING_RUNTIME_BLOCKING_H_

#include <coroutine>
#include <exception>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kevent/check.h"
#include "runtime/blocking_pool.h"
#include "runtime/context.h"
#include "runtime/run_result.h"
#include "runtime/scheduler.h"
#include "runtime/worker.h"

namespace evring {

template <class Function>
class [[nodiscard]] BlockingAwaiter final : private Wait, private BlockingJob {
 public:
  using Returned = std::invoke_result_t<Function>;
  using Result = internal::RunResultType<Returned>;

  explicit BlockingAwaiter(Function function) : function_(std::move(function)) {}
  BlockingAwaiter(const BlockingAwaiter&) = delete;
  BlockingAwaiter& operator=(const BlockingAwaiter&) = delete;

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
    TaskContext* context = waiting.promise().context();
    EVRING_CHECK(Worker::Current() != nullptr, "RunBlocking is awaited on a worker");
    context_ = context;
    pool_ = context->scheduler()->blocking_pool();
    if (!context->BeginWait(this, waiting)) {
      result_ = Cancelled();
      return false;
    }
    if (pool_->Submit(this)) return true;  // the job may have run, and this be gone
    result_ = absl::ResourceExhaustedError("RunBlocking: no thread could be made, and none is there");
    context->Complete(this);
    return true;
  }
  Result await_resume() {
    if (exception_) std::rethrow_exception(std::move(exception_));
    return *std::move(result_);
  }

 private:
  static absl::Status Cancelled() { return absl::CancelledError("RunBlocking: cancelled before it started"); }

  void OnStop() noexcept override {
    if (!pool_->Revoke(this)) return;  // it runs, or is not submitted yet: RunJob() looks, and completes the wait
    result_ = Cancelled();
    context_->Complete(this);
  }

  void RunJob() noexcept override {
    if (context_->stop_requested()) {
      result_ = Cancelled();
    } else {
      try {
        if constexpr (std::is_void_v<Returned>) {
          std::invoke(std::move(function_));
          result_ = absl::OkStatus();
        } else {
          result_.emplace(std::invoke(std::move(function_)));
        }
      } catch (...) {
        exception_ = std::current_exception();
      }
    }
    context_->Complete(this);
  }

  Function function_;
  TaskContext* context_ = nullptr;
  BlockingPool* pool_ = nullptr;
  std::optional<Result> result_;
  std::exception_ptr exception_;
};

// Calls `function()` once on a thread of the blocking pool, with all signals blocked, and waits for its end. Await on a
// worker. `function` is moved into the awaiter and destroyed with it, on a worker.
//
// What it returns: nothing or a Status gives a Status, a T or a StatusOr<T> a StatusOr<T>. Its exception is rethrown.
// kCancelled: a stop came before the call had started; it is not made. A call that has started cannot be ended from
//   outside: it is waited out, and its result is the answer. Where that may take long, give it a CancelToken to look
//   at.
// kResourceExhausted: the pool has no thread and none can be made.
//
// gcc 12 destroys the captures of a closure twice that is written inside of a co_await expression, unless they are
// trivial: name it first, `auto read = [path] {…}; co_await RunBlocking(std::move(read))`.
template <class Function>
[[nodiscard]] BlockingAwaiter<std::decay_t<Function>> RunBlocking(Function&& function) {
  return BlockingAwaiter<std::decay_t<Function>>(std::forward<Function>(function));
}

}  // namespace evring

#endif  // EVRING_RUNTIME_BLOCKING_H_
