// barrier_core.h: the algorithm of Barrier: a queue of those that have arrived in this phase, one lock.
//
//   B1  arrived_ < expected_, outside of the lock, or both are 0. The last to arrive does not queue: it ends the phase.
//   B2  Who ends a phase takes the whole queue off in one step and counts the phase: a node that was queued in an
//       earlier phase is not in the queue. Then, without the lock, it runs the completion, and only then it wakes.
//   B3  A stop of one that is in the queue takes its arrival back. One that is not in the queue any more has passed.
//
// Checked by: tests/model/sync_barrier_model_test.cc.

#ifndef EVRING_RUNTIME_SYNC_INTERNAL_BARRIER_CORE_H_
#define EVRING_RUNTIME_SYNC_INTERNAL_BARRIER_CORE_H_

#include <cstdint>
#include <mutex>
#include <utility>

#include "kevent/check.h"
#include "runtime/sync/internal/waiter.h"

namespace evring::internal {

template <class Completion, class Host>
class BarrierCore {
 public:
  struct Node : public Waiter<Host> {
    uint64_t phase = 0;  // in which this was queued
  };

  BarrierCore(uint64_t expected, Completion completion) : completion_(std::move(completion)), expected_(expected) {}

  // Nobody waits.
  bool idle() const { return queue_.empty(); }

  bool Try(Node* node) {
    Node* passed = nullptr;
    {
      std::lock_guard lock(lock_);
      if (!IsLast()) return false;
      passed = EndPhase();
    }
    node->state = Node::State::kGranted;
    Pass(passed);
    return true;
  }

  bool Enqueue(Node* node) {
    Node* passed = nullptr;
    {
      std::lock_guard lock(lock_);
      if (node->state == Node::State::kCancelled) return false;
      if (!IsLast()) {
        ++arrived_;
        node->phase = phase_;
        queue_.PushBack(node);
        return true;
      }
      node->state = Node::State::kGranted;
      passed = EndPhase();
    }
    Pass(passed);
    return false;
  }

  bool Cancel(Node* node) {
    std::lock_guard lock(lock_);
    if (node->state == Node::State::kQueued && node->phase != phase_) return false;
    const bool taken_off = queue_.Cancel(node);
    if (taken_off) --arrived_;
    return taken_off;
  }

  // One less is expected. If all others have arrived the phase ends.
  void Drop() {
    Node* passed = nullptr;
    {
      std::lock_guard lock(lock_);
      EVRING_CHECK(expected_ > arrived_, "who has arrived at a barrier does not leave it before it has passed");
      --expected_;
      if (arrived_ == 0 || arrived_ != expected_) return;
      passed = EndPhase();
    }
    Pass(passed);
  }

  uint64_t expected() {
    std::lock_guard lock(lock_);
    return expected_;
  }

 private:
  // These under the lock.
  bool IsLast() const {
    EVRING_CHECK(!completing_ && arrived_ < expected_, "no more arrive at a barrier than it expects");
    return arrived_ + 1 == expected_;
  }
  Node* EndPhase() {
    ++phase_;
    arrived_ = 0;
    completing_ = true;
    return queue_.TakeAll();
  }

  // Without it. The barrier is not touched after the lock is let go: then only those that pass keep it.
  void Pass(Node* passed) {
    completion_();
    {
      std::lock_guard lock(lock_);
      completing_ = false;
    }
    CompleteAll<Host>(passed);
  }

  [[no_unique_address]] Completion completion_;
  typename Host::Lock lock_;
  bool completing_ = false;  // all below under the lock
  uint64_t phase_ = 0;
  uint64_t expected_;
  uint64_t arrived_ = 0;  // they are in the queue
  WaiterQueue<Node> queue_;
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_SYNC_INTERNAL_BARRIER_CORE_H_
