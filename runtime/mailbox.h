// mailbox.h: where a busy worker's completions are put for another worker to deliver. See rescue.h for the protocol.
//
//   kEmpty  --R2, owner's signal handler-->  kFull  --R3, any worker-->  kTaking  --R4, the same-->  kTaken
//     ^                                                                                               |   |
//     +------------------------------- R5, owner, outside a task -------------------------------------+   +--R2-->
//     kFull
//
// Each arrow is a step of one atomic word, and whoever leaves a state owns the contents until it writes the next one.
// Checked by: tests/model/mailbox_model_test.cc.

#ifndef EVRING_RUNTIME_MAILBOX_H_
#define EVRING_RUNTIME_MAILBOX_H_

#include <array>
#include <atomic>
#include <cstdint>

#include "kevent/atomics.h"
#include "kevent/ring.h"

namespace evring {

// Of up to kItems completions at a time.
template <class Item, unsigned kItems, class Atomics = StdAtomics>
class BasicMailbox {
 public:
  static constexpr unsigned kCapacity = kItems;

  // The owner's one check per visit to the ring: a load of its own cache line.
  bool empty() const { return state_.load(std::memory_order_relaxed) == kEmpty; }
  bool full() const { return state_.load(std::memory_order_relaxed) == kFull; }

  // R2, in the owner's signal handler. `fill(items, capacity)` copies completions and returns how many. True: it is
  // full now. False: there were none, or what came before is not delivered yet. Async-signal-safe if `fill` is.
  template <class Fill>
  bool TryFill(Fill&& fill) {
    const uint32_t state = state_.load(std::memory_order_acquire);  // pairs with R4: the taker is done with the items
    if (state != kEmpty && state != kTaken) return false;
    count_ = fill(items_.data(), kCapacity);
    if (count_ == 0) return false;
    state_.store(kFull, std::memory_order_release);  // publishes the items to R3
    return true;
  }

  // R3 and R4, on any worker. `deliver(const Item&)` returns 1 for a handle's last completion. How many were
  // delivered; 0 if there was nothing or another worker was first.
  template <class Deliver>
  unsigned TryTake(Deliver&& deliver) {
    uint32_t expected = kFull;
    if (!state_.compare_exchange_strong(expected, kTaking, std::memory_order_acquire, std::memory_order_relaxed)) {
      return 0;  // acquire pairs with R2
    }
    for (unsigned i = 0; i < count_; ++i) ended_ += deliver(items_[i]);
    const unsigned n = count_;
    state_.store(kTaken, std::memory_order_release);  // pairs with R2 and R5
    return n;
  }

  // R5, by the owner outside a task. True: nothing is undelivered any more, and `*ended` requests have ended.
  bool TrySettle(int64_t* ended) {
    if (state_.load(std::memory_order_acquire) != kTaken) return false;  // pairs with R4
    *ended = ended_;
    ended_ = 0;
    state_.store(kEmpty, std::memory_order_relaxed);  // read by this thread and its handler only, and as a hint
    return true;
  }

 private:
  enum State : uint32_t { kEmpty, kFull, kTaking, kTaken };

  typename Atomics::template Atomic<uint32_t> state_{kEmpty};
  unsigned count_ = 0;
  int64_t ended_ = 0;  // last completions delivered since the owner settled
  std::array<Item, kItems> items_;
};

using Mailbox = BasicMailbox<kevent::RawCompletion, 512>;

}  // namespace evring

#endif  // EVRING_RUNTIME_MAILBOX_H_
