// semaphore_core.h: the algorithm of Semaphore.
//
//   P1  word = permits that are there * kPermit | kQueued if somebody waits.
//   P2  While somebody waits nobody else takes: a large demand at the head of the queue is not starved by small ones.
//   P3  The first of the queue demands more than there is. So when it is cancelled, those behind it may have enough.
//
// Checked by: tests/model/sync_semaphore_model_test.cc.

#ifndef EVRING_RUNTIME_SYNC_INTERNAL_SEMAPHORE_CORE_H_
#define EVRING_RUNTIME_SYNC_INTERNAL_SEMAPHORE_CORE_H_

#include <atomic>
#include <cstdint>

#include "kevent/check.h"
#include "runtime/sync/internal/waiter.h"

namespace evring::internal {

template <class Host>
class SemaphoreCore {
 public:
  static constexpr uint64_t kPermitsMax = ~uint64_t{0} >> 2;

  struct Node : public Waiter<Host> {
    explicit Node(uint64_t n) : demand(n) {}
    const uint64_t demand;
  };

  explicit constexpr SemaphoreCore(uint64_t permits) : word_(permits * kPermit) {
    EVRING_CHECK(permits <= kPermitsMax, "a semaphore counts to 2^62 - 1");
  }

  // Nobody waits.
  bool idle() const { return word_.Load(std::memory_order_relaxed) % kPermit == 0; }

  uint64_t permits() const { return word_.Load(std::memory_order_relaxed) / kPermit; }

  bool TryAcquire(uint64_t n) {
    State state = word_.Load(std::memory_order_relaxed);
    while ((state & Host::Word::kBusy) == 0) {
      if (!Suffices(state, n)) return false;
      if (word_.Change(&state, state - n * kPermit, std::memory_order_acquire)) [[likely]]
        return true;  // pairs with
    }  // Release()
    state = word_.Lock();
    const bool suffices = Suffices(state, n);
    word_.Unlock(suffices ? state - n * kPermit : state);
    return suffices;
  }

  void Release(uint64_t n) {
    State state = word_.Load(std::memory_order_relaxed);
    while ((state & (kQueued | Host::Word::kBusy)) == 0) {
      if (word_.Change(&state, Add(state, n), std::memory_order_release)) [[likely]]
        return;  // publishes what was done
    }
    Serve(Add(word_.Lock(), n));
  }

  bool Try(Node* node) { return TryAcquire(node->demand); }

  bool Enqueue(Node* node) {
    const State state = word_.Lock();
    if (node->state == Node::State::kCancelled) {
      word_.Unlock(state);
      return false;
    }
    if (Suffices(state, node->demand)) {
      node->state = Node::State::kGranted;
      word_.Unlock(state - node->demand * kPermit);
      return false;
    }
    queue_.PushBack(node);
    word_.Unlock(state | kQueued);
    return true;
  }

  bool Cancel(Node* node) {
    const State state = word_.Lock();
    const bool taken_off = queue_.Cancel(node);
    Serve(state);  // P3
    return taken_off;
  }

 private:
  using State = typename Host::Word::State;
  static constexpr State kQueued = 2;
  static constexpr State kPermit = 4;

  static bool Suffices(State state, uint64_t n) { return (state & kQueued) == 0 && state / kPermit >= n; }

  static State Add(State state, uint64_t n) {
    EVRING_CHECK(n <= kPermitsMax - state / kPermit, "a semaphore counts to 2^62 - 1");
    return state + n * kPermit;
  }

  // With the word locked: grants to the first of the queue as long as there is enough for them, unlocks (the last
  // touch), and wakes.
  void Serve(State state) {
    uint64_t permits = state / kPermit;
    Waiter<Host>* granted = nullptr;
    Waiter<Host>** end = &granted;
    while (!queue_.empty() && queue_.first()->demand <= permits) {
      Node* node = queue_.Grant();
      permits -= node->demand;
      *end = node;
      end = &node->next;
    }
    *end = nullptr;
    word_.Unlock(permits * kPermit | (queue_.empty() ? 0 : kQueued));
    CompleteAll<Host>(granted);
  }

  typename Host::Word word_;
  WaiterQueue<Node> queue_;
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_SYNC_INTERNAL_SEMAPHORE_CORE_H_
