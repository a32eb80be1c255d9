#include "kevent/queue_waiter.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "kevent/check.h"
#include "kevent/sanitizer.h"
#include "kevent/timespec.h"

namespace evring::kevent {
namespace {

// Calls of the kernel that are not to be cancellation points go through syscall(), as the ones that are; what makes the
// difference is AtCancellationPoint(). unistd.h says that syscall() never throws; the cancellation of a thread does.
long (*volatile const kSyscall)(long number, ...) = syscall;

// A sleep on a futex without a deadline begins again after a signal whose handler has SA_RESTART; with one it ends, as
// those of the leader and of ppoll(2) do.
constexpr int64_t kFarthestNs = int64_t{1} << 62;

struct FutexWait {
  std::atomic<uint32_t>* word;
  const timespec* deadline;
};

EVRING_UNINSTRUMENTED int WaitOnWord(void* argument) {
  const auto* wait = static_cast<FutexWait*>(argument);
  const long rc = kSyscall(SYS_futex, wait->word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, wait->deadline, nullptr,
                           FUTEX_BITSET_MATCH_ANY);
  return rc < 0 ? -errno : 0;
}

struct Poll {
  pollfd fd;
  timespec* timeout;  // what is left of it afterwards
  const sigset_t* sigmask;
};

EVRING_UNINSTRUMENTED int WaitOnDescriptor(void* argument) {
  auto* poll = static_cast<Poll*>(argument);
  // Not by ppoll(): ThreadSanitizer, which stands before it, does not come back to itself when a thread is cancelled
  // there.
  const long rc = kSyscall(SYS_ppoll, &poll->fd, 1, poll->timeout, poll->sigmask, _NSIG / 8);
  return rc < 0 ? -errno : static_cast<int>(rc);
}

}  // namespace

EVRING_UNINSTRUMENTED int AtCancellationPoint(int (*call)(void* argument), void* argument) {
  int type;
  pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
  const int rc = call(argument);
  pthread_setcanceltype(type, &type);
  return rc;
}

QueueWaiter::Slept QueueWaiter::Sleep(const WaitArgs& wait) {
  const bool forever = wait.deadline_ns == kNoDeadline;
  while (woken_.load(std::memory_order_acquire) == 0) {  // pairs with Wake()
    int rc;
    if (event_fd_ < 0) {
      const timespec deadline = ToTimespec(std::clamp(wait.deadline_ns, int64_t{0}, kFarthestNs));
      FutexWait sleep{&woken_, &deadline};
      rc = AtCancellationPoint(WaitOnWord, &sleep);
    } else {
      const int64_t left = forever ? 0 : wait.deadline_ns - SystemKernel()->NowNs();
      timespec timeout = ToTimespec(left > 0 ? left : 0);
      Poll sleep{{event_fd_, POLLIN, 0}, forever ? nullptr : &timeout, wait.sigmask};
      rc = AtCancellationPoint(WaitOnDescriptor, &sleep);
      if (rc == 0) rc = -ETIMEDOUT;
      uint64_t value;
      // One that was meant for whoever had the eventfd before, or ours: the word tells.
      if (rc > 0) {
        EVRING_CHECK(syscall(SYS_read, event_fd_, &value, sizeof(value)) == sizeof(value) || errno == EAGAIN,
                     "an eventfd");
      }
    }
    if (rc == -ETIMEDOUT) return Slept::kDeadline;
    if (rc == -EINTR) return Slept::kInterrupted;
    EVRING_CHECK(rc >= 0 || rc == -EAGAIN, "a follower cannot sleep");
  }
  return Slept::kWoken;
}

void QueueWaiter::Wake() {
  woken_.store(1, std::memory_order_release);  // pairs with Sleep()
  if (event_fd_ < 0) {
    syscall(SYS_futex, &woken_, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, nullptr, nullptr, 0);
    return;
  }
  const uint64_t one = 1;
  // EAGAIN: the counter is full, then it is readable as well.
  EVRING_CHECK(syscall(SYS_write, event_fd_, &one, sizeof(one)) == sizeof(one) || errno == EAGAIN,
               "an eventfd of ours");
}

}  // namespace evring::kevent
