// process.h: child processes.
//
//   ProcessOptions options = ProcessOptions::Command("sort", "-n");
//   options.input = ChildStream::Descriptor(numbers->fd());
//   options.output = ChildStream::Descriptor(sorted->fd());
//   absl::StatusOr<Process> sort = co_await Process::Start(std::move(options));
//   if (!sort.ok()) co_return sort.status();
//   absl::StatusOr<ExitStatus> ended = co_await sort->Wait();
//
// For a program that is given some bytes and answers some, there is RunProcess() (run_process.h).
//
// A Process is one child, from its start until it has been reaped: it is known by a pidfd, so no signal ever reaches
// another process that has got its number. It never becomes a zombie or outlives its Process: one that is waited for is
// reaped by that, one whose wait is stopped is ended, and one that is destroyed before is killed, and reaped in the
// background. Nobody else in the program may wait for it, as by waitpid(-1), or ignore SIGCHLD: then its status is lost
// and Wait() answers ECHILD.

#ifndef EVRING_RUNTIME_OS_PROCESS_H_
#define EVRING_RUNTIME_OS_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/os/pipe.h"
#include "runtime/os/process_options.h"
#include "runtime/task.h"

namespace evring {

// Movable. One task at a time, but Kill() may be called while another one waits. A moved-from Process can only be
// destroyed or assigned to.
class Process {
 public:
  // Starts the program; OK: it runs as another one already, or has ended since. Await on a worker, which is not held up
  // (a thread of the blocking pool does it). kInvalidArgument: no arguments, a NUL in a text, no signal, a descriptor
  // that a child cannot have; E2BIG. kNotFound: ENOENT, no such program, or directory. kPermissionDenied: EACCES, not
  // executable; EPERM. kUnknown: ENOEXEC. kUnavailable: EAGAIN, too many processes. kResourceExhausted: ENOMEM, EMFILE,
  // ENFILE, or no thread. kFailedPrecondition: EBADF, a descriptor that is given is none; this process ignores SIGCHLD.
  // kUnimplemented (ENOSYS): in a simulation. kCancelled: a stop came before it was started.
  static Task<absl::StatusOr<Process>> Start(ProcessOptions options);

  Process(Process&&) noexcept;
  Process& operator=(Process&&) noexcept;
  // Sends SIGKILL to one that has not been reaped, and lets a helper thread wait for its end. Any thread; blocks only
  // where no helper thread can be had, for as long as the process takes to die.
  ~Process();

  // What a stop of the waiting task means for the process.
  enum class OnStop {
    kEnd,    // it is ended, as by End(), before the wait returns
    kLeave,  // it goes on, and can be waited for again
  };
  // Waits for its end, reaps it, and tells how it was; afterwards it tells the same again. Await on a worker.
  // kCancelled: a stop came first; exit_status() tells how it was ended. A process that ended before is a success.
  // kFailedPrecondition (ECHILD): somebody else has reaped it.
  Task<absl::StatusOr<ExitStatus>> Wait(OnStop on_stop = OnStop::kEnd);

  // Ends it: SIGTERM (and SIGCONT), after ProcessOptions::grace SIGKILL, and waits for the end. With a group of its own
  // all of the group, what is left of it by SIGKILL as soon as the process has ended. A stop does not interrupt it.
  // kPermissionDenied (EPERM): it has become another user's, and goes on.
  Task<absl::StatusOr<ExitStatus>> End();

  // Sends it a signal; with a group or a session of its own, all of the group. Any thread; never blocks. kNotFound
  // (ESRCH): it has been reaped. kPermissionDenied: EPERM. kInvalidArgument: no signal.
  absl::Status Kill(int signal);

  pid_t pid() const;
  // How it ended, once it has been reaped.
  std::optional<ExitStatus> exit_status() const;

  // This process's ends of the pipes that were asked for; the others are not valid. Its input ends when that end is
  // closed.
  PipeWriter& input() { return input_; }
  PipeReader& output() { return output_; }
  PipeReader& error() { return error_; }

 private:
  class Child;

  explicit Process(std::unique_ptr<Child> child);
  void LetGo();

  std::unique_ptr<Child> child_;
  PipeWriter input_;
  PipeReader output_;
  PipeReader error_;
};

}  // namespace evring

#endif  // EVRING_RUNTIME_OS_PROCESS_H_
