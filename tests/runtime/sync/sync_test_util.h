// sync_test_util.h: what the tests of runtime/sync share.

#ifndef EVRING_TESTS_RUNTIME_SYNC_SYNC_TEST_UTIL_H_
#define EVRING_TESTS_RUNTIME_SYNC_SYNC_TEST_UTIL_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/timeout.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring::testing {

// Runs `task` on `workers` workers. It is stopped, and the test fails, if it takes too long.
inline void RunFor(int workers, Task<void> task) {
  const absl::Status status = evring::Run(
      [](Task<void> body) -> Task<absl::Status> {
        co_return co_await WithTimeout(absl::Seconds(kCaseSeconds / 2), std::move(body));
      }(std::move(task)),
      WithWorkers(workers));
  EXPECT_TRUE(status.ok()) << status.ToString();
}

// With a single worker: returns when every other task waits.
inline Task<void> Settle() {
  for (int i = 0; i < 16; ++i) co_await Yield();
}

// Ends when the stop of the calling task was requested.
inline Task<void> AwaitStop() { EXPECT_FALSE((co_await Sleep(absl::InfiniteDuration())).ok()); }

inline Task<void> JoinAll(std::vector<JoinHandle<void>>* handles) {
  for (JoinHandle<void>& handle : *handles) co_await std::move(handle);
  handles->clear();
}

inline void Spin(uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) asm volatile("" ::: "memory");
}

// A thread that is no worker and stands ready: what it is given it runs within a microsecond, so that the two meet.
class Rival {
 public:
  Rival() : thread_([this] { Loop(); }) {}
  ~Rival() {
    Begin(nullptr);
    thread_.join();
  }
  // One thing at a time: the last has ended.
  void Begin(std::function<void()> work) {
    work_ = std::move(work);
    busy_.store(true, std::memory_order_release);  // pairs with busy(), in Loop()
  }
  bool busy() const { return busy_.load(std::memory_order_acquire); }

  // Blocks until it has ended, which is soon.
  void Join() const {
    while (busy()) std::this_thread::yield();
  }

 private:
  void Loop() {
    for (;;) {
      for (int looks = 0; !busy(); ++looks) {
        if (looks % 1000 == 999) std::this_thread::yield();
      }
      if (work_ == nullptr) return;
      work_();
      busy_.store(false, std::memory_order_release);  // pairs with busy(), by whoever began
    }
  }

  std::function<void()> work_;
  std::atomic<bool> busy_{false};
  std::thread thread_;
};

// The code of an error, and kOk for none: what EXPECT_EQ prints well.
inline absl::StatusCode Code(const absl::Status& status) { return status.code(); }
template <class T>
absl::StatusCode Code(const absl::StatusOr<T>& result) {
  return result.status().code();
}

}  // namespace evring::testing

#endif  // EVRING_TESTS_RUNTIME_SYNC_SYNC_TEST_UTIL_H_
