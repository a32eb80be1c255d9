// run_queue.h: the ready tasks of one worker. The owner pushes at the back and pops at the front; any other worker
// steals half from the front.
// Bounded: when it is full, the older half moves out together with the task that found no room.
//
// I1  head <= tail <= back, back - head <= kCapacity, on the owner's thread. Another thread may see an old head or
//     tail.
// I2  slot i % kCapacity holds task i for head <= i < back. Only the owner writes slots, and only those that are empty.
// I3  task i leaves exactly once: by the one compare-and-swap that moves head from at most i to beyond i.
//
// Owner, push                                     Owner, pop, and half out            Thief
//   B1  head (acquire): is there room?              P1  head, tail: is there a task?    S1  head (relaxed)
//   B2  slot = task (relaxed)                       P2  read slots (relaxed)            S2  tail (acquire): how many?
//   B3  tail = back (release), once a batch         P3  claim: CAS head (relaxed)       S3  read slots (relaxed)
//                                                                                      S4  claim: CAS head (release)
//
// Why the orders are enough. S2 reads a tail that a B3 wrote, so the slots below it and the tasks in them are visible
// at
// S3. A thief reads before it claims: what it read may have been overwritten meanwhile, by a task a lap later, but that
//     is
// written only after B1 saw head beyond that slot, and then S4 fails, for head only grows: it has 64 bits and does not
// come back to an old value (32 bits would, in the time that a preempted thief can lose: 2^32 pops take 20 s at 5 ns).
// Slots are atomic because such a read is concurrent with a write. S4's release and B1's acquire keep the read at S3
// from seeing the write at B2 that its own claim made room for. The owner's claims need no order: they continue the
// release sequences of S4, and what the owner reads, it has written.
//
// Checked by: tests/model/run_queue_model_test.cc (all interleavings of small queues, every order weakened in turn),
// tests/runtime/run_queue_stress_test.cc (threads, for ThreadSanitizer).

#ifndef EVRING_RUNTIME_RUN_QUEUE_H_
#define EVRING_RUNTIME_RUN_QUEUE_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "kevent/atomics.h"
#include "kevent/canary.h"
#include "kevent/check.h"

namespace evring {

// Holds pointers that it does not own and never dereferences.
template <class T, uint32_t kCapacity = 256, class Atomics = StdAtomics>
class RunQueue {
  static_assert(kCapacity >= 2 && (kCapacity & (kCapacity - 1)) == 0, "slots are found by masking");

 public:
  RunQueue() = default;
  RunQueue(const RunQueue&) = delete;
  RunQueue& operator=(const RunQueue&) = delete;

  // --- The owner -----------------------------------------------------------------------------------------------------

  // Puts `t` at the back, where thieves see it at once. If there is no room, `overflow(T** items, size_t n)` gets the
  // older half of the queue and `t` after them, n = kCapacity / 2 + 1, oldest first; the array is valid during the
  // call.
  template <class Overflow>
  void Push(T* t, Overflow&& overflow) {
    PushUnpublished(t, overflow);
    Publish();
  }

  // As Push, but nobody, the owner's Pop included, sees `t` before Publish(), which follows before the owner does
  // anything else with the queue: a batch of tasks costs one release store. (One that overflows is published up to
  // there.)
  template <class Overflow>
  void PushUnpublished(T* t, Overflow&& overflow) {
    while (Room(1) == 0) {
      if (MoveHalfOut(t, overflow)) return;
    }
    slots_[back_ & kMask].store(t, std::memory_order_relaxed);  // B2, made visible by B3
    ++back_;
  }

  void Publish() {
    tail_.store(back_, std::memory_order_release);  // B3 publishes slots and tasks; pairs with S2
  }

  // The oldest task, or nullptr.
  T* Pop() {
    const uint64_t tail = tail_.load(std::memory_order_relaxed);  // P1: the owner's own
    uint64_t head = head_.load(std::memory_order_relaxed);        //     P3 corrects an old one
    while (head != tail) {
      T* t = slots_[head & kMask].load(std::memory_order_relaxed);  // P2: the owner's own
      // P3: no order, since this thread has written or acquired what the task contains.
      if (head_.compare_exchange_weak(head, head + 1, std::memory_order_relaxed, std::memory_order_relaxed)) {
        return t;
      }
    }
    return nullptr;
  }

  // Pop for an owner that knows that nobody else can steal (a runtime of one worker): no read-modify-write.
  T* PopUnshared() {
    const uint64_t head = head_.load(std::memory_order_relaxed);
    if (head == tail_.load(std::memory_order_relaxed)) return nullptr;
    head_.store(head + 1, std::memory_order_relaxed);
    return slots_[head & kMask].load(std::memory_order_relaxed);
  }

  // --- Any other worker ----------------------------------------------------------------------------------------------

  // Takes half of this queue's tasks, rounded up, from the front: returns the oldest, to be run at once, and puts the
  // others into `thief`, the queue that the calling thread owns (fewer, if `thief` has not the room).
  // nullptr: there is nothing here, or others were faster kStealAttempts times.
  T* StealInto(RunQueue& thief) {
    EVRING_CHECK(&thief != this, "a worker steals from others");
    uint64_t head = head_.load(std::memory_order_relaxed);  // S1: S4 corrects an old one
    for (int attempt = 0; attempt < kStealAttempts; ++attempt) {
      const uint64_t tail = tail_.load(std::memory_order_acquire);  // S2 sees slots and tasks; pairs with B3
      if (head >= tail) return nullptr;                             // head may be newer than tail
      uint64_t n = tail - head;
      n -= n / 2;
      n = std::min<uint64_t>(n, kCapacity / 2);  // head may be older than tail: then n can be anything, and S4 fails
      n = std::min(n, thief.Room(n - 1) + 1);
      T* first = slots_[head & kMask].load(std::memory_order_relaxed);  // S3, made sure by S4
      for (uint64_t i = 1; i < n; ++i) {
        T* t = slots_[(head + i) & kMask].load(std::memory_order_relaxed);                // S3
        thief.slots_[(thief.back_ + i - 1) & kMask].store(t, std::memory_order_relaxed);  // B2, no task yet
      }
      const uint64_t end = head + n - (EVRING_CANARY(kStolenTwice) ? 1 : 0);
      if (head_.compare_exchange_strong(head, end, std::memory_order_release,  // S4: after S3; pairs with B1.
                                        std::memory_order_relaxed)) {          //     Failure only reads head again
        thief.back_ += n - 1;
        thief.Publish();
        return first;
      }
    }
    return nullptr;
  }

  // --- Any thread ----------------------------------------------------------------------------------------------------

  // How many published tasks there are: exact on the owner's thread if nobody steals, otherwise a little old.
  uint32_t SizeApprox() const {
    const uint64_t head = head_.load(std::memory_order_relaxed);  // a hint; whoever must not miss a task has an
    const uint64_t tail = tail_.load(std::memory_order_relaxed);  // edge from the push by other means (idle.h)
    return head >= tail ? 0 : static_cast<uint32_t>(std::min<uint64_t>(tail - head, kCapacity));
  }
  // False if a task is here whose push happened before the call and which nobody has taken.
  bool EmptyApprox() const { return SizeApprox() == 0; }

 private:
  static constexpr uint64_t kMask = kCapacity - 1;
  static constexpr int kStealAttempts = 4;

  template <class Value>
  using Atomic = typename Atomics::template Atomic<Value>;

  // Owner: free slots, at least `wanted` if that many are free. Looks at head, which thieves write, only if it must.
  uint64_t Room(uint64_t wanted) {
    if (kCapacity - (back_ - head_seen_) < wanted) {
      head_seen_ = head_.load(std::memory_order_acquire);  // B1: thieves have read what B2 overwrites; pairs with S4
    }
    return kCapacity - (back_ - head_seen_);
  }

  // Owner, queue full. False: a thief has made room.
  template <class Overflow>
  bool MoveHalfOut(T* t, Overflow&& overflow) {
    constexpr size_t kHalf = kCapacity / 2;
    Publish();  // I1: head does not pass tail
    T* items[kHalf + 1];
    for (size_t i = 0; i < kHalf; ++i) {
      items[i] = slots_[(head_seen_ + i) & kMask].load(std::memory_order_relaxed);  // P2: the owner's own
    }
    uint64_t head = head_seen_;
    if (!head_.compare_exchange_strong(head, head + kHalf, std::memory_order_relaxed,  // P3, as in Pop()
                                       std::memory_order_relaxed)) {
      return false;
    }
    items[kHalf] = t;
    overflow(items, kHalf + 1);
    return true;
  }

  alignas(kCacheLine) Atomic<uint64_t> head_{0};  // task that leaves next; moved by everybody
  alignas(kCacheLine) Atomic<uint64_t> tail_{0};  // end of what thieves may see; written by the owner
  uint64_t back_ = 0;                             // where the next push goes; the owner's
  uint64_t head_seen_ = 0;                        // a past value of head; the owner's
  alignas(kCacheLine) Atomic<T*> slots_[kCapacity] = {};
};

}  // namespace evring

#endif  // EVRING_RUNTIME_RUN_QUEUE_H_
