// placement.h: on which worker a task goes on.
//
// Tasks go wherever a worker takes them; that is rarely anybody's business. It is for a task that is about to arm
// something long-lived, like a connection its receive: it stays in the ring of the worker that arms it.

#ifndef EVRING_RUNTIME_PLACEMENT_H_
#define EVRING_RUNTIME_PLACEMENT_H_

#include <coroutine>

#include "kevent/check.h"
#include "runtime/context.h"
#include "runtime/scheduler.h"
#include "runtime/worker.h"

namespace evring {
namespace internal {

class ResumeOnAwaiter final : private RemoteRequest {
 public:
  explicit ResumeOnAwaiter(int worker) : RemoteRequest(&Arrive, By::kAnyWorker), worker_(worker) {}

  bool await_ready() const noexcept { return Worker::Current()->index() == worker_; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> handle) noexcept {
    context_ = handle.promise().context();
    context_->set_resume(handle);
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

// How many workers the calling task's runtime has. On a worker.
inline int WorkerCount() { return Worker::Current()->scheduler()->worker_count(); }

}  // namespace evring

#endif  // EVRING_RUNTIME_PLACEMENT_H_
