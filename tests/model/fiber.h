// fiber.h: the explorer's threads: stacks of their own on one operating system thread, switched by hand, known to
// AddressSanitizer and ThreadSanitizer.
//
// A Fiber is made once and used for many runs. Thread: the one that made it, always.

#ifndef EVRING_TESTS_MODEL_FIBER_H_
#define EVRING_TESTS_MODEL_FIBER_H_

#include <cstddef>
#include <functional>

#include "kevent/sanitizer.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace evring::model {

class Fiber {
 public:
  Fiber() = default;  // stands for the thread's own stack: it can be switched from and back to
  // `entry` runs on the new stack at the first switch to it, and never returns; nor does it throw.
  explicit Fiber(std::function<void()> entry);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Saves the running code in `*from` and goes on where this fiber left off; returns when somebody switches to `*from`.
  void SwitchFrom(Fiber* from);

 private:
  static constexpr size_t kStackBytes = 256 * 1024;

  static void Start(Fiber* self);

  std::function<void()> entry_;
  char* stack_ = nullptr;
#if defined(__x86_64__)
  void* stack_pointer_ = nullptr;
#else
  ucontext_t context_;
#endif
#ifdef EVRING_ASAN
  void* fake_stack_ = nullptr;
  const void* asan_bottom_ = nullptr;
  size_t asan_size_ = 0;
#endif
#ifdef EVRING_TSAN
  void* tsan_fiber_ = nullptr;
#endif
};

}  // namespace evring::model

#endif  // EVRING_TESTS_MODEL_FIBER_H_
