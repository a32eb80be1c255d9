// return_stack.h: where the consumers of a queue put the registrations whose completion they have consumed, for the
// next holder of the queue's lock, without a lock of their own and without a system call.
//
// While the queue's leader sleeps in the kernel nobody may come by for a long time. So the leader marks the stack
// before it sleeps, and who then returns something that is to be armed again sees to it himself:
//
//   B1  a consumer pushes. If the mark is there and its registration is to be armed again, it calls itself in, with the
//       same step, unless another consumer has and has not been here yet; and then arms, under the queue's lock, what
//       lies on the stack
//   B2  the leader, with the queue's lock, marks the stack if nothing lies there; else it arms that first
//   B3  the leader is awake: it takes the mark off
//   B4  whoever holds the lock takes all that is there. Who has been called in may find nothing any more: what another
//       holder has taken may not have reached the kernel, so he goes there all the same
//
// All of them are read-modify-writes of one word, so of B1 and B2 one sees the other: while the leader sleeps, nothing
// that is to be armed lies there but for a consumer who is on his way. The mark stays while the leader sleeps: a record
// that was claimed before, and is returned late, says nothing about when the leader will wake.
//
// Checked by: tests/model/queue_model_test.cc.

#ifndef EVRING_KEVENT_RETURN_STACK_H_
#define EVRING_KEVENT_RETURN_STACK_H_

#include <atomic>
#include <cstdint>

#include "kevent/atomics.h"

namespace evring::kevent {

// Node: has `Node* next`; its address is a multiple of four.
template <class Node, class Atomics = StdAtomics>
class BasicReturnStack {
 public:
  // B1. True: the caller is to arm what lies on the stack.
  [[nodiscard]] bool Push(Node* node, bool again) {
    uintptr_t word = word_.load(std::memory_order_relaxed);
    uintptr_t mine;
    bool called;
    do {
      node->next = Top(word);
      called = again && (word & (kMark | kCalled)) == kMark;
      mine = reinterpret_cast<uintptr_t>(node) | (word & (kMark | kCalled)) | (called ? kCalled : 0);
      // Publishes the node to TakeAll().
    } while (!word_.compare_exchange_weak(word, mine, std::memory_order_release, std::memory_order_relaxed));
    return called;
  }

  // B2. True: marked. False: something lies there. Under the queue's lock.
  [[nodiscard]] bool Mark() {
    uintptr_t word = word_.load(std::memory_order_relaxed);
    do {
      if (Top(word) != nullptr) return false;
    } while (!word_.compare_exchange_weak(word, word | kMark, std::memory_order_relaxed, std::memory_order_relaxed));
    return true;  // hands nothing over: no order
  }

  // B3.
  void Unmark() { word_.fetch_and(~kMark, std::memory_order_relaxed); }

  // Whether the leader sleeps, or is about to.
  bool marked() const { return (word_.load(std::memory_order_relaxed) & kMark) != 0; }

  // B4. The latest first, linked by `next`; the mark stays. Under the queue's lock.
  Node* TakeAll() {
    if (Top(word_.load(std::memory_order_relaxed)) == nullptr) return nullptr;
    return Top(word_.fetch_and(kMark, std::memory_order_acquire));  // pairs with Push()
  }

 private:
  static constexpr uintptr_t kMark = 1;
  static constexpr uintptr_t kCalled = 2;  // somebody has been called in; only while something lies there

  static Node* Top(uintptr_t word) {
    static_assert(alignof(Node) >= 4, "two bits of its address are free");
    return reinterpret_cast<Node*>(word & ~(kMark | kCalled));
  }

  typename Atomics::template Atomic<uintptr_t> word_{0};
};

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_RETURN_STACK_H_
