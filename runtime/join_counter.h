// join_counter.h: a task that waits until as many others have ended as were started; the last of them resumes it.
//
// The count is that of the others that have not ended, plus one for the task itself until it waits. Whoever takes it to
// zero is the last, and nobody else touches the counter or what it lies in any more: it is a part of the waiting task.
//
//   J1  Add() before each start
//   J2  Leave() by each that ends, its last touch of whatever the waiting task owns
//   J3  Arrive() by the task, which has begun to wait. True: all had left already
//
// Every step is a read-modify-write of one word that releases and acquires: the last one sees what all the others did.

#ifndef EVRING_RUNTIME_JOIN_COUNTER_H_
#define EVRING_RUNTIME_JOIN_COUNTER_H_

#include <atomic>
#include <coroutine>
#include <cstddef>

#include "kevent/check.h"
#include "runtime/context.h"

namespace evring::internal {

class JoinCounter {
 public:
  JoinCounter() = default;
  JoinCounter(const JoinCounter&) = delete;
  JoinCounter& operator=(const JoinCounter&) = delete;

  // J1. By the task before it waits, or by one that has not left.
  void Add(size_t n = 1) { pending_.fetch_add(n, std::memory_order_relaxed); }  // the start publishes it

  // J2. What to resume next on this thread.
  [[nodiscard]] std::coroutine_handle<> Leave() noexcept {
    const size_t before = pending_.fetch_sub(1, std::memory_order_acq_rel);
    EVRING_CHECK(before != 0, "each leaves once");
    if (before != 1) return std::noop_coroutine();
    TaskContext* waiter = waiter_;
    return waiter->FinishWait(wait_) ? waiter->ResumeHere() : std::noop_coroutine();
  }

  // J3. The task of `waiter` has begun `wait`. True: all have left; the caller finishes the wait.
  [[nodiscard]] bool Arrive(TaskContext* waiter, Wait* wait) {
    waiter_ = waiter;
    wait_ = wait;
    return pending_.fetch_sub(1, std::memory_order_acq_rel) == 1;
  }

  // How many have not left. Before Arrive().
  size_t pending() const { return pending_.load(std::memory_order_acquire) - 1; }  // sees what those who left did

  // All have left, and the task goes on: as made.
  void Reset() { pending_.store(1, std::memory_order_relaxed); }

 private:
  std::atomic<size_t> pending_{1};
  TaskContext* waiter_ = nullptr;  // set by J3 before its step
  Wait* wait_ = nullptr;
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_JOIN_COUNTER_H_
