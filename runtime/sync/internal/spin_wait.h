// spin_wait.h: how a thread waits for a lock that is held for a few dozen instructions, in the way of SpinLock: it
// spins, then gives its processor to the holder, who may have lost his, then sleeps (spin_lock.h says why).

#ifndef EVRING_RUNTIME_SYNC_INTERNAL_SPIN_WAIT_H_
#define EVRING_RUNTIME_SYNC_INTERNAL_SPIN_WAIT_H_

#include <sched.h>
#include <time.h>

namespace evring::internal {

// One per wait; Once() between two looks at the lock.
class SpinWait {
 public:
  void Once() noexcept {
    if (waits_ < kSpins) {
      Pause();
    } else if (waits_ < kSpins + kYields) {
      sched_yield();  // cannot fail on Linux
    } else {
      const timespec sleep = {.tv_sec = 0, .tv_nsec = 50'000};
      nanosleep(&sleep, nullptr);  // cut short by a signal it has still given the processor away
      return;
    }
    ++waits_;
  }

 private:
  static constexpr int kSpins = 100;    // a few microseconds, more than a section takes
  static constexpr int kYields = 1000;  // at least some hundred microseconds

  static void Pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    asm volatile("yield");
#endif
  }

  int waits_ = 0;
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_SYNC_INTERNAL_SPIN_WAIT_H_
