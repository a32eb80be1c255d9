// mutex_core.h: the algorithm of Mutex.
//
//   M1  kHeld: somebody holds the mutex, or it is on its way to a task that was taken off the queue.
//   M2  kQueued: the queue is not empty. Implies kHeld.
//   M3  kHeld passes from the holder to the first of the queue without being cleared: nobody gets in between.
//
// Checked by: tests/model/sync_mutex_model_test.cc.

#ifndef EVRING_RUNTIME_SYNC_INTERNAL_MUTEX_CORE_H_
#define EVRING_RUNTIME_SYNC_INTERNAL_MUTEX_CORE_H_

#include <atomic>

#include "kevent/check.h"
#include "runtime/sync/internal/waiter.h"

namespace evring::internal {

template <class Host>
class MutexCore {
 public:
  class Node : public Waiter<Host> {};

  constexpr MutexCore() = default;

  // Not held, and nobody waits.
  bool idle() const { return word_.Load(std::memory_order_relaxed) == kFree; }

  bool TryLock() {
    State state = word_.Load(std::memory_order_relaxed);
    while (state == kFree) {
      if (word_.Change(&state, kHeld, std::memory_order_acquire)) [[likely]]
        return true;  // pairs with Unlock()
    }
    if ((state & kHeld) != 0) return false;
    state = word_.Lock();  // free, but somebody is about to see that under the lock
    word_.Unlock(state | kHeld);
    return (state & kHeld) == 0;
  }

  bool Try(Node*) { return TryLock(); }

  bool Enqueue(Node* node) {
    const State state = word_.Lock();
    if (node->state == Node::State::kCancelled) {
      word_.Unlock(state);
      return false;
    }
    if ((state & kHeld) == 0) {
      node->state = Node::State::kGranted;
      word_.Unlock(kHeld);
      return false;
    }
    queue_.PushBack(node);
    word_.Unlock(kHeld | kQueued);
    return true;
  }

  bool Cancel(Node* node) {
    const State state = word_.Lock();
    const bool taken_off = queue_.Cancel(node);
    word_.Unlock((state & kHeld) | (queue_.empty() ? 0 : kQueued));
    return taken_off;
  }

  void Unlock() {
    if (Node* next = Release(); next != nullptr) next->Complete();
  }

  // As Unlock(), but leaves it to the caller to complete the wait of whom the mutex was handed to: for one who holds a
  // lock. nullptr: nobody.
  [[nodiscard]] Node* Release() {
    State state = word_.Load(std::memory_order_relaxed);
    if (state == kHeld && word_.Change(&state, kFree, std::memory_order_release)) [[likely]]
      return nullptr;        // publishes what
    return ReleaseQueued();  // was guarded
  }

 private:
  using State = typename Host::Word::State;
  static constexpr State kFree = 0;
  static constexpr State kHeld = 2;
  static constexpr State kQueued = 4;

  [[gnu::noinline]] Node* ReleaseQueued() {
    [[maybe_unused]] const State state = word_.Lock();
    EVRING_DCHECK((state & kHeld) != 0, "a mutex is unlocked by its holder, once");
    Node* next = queue_.Grant();
    word_.Unlock(next == nullptr ? kFree : queue_.empty() ? kHeld : kHeld | kQueued);  // the last touch
    return next;
  }

  typename Host::Word word_{kFree};
  WaiterQueue<Node> queue_;
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_SYNC_INTERNAL_MUTEX_CORE_H_
