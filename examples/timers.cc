// timers.cc: three tickers, a deadline that cuts one of them short, and a stop for the others.
//
//   bazel run -c opt //examples:timers
//
// Shows Sleep, WithTimeout, WithDeadline's movable form in a watchdog, and TaskGroup. Tested by
// tests/examples/timers_test.cc.

#include <cstdio>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/task_group.h"
#include "runtime/timeout.h"

ABSL_FLAG(absl::Duration, tick, absl::Milliseconds(100), "the time between two ticks of the fastest ticker");

namespace {

using evring::Task;

// Ticks `count` times, or until it is asked to stop.
Task<absl::Status> Ticker(std::string name, absl::Duration every, int count) {
  for (int i = 1; i <= count; ++i) {
    if (absl::Status status = co_await evring::Sleep(every); !status.ok()) {
      std::printf("%s: %s after %d ticks\n", name.c_str(), absl::StatusCodeToString(status.code()).c_str(), i - 1);
      co_return status;
    }
    std::printf("%s: tick %d\n", name.c_str(), i);
  }
  co_return absl::OkStatus();
}

// Works in steps that get slower; each step that is done in time moves the deadline on.
Task<absl::Status> SlowingDown(evring::Deadline* deadline, absl::Duration tick) {
  for (int step = 1;; ++step) {
    if (absl::Status status = co_await evring::Sleep(tick * step); !status.ok()) co_return status;
    std::printf("watched: step %d\n", step);
    deadline->MoveTo(tick * 3.5);
  }
}

Task<absl::Status> Main(absl::Duration tick) {
  evring::TaskGroup tickers(evring::TaskGroup::OnError::kGoOn);
  co_await tickers.Spawn(Ticker("fast", tick, 5));
  co_await tickers.Spawn(Ticker("slow", tick * 3, 1000));

  absl::Status status = co_await evring::WithTimeout(tick * 2.5, Ticker("bounded", tick, 1000));
  std::printf("bounded: %s\n", absl::StatusCodeToString(status.code()).c_str());

  evring::Deadline deadline(tick * 3.5, tick);
  status = co_await evring::WithDeadline(&deadline, SlowingDown(&deadline, tick));
  std::printf("watched: %s\n", absl::StatusCodeToString(status.code()).c_str());

  tickers.RequestStop();
  status = co_await tickers.Join();  // the first error, which is that of the slow one
  co_return absl::IsCancelled(status) ? absl::OkStatus() : status;
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Tickers and deadlines.");
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = evring::Run(Main(absl::GetFlag(FLAGS_tick)));
  if (!status.ok()) return std::fprintf(stderr, "timers: %s\n", status.ToString().c_str()), 1;
  return 0;
}
