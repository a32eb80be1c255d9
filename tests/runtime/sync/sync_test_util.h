// sync_test_util.h: what the tests of runtime/sync share.

#ifndef EVRING_TESTS_RUNTIME_SYNC_SYNC_TEST_UTIL_H_
#define EVRING_TESTS_RUNTIME_SYNC_SYNC_TEST_UTIL_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/timeout.h"
#include "sim/co_assert.h"
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

// The last one to lock a mutex destroys it, while the one before may still be on its way out of Unlock(). `hold`: how
// that one holds it.
template <class AnyMutex, class Guard>
Task<void> DestroyAfterHandOver(Rival* rival, int rounds, Guard (*hold)(AnyMutex* mutex)) {
  for (int i = 0; i < rounds; ++i) {
    auto mutex = std::make_unique<AnyMutex>();
    Guard held = hold(mutex.get());
    rival->Begin([&held, spins = i % 512] {
      Spin(spins);
      held.Unlock();
    });
    auto guard = co_await mutex->Lock();
    CO_ASSERT_OK(guard.status());
    guard->Unlock();
    mutex.reset();
    rival->Join();
  }
}

// The code of an error, and kOk for none: what EXPECT_EQ prints well.
inline absl::StatusCode Code(const absl::Status& status) { return status.code(); }
template <class T>
absl::StatusCode Code(const absl::StatusOr<T>& result) {
  return result.status().code();
}

// Whoever has the last value of a channel, or was told of the close, destroys it, while the other side may still be on
// its way back. `make` makes the channel, `send` puts a value into it without waiting.
template <class AnyChannel>
Task<void> DestroyWhenReceived(Rival* rival, int rounds, std::unique_ptr<AnyChannel> (*make)(),
                               absl::Status (*send)(AnyChannel* channel, int value)) {
  for (int i = 0; i < rounds; ++i) {
    std::unique_ptr<AnyChannel> channel = make();
    rival->Begin([raw = channel.get(), send, i] {
      Spin(static_cast<uint32_t>(i) % 512);
      if (i % 2 == 0) {
        EXPECT_TRUE(send(raw, i).ok());
      } else {
        raw->Close();
      }
    });
    const absl::StatusOr<int> value = co_await channel->Receive();
    EXPECT_EQ(Code(value), i % 2 == 0 ? absl::StatusCode::kOk : absl::StatusCode::kOutOfRange);
    channel.reset();
    rival->Join();
  }
}

}  // namespace evring::testing

#endif  // EVRING_TESTS_RUNTIME_SYNC_SYNC_TEST_UTIL_H_
