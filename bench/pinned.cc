#include "bench/pinned.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace evring::bench {
namespace {

constexpr int kNice = -20;

// The session's share against other sessions; false if there are such shares and ours cannot be raised.
bool RaiseSession() {
  const int fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
  if (fd < 0) {
    return errno == ENOENT;  // this kernel has no autogroup
  }
  const std::string text = absl::StrCat(kNice);
  const bool raised = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  close(fd);
  return raised;
}

}  // namespace

absl::StatusOr<int> RunPinned(int cpu, absl::FunctionRef<int()> work) {
  if (cpu < 0 || cpu >= CPU_SETSIZE) {
    return absl::FailedPreconditionError(absl::StrCat("there is no CPU ", cpu));
  }
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(cpu, &cpus);
  if (sched_setaffinity(0, sizeof(cpus), &cpus) < 0) {
    return absl::FailedPreconditionError(absl::StrCat("cannot run on CPU ", cpu, ": ", std::strerror(errno)));
  }
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) {
    return absl::InternalError(absl::StrCat("fork: ", std::strerror(errno)));
  }
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
      _exit(1);  // the parent died before it could be watched
    }
    setsid();
    if (setpriority(PRIO_PROCESS, 0, kNice) < 0 || !RaiseSession()) {
      std::fprintf(stderr, "no priority over other programs (%s): let the machine be quiet\n", std::strerror(errno));
    }
    const int code = work();
    std::fflush(stdout);
    _exit(code);
  }
  int state;
  while (waitpid(child, &state, 0) < 0) {
    if (errno != EINTR) {
      return absl::InternalError(absl::StrCat("waitpid: ", std::strerror(errno)));
    }
  }
  if (!WIFEXITED(state)) {
    return absl::InternalError(absl::StrCat("the measuring process ended by signal ", WTERMSIG(state)));
  }
  return WEXITSTATUS(state);
}

}  // namespace evring::bench
