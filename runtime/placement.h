// placement.h: on which worker a task goes on.
//
//   const WorkerPin pin = co_await PinToWorker();     from here to the end of the scope: this worker, this thread
//
// Tasks go wherever a worker takes them; that is rarely anybody's business. It is for a task that is about to arm
// something long-lived, like a connection its receive: it stays in the ring of the worker that arms it. And for one
// that uses what belongs to a thread, which must not move meanwhile.

#ifndef EVRING_RUNTIME_PLACEMENT_H_
#define EVRING_RUNTIME_PLACEMENT_H_

#include <coroutine>

#include "kevent/check.h"
#include "runtime/context.h"
#include "runtime/scheduler.h"
#include "runtime/spawn.h"
#include "runtime/worker.h"

namespace evring {
namespace internal {

class PinAwaiter;

class ResumeOnAwaiter final : private RemoteRequest {
 public:
  explicit ResumeOnAwaiter(int worker) : RemoteRequest(&Arrive, By::kAnyWorker), worker_(worker) {}

  bool await_ready() const noexcept { return Worker::Current()->index() == worker_; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> handle) noexcept {
    context_ = handle.promise().context();
    EVRING_CHECK(context_->pinned_to() < 0 || context_->pinned_to() == worker_, "a pinned task stays where it is");
    context_->SuspendAt(handle);
    Worker::Current()->scheduler()->worker(worker_)->Post(this);  // last statement: the task may run there already
  }
  void await_resume() const noexcept {}

 private:
  static void Arrive(RemoteRequest* request, Worker* worker) {
    worker->PushReaped(static_cast<ResumeOnAwaiter*>(request)->context_);
  }

  const int worker_;
  TaskContext* context_ = nullptr;
};

}  // namespace internal

// Moves the calling task to worker `index` of its runtime, in [0, WorkerCount()). From there it goes where it is taken,
// as ever: an idle worker may steal it at once. If that worker is stuck in a task, another takes it. Not a point of
// cancellation. On a worker.
[[nodiscard]] inline internal::ResumeOnAwaiter ResumeOn(int index) {
  EVRING_CHECK(index >= 0 && index < Worker::Current()->scheduler()->worker_count(), "there is no such worker");
  return internal::ResumeOnAwaiter(index);
}

// While it lives the task that made it runs on one worker only, also what it awaits within WithTimeout(), Shielded() or
// WithCancellation(); its children go where they are taken. It ends in its scope, by the same task, not beyond a
// co_yield; pins may be nested.
class [[nodiscard]] WorkerPin {
 public:
  WorkerPin(const WorkerPin&) = delete;
  WorkerPin& operator=(const WorkerPin&) = delete;
  ~WorkerPin() { context_->PinTo(before_); }

 private:
  friend class internal::PinAwaiter;
  explicit WorkerPin(TaskContext* context) : context_(context), before_(context->pinned_to()) {
    context->PinTo(Worker::Current()->index());
  }

  TaskContext* const context_;
  const int before_;
};

namespace internal {

class PinAwaiter : private CurrentContextAwaiter {
 public:
  using CurrentContextAwaiter::await_ready;
  using CurrentContextAwaiter::await_suspend;
  WorkerPin await_resume() const noexcept { return WorkerPin(context_); }
};

}  // namespace internal

// `co_await PinToWorker()` keeps the calling task on the worker where it is, for as long as what it gives lives. A
// worker that is stuck in a task keeps the tasks that are pinned to it waiting: no other can take them. What is ready
// there has its turns by numbers: of n others and m that are pinned, about n / m others run between two pinned ones,
// and one at least. Does not suspend. In a task.
[[nodiscard]] inline internal::PinAwaiter PinToWorker() { return {}; }

// How many workers the calling task's runtime has. On a worker.
inline int WorkerCount() { return Worker::Current()->scheduler()->worker_count(); }

}  // namespace evring

#endif  // EVRING_RUNTIME_PLACEMENT_H_
