// runtime_test_util.h: what the tests of the runtime share. Including it bounds every test case in time: one that has
// not ended after kCaseSeconds is named on standard error and the program is aborted.

#ifndef EVRING_TESTS_RUNTIME_RUNTIME_TEST_UTIL_H_
#define EVRING_TESTS_RUNTIME_RUNTIME_TEST_UTIL_H_

#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/sanitizer.h"
#include "runtime/context.h"
#include "runtime/options.h"
#include "runtime/run_result.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/task.h"
#include "runtime/worker.h"
#include "sim/co_assert.h"

namespace evring::testing {

inline constexpr unsigned kCaseSeconds = 240;  // generous: one case under ThreadSanitizer on a loaded machine

using kevent::kSanitized;

// `n` in a plain build, less where each step costs ten times as much.
constexpr int Scaled(int n) { return kSanitized ? (n + 7) / 8 : n; }

class CaseTimer : public ::testing::EmptyTestEventListener {
 private:
  void OnTestStart(const ::testing::TestInfo& info) override {
    std::snprintf(name_, sizeof(name_), "%s.%s did not end in time\n", info.test_suite_name(), info.name());
    signal(SIGALRM, &OnAlarm);
    alarm(kCaseSeconds);
  }
  void OnTestEnd(const ::testing::TestInfo&) override { alarm(0); }
  static void OnAlarm(int) {
    size_t length = 0;
    while (name_[length] != '\0') ++length;
    if (write(STDERR_FILENO, name_, length) < 0) _exit(98);
    abort();
  }
  static inline char name_[256];
};

inline const bool kCaseTimerInstalled = [] {
  ::testing::UnitTest::GetInstance()->listeners().Append(new CaseTimer);
  return true;
}();

inline RuntimeOptions WithWorkers(int workers) {
  RuntimeOptions options;
  options.workers = workers;
  return options;
}

// The cases of a suite derived from this run with 1, 2, 4 and 8 workers.
class EveryWorkerCount : public ::testing::TestWithParam<int> {
 protected:
  static RuntimeOptions options() { return WithWorkers(GetParam()); }
};
inline auto WorkerCounts() { return ::testing::Values(1, 2, 4, 8); }

// Runs a task that must not fail on a runtime of its own.
inline void RunOk(Task<void> task, const RuntimeOptions& options) {
  const absl::Status status = evring::Run(std::move(task), options);
  EXPECT_TRUE(status.ok()) << status.ToString();
}
template <class T>
T RunValue(Task<T> task, const RuntimeOptions& options) {
  internal::RunResultType<T> result = evring::Run(std::move(task), options);
  EXPECT_TRUE(result.ok()) << result.status().ToString();
  return *std::move(result);
}

// Waits, on a thread that is no worker, until `condition()` holds. False: it does not after half a minute.
template <class Condition>
[[nodiscard]] bool Eventually(Condition&& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

// The clock of timers, which a simulated kernel has its own of. In a task.
inline absl::Time TimerNow() { return absl::FromUnixNanos(Worker::Current()->NowNs()); }

// The same in a task, which gives way meanwhile.
template <class Condition>
Task<bool> EventuallyInTask(Condition condition) {
  const absl::Time end = TimerNow() + absl::Seconds(30);
  while (!condition()) {
    if (TimerNow() > end) co_return false;
    co_await Yield();
  }
  co_return true;
}

// Keeps the thread busy, as a task that gives way to nobody.
inline void Compute(absl::Duration d) {
  const auto end = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(d);
  while (std::chrono::steady_clock::now() < end) {
  }
}

// Entries of a directory of /proc/self: "fd" or "task".
inline int CountIn(const char* directory) {
  char path[64];
  std::snprintf(path, sizeof(path), "/proc/self/%s", directory);
  DIR* dir = opendir(path);
  if (dir == nullptr) return -1;
  int n = 0;
  while (const dirent* entry = readdir(dir)) n += entry->d_name[0] != '.' ? 1 : 0;
  closedir(dir);
  return n;
}

// Something that a task can wait for and any thread can bring about, once. By the rules of a Wait: one completer.
class Gate {
 public:
  // Any thread, any number of times.
  void Open() {
    Awaiter* waiter = nullptr;
    {
      std::lock_guard lock(mutex_);
      open_ = true;
      waiter = std::exchange(waiter_, nullptr);
    }
    if (waiter != nullptr) waiter->Complete(true);
  }

  class Awaiter final : private Wait {
   public:
    explicit Awaiter(Gate* gate) : gate_(gate) {}
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
      context_ = handle.promise().context();
      TaskContext* context = context_;
      if (!context->BeginWait(this, handle)) return false;
      {
        std::lock_guard lock(gate_->mutex_);
        if (!gate_->open_ && !stopped_) {
          EVRING_CHECK(gate_->waiter_ == nullptr, "one waits at a gate");
          gate_->waiter_ = this;
          return true;
        }
        opened_ = gate_->open_;
      }
      context->Complete(this);
      return true;
    }
    // True: the gate was opened. False: a stop came first.
    bool await_resume() const noexcept { return opened_; }

   private:
    friend class Gate;

    void Complete(bool opened) {
      opened_ = opened;
      context_->evring::TaskContext::Complete(this);
    }
    void OnStop() noexcept override {
      {
        std::lock_guard lock(gate_->mutex_);
        stopped_ = true;
        if (gate_->waiter_ != this) return;  // opened, or not there yet
        gate_->waiter_ = nullptr;
      }
      Complete(false);
    }

    Gate* const gate_;
    TaskContext* context_ = nullptr;
    bool stopped_ = false;  // under the gate's mutex
    bool opened_ = false;
  };
  Awaiter operator co_await() { return Awaiter(this); }

 private:
  std::mutex mutex_;
  bool open_ = false;
  Awaiter* waiter_ = nullptr;
};

// Waits until a stop comes; the status is kCancelled then.
inline Task<absl::Status> UntilStopped() { co_return co_await Sleep(absl::InfiniteDuration()); }

// Counts how many of it there are.
class Counted {
 public:
  explicit Counted(std::atomic<int>* alive) : alive_(alive) { ++*alive_; }
  Counted(Counted&& other) noexcept : alive_(other.alive_) { ++*alive_; }
  Counted(const Counted& other) : alive_(other.alive_) { ++*alive_; }
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --*alive_; }

 private:
  std::atomic<int>* const alive_;
};

// How far the stack has been seen to reach.
class StackRange {
 public:
  [[gnu::noinline]] void Note() {
    const auto at = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
    low_ = std::min(low_, at);
    high_ = std::max(high_, at);
  }
  size_t bytes() const { return high_ - low_; }

 private:
  uintptr_t low_ = UINTPTR_MAX;
  uintptr_t high_ = 0;
};

// Threads that start while one of these lives have a small stack: what nests instead of transferring overflows it.
class SmallStacks {
 public:
  explicit SmallStacks(size_t bytes = 256 * 1024) {
    pthread_attr_init(&attributes_);
    pthread_getattr_default_np(&attributes_);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, bytes);
    EXPECT_EQ(pthread_setattr_default_np(&small), 0);
    pthread_attr_destroy(&small);
  }
  ~SmallStacks() {
    EXPECT_EQ(pthread_setattr_default_np(&attributes_), 0);
    pthread_attr_destroy(&attributes_);
  }

 private:
  pthread_attr_t attributes_;
};

}  // namespace evring::testing

#endif  // EVRING_TESTS_RUNTIME_RUNTIME_TEST_UTIL_H_
