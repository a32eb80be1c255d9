#include "runtime/os/signals.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "kevent/check.h"
#include "kevent/errors.h"
#include "runtime/os/internal/machine.h"
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

}  // namespace

absl::StatusOr<int> internal::SignalOperation::Result(int32_t result, uint32_t) {
  if (!ready_.ok()) return ready_;
  if (result < 0) return kevent::ErrnoToStatus(result, "read of signals", fd());
  EVRING_CHECK(static_cast<size_t>(result) == sizeof(info_), "a signalfd gives whole records");
  return static_cast<int>(info_.ssi_signo);
}

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

internal::SignalOperation SignalSet::Next() const { return internal::SignalOperation(fd_, CheckWorker(set_)); }

}  // namespace evring
