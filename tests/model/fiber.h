// fiber.h: the explorer's threads: stacks of their own on one operating system thread, switched by hand, known to
// AddressSanitizer and ThreadSanitizer.
//
// A Fiber is made once and used for many runs. Thread: the one that made it, always.

#ifndef EVRING_TESTS_MODEL_FIBER_H_
#define EVRING_TESTS_MODEL_FIBER_H_

#include <functional>
#include <memory>

namespace evring::model {

class Fiber {
 public:
  Fiber();  // stands for the thread's own stack: it can be switched from and back to
  // `entry` runs on the new stack at the first switch to it, and never returns; nor does it throw.
  explicit Fiber(std::function<void()> entry);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Saves the running code in `*from` and goes on where this fiber left off; returns when somebody switches to `*from`.
  void SwitchFrom(Fiber* from);

 private:
  struct State;  // looks different under each sanitizer; the explorer is compiled without
  std::unique_ptr<State> state_;
};

}  // namespace evring::model

#endif  // EVRING_TESTS_MODEL_FIBER_H_
