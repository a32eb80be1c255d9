// awaiter.h: the way of every co_await on a primitive: look for a stop, try, and only then wait.

#ifndef EVRING_RUNTIME_SYNC_INTERNAL_AWAITER_H_
#define EVRING_RUNTIME_SYNC_INTERNAL_AWAITER_H_

#include <coroutine>

#include "kevent/atomics.h"
#include "runtime/context.h"
#include "runtime/spin_lock.h"
#include "runtime/sync/internal/state_word.h"
#include "runtime/sync/internal/waiter.h"
#include "runtime/worker.h"

namespace evring::internal {

// What the primitives are made of outside of tests/model.
struct RuntimeHost {
  using Wait = evring::Wait;
  using Context = TaskContext;
  using Word = StateWord<>;
  using Lock = SpinLock;
  using Atomics = StdAtomics;
};

// A `Core` as for Suspension, with
//   bool Try(Node*)   true: done without waiting; the node's state says how it ended
template <class Core, class Node>
class Awaiter : public Suspension<Core, Node> {
 public:
  using Suspension<Core, Node>::Suspension;

  bool await_ready() const noexcept { return false; }

  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
    TaskContext* context = handle.promise().context();
    if (context->stop_requested()) [[unlikely]] {
      this->state = Node::State::kCancelled;
      return false;
    }
    if (this->core()->Try(this)) [[likely]]
      return GiveWay(context, handle);
    return this->Suspend(context, handle);
  }

 protected:
  bool granted() const { return this->state == Node::State::kGranted; }
  bool cancelled() const { return this->state == Node::State::kCancelled; }

 private:
  // Done at once: a task that never has to wait lets others run when its budget is used up. True: it does.
  static bool GiveWay(TaskContext* context, std::coroutine_handle<> resume) {
    Worker* worker = Worker::Current();
    return worker != nullptr && worker->GiveWayIfSpent(context, resume);  // the last touch
  }
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_SYNC_INTERNAL_AWAITER_H_
