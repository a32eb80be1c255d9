// wait_word.h: the atomic word by which a completion and a stop agree on who resumes a waiting task.
//
// The protocol (W1-W4) and why it loses nothing stand at the head of context.h. A template over the atomics so that the
// interleaving tests run this very code.

#ifndef EVRING_RUNTIME_WAIT_WORD_H_
#define EVRING_RUNTIME_WAIT_WORD_H_

#include <atomic>
#include <cstdint>

#include "kevent/atomics.h"
#include "kevent/check.h"

namespace evring {

template <class Wait, class Atomics = StdAtomics>
class WaitWord {
 public:
  // W1. The release publishes the wait's fields to the stopper (W3); a failure sees what came before the stop.
  [[nodiscard]] bool Begin(Wait* wait) {
    uintptr_t expected = 0;
    if (word_.compare_exchange_strong(expected, Bits(wait), std::memory_order_release, std::memory_order_acquire)) {
      return true;
    }
    EVRING_CHECK(expected == kStop, "a task waits for one thing at a time");
    return false;
  }

  // W1 with a stop allowed. True: a stop was requested before.
  bool BeginJoin(Wait* wait) {
    uintptr_t word = word_.load(std::memory_order_relaxed);
    for (;;) {
      EVRING_CHECK((word & ~kStop) == 0, "a task waits for one thing at a time");
      if (word_.compare_exchange_weak(word, word | Bits(wait), std::memory_order_acq_rel, std::memory_order_relaxed)) {
        return (word & kStop) != 0;
      }
    }
  }

  // W2. Pinned, the release publishes the result to the stopper that resumes in our place (W4); else the acquire sees
  // that the stopper is done with the wait (W4), so that the task may go on. A failure only reads.
  [[nodiscard]] bool Finish(Wait* wait) {
    uintptr_t word = Bits(wait);
    for (;;) {
      if ((word & kPinned) != 0) {
        if (word_.compare_exchange_weak(word, word | kDeferred, std::memory_order_release, std::memory_order_relaxed)) {
          return false;
        }
      } else if (word_.compare_exchange_weak(word, word & kStop, std::memory_order_acquire,
                                             std::memory_order_relaxed)) {
        return true;
      }
      EVRING_CHECK((word & ~kBits) == Bits(wait) && (word & kDeferred) == 0, "a wait is completed once");
    }
  }

  // W3. True: the stop is ours to carry out, and `*wait` is what to tell (pinned), or nullptr. The acquire sees the
  // wait's fields (W1); the release publishes what came before the stop.
  [[nodiscard]] bool Stop(Wait** wait) {
    uintptr_t word = word_.load(std::memory_order_relaxed);
    for (;;) {
      if ((word & kStop) != 0) return false;
      const bool waiting = word != 0;
      if (word_.compare_exchange_weak(word, word | kStop | (waiting ? kPinned : 0), std::memory_order_acq_rel,
                                      std::memory_order_relaxed)) {
        *wait = reinterpret_cast<Wait*>(word);
        return true;
      }
    }
  }

  // W4. True: the wait completed while it was pinned, and the caller makes the task ready: the acquire sees the result.
  // Else the release says that we are done with the wait. Both pair with W2.
  [[nodiscard]] bool Unpin() {
    uintptr_t word = word_.load(std::memory_order_relaxed);
    for (;;) {
      const bool deferred = (word & kDeferred) != 0;
      if (word_.compare_exchange_weak(word, deferred ? kStop : word & ~kPinned, std::memory_order_acq_rel,
                                      std::memory_order_relaxed)) {
        return deferred;
      }
    }
  }

  bool stop_requested() const { return (word_.load(std::memory_order_acquire) & kStop) != 0; }

  // The wait that is going on and has not been completed.
  Wait* Current() const {
    const uintptr_t word = word_.load(std::memory_order_acquire);
    return (word & kDeferred) != 0 ? nullptr : reinterpret_cast<Wait*>(word & ~kBits);
  }

 private:
  static constexpr uintptr_t kStop = 1;
  static constexpr uintptr_t kPinned = 2;
  static constexpr uintptr_t kDeferred = 4;
  static constexpr uintptr_t kBits = 7;

  static uintptr_t Bits(Wait* wait) { return reinterpret_cast<uintptr_t>(wait); }

  typename Atomics::template Atomic<uintptr_t> word_{0};
};

}  // namespace evring

#endif  // EVRING_RUNTIME_WAIT_WORD_H_
