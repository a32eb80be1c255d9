// cond_var_core.h: the algorithm of CondVar: a queue of tasks that have let go of a mutex. Who notifies moves the first
// of them to the end of the mutex's queue, or gives it the mutex if that is free: a task is woken once, when it has it.
//
//   D1  The task, which has the mutex: BeginWait; under the lock it queues and lets go of the mutex. So who changes
//   what
//       it waits for, with the mutex, and notifies later finds it in the queue.
//   D2  Notify, under the lock: takes the first off, marks it as moved, lets it queue at the mutex.
//   D3  A stop of one that was not moved takes it off. A stop of one that was moved takes it off the mutex's queue; it
//       goes without the mutex, and its notification moves the next in line. One that has got the mutex keeps it.
//
// The lock of this is taken before that of the mutex. `moved` is written under the lock of this only. That D3 looks for
// the node at the mutex without that lock is safe: a stop pins the wait, so that the task, and the node, and a mutex
// that the task waits for or has, stay as long as it looks.
//
// Checked by: tests/model/sync_cond_var_model_test.cc.

#ifndef EVRING_RUNTIME_SYNC_INTERNAL_COND_VAR_CORE_H_
#define EVRING_RUNTIME_SYNC_INTERNAL_COND_VAR_CORE_H_

#include <cstdint>
#include <mutex>

#include "runtime/sync/internal/mutex_core.h"
#include "runtime/sync/internal/waiter.h"

namespace evring::internal {

template <class Host>
class CondVarCore {
  using Mutex = MutexCore<Host>;

 public:
  struct Node : public Mutex::Node {
    explicit Node(Mutex* m) : mutex(m) {}
    Mutex* const mutex;
    bool released = false;  // the mutex; written by the task in Enqueue()
    bool moved = false;     // to the queue of the mutex; under the lock
    uint64_t number;        // in the order of coming; set when it queues
  };

  constexpr CondVarCore() = default;

  // Nobody waits for a notification.
  bool idle() const { return queue_.empty(); }

  // The node's mutex is released in any case.
  bool Enqueue(Node* node) {
    bool queued = false;
    node->released = true;
    typename Mutex::Node* next = nullptr;
    {
      std::lock_guard lock(lock_);
      if (node->state != Node::State::kCancelled) {
        node->number = ++last_;
        queue_.PushBack(node);
        queued = true;
      }
      next = node->mutex->Release();
    }
    if (next != nullptr) next->Complete();
    return queued;
  }

  bool Cancel(Node* node) {
    {
      std::lock_guard lock(lock_);
      if (!node->moved) return queue_.Cancel(node);
    }
    if (!node->mutex->Cancel(node)) return false;
    NotifyOne();
    return true;
  }

  void NotifyOne() {
    Node* woken = nullptr;
    {
      std::lock_guard lock(lock_);
      woken = MoveFirst();
    }
    if (woken != nullptr) woken->Complete();
  }

  // Those that wait now. The lock is let go between two of them, and not touched after the last: then nobody may be
  // left who keeps this alive.
  void NotifyAll() {
    uint64_t last = 0;
    for (bool more = true; more;) {
      Node* woken = nullptr;
      {
        std::lock_guard lock(lock_);
        if (last == 0) last = last_;
        woken = MoveFirst();
        more = !queue_.empty() && queue_.first()->number <= last;
      }
      if (woken != nullptr) woken->Complete();
    }
  }

 private:
  // Under the lock. Returns the node if it has got the mutex and is to be completed.
  Node* MoveFirst() {
    Node* node = queue_.first();
    if (node == nullptr) return nullptr;
    queue_.Remove(node);
    node->moved = true;
    node->state = Node::State::kNew;
    return node->mutex->Enqueue(node) ? nullptr : node;  // queued there, it may be gone
  }

  typename Host::Lock lock_;
  uint64_t last_ = 0;  // these two under the lock
  WaiterQueue<Node> queue_;
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_SYNC_INTERNAL_COND_VAR_CORE_H_
