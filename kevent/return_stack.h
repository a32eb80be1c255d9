// return_stack.h: where the consumers of a queue put the registrations whose completion they have consumed, for the
// next holder of the queue's lock, without a lock of their own and without a system call.
//
// While the queue's leader sleeps in the kernel nobody may come by for a long time. So the leader marks the stack
// before it sleeps, and who then returns something that is to be armed again takes the mark off and sees to it himself:
//
//   B1  a consumer pushes; if the mark is there and its registration is to be armed again, it takes the mark off with
//       the same step, and then arms what is on the stack
//   B2  the leader marks the stack, if nothing lies there. Else it arms that first
//   B3  the leader is awake: it takes the mark off
//
// All of them are read-modify-writes of one word, so of B1 and B2 one sees the other: nothing that is to be armed lies
// there while the leader sleeps.
//
// Checked by: tests/model/queue_model_test.cc.

#ifndef EVRING_KEVENT_RETURN_STACK_H_
#define EVRING_KEVENT_RETURN_STACK_H_

#include <atomic>
#include <cstdint>

#include "kevent/atomics.h"

namespace evring::kevent {

// Node: has `Node* next`; its address is even.
template <class Node, class Atomics = StdAtomics>
class BasicReturnStack {
 public:
  // B1. True: the caller is to arm what lies on the stack.
  [[nodiscard]] bool Push(Node* node, bool again) {
    uintptr_t word = word_.load(std::memory_order_relaxed);
    uintptr_t mine;
    do {
      node->next = Top(word);
      mine = reinterpret_cast<uintptr_t>(node) | (again ? 0 : word & kMark);
      // Publishes the node to TakeAll().
    } while (!word_.compare_exchange_weak(word, mine, std::memory_order_release, std::memory_order_relaxed));
    return again && (word & kMark) != 0;
  }

  // B2. True: marked. False: something lies there.
  [[nodiscard]] bool Mark() {
    uintptr_t word = word_.load(std::memory_order_relaxed);
    do {
      if (Top(word) != nullptr) return false;
    } while (!word_.compare_exchange_weak(word, word | kMark, std::memory_order_relaxed, std::memory_order_relaxed));
    return true;  // hands nothing over: no order
  }

  // B3.
  void Unmark() { word_.fetch_and(~kMark, std::memory_order_relaxed); }

  // All of it, the latest first, linked by `next`; the mark stays. Under the queue's lock.
  Node* TakeAll() {
    if (Top(word_.load(std::memory_order_relaxed)) == nullptr) return nullptr;
    return Top(word_.fetch_and(kMark, std::memory_order_acquire));  // pairs with Push()
  }

 private:
  static constexpr uintptr_t kMark = 1;

  static Node* Top(uintptr_t word) { return reinterpret_cast<Node*>(word & ~kMark); }

  typename Atomics::template Atomic<uintptr_t> word_{0};
};

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_RETURN_STACK_H_
