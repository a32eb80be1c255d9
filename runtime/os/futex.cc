#include "runtime/os/futex.h"

#include <errno.h>
#include <linux/futex.h>

#include <utility>
#include <vector>

#include "kevent/check.h"
#include "kevent/errors.h"
#include "kevent/event.h"
#include "kevent/kernel.h"
#include "kevent/kevent.h"
#include "runtime/os/event_wait.h"

namespace evring {
namespace {

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t) && std::atomic<uint32_t>::is_always_lock_free,
              "the kernel reads the word itself");
static_assert(FUTEX_PRIVATE_FLAG == KEVENT_FUTEX_PRIVATE, "one flag in all of these calls");

uint64_t Address(const std::atomic<uint32_t>* word) { return reinterpret_cast<uintptr_t>(word); }

Task<absl::StatusOr<FutexAnyResult>> WaitAny(std::vector<futex_waitv> waiters) {
  if (waiters.empty() || waiters.size() > FUTEX_WAITV_MAX) co_return kevent::ErrnoToStatus(EINVAL, "futexes");
  kevent::Event event;
  event.type = kevent::EventType::kFutexV;
  event.result = static_cast<int32_t>(waiters.size());
  event.payload = reinterpret_cast<uintptr_t>(waiters.data());
  const absl::StatusOr<kevent::Event> woken = co_await WaitForEvent(event);
  FutexAnyResult result;
  if (woken.ok()) {
    result.result = FutexResult::kWoken;
    result.index = static_cast<size_t>(woken->result);
  } else if (kevent::StatusErrno(woken.status()) != EAGAIN) {
    co_return woken.status();
  }
  co_return result;
}

}  // namespace

Task<absl::StatusOr<FutexResult>> FutexWait(const std::atomic<uint32_t>* word, uint32_t expected, FutexScope scope) {
  kevent::Event event;
  event.type = kevent::EventType::kFutex;
  event.descriptor = scope == FutexScope::kPrivate ? KEVENT_FUTEX_PRIVATE : 0;
  event.result = static_cast<int32_t>(expected);
  event.payload = Address(word);
  const absl::StatusOr<kevent::Event> woken = co_await WaitForEvent(event);
  if (woken.ok()) co_return FutexResult::kWoken;
  if (kevent::StatusErrno(woken.status()) == EAGAIN) co_return FutexResult::kOtherValue;
  co_return woken.status();
}

Task<absl::StatusOr<FutexAnyResult>> FutexWaitAny(std::span<const FutexWord> words) {
  std::vector<futex_waitv> waiters(words.size());
  for (size_t i = 0; i < words.size(); ++i) {
    waiters[i].val = words[i].expected;
    waiters[i].uaddr = Address(words[i].word);
    waiters[i].flags = FUTEX_32 | (words[i].scope == FutexScope::kPrivate ? FUTEX_PRIVATE_FLAG : 0);
  }
  return WaitAny(std::move(waiters));
}

int FutexWake(const std::atomic<uint32_t>* word, int count, FutexScope scope) {
  // By the kernel that serves the ring, which knows who waits.
  const int woken = kevent::Kernel::Current()->FutexWake(reinterpret_cast<const uint32_t*>(word), count,
                                                         scope == FutexScope::kPrivate);
  EVRING_CHECK(woken >= 0, "the word is in memory that can be written to");
  return woken;
}

}  // namespace evring
