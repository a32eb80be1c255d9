#include "bench/syscall_counter.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace evring::bench {
namespace {

absl::Status Refused(const char* what, int error) {
  const std::string message = absl::StrCat(what, ": ", std::strerror(error));
  return error == EPERM || error == EACCES ? absl::PermissionDeniedError(message) : absl::UnavailableError(message);
}

// The number of the tracepoint raw_syscalls:sys_enter. It stands in tracefs, which is mounted for this process' eyes
// only: a detached mount has no place in the file tree and goes away with its descriptor (fsmount(2)).
absl::StatusOr<uint64_t> TracepointId() {
  const int context = fsopen("tracefs", FSOPEN_CLOEXEC);
  if (context < 0) {
    return Refused("fsopen tracefs", errno);
  }
  int mount = -1;
  if (fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0) {
    mount = fsmount(context, FSMOUNT_CLOEXEC, 0);
  }
  const int mount_error = errno;
  close(context);
  if (mount < 0) {
    return Refused("mounting tracefs", mount_error);
  }
  const int file = openat(mount, "events/raw_syscalls/sys_enter/id", O_RDONLY | O_CLOEXEC);
  const int file_error = errno;
  close(mount);
  if (file < 0) {
    return Refused("tracepoint raw_syscalls:sys_enter", file_error);
  }
  char text[32];
  const ssize_t size = read(file, text, sizeof(text));
  close(file);
  uint64_t id;
  if (size <= 0 || !absl::SimpleAtoi(std::string(text, size), &id)) {
    return absl::UnavailableError("tracepoint raw_syscalls:sys_enter has no number");
  }
  return id;
}

}  // namespace

absl::StatusOr<SyscallCounter> SyscallCounter::Attach(pid_t pid) {
  const absl::StatusOr<uint64_t> id = TracepointId();
  if (!id.ok()) {
    return id.status();
  }
  SyscallCounter counter;
  DIR* const tasks = opendir(absl::StrCat("/proc/", pid, "/task").c_str());
  if (tasks == nullptr) {
    return Refused("the threads of the process", errno);
  }
  std::optional<int> error;
  while (const dirent* task = readdir(tasks)) {
    pid_t thread;
    if (!absl::SimpleAtoi(task->d_name, &thread)) {
      continue;  // "." and ".."
    }
    perf_event_attr event = {};
    event.type = PERF_TYPE_TRACEPOINT;
    event.size = sizeof(event);
    event.config = *id;
    const int fd = static_cast<int>(syscall(SYS_perf_event_open, &event, thread, -1, -1, PERF_FLAG_FD_CLOEXEC));
    if (fd >= 0) {
      counter.events_.push_back(fd);
    } else if (errno != ESRCH) {  // ESRCH: that thread has just ended
      error = errno;
    }
  }
  closedir(tasks);
  if (error.has_value()) {
    return Refused("perf_event_open", *error);
  }
  return counter;
}

SyscallCounter::~SyscallCounter() {
  for (const int fd : events_) {
    close(fd);
  }
}

absl::StatusOr<uint64_t> SyscallCounter::Read() const {
  uint64_t sum = 0;
  for (const int fd : events_) {
    uint64_t count;
    if (read(fd, &count, sizeof(count)) != sizeof(count)) {
      return Refused("reading a counter", errno);
    }
    sum += count;
  }
  return sum;
}

}  // namespace evring::bench
