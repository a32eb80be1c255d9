// The spin lock: exclusion shown by plain, non-atomic writes (ThreadSanitizer sees any two that overlap), progress with
// more threads than processors and with a holder that sleeps.

#include "runtime/spin_lock.h"

#include <gtest/gtest.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace evring {
namespace {

constinit SpinLock at_namespace_scope;  // needs no constructor to run

// The two counters are equal outside of a section. Each thread sees them so, and no increment is lost.
template <class Take>
void ExcludesEachOther(int threads, int rounds, Take take) {
  SpinLock lock;
  uint64_t first = 0;
  uint64_t second = 0;
  std::atomic<int> torn{0};
  std::atomic<int> missing{threads};  // all start together
  std::vector<std::thread> all;
  for (int t = 0; t < threads; ++t) {
    all.emplace_back([&] {
      missing.fetch_sub(1, std::memory_order_relaxed);  // a start signal: it publishes nothing
      while (missing.load(std::memory_order_relaxed) > 0) std::this_thread::yield();
      for (int i = 0; i < rounds; ++i) {
        take(lock);
        if (first != second) torn.fetch_add(1, std::memory_order_relaxed);  // a counter, read after join
        ++first;
        if (i % 256 == 0) std::this_thread::yield();  // a holder that loses its processor
        ++second;
        lock.unlock();
      }
    });
  }
  for (std::thread& t : all) t.join();
  EXPECT_EQ(torn.load(std::memory_order_relaxed), 0);
  EXPECT_EQ(first, static_cast<uint64_t>(threads) * rounds);
  EXPECT_EQ(second, first);
}

TEST(SpinLock, ExcludesEachOtherOnAllProcessors) {
  ExcludesEachOther(2, 200'000, [](SpinLock& lock) { lock.lock(); });
}

TEST(SpinLock, ExcludesEachOtherWithMoreThreadsThanProcessors) {
  const int threads = 4 * static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  ExcludesEachOther(threads, 20'000, [](SpinLock& lock) { lock.lock(); });
}

TEST(SpinLock, TryLockExcludesToo) {
  ExcludesEachOther(2, 50'000, [](SpinLock& lock) {
    while (!lock.try_lock()) std::this_thread::yield();
  });
}

TEST(SpinLock, TryLockSaysWhetherItIsFree) {
  const std::lock_guard<SpinLock> hold(at_namespace_scope);
  bool taken = true;
  std::thread([&] { taken = at_namespace_scope.try_lock(); }).join();
  EXPECT_FALSE(taken);
  SpinLock free;
  EXPECT_TRUE(free.try_lock());
  EXPECT_FALSE(free.try_lock()) << "not recursive";
  free.unlock();
  EXPECT_TRUE(free.try_lock());
  free.unlock();
}

// How often thread `tid` of this process has gone to sleep of its own accord, proc(5). -1: cannot be read.
int64_t Sleeps(pid_t tid) {
  std::ifstream status("/proc/self/task/" + std::to_string(tid) + "/status");
  const std::string key = "voluntary_ctxt_switches:";
  for (std::string line; std::getline(status, line);) {
    if (line.compare(0, key.size(), key) == 0) return std::stoll(line.substr(key.size()));
  }
  return -1;
}

// A holder that is off the processor for long: its waiter gets past spinning and yielding to the sleep, which a waiter
// of real-time priority needs, and still gets the lock.
TEST(SpinLock, TheWaiterOfASleepingHolderSleepsToo) {
  SpinLock lock;
  lock.lock();
  std::atomic<pid_t> tid{0};
  std::thread waiter([&] {
    tid.store(gettid(), std::memory_order_relaxed);  // only a number; from here on the thread does nothing but wait
    lock.lock();
    lock.unlock();
  });
  while (tid.load(std::memory_order_relaxed) == 0) std::this_thread::yield();
  const int64_t before = Sleeps(tid.load(std::memory_order_relaxed));
  EXPECT_GE(before, 0);
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  bool slept = false;
  while (!slept && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    slept = Sleeps(tid.load(std::memory_order_relaxed)) > before + 1;
  }
  lock.unlock();
  waiter.join();
  EXPECT_TRUE(slept) << "it burns its processor for as long as the holder is away";
}

}  // namespace
}  // namespace evring
