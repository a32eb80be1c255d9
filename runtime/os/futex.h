// futex.h: waiting for a word of memory to change: the futexes of Linux, between tasks, threads and processes.
//
//   while (ready->load(std::memory_order_acquire) == 0) {
//     absl::StatusOr<FutexResult> result = co_await FutexWait(ready, 0);
//     if (!result.ok()) co_return result.status();
//   }
//
// And who makes it ready, a task or a thread: `ready->store(1, std::memory_order_release)`, then `FutexWake(ready, 1)`.
//
// The wait is a request in the ring of the task's worker: the worker goes on with other tasks, where futex(2) would
// hold it up with all that stands in its queue. For tasks of one runtime runtime/sync/ is easier and faster; this is
// for words that are shared with threads that are no workers, or, in shared memory, with other processes.
//
// A task that has been woken looks at the word again: it may have been woken for another reason, or have changed back.

#ifndef EVRING_RUNTIME_OS_FUTEX_H_
#define EVRING_RUNTIME_OS_FUTEX_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "runtime/task.h"

namespace evring {

// kShared: a word in memory that processes share. Who waits and who wakes say the same.
enum class FutexScope { kPrivate, kShared };

enum class FutexResult {
  kWoken,
  kOtherValue,  // the word did not have the value that was expected: nothing was waited for
};

// Waits until a FutexWake() on `word`, if it has the value `expected`. That it has is seen in one step with the
// beginning of the wait. Await on a worker; `word` outlives the await.
// kCancelled: a stop came first. A wake that was given to this wait in spite of it is a success; none is lost.
// kInvalidArgument (EFAULT): no memory. kUnavailable (EBUSY): before Linux 6.7, no helper thread. kUnimplemented
//   (ENOSYS): in a simulation without futexes.
Task<absl::StatusOr<FutexResult>> FutexWait(const std::atomic<uint32_t>* word, uint32_t expected,
                                            FutexScope scope = FutexScope::kPrivate);

// A word among several that are waited for.
struct FutexWord {
  FutexWord(const std::atomic<uint32_t>* word, uint32_t expected, FutexScope scope = FutexScope::kPrivate)
      : word(word), expected(expected), scope(scope) {}
  const std::atomic<uint32_t>* word;
  uint32_t expected;
  FutexScope scope;
};

struct FutexAnyResult {
  FutexResult result = FutexResult::kOtherValue;
  size_t index = 0;  // of the word that was woken
};

// Waits until a FutexWake() on one of up to 128 words, if each has the value that is expected of it; else kOtherValue.
// As FutexWait(); `words` is borrowed until this returns, what they point to until the await has ended.
// kInvalidArgument: EINVAL, no words or too many; EFAULT.
Task<absl::StatusOr<FutexAnyResult>> FutexWaitAny(std::span<const FutexWord> words);

// Wakes up to `count` of those that wait for `word`, tasks and threads, in the order in which they came; how many it
// were. Change the word before. Any thread; never blocks. In a simulation, on a worker: other threads wake those of the
// real kernel.
int FutexWake(const std::atomic<uint32_t>* word, int count, FutexScope scope = FutexScope::kPrivate);

}  // namespace evring

#endif  // EVRING_RUNTIME_OS_FUTEX_H_
