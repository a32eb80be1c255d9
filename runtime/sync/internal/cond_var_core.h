// cond_var_core.h: the algorithm of CondVar: a queue of tasks that have let go of a mutex. Who notifies moves the first
// of them to the end of the mutex's queue, or gives it the mutex if that is free: a task is woken once, when it has it.
//
//   D1  The task, which has the mutex: BeginWait; under the lock it queues and lets go of the mutex. So who changes
//   what
//       it waits for, with the mutex, and notifies later finds it in the queue.
//   D2  Notify, under the lock: takes the first off, or all, and marks them as moved. After unlocking: each queues at
//   its
//       mutex, in order, or gets it at once, and is woken then.
//   D3  A stop of one that was not moved takes it off. A stop of one that was moved takes it off the mutex's queue, or
//       marks it for D2 to see; it goes without the mutex, and its notification moves the next in line. One that has
//       got the mutex keeps it.
//
// The lock of this is taken before that of the mutex (D1). `moved` is written under the lock of this only. D2 does not
// touch this when the last has queued: with the mutex it may go on, and destroy this. That D3 looks for
// the node at the mutex without that lock is safe: a stop pins the wait, so that the task, and the node, and a mutex
// that the task waits for or has, stay as long as it looks.
//
// Checked by: tests/model/sync_cond_var_model_test.cc.

#ifndef EVRING_RUNTIME_SYNC_INTERNAL_COND_VAR_CORE_H_
#define EVRING_RUNTIME_SYNC_INTERNAL_COND_VAR_CORE_H_

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
    Node* node = nullptr;
    {
      std::lock_guard lock(lock_);
      node = queue_.first();
      if (node == nullptr) return;
      queue_.Remove(node);
      node->next = nullptr;
      MarkMoved(node);
    }
    Move(node);
  }

  // Those that wait now.
  void NotifyAll() {
    Node* all = nullptr;
    {
      std::lock_guard lock(lock_);
      all = queue_.TakeAll();
      for (Node* node = all; node != nullptr; node = static_cast<Node*>(node->next)) MarkMoved(node);
    }
    Move(all);
  }

 private:
  // Under the lock.
  static void MarkMoved(Node* node) {
    node->moved = true;
    node->state = Node::State::kNew;
  }

  // D2, without the lock: as soon as the last has queued at its mutex, this may be gone.
  void Move(Node* first) {
    for (Node* node = first; node != nullptr;) {
      Node* next = static_cast<Node*>(node->next);  // queued, the node may be gone
      if (!node->mutex->Enqueue(node)) {
        if (node->state == Node::State::kCancelled) NotifyOne();  // D3
        node->Complete();
      }
      node = next;
    }
  }

  typename Host::Lock lock_;
  WaiterQueue<Node> queue_;  // under the lock
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_SYNC_INTERNAL_COND_VAR_CORE_H_
