// sync_test_util.h: what the tests of runtime/sync share.

#ifndef EVRING_TESTS_RUNTIME_SYNC_SYNC_TEST_UTIL_H_
#define EVRING_TESTS_RUNTIME_SYNC_SYNC_TEST_UTIL_H_

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

// The code of an error, and kOk for none: what EXPECT_EQ prints well.
inline absl::StatusCode Code(const absl::Status& status) { return status.code(); }
template <class T>
absl::StatusCode Code(const absl::StatusOr<T>& result) {
  return result.status().code();
}

}  // namespace evring::testing

#endif  // EVRING_TESTS_RUNTIME_SYNC_SYNC_TEST_UTIL_H_
