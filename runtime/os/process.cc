#include "runtime/os/process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "kevent/blocking_calls.h"
#include "kevent/errors.h"
#include "kevent/event.h"
#include "runtime/blocking.h"
#include "runtime/os/event_wait.h"
#include "runtime/os/internal/helper_threads.h"
#include "runtime/os/internal/machine.h"
#include "runtime/os/internal/process_spawn.h"
#include "runtime/os/internal/sole_use.h"
#include "runtime/shield.h"
#include "runtime/sleep.h"
#include "runtime/timeout.h"

namespace evring {
namespace {

// A process that is being traced has ended for poll(2) before it can be reaped: it is looked at this often.
constexpr absl::Duration kTracedPause = absl::Milliseconds(10);

constexpr char kWaitRule[] = "one task at a time waits for a process";

// Reaps a killed child that nobody waits for, on a helper thread, and goes.
class Reaper final : private kevent::BlockingCalls::Call {
 public:
  static void Reap(kevent::OwnedDescriptor pidfd) {
    auto* const reaper = new Reaper(std::move(pidfd));
    const absl::StatusOr<kevent::BlockingCalls*> helpers = internal::HelperThreads();
    if (helpers.ok() && (*helpers)->Start(reaper).ok()) return;
    while (reaper->Run() == -EINTR) {
    }
    delete reaper;
  }

 private:
  explicit Reaper(kevent::OwnedDescriptor pidfd) : pidfd_(std::move(pidfd)) {}

  int32_t Run() noexcept override {
    siginfo_t unused;
    return waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &unused, WEXITED) == 0 ? 0 : -errno;
  }
  void Done(int32_t) noexcept override { delete this; }

  const kevent::OwnedDescriptor pidfd_;
};

}  // namespace

std::string ExitStatus::ToString() const {
  if (exited()) return absl::StrCat("exit code ", code_);
  const char* const name = sigabbrev_np(signal_);
  const char* const text = sigdescr_np(signal_);
  return absl::StrCat(name == nullptr ? absl::StrCat("signal ", signal_) : absl::StrCat("SIG", name),
                      text == nullptr ? std::string() : absl::StrCat(" (", text, ")"), core_ ? ", core dumped" : "");
}

// Under its mutex a child is reaped, and signalled by its number: while it has not been reaped nobody else has that.
class Process::Child {
 public:
  Child(pid_t pid, kevent::OwnedDescriptor pidfd, const ProcessOptions& options)
      : pid_(pid),
        pidfd_(std::move(pidfd)),
        leads_(options.group != ProcessOptions::Group::kSame),
        grace_(options.grace),
        name_(absl::StrCat(options.arguments[0], " (process ", pid, ")")) {}

  pid_t pid() const { return pid_; }
  bool leads() const { return leads_; }
  absl::Duration grace() const { return grace_; }
  const std::string& name() const { return name_; }
  kevent::OwnedDescriptor* pidfd() { return &pidfd_; }

  // False: it has not ended. True: answer() says how, or why nobody knows.
  bool Reap() {
    const std::lock_guard lock(mutex_);
    if (reaped_) return true;
    siginfo_t info = {};
    if (waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED | WNOHANG) != 0) {
      answer_ = kevent::ErrnoToStatus(errno, absl::StrCat("wait for ", name_));
    } else if (info.si_pid == 0) {
      return false;
    } else if (info.si_code == CLD_EXITED) {
      answer_ = ExitStatus::Exited(info.si_status);
    } else {
      answer_ = ExitStatus::Signalled(info.si_status, info.si_code == CLD_DUMPED);
    }
    reaped_ = true;
    return true;
  }
  // After Reap() was true.
  absl::StatusOr<ExitStatus> answer() const {
    const std::lock_guard lock(mutex_);
    return answer_;
  }
  std::optional<ExitStatus> status() const {
    const std::lock_guard lock(mutex_);
    return reaped_ && answer_.ok() ? std::optional(*answer_) : std::nullopt;
  }

  absl::Status Kill(int signal) {
    const std::lock_guard lock(mutex_);
    int error = ESRCH;
    if (!reaped_) {
      error = leads_ && kill(-pid_, signal) != 0 ? errno : leads_ ? 0 : ESRCH;
      // Not of a group, or it has left the one that it had.
      if (error == ESRCH) error = syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0) == 0 ? 0 : errno;
    }
    return kevent::ErrnoToStatus(error, absl::StrCat("kill ", name_));
  }

  // Held by the one task that waits for its end.
  internal::SoleUse* waiting() { return &waiting_; }

  // Until it can be reaped, or a stop.
  static Task<absl::Status> UntilEnded(Child* child) {
    kevent::Event event;
    event.type = kevent::EventType::kPoll;
    event.descriptor = child->pidfd_.get();
    event.result = POLLIN;
    const absl::StatusOr<kevent::Event> ended = co_await WaitForEvent(event);
    co_return ended.status();
  }

  static Task<absl::StatusOr<ExitStatus>> End(Child* child) {
    // A stopped process takes a signal when it goes on. One that cannot be signalled any more is told below.
    static_cast<void>(child->Kill(SIGTERM));
    static_cast<void>(child->Kill(SIGCONT));
    absl::Status ended = co_await WithTimeout(child->grace_, UntilEnded(child));
    if (!ended.ok() || child->leads_) {
      // It has not been reaped: its group cannot be somebody else's. ESRCH: nobody is left, or it was reaped elsewhere.
      const absl::Status killed = child->Kill(SIGKILL);
      if (!ended.ok() && kevent::StatusErrno(killed) == EPERM) co_return killed;
    }
    while (!child->Reap()) {
      ended = co_await UntilEnded(child);
      if (!ended.ok()) co_return ended;
      if (child->Reap()) break;
      ended = co_await Sleep(kTracedPause);
    }
    co_return child->answer();
  }

 private:
  const pid_t pid_;
  kevent::OwnedDescriptor pidfd_;
  const bool leads_;  // a group
  const absl::Duration grace_;
  const std::string name_;
  internal::SoleUse waiting_;

  mutable std::mutex mutex_;
  bool reaped_ = false;  // these two under mutex_
  absl::StatusOr<ExitStatus> answer_;
};

Task<absl::StatusOr<Process>> Process::Start(ProcessOptions options) {
  if (const absl::Status machine = internal::CheckMachine("spawn"); !machine.ok()) co_return machine;
  const ProcessOptions* const borrowed = &options;
  auto spawn = [borrowed] { return internal::SpawnChild(*borrowed); };
  absl::StatusOr<internal::SpawnedChild> spawned = co_await RunBlocking(spawn);
  if (!spawned.ok()) co_return spawned.status();
  Process process(std::make_unique<Child>(spawned->pid, std::move(spawned->pidfd), options));
  process.input_ = std::move(spawned->input);
  process.output_ = std::move(spawned->output);
  process.error_ = std::move(spawned->error);
  co_return process;
}

Process::Process(std::unique_ptr<Child> child) : child_(std::move(child)) {}
Process::Process(Process&&) noexcept = default;
Process& Process::operator=(Process&& other) noexcept {
  if (this == &other) return *this;
  LetGo();
  child_ = std::move(other.child_);
  input_ = std::move(other.input_);
  output_ = std::move(other.output_);
  error_ = std::move(other.error_);
  return *this;
}
Process::~Process() { LetGo(); }

void Process::LetGo() {
  if (child_ == nullptr || child_->Reap()) return;
  static_cast<void>(child_->Kill(SIGKILL));  // fails for one that is another user's: that one is waited for
  Reaper::Reap(std::move(*child_->pidfd()));
  child_ = nullptr;
}

Task<absl::StatusOr<ExitStatus>> Process::Wait(OnStop on_stop) {
  Child* const child = child_.get();
  const internal::SoleUse::Scope waiting(child->waiting(), kWaitRule);
  while (!child->Reap()) {
    absl::Status ended = co_await Child::UntilEnded(child);
    if (child->Reap()) break;
    // A process that is traced is told to have ended before it can be reaped.
    if (ended.ok()) ended = co_await Sleep(kTracedPause);
    if (ended.ok()) continue;
    if (!absl::IsCancelled(ended)) co_return ended;
    std::string how = "it goes on";
    if (on_stop == OnStop::kEnd) {
      const absl::StatusOr<ExitStatus> answer = co_await Shielded(Child::End(child));
      if (!answer.ok()) co_return answer.status();
      how = absl::StrCat("it was ended, ", answer->ToString());
    }
    co_return absl::CancelledError(absl::StrCat("wait for ", child->name(), ": cancelled; ", how));
  }
  co_return child->answer();
}

Task<absl::StatusOr<ExitStatus>> Process::End() {
  Child* const child = child_.get();
  const internal::SoleUse::Scope waiting(child->waiting(), kWaitRule);
  co_return co_await Shielded(Child::End(child));
}

absl::Status Process::Kill(int signal) { return child_->Kill(signal); }
pid_t Process::pid() const { return child_->pid(); }
std::optional<ExitStatus> Process::exit_status() const { return child_->status(); }

}  // namespace evring
