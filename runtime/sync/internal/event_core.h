// event_core.h: the algorithm of Event.
//
//   V1  kQueued: the queue is not empty. Excludes kSet.
//   V2  Set takes the whole queue off in one step and counts it: a node that was queued before round_ is not in the
//   queue.
//       So the lock is held for a few instructions however many wait.
//   V3  Set is a read-modify-write even if the event is set: Reset, which reads its value or a later one, then sees
//   what
//       was done before Set. This is what a task rests on that resets the event, looks at what the setters do, and
//       waits: either it sees what a setter did, or the event is set again.
//
// Checked by: tests/model/sync_event_model_test.cc.

#ifndef EVRING_RUNTIME_SYNC_INTERNAL_EVENT_CORE_H_
#define EVRING_RUNTIME_SYNC_INTERNAL_EVENT_CORE_H_

#include <atomic>
#include <cstdint>

#include "runtime/sync/internal/waiter.h"

namespace evring::internal {

template <class Host>
class EventCore {
 public:
  struct Node : public Waiter<Host> {
    uint64_t round = 0;  // of Set, in which this was queued
  };

  explicit constexpr EventCore(bool set) : word_(set ? kSet : kClear) {}

  // Nobody waits.
  bool idle() const { return (word_.Load(std::memory_order_relaxed) & ~kSet) == 0; }

  bool IsSet() const { return (word_.Load(std::memory_order_acquire) & kSet) != 0; }  // pairs with Set()

  void Set() {
    State state = word_.Load(std::memory_order_relaxed);
    while ((state & (kQueued | Host::Word::kBusy)) == 0) {
      if (word_.Change(&state, kSet, std::memory_order_release)) return;  // publishes what was done before
    }
    word_.Lock();
    ++round_;
    Node* woken = queue_.TakeAll();
    word_.Unlock(kSet);  // the last touch
    CompleteAll<Host>(woken);
  }

  void Reset() {
    State state = word_.Load(std::memory_order_relaxed);
    while (state == kSet) {
      if (word_.Change(&state, kClear, std::memory_order_acquire)) return;  // pairs with Set(), V3
    }
    if ((state & Host::Word::kBusy) == 0) return;  // not set
    state = word_.Lock();
    word_.Unlock(state & ~kSet);
  }

  bool Try(Node*) { return IsSet(); }

  bool Enqueue(Node* node) {
    const State state = word_.Lock();
    if (node->state == Node::State::kCancelled || (state & kSet) != 0) {
      if (node->state == Node::State::kNew) node->state = Node::State::kGranted;
      word_.Unlock(state);
      return false;
    }
    node->round = round_;
    queue_.PushBack(node);
    word_.Unlock(kQueued);
    return true;
  }

  bool Cancel(Node* node) {
    const State state = word_.Lock();
    const bool woken = node->state == Node::State::kQueued && node->round != round_;
    const bool taken_off = !woken && queue_.Cancel(node);
    word_.Unlock((state & kSet) | (queue_.empty() ? 0 : kQueued));
    return taken_off;
  }

 private:
  using State = typename Host::Word::State;
  static constexpr State kClear = 0;
  static constexpr State kSet = 2;
  static constexpr State kQueued = 4;

  typename Host::Word word_;
  WaiterQueue<Node> queue_;
  uint64_t round_ = 0;  // under the lock
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_SYNC_INTERNAL_EVENT_CORE_H_
