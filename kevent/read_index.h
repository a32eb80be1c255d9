// read_index.h: the read index of a ring that several threads consume: each record is taken by exactly one of them,
// in order, without a lock and without a system call.
//
//   C1  read `next_`, then the write index of the kernel. They are equal: nothing is there
//   C2  copy the record at `next_`. Another thread may do the same
//   C3  move `next_` on by compare-and-swap. It fails: another was faster, what was copied counts for nothing; C1
//   C4  show the kernel how far the ring has been read; others may have shown more already
//
// Why copy before the claim. The kernel fills a slot again once it has been shown that it was read, which comes after
// its claim: if C3 succeeds the slot had not been filled again while it was copied. After C3 the record is this
// thread's alone, with what it names. Between C3 and C4 the kernel knows of a record too few that was read; the next
// claim, or ShowTaken(), shows that one too.
//
// `next_` counts in 64 bits and never wraps. The kernel's 32 bits would: a thread that slept from C1 to C3 while
// exactly 2^32 records went by would take its old copy for the new record.
//
// Checked by: tests/model/queue_model_test.cc.

#ifndef EVRING_KEVENT_READ_INDEX_H_
#define EVRING_KEVENT_READ_INDEX_H_

#include <atomic>
#include <cstdint>

#include "kevent/atomics.h"

namespace evring::kevent {

template <class Atomics = StdAtomics>
class BasicReadIndex {
 public:
  // Takes the next record, if there is one. `tail()`: the write index, loaded with acquire. `read(uint64_t index)`
  // copies the record of that index; the last call is the one that counts. It returns false to leave the record where
  // it is: then nothing is taken. `shown`: an atomic, the kernel's copy of the read index.
  template <class Tail, class Read, class Shown>
  bool TryTake(Tail&& tail, Read&& read, Shown&& shown) {
    uint64_t next = next_.load(std::memory_order_acquire);  // C1 comes after the claims before; pairs with C3
    do {
      if (static_cast<uint32_t>(next) == tail()) return false;
      if (!read(next)) return false;  // C2
      // C3 keeps the copying before the claim, for whoever fills the slot again; pairs with C1 and C3.
    } while (!next_.compare_exchange_weak(next, next + 1, std::memory_order_acq_rel, std::memory_order_acquire));
    Show(static_cast<uint32_t>(next + 1), shown);
    return true;
  }

  // C4 for all that has been taken: before a sleep that ends when the kernel has more than it knows to be read.
  template <class Shown>
  void ShowTaken(Shown&& shown) const {
    Show(static_cast<uint32_t>(next_.load(std::memory_order_acquire)), shown);  // pairs with C3
  }

  // Records that have been taken.
  uint64_t taken() const { return next_.load(std::memory_order_acquire); }  // the write index is not before; see C1

  // For a thread that has said that it waits for room: whoever takes a record after this reads what the thread has
  // written before, and taken() counts what had been taken before.
  void Announce() { next_.fetch_add(0, std::memory_order_release); }  // pairs with C3

 private:
  template <class Shown>
  static void Show(uint32_t next, Shown&& shown) {
    uint32_t seen = shown.load(std::memory_order_relaxed);
    // C4 gives the slots to the kernel; pairs with its load. An index beyond ours covers our slot: its claim came after
    // ours.
    while (static_cast<int32_t>(next - seen) > 0 &&
           !shown.compare_exchange_weak(seen, next, std::memory_order_release, std::memory_order_relaxed)) {
    }
  }

  alignas(kCacheLine) typename Atomics::template Atomic<uint64_t> next_{0};
};

using ReadIndex = BasicReadIndex<>;

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_READ_INDEX_H_
