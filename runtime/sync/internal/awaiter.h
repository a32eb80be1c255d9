// awaiter.h: the way of every co_await on a primitive: look for a stop, try, and only then wait.

#ifndef EVRING_RUNTIME_SYNC_INTERNAL_AWAITER_H_
#define EVRING_RUNTIME_SYNC_INTERNAL_AWAITER_H_

#include <coroutine>

#include "kevent/atomics.h"
#include "runtime/context.h"
#include "runtime/spin_lock.h"
#include "runtime/sync/internal/state_word.h"
#include "runtime/sync/internal/waiter.h"
#include "runtime/timer.h"
#include "runtime/worker.h"

namespace evring::internal {

// What the primitives are made of outside of tests/model.
struct RuntimeHost {
  using Wait = evring::Wait;
  using Context = TaskContext;
  using Word = StateWord<>;
  using Lock = SpinLock;
  using Atomics = StdAtomics;
  using Timer = evring::Timer;
  using Timers = Worker;
  static void MakeReady(TaskContext* context) { Worker::Current()->PushReaped(context); }
};

// A `Core` as for Suspension, with
//   bool Try(Node*)   true: done without waiting; the node's state says how it ended
template <class Core, class Node>
class Awaiter : public Suspension<Core, Node> {
 public:
  using Suspension<Core, Node>::Suspension;

  bool await_ready() const noexcept { return false; }

  // `note` leaves the place of the await, as long as the task has not suspended; what is done at once needs none.
  template <class Promise, class Note>
  bool await_suspend(std::coroutine_handle<Promise> handle, Note note) noexcept {
    TaskContext* context = handle.promise().context();
    if (context->stop_requested()) [[unlikely]] {
      this->state = Node::State::kCancelled;
      return false;
    }
    if (!this->core()->Try(this)) [[unlikely]] {
      note();
      return this->Suspend(context, handle);
    }
    // A task that never has to wait lets others run when its budget is used up.
    Worker* worker = Worker::Current();
    if (worker == nullptr || worker->ConsumeBudget()) [[likely]]
      return false;
    note();
    worker->GiveWay(context, handle);  // the last touch
    return true;
  }

  // For who has left its place already: what gives this awaiter by an operator co_await of its own.
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
    return await_suspend(handle, [] {});
  }

 protected:
  bool granted() const { return this->state == Node::State::kGranted; }
  bool cancelled() const { return this->state == Node::State::kCancelled; }
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_SYNC_INTERNAL_AWAITER_H_
