// run_process.h: runs a program to its end: what it is given, what it says.
//
//   const ProcessOptions sort = ProcessOptions::Command("sort", "-n");
//   absl::StatusOr<ProcessResult> sorted = co_await RunProcess(sort, RunProcessOptions("10\n9\n"));
//   if (!sorted.ok()) co_return sorted.status();
//   if (!sorted->status.ok()) co_return absl::InternalError(sorted->error);
//
// And `sorted->output` is "9\n10\n".
//
// Its three streams are pipes that are served at the same time: it may write as much as it likes before it reads, and
// the other way round.

#ifndef EVRING_RUNTIME_OS_RUN_PROCESS_H_
#define EVRING_RUNTIME_OS_RUN_PROCESS_H_

#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "runtime/os/process_options.h"
#include "runtime/task.h"

namespace evring {

struct RunProcessOptions {
  RunProcessOptions() {}
  explicit RunProcessOptions(std::string input) : input(std::move(input)) {}

  // What it can read, and then the end. It need not read it.
  std::string input;
  // How much it may write to its output, and to its error stream.
  size_t output_bytes_max = size_t{16} << 20;
  // How long it may take, from its start.
  absl::Duration timeout = absl::InfiniteDuration();
};

struct ProcessResult {
  explicit ProcessResult(ExitStatus status) : status(status) {}

  ExitStatus status;
  std::string output;
  std::string error;
  // False: `grace` after its end another process, which it had started, still held its output or error stream open.
  // What that writes later is not here.
  bool complete = true;
};

// Starts the program as `process` says, but for its three streams, which are pipes of this, and waits for its end. OK
// says nothing of its status. Await on a worker.
//
// kResourceExhausted: it wrote more than `output_bytes_max`, and was killed. kDeadlineExceeded: `timeout` has passed,
// kCancelled: a stop came; it was ended, as by Process::End(). Else an error of Process::Start(), or of a pipe.
// Whatever the answer, the process has ended and has been reaped.
Task<absl::StatusOr<ProcessResult>> RunProcess(ProcessOptions process, RunProcessOptions options = RunProcessOptions());

}  // namespace evring

#endif  // EVRING_RUNTIME_OS_RUN_PROCESS_H_
