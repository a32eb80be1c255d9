#include "runtime/os/signals.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kevent/check.h"
#include "kevent/errors.h"
#include "kevent/event.h"
#include "runtime/os/internal/machine.h"
#include "runtime/os/internal/request.h"
#include "runtime/scheduler.h"
#include "runtime/worker.h"

namespace evring {
namespace {

// A signal that a worker would take in the common way: by its handler, or by ending the process.
absl::Status CheckWorker(const sigset_t& set) {
  Worker* worker = Worker::Current();
  EVRING_CHECK(worker != nullptr, "a signal is awaited on a worker");
  if (absl::Status machine = internal::CheckMachine("signals"); !machine.ok()) return machine;
  sigset_t blocked;
  EVRING_CHECK(pthread_sigmask(SIG_BLOCK, nullptr, &blocked) == 0, "a thread can read its own mask");
  for (int signal = 1; signal < NSIG; ++signal) {
    if (sigismember(&set, signal) != 1 || sigismember(&blocked, signal) == 1) continue;
    if (signal == worker->scheduler()->options().rescue_signal) {
      return absl::FailedPreconditionError(
          absl::StrCat("signal ", signal, " is the runtime's rescue signal: choose another in RuntimeOptions"));
    }
    return absl::FailedPreconditionError(
        absl::StrCat("signal ", signal, " is not blocked on this worker: SignalSet::Block() comes before the runtime"));
  }
  return absl::OkStatus();
}

// Every signal of the process wakes who waits at a signalfd, also those that others handle: a runtime with a busy
// worker has hundreds of its own in a second. A poll looks and goes on for as long as it takes; a read gives up after
// 128 such wake-ups (APOLL_MAX_RETRY) and waits on a thread of the kernel's from then on, or, as the descriptor is not
// to wait, ends with EAGAIN.
Task<absl::StatusOr<int>> NextSignal(int fd, sigset_t set) {
  if (absl::Status ready = CheckWorker(set); !ready.ok()) co_return ready;
  for (;;) {
    io_uring_sqe poll_in = {};
    io_uring_prep_poll_add(&poll_in, fd, POLLIN);
    const int32_t ready = co_await internal::Perform(kevent::EventType::kPoll, poll_in);
    if (ready < 0) co_return kevent::ErrnoToStatus(ready, "wait for signals", fd);
    signalfd_siginfo info;
    const ssize_t n = read(fd, &info, sizeof(info));
    if (n == static_cast<ssize_t>(sizeof(info))) co_return static_cast<int>(info.ssi_signo);
    EVRING_CHECK(n < 0, "a signalfd gives whole records");
    if (errno != EAGAIN) co_return kevent::ErrnoToStatus(errno, "read of signals", fd);  // EAGAIN: another has read it
  }
}

}  // namespace

absl::StatusOr<SignalSet> SignalSet::Block(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) {
    if (signal == SIGKILL || signal == SIGSTOP || sigaddset(&set, signal) != 0) {
      return absl::InvalidArgumentError(absl::StrCat("signal ", signal, " cannot be blocked"));
    }
  }
  const int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) return kevent::ErrnoToStatus(errno, "signalfd");
  if (const int error = pthread_sigmask(SIG_BLOCK, &set, nullptr); error != 0) {
    close(fd);
    return kevent::ErrnoToStatus(error, "pthread_sigmask");
  }
  return SignalSet(fd, set);
}

SignalSet::~SignalSet() {
  if (fd_ >= 0) close(fd_);
}

Task<absl::StatusOr<int>> SignalSet::Next() const { return NextSignal(fd_, set_); }

}  // namespace evring
