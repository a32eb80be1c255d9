#include "runtime/os/run_process.h"

#include <errno.h>
#include <signal.h>

#include <array>
#include <span>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kevent/errors.h"
#include "runtime/os/pipe.h"
#include "runtime/os/process.h"
#include "runtime/spawn.h"
#include "runtime/task_group.h"
#include "runtime/timeout.h"

namespace evring {
namespace {

// A process, and what goes through its pipes.
struct Exchange {
  Exchange(Process process, std::string name, RunProcessOptions options)
      : process(std::move(process)), name(std::move(name)), options(std::move(options)) {}

  Process process;
  const std::string name;
  const RunProcessOptions options;
  std::string output;
  std::string error;
};

Task<absl::Status> Feed(Exchange* exchange) {
  const absl::Status fed = co_await exchange->process.input().Write(std::as_bytes(std::span(exchange->options.input)));
  exchange->process.input().Close();
  // It does not want to read all of that.
  if (kevent::StatusErrno(fed) == EPIPE) co_return absl::OkStatus();
  co_return fed;
}

Task<absl::Status> Collect(Exchange* exchange, PipeReader* reader, std::string* text) {
  std::array<std::byte, 16 * 1024> buffer;
  for (;;) {
    const absl::StatusOr<size_t> n = co_await reader->Read(buffer);
    if (!n.ok()) co_return n.status();
    if (*n == 0) co_return absl::OkStatus();
    if (*n > exchange->options.output_bytes_max - text->size()) {
      co_return absl::ResourceExhaustedError(absl::StrCat(
          exchange->name, " wrote more than ", exchange->options.output_bytes_max, " bytes, and was killed"));
    }
    text->append(reinterpret_cast<const char*>(buffer.data()), *n);
  }
}

Task<absl::Status> Serve(Exchange* exchange) {
  TaskGroup group;
  co_await group.Spawn(Feed(exchange));
  co_await group.Spawn(Collect(exchange, &exchange->process.output(), &exchange->output));
  co_await group.Spawn(Collect(exchange, &exchange->process.error(), &exchange->error));
  absl::Status served = co_await group.Join();
  // Nobody reads from it any more, so it might never end. (After a stop it is ended by who waits for it.)
  if (!served.ok() && !absl::IsCancelled(served)) static_cast<void>(exchange->process.Kill(SIGKILL));
  co_return served;
}

Task<absl::Status> Join(JoinHandle<absl::Status>* handle) { co_return co_await std::move(*handle); }

Task<absl::StatusOr<ProcessResult>> Converse(Exchange* exchange, absl::Duration grace) {
  JoinHandle<absl::Status> serving = co_await Spawn(Serve(exchange));
  const absl::StatusOr<ExitStatus> ended = co_await exchange->process.Wait();
  // What it has written is in the pipes; they end with it, unless it has given them to others.
  const absl::Status served = co_await WithTimeout(grace, Join(&serving));
  if (!ended.ok()) co_return ended.status();
  const bool held_open = absl::IsDeadlineExceeded(served);
  if (!served.ok() && !held_open) co_return served;
  ProcessResult result(*ended);
  result.complete = !held_open;
  result.output = std::move(exchange->output);
  result.error = std::move(exchange->error);
  co_return result;
}

}  // namespace

Task<absl::StatusOr<ProcessResult>> RunProcess(ProcessOptions process, RunProcessOptions options) {
  process.input = ChildStream::Pipe();
  process.output = ChildStream::Pipe();
  process.error = ChildStream::Pipe();
  const absl::Duration grace = process.grace;
  const absl::Duration timeout = options.timeout;
  std::string name = process.arguments.empty() ? std::string() : process.arguments[0];
  absl::StatusOr<Process> started = co_await Process::Start(std::move(process));
  if (!started.ok()) co_return started.status();
  Exchange exchange(*std::move(started), std::move(name), std::move(options));
  absl::StatusOr<ProcessResult> result = co_await WithTimeout(timeout, Converse(&exchange, grace));
  if (absl::IsDeadlineExceeded(result.status())) {
    co_return absl::DeadlineExceededError(
        absl::StrCat(exchange.name, " took longer than ", absl::FormatDuration(timeout), ", and was ended"));
  }
  co_return result;
}

}  // namespace evring
