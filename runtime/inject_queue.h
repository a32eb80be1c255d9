// inject_queue.h: ready tasks that belong to no worker: spawned or woken by foreign threads, or moved out of a full run
// queue. Any thread pushes, workers pop. Unbounded, first in, first out, linked through the tasks themselves.
//
// A lock is right here: pushes come from outside or in batches of half a run queue, pops take batches. What is
// looked at all the time, whether anything is there, is a relaxed counter; whoever must not miss a task (a worker on
// its way to sleep) has an edge from the push through idle.h.
// Checked by: tests/runtime/inject_queue_test.cc, and in the wake protocol by tests/model/idle_model_test.cc.

#ifndef EVRING_RUNTIME_INJECT_QUEUE_H_
#define EVRING_RUNTIME_INJECT_QUEUE_H_

#include <atomic>
#include <cstddef>
#include <mutex>

#include "kevent/atomics.h"

namespace evring {

// T has a public member `T* queue_next`, which belongs to the queue while the task is in it. Tasks are borrowed: one
// that is in the queue lives until it is popped.
template <class T, class Atomics = StdAtomics>
class InjectQueue {
 public:
  InjectQueue() = default;
  InjectQueue(const InjectQueue&) = delete;
  InjectQueue& operator=(const InjectQueue&) = delete;

  // --- Any thread ----------------------------------------------------------------------------------------------------

  void Push(T* t) {
    t->queue_next = nullptr;
    Append(t, t, 1);
  }

  // items[0] is popped first. The array is not kept.
  void PushBatch(T* const* items, size_t n) {
    if (n == 0) return;
    for (size_t i = 0; i + 1 < n; ++i) items[i]->queue_next = items[i + 1];
    items[n - 1]->queue_next = nullptr;
    Append(items[0], items[n - 1], n);
  }

  // The oldest task, or nullptr.
  T* Pop() {
    T* t = nullptr;
    PopBatch(&t, 1);
    return t;
  }

  // Takes up to `max` of the oldest tasks into `out`, oldest first; returns how many.
  size_t PopBatch(T** out, size_t max) {
    if (EmptyApprox()) return 0;
    std::lock_guard lock(mutex_);
    size_t n = 0;
    for (; n < max && first_ != nullptr; ++n) {
      out[n] = first_;
      first_ = first_->queue_next;
      out[n]->queue_next = nullptr;
    }
    if (first_ == nullptr) last_ = nullptr;
    AddToSize(-n);
    return n;
  }

  size_t SizeApprox() const { return size_.load(std::memory_order_relaxed); }
  // False if a task is here whose push happened before the call and which nobody has taken.
  bool EmptyApprox() const { return SizeApprox() == 0; }

 private:
  void Append(T* first, T* last, size_t n) {
    std::lock_guard lock(mutex_);
    (last_ == nullptr ? first_ : last_->queue_next) = first;
    last_ = last;
    AddToSize(n);
  }

  // Under the lock; read without, as a hint.
  void AddToSize(size_t n) { size_.store(size_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }

  typename Atomics::Mutex mutex_;
  T* first_ = nullptr;  // under mutex_, as are last_ and the links
  T* last_ = nullptr;
  typename Atomics::template Atomic<size_t> size_{0};
};

}  // namespace evring

#endif  // EVRING_RUNTIME_INJECT_QUEUE_H_
