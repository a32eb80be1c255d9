#include "runtime/rescue.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <system_error>
#include <thread>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kevent/errors.h"
#include "kevent/timespec.h"
#include "runtime/scheduler.h"
#include "runtime/worker.h"

namespace evring {
namespace {

constexpr int kQuietLooksBeforeSleep = 8;
constexpr absl::Duration kThresholdMin = absl::Microseconds(100);
constexpr absl::Duration kThresholdMax = absl::Hours(24);

// Sleeps while `*word` is `expected`, at most `ns` (forever if negative). A wake, a signal or the time: all the same.
void FutexWait(std::atomic<uint32_t>* word, uint32_t expected, int64_t ns) {
  const timespec timeout = kevent::ToTimespec(std::max<int64_t>(ns, 0));
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, ns < 0 ? nullptr : &timeout, nullptr, 0);
}

void FutexWake(std::atomic<uint32_t>* word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0); }

}  // namespace

absl::StatusOr<std::unique_ptr<Watchdog>> Watchdog::Create(Scheduler* scheduler) {
  const int signal = scheduler->options().rescue_signal;
  struct sigaction old;
  if (sigaction(signal, nullptr, &old) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("rescue_signal ", signal, " is no signal that can be handled"));
  }
  if ((old.sa_flags & SA_SIGINFO) != 0 ||
      (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN && old.sa_handler != &Watchdog::OnSignal)) {
    return absl::FailedPreconditionError(
        absl::StrCat("rescue_signal ", signal,
                     " has a handler already: choose another signal in RuntimeOptions, or "
                     "switch rescue off with an infinite rescue_threshold"));
  }
  struct sigaction action;
  std::memset(&action, 0, sizeof(action));
  action.sa_handler = &Watchdog::OnSignal;
  action.sa_flags = SA_RESTART;
  sigfillset(&action.sa_mask);
  if (sigaction(signal, &action, nullptr) != 0) return kevent::ErrnoToStatus(errno, "sigaction for rescue");

  auto watchdog = absl::WrapUnique(new Watchdog(scheduler));
  watchdog->epochs_.resize(static_cast<size_t>(scheduler->worker_count()));
  try {
    watchdog->thread_ = std::thread([w = watchdog.get()] { w->Run(); });
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot make the watchdog's thread: ", error.what()));
  }
  return watchdog;
}

void Watchdog::UnblockSignal(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);  // cannot fail: Create() has found that there is such a signal
}

void Watchdog::Stop() {
  if (!thread_.joinable()) return;
  // In one order with the store and the look in Run(): either it sees the end, or we take its sleep back.
  end_.store(true, std::memory_order_seq_cst);
  asleep_.store(kAwake, std::memory_order_seq_cst);
  Call();
  FutexWake(&asleep_);
  thread_.join();
}

void Watchdog::Wake() {
  uint32_t expected = kAsleep;
  if (asleep_.compare_exchange_strong(expected, kAwake, std::memory_order_relaxed)) FutexWake(&asleep_);
}

void Watchdog::Call() {
  calls_.fetch_add(1, std::memory_order_release);  // pairs with RestUntil(), which then sees the mailbox, or the end
  FutexWake(&calls_);
}

void Watchdog::RestUntil(int64_t time_ns) {
  for (;;) {
    const uint32_t calls = calls_.load(std::memory_order_acquire);  // pairs with Call()
    if (end_.load(std::memory_order_relaxed)) return;
    for (int i = 0; i < scheduler_->worker_count(); ++i) {
      if (!scheduler_->worker(i)->mailbox_.full()) continue;
      scheduler_->NotifyOne();  // who finds one of them wakes another for the next
      break;
    }
    const int64_t left_ns = time_ns - scheduler_->options().kernel->NowNs();
    if (left_ns <= 0) return;
    FutexWait(&calls_, calls, left_ns);
  }
}

void Watchdog::Run() {
  pthread_setname_np(pthread_self(), "evring-watchdog");
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  const int64_t threshold_ns =
      absl::ToInt64Nanoseconds(std::clamp(scheduler_->options().rescue_threshold, kThresholdMin, kThresholdMax));
  int quiet = 0;
  while (!end_.load(std::memory_order_acquire)) {
    RestUntil(scheduler_->options().kernel->NowNs() + threshold_ns);
    quiet = Look() ? 0 : quiet + 1;
    if (quiet < kQuietLooksBeforeSleep) continue;
    // All asleep, it seems. Say so, then look who is parked: a worker has left its ring before that look, which then
    // sees it awake, or leaves it later and sees the word. (That its epoch stands still says nothing: it may be on its
    // way to a task.)
    asleep_.store(kAsleep, std::memory_order_seq_cst);
    if (!end_.load(std::memory_order_seq_cst) && scheduler_->AllParked()) FutexWait(&asleep_, kAsleep, -1);
    asleep_.store(kAwake, std::memory_order_relaxed);
    quiet = 0;
  }
}

bool Watchdog::Look() {
  bool moved = false;
  for (int i = 0; i < scheduler_->worker_count(); ++i) {
    Worker* worker = scheduler_->worker(i);
    const uint64_t epoch = worker->epoch_.load(std::memory_order_acquire);  // pairs with Worker::RunTask()
    uint64_t& before = epochs_[static_cast<size_t>(i)];
    moved |= epoch != before || (epoch & 1) != 0;
    if (epoch == before && (epoch & 1) != 0) {
      worker->stuck_epoch_.store(epoch, std::memory_order_relaxed);  // R1; a hint that the thief compares
      if (worker->has_requests_.load(std::memory_order_relaxed) && !worker->mailbox_.full()) {
        // Refused while as many signals are queued as may be: the next look asks again.
        syscall(SYS_tgkill, getpid(), worker->thread_id_, scheduler_->options().rescue_signal);
      }
      if (worker->HasStealable(scheduler_->options().kernel->NowNs())) scheduler_->NotifyOne();
    }
    before = epoch;
  }
  return moved;
}

void Watchdog::OnSignal(int) {
  const int saved_errno = errno;
  // The signal may come from anybody, and to a worker of another runtime, which has no rescue.
  if (Worker* worker = Worker::Current(); worker != nullptr && worker->scheduler_->has_watchdog() &&
                                          (worker->epoch_.load(std::memory_order_relaxed) & 1) != 0) {
    const bool filled = worker->mailbox_.TryFill(
        [worker](kevent::RawCompletion* out, unsigned max) { return worker->ring_->CopyOut(out, max); });
    if (filled) worker->scheduler_->CallWatchdog();
  }
  errno = saved_errno;
}

}  // namespace evring
