// lifo_slot.h: the place of one task that its worker runs next, before those in its queue: a task that was just made
// ready by the running one finds its data in the cache. How often in a row is for the worker to limit.
//
// Only the owner fills the slot, anybody may empty it, so what the owner sees empty stays empty.
// Checked by: tests/model/lifo_slot_model_test.cc.

#ifndef EVRING_RUNTIME_LIFO_SLOT_H_
#define EVRING_RUNTIME_LIFO_SLOT_H_

#include <atomic>

#include "kevent/atomics.h"

namespace evring {

// Holds a pointer that it does not own and never dereferences.
template <class T, class Atomics = StdAtomics>
class LifoSlot {
 public:
  LifoSlot() = default;
  LifoSlot(const LifoSlot&) = delete;
  LifoSlot& operator=(const LifoSlot&) = delete;

  // Owner. Puts `t` in; returns the task that was there, or nullptr.
  [[nodiscard]] T* Push(T* t) {
    if (slot_.load(std::memory_order_relaxed) == nullptr) {  // stays so: only we fill it
      slot_.store(t, std::memory_order_release);             // L1 publishes *t; pairs with L3
      return nullptr;
    }
    return slot_.exchange(t, std::memory_order_release);  // L2 publishes *t; pairs with L3. What comes out was ours
  }

  // Owner. Takes the task out, or nullptr.
  T* Pop() {
    if (slot_.load(std::memory_order_relaxed) == nullptr) return nullptr;
    return slot_.exchange(nullptr, std::memory_order_relaxed);  // what comes out was ours: no order
  }

  // Any other worker. Takes the task out, or nullptr.
  T* Steal() {
    if (slot_.load(std::memory_order_relaxed) == nullptr) return nullptr;  // a hint: no write for nothing
    return slot_.exchange(nullptr, std::memory_order_acquire);             // L3 sees *t; pairs with L1 and L2
  }

  // Any thread. False if a task is here whose push happened before the call and which nobody has taken.
  bool EmptyApprox() const { return slot_.load(std::memory_order_relaxed) == nullptr; }

 private:
  typename Atomics::template Atomic<T*> slot_{nullptr};
};

}  // namespace evring

#endif  // EVRING_RUNTIME_LIFO_SLOT_H_
