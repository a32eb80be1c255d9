// state_word.h: the state of a primitive and the lock of its queue, in one atomic word.
//
//     word = state of the primitive, in multiples of 2 | kBusy
//
//   S1  Without kBusy anybody changes the word, by one compare-and-swap: the fast paths, which do not meet the queue.
//   S2  Lock() sets kBusy. From then on only its holder changes the word, and only he touches the queue.
//   S3  Unlock(state) writes the state and clears kBusy in one store.
//
// Why one word and not a SpinLock beside an atomic: a task that sees from the state that it may go on may destroy the
// primitive at once. So whoever changes the state must not touch the primitive afterwards, not even to unlock it; S1
// and S3 are last touches. And a fast path costs one read-modify-write.
//
// Checked by: the model tests of the primitives (tests/model/sync_*), and their stress tests under ThreadSanitizer.

#ifndef EVRING_RUNTIME_SYNC_INTERNAL_STATE_WORD_H_
#define EVRING_RUNTIME_SYNC_INTERNAL_STATE_WORD_H_

#include <atomic>
#include <cstdint>

#include "kevent/atomics.h"
#include "runtime/sync/internal/spin_wait.h"

namespace evring::internal {

// Threads that wait in Lock() spin. The explorer of tests/model cannot run loops that wait for another thread; its
// turnstile lets in one at a time, and nobody spins.
struct NoTurnstile {
  void Enter() {}
  void Leave() {}
};

template <class Atomics = StdAtomics, class Turnstile = NoTurnstile>
class StateWord {
 public:
  using State = uint64_t;
  static constexpr State kBusy = 1;

  explicit constexpr StateWord(State state) noexcept : word_(state) {}
  StateWord(const StateWord&) = delete;
  StateWord& operator=(const StateWord&) = delete;

  // As it is now, with kBusy if the queue is locked.
  State Load(std::memory_order order) const { return word_.load(order); }

  // S1. False: the state was another, which is in *expected now, or kBusy was set.
  [[nodiscard]] bool Change(State* expected, State desired, std::memory_order order) {
    return word_.compare_exchange_strong(*expected, desired, order, std::memory_order_relaxed);
  }

  // S2. Returns the state without kBusy.
  State Lock() {
    turnstile_.Enter();
    State state = word_.load(std::memory_order_relaxed);
    for (SpinWait wait;;) {
      if ((state & kBusy) != 0) [[unlikely]] {
        wait.Once();
        state = word_.load(std::memory_order_relaxed);
      } else if (word_.compare_exchange_weak(state, state | kBusy,
                                             std::memory_order_acquire,  // pairs with Unlock() and with Change()
                                             std::memory_order_relaxed)) {
        return state;
      }
    }
  }

  // S3. The last touch: the primitive may be gone when this returns.
  void Unlock(State state) {
    word_.store(state, std::memory_order_release);  // publishes the queue to Lock(), the state to Change() and Load()
    turnstile_.Leave();
  }

 private:
  typename Atomics::template Atomic<State> word_;
  [[no_unique_address]] Turnstile turnstile_;
};
static_assert(sizeof(StateWord<>) == sizeof(uint64_t), "the turnstile is for tests");

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_SYNC_INTERNAL_STATE_WORD_H_
