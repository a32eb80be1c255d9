// spin_lock.h: a lock of one byte for sections of a few dozen instructions that are seldom contended.
//
// Any thread. Use it where a worker touches what other workers touch once in a while (its timers, the frame depot): a
// std::mutex costs 2.6 times as much uncontended (bench/micro/timer_wheel_bench.cc). Never across a co_await (the
// coroutine may go on on another thread), never around a system call, an allocation or a callback of the user, never in
// a signal handler: the handler may have interrupted the holder. Not recursive, not fair.
//
// A waiter reads until the lock looks free, so that waiting does not take the cache line from the holder. A holder that
// was preempted, as happens when there are more threads than processors, does not come back for as long as its waiters
// spin: after kSpins they give their processor away. kYields of that in a row mean that yielding does not help (a
// waiter of real-time priority yields to its equals only): then they sleep.
//
// Meets BasicLockable and Lockable: std::lock_guard, std::unique_lock, std::scoped_lock.
//
// Checked by: tests/runtime/spin_lock_test.cc, also under ThreadSanitizer.

#ifndef EVRING_RUNTIME_SPIN_LOCK_H_
#define EVRING_RUNTIME_SPIN_LOCK_H_

#include <sched.h>
#include <time.h>

#include <atomic>

namespace evring {

class SpinLock {
 public:
  constexpr SpinLock() noexcept = default;
  SpinLock(const SpinLock&) = delete;
  SpinLock& operator=(const SpinLock&) = delete;

  void lock() noexcept {
    if (held_.exchange(true, std::memory_order_acquire)) [[unlikely]] {  // L1 pairs with L2 in unlock()
      LockContended();
    }
  }

  // Takes the lock if it is free. Does not wait.
  [[nodiscard]] bool try_lock() noexcept {
    return !held_.load(std::memory_order_relaxed) &&          // only saves the write: L1 decides
           !held_.exchange(true, std::memory_order_acquire);  // L1
  }

  // Only by the holder.
  void unlock() noexcept { held_.store(false, std::memory_order_release); }  // L2 publishes the section to the next L1

 private:
  static constexpr int kSpins = 100;    // a few microseconds, more than a section takes
  static constexpr int kYields = 1000;  // at least some hundred microseconds
  static constexpr timespec kSleep = {.tv_sec = 0, .tv_nsec = 50'000};

  static void Pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    asm volatile("yield");
#endif
  }

  [[gnu::noinline, gnu::cold]] void LockContended() noexcept {
    int waits = 0;
    do {
      if (waits < kSpins) {
        Pause();
      } else if (waits < kSpins + kYields) {
        sched_yield();  // cannot fail on Linux
      } else {
        nanosleep(&kSleep, nullptr);  // cut short by a signal it has still given the processor away
        continue;
      }
      ++waits;
    } while (!try_lock());
  }

  std::atomic<bool> held_{false};
};
static_assert(sizeof(SpinLock) == 1, "sits beside what it guards");

}  // namespace evring

#endif  // EVRING_RUNTIME_SPIN_LOCK_H_
