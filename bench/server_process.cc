#include "bench/server_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"

namespace evring::bench {
namespace {

constexpr absl::Duration kStartPatience = absl::Seconds(10);
constexpr absl::string_view kListening = "listening on ";

// In the child: only calls that are safe after fork. Returns only if the program could not be run.
void Become(const ServerProcess::Options& options, char* const* argv, int output, pid_t parent) {
  dup2(output, STDOUT_FILENO);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) {
    return;  // the parent died before it could be watched
  }
  if (options.cpu >= 0) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(options.cpu, &cpus);
    if (sched_setaffinity(0, sizeof(cpus), &cpus) < 0) {
      return;
    }
  }
  if (options.descriptors_max != 0) {
    const rlimit limit = {options.descriptors_max, options.descriptors_max};
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
      return;
    }
  }
  execv(argv[0], argv);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServerProcess>> ServerProcess::Start(const Options& options) {
  if (options.command.empty()) {
    return absl::InvalidArgumentError("a server needs a command");
  }
  std::vector<char*> argv;
  for (const std::string& word : options.command) {
    argv.push_back(const_cast<char*>(word.c_str()));
  }
  argv.push_back(nullptr);
  int output[2];
  if (pipe2(output, O_CLOEXEC) < 0) {
    return absl::UnavailableError(absl::StrCat("pipe2: ", std::strerror(errno)));
  }
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    Become(options, argv.data(), output[1], parent);
    dprintf(STDOUT_FILENO, "cannot run on cpu %d: %s\n", options.cpu, strerror(errno));
    _exit(127);
  }
  close(output[1]);
  if (pid < 0) {
    close(output[0]);
    return absl::UnavailableError(absl::StrCat("fork: ", std::strerror(errno)));
  }
  std::unique_ptr<ServerProcess> server(new ServerProcess(pid, output[0]));
  const absl::Status listening = server->AwaitListening();
  if (!listening.ok()) {
    return absl::UnavailableError(absl::StrCat(absl::StrJoin(options.command, " "), ": ", listening.message()));
  }
  return server;
}

ServerProcess::~ServerProcess() {
  if (pid_ != 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(output_);
}

absl::Status ServerProcess::AwaitListening() {
  const absl::Time deadline = absl::Now() + kStartPatience;
  std::string text;
  for (;;) {
    const size_t begin = text.find(kListening.data());
    const size_t end = begin == text.npos ? begin : text.find('\n', begin);
    if (end != text.npos) {
      const std::string name = text.substr(begin + kListening.size(), end - begin - kListening.size());
      const size_t colon = name.rfind(':');
      int port;
      if (colon == name.npos || !absl::SimpleAtoi(name.substr(colon + 1), &port) || port < 1 || port > 65535) {
        return absl::UnavailableError(absl::StrCat("no port in '", name, "'"));
      }
      address_ = name.substr(0, colon);
      port_ = static_cast<uint16_t>(port);
      break;
    }
    pollfd readable = {output_, POLLIN, 0};
    const int left = static_cast<int>(absl::ToInt64Milliseconds(deadline - absl::Now()));
    const int ready = left <= 0 ? 0 : poll(&readable, 1, left);
    if (ready == 0) {
      return absl::UnavailableError(absl::StrCat("does not say that it listens; it said: ", text));
    }
    char piece[512];
    const ssize_t got = ready < 0 ? -1 : read(output_, piece, sizeof(piece));
    if (got > 0) {
      text.append(piece, got);
    } else if (got == 0 || errno != EINTR) {
      return absl::UnavailableError(absl::StrCat("ended before it listened; it said: ", text));
    }
  }
  const int error = clock_getcpuclockid(pid_, &cpu_clock_);
  return error == 0 ? absl::OkStatus()
                    : absl::UnavailableError(absl::StrCat("clock_getcpuclockid: ", std::strerror(error)));
}

absl::StatusOr<absl::Duration> ServerProcess::CpuTime() const {
  timespec time;
  if (clock_gettime(cpu_clock_, &time) < 0) {
    return absl::UnavailableError(absl::StrCat("the CPU clock of process ", pid_, ": ", std::strerror(errno)));
  }
  return absl::DurationFromTimespec(time);
}

absl::Status ServerProcess::Stop(absl::Duration patience) {
  if (pid_ == 0) {
    return absl::OkStatus();
  }
  kill(pid_, SIGTERM);
  const absl::Time deadline = absl::Now() + patience;
  int state;
  pid_t ended;
  while ((ended = waitpid(pid_, &state, WNOHANG)) == 0) {
    if (absl::Now() > deadline) {
      kill(pid_, SIGKILL);
      waitpid(pid_, &state, 0);
      pid_ = 0;
      return absl::DeadlineExceededError("still there after SIGTERM");
    }
    absl::SleepFor(absl::Milliseconds(2));
  }
  const pid_t pid = std::exchange(pid_, 0);
  if (ended < 0 || !WIFEXITED(state) || WEXITSTATUS(state) != 0) {
    return absl::InternalError(absl::StrCat(
        "process ", pid, " did not leave with 0 on SIGTERM: ", WIFSIGNALED(state) ? "signal " : "exit code ",
        WIFSIGNALED(state) ? WTERMSIG(state) : WEXITSTATUS(state)));
  }
  return absl::OkStatus();
}

}  // namespace evring::bench
