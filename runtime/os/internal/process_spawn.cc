#include "runtime/os/internal/process_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kevent/check.h"
#include "kevent/errors.h"

namespace evring::internal {
namespace {

using kevent::OwnedDescriptor;

constexpr int kChildDescriptorMax = 255;

absl::Status CheckText(const std::vector<std::string>& texts, absl::string_view what) {
  for (const std::string& text : texts) {
    if (text.find('\0') != std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat("spawn: a NUL in ", what));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSignals(const std::vector<int>& signals) {
  for (const int signal : signals) {
    if (signal < 1 || signal >= NSIG) {
      return absl::InvalidArgumentError(absl::StrCat("spawn: ", signal, " is no signal"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckOptions(const ProcessOptions& options) {
  if (options.arguments.empty()) return absl::InvalidArgumentError("spawn: no program is named");
  absl::Status status = CheckText(options.arguments, "an argument");
  if (options.environment.has_value()) status.Update(CheckText(*options.environment, "the environment"));
  status.Update(CheckText({options.directory}, "the name of the directory"));
  status.Update(CheckSignals(options.blocked_signals));
  status.Update(CheckSignals(options.kept_signals));
  if (options.input.kind() == ChildStream::Kind::kOutput || options.output.kind() == ChildStream::Kind::kOutput) {
    status.Update(absl::InvalidArgumentError("spawn: only the error stream can go where the output goes"));
  }
  std::vector<int> taken;
  for (const ChildDescriptor& descriptor : options.descriptors) {
    if (descriptor.childs <= STDERR_FILENO || descriptor.childs > kChildDescriptorMax ||
        std::count(taken.begin(), taken.end(), descriptor.childs) != 0) {
      status.Update(absl::InvalidArgumentError(
          absl::StrCat("spawn: ", descriptor.childs, " as a descriptor of the child: 3 to 255, each once")));
    }
    taken.push_back(descriptor.childs);
  }
  if (!status.ok()) return status;
  struct sigaction action;
  EVRING_CHECK(sigaction(SIGCHLD, nullptr, &action) == 0, "SIGCHLD is a signal");
  const bool handled = (action.sa_flags & SA_SIGINFO) != 0;
  if ((!handled && action.sa_handler == SIG_IGN) || (action.sa_flags & SA_NOCLDWAIT) != 0) {
    return absl::FailedPreconditionError("spawn: this process ignores SIGCHLD, so the kernel keeps no exit status");
  }
  return absl::OkStatus();
}

// What the C library is told; errors of its functions are for want of memory, or a descriptor beyond the limit.
class FileActions {
 public:
  FileActions() { EVRING_CHECK(posix_spawn_file_actions_init(&actions_) == 0, "it only sets fields"); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }

  void Copy(int ours, int childs) { Keep(posix_spawn_file_actions_adddup2(&actions_, ours, childs)); }
  void Close(int fd) { Keep(posix_spawn_file_actions_addclose(&actions_, fd)); }
  void CloseFrom(int fd) { Keep(posix_spawn_file_actions_addclosefrom_np(&actions_, fd)); }
  void ChangeTo(int directory) { Keep(posix_spawn_file_actions_addfchdir_np(&actions_, directory)); }

  int error() const { return error_; }
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  void Keep(int error) {
    if (error_ == 0) error_ = error;
  }

  posix_spawn_file_actions_t actions_;
  int error_ = 0;
};

class Attributes {
 public:
  explicit Attributes(const ProcessOptions& options) {
    EVRING_CHECK(posix_spawnattr_init(&attributes_) == 0, "it only sets fields");
    int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    sigset_t blocked;
    sigemptyset(&blocked);
    for (const int signal : options.blocked_signals) sigaddset(&blocked, signal);
    posix_spawnattr_setsigmask(&attributes_, &blocked);
    sigset_t defaults;
    sigfillset(&defaults);
    for (const int signal : options.kept_signals) sigdelset(&defaults, signal);
    posix_spawnattr_setsigdefault(&attributes_, &defaults);
    if (options.group == ProcessOptions::Group::kNewGroup) flags |= POSIX_SPAWN_SETPGROUP;  // 0: its own number
    if (options.group == ProcessOptions::Group::kNewSession) flags |= POSIX_SPAWN_SETSID;
    EVRING_CHECK(posix_spawnattr_setflags(&attributes_, static_cast<short>(flags)) == 0, "flags that it knows");
  }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  ~Attributes() { posix_spawnattr_destroy(&attributes_); }

  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

// A copy of `fd` out of the way of the numbers that the child has.
absl::StatusOr<OwnedDescriptor> Above(int fd, int base, absl::string_view doing) {
  OwnedDescriptor copy(fcntl(fd, F_DUPFD_CLOEXEC, base));
  if (!copy.valid()) return kevent::ErrnoToStatus(errno, doing, fd);
  return copy;
}

// The child's end of one of its streams, none for what it inherits; and ours of a pipe.
absl::StatusOr<OwnedDescriptor> ChildEnd(const ChildStream& stream, int number, int base, OwnedDescriptor* ours) {
  const bool reads = number == STDIN_FILENO;
  switch (stream.kind()) {
    case ChildStream::Kind::kNull: {
      const OwnedDescriptor null(open("/dev/null", (reads ? O_RDONLY : O_WRONLY) | O_CLOEXEC));
      if (!null.valid()) return kevent::ErrnoToStatus(errno, "spawn: open /dev/null");
      return Above(null.get(), base, "spawn: copy of");
    }
    case ChildStream::Kind::kPipe: {
      int ends[2];
      if (pipe2(ends, O_CLOEXEC) != 0) return kevent::ErrnoToStatus(errno, "spawn: pipe2");
      const OwnedDescriptor childs(ends[reads ? 0 : 1]);
      OwnedDescriptor other(ends[reads ? 1 : 0]);
      // Ours too: a process that has closed its own standard streams would find it among them.
      absl::StatusOr<OwnedDescriptor> moved = Above(other.get(), base, "spawn: copy of");
      if (!moved.ok()) return moved.status();
      *ours = *std::move(moved);
      return Above(childs.get(), base, "spawn: copy of");
    }
    case ChildStream::Kind::kDescriptor:
      return Above(stream.fd(), base, "spawn: a stream of the child");
    case ChildStream::Kind::kInherit:
    case ChildStream::Kind::kOutput:
      return OwnedDescriptor();
  }
  return absl::InvalidArgumentError("spawn: a stream of no kind");
}

// As execve(2) wants them: into `texts`, which outlives them.
std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// The descriptor that stands for the child, or why it cannot be had: then the child is ended.
absl::StatusOr<OwnedDescriptor> OpenProcess(pid_t pid, const std::string& name) {
  OwnedDescriptor pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd.valid()) {
    const int error = errno;
    kill(pid, SIGKILL);
    while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return kevent::ErrnoToStatus(error, absl::StrCat("spawn ", name, ": pidfd_open"));
  }
  siginfo_t unused;
  if (waitid(P_PIDFD, static_cast<id_t>(pidfd.get()), &unused, WEXITED | WNOHANG | WNOWAIT) != 0) {
    return kevent::ErrnoToStatus(errno, absl::StrCat("spawn ", name, ": somebody else waits for this child"));
  }
  return pidfd;
}

}  // namespace

absl::StatusOr<SpawnedChild> SpawnChild(const ProcessOptions& options) {
  if (const absl::Status status = CheckOptions(options); !status.ok()) return status;
  const std::string& name = options.arguments[0];
  SpawnedChild child;
  FileActions actions;
  // Copies first get numbers beyond those of the child, so that no copy overwrites what is still to be copied.
  int base = STDERR_FILENO + 1;
  for (const ChildDescriptor& descriptor : options.descriptors) base = std::max(base, descriptor.childs + 1);
  std::vector<OwnedDescriptor> copies;
  std::array<OwnedDescriptor, 3> ours;
  const std::array streams = {&options.input, &options.output, &options.error};
  for (int number = 0; number < 3; ++number) {
    const auto i = static_cast<size_t>(number);
    absl::StatusOr<OwnedDescriptor> end = ChildEnd(*streams[i], number, base, &ours[i]);
    if (!end.ok()) return end.status();
    if (!end->valid()) continue;
    actions.Copy(end->get(), number);
    copies.push_back(*std::move(end));
  }
  if (options.error.kind() == ChildStream::Kind::kOutput) actions.Copy(STDOUT_FILENO, STDERR_FILENO);
  std::vector<bool> taken(static_cast<size_t>(base), false);
  for (const ChildDescriptor& descriptor : options.descriptors) {
    absl::StatusOr<OwnedDescriptor> copy = Above(descriptor.ours, base, "spawn: a descriptor for the child");
    if (!copy.ok()) return copy.status();
    actions.Copy(copy->get(), descriptor.childs);
    taken[static_cast<size_t>(descriptor.childs)] = true;
    copies.push_back(*std::move(copy));
  }
  if (!options.directory.empty()) {
    // Opened here: an error of the directory would look like one of the program.
    OwnedDescriptor directory(open(options.directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!directory.valid()) return kevent::ErrnoToStatus(errno, absl::StrCat("spawn: directory ", options.directory));
    actions.ChangeTo(directory.get());
    copies.push_back(std::move(directory));
  }
  for (int fd = STDERR_FILENO + 1; fd < base; ++fd) {
    if (!taken[static_cast<size_t>(fd)]) actions.Close(fd);
  }
  actions.CloseFrom(base);
  if (actions.error() != 0) return kevent::ErrnoToStatus(actions.error(), absl::StrCat("spawn ", name));

  const Attributes attributes(options);
  const std::vector<char*> arguments = Pointers(options.arguments);
  std::vector<char*> environment;
  if (options.environment.has_value()) environment = Pointers(*options.environment);
  const int error = posix_spawnp(&child.pid, name.c_str(), actions.get(), attributes.get(), arguments.data(),
                                 options.environment.has_value() ? environment.data() : environ);
  if (error != 0) return kevent::ErrnoToStatus(error, absl::StrCat("spawn ", name));
  absl::StatusOr<OwnedDescriptor> pidfd = OpenProcess(child.pid, name);
  if (!pidfd.ok()) return pidfd.status();
  child.pidfd = *std::move(pidfd);
  child.input = PipeWriter(ours[STDIN_FILENO].Release());
  child.output = PipeReader(ours[STDOUT_FILENO].Release());
  child.error = PipeReader(ours[STDERR_FILENO].Release());
  return child;
}

}  // namespace evring::internal
