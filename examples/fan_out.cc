// fan_out.cc: asks many times at once and takes what is there when the time is up.
//
//   bazel run -c opt //examples:fan_out -- --target=127.0.0.1:8080 --requests=50 --deadline=500ms
//
// Each request is an HTTP/1.0 GET on a connection of its own. Prints how many were answered, failed, or cut off by the
// deadline, and the fastest and slowest answer. Leaves with 0 if at least one was answered. Tested by
// tests/examples/fan_out_test.cc.

#include <algorithm>
#include <cstdio>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "net/address.h"
#include "net/stream.h"
#include "runtime/runtime.h"
#include "runtime/spawn.h"
#include "runtime/timeout.h"

ABSL_FLAG(std::string, target, "127.0.0.1:8080", "address to ask");
ABSL_FLAG(std::string, path, "/plaintext", "path to ask for");
ABSL_FLAG(int, requests, 50, "how many at once");
ABSL_FLAG(absl::Duration, deadline, absl::Milliseconds(500), "when to give up those that are not answered");

namespace {

using evring::Task;

// The time it took, or why there is no answer.
Task<absl::StatusOr<absl::Duration>> Ask(evring::net::SocketAddress target, std::string path) {
  const absl::Time start = absl::Now();
  auto stream = co_await evring::net::Stream::Connect(target);
  if (!stream.ok()) co_return stream.status();
  const std::string request = absl::StrCat("GET ", path, " HTTP/1.0\r\nHost: ", target.ToString(), "\r\n\r\n");
  absl::Status status = co_await stream->Write(std::as_bytes(std::span(request)));
  if (!status.ok()) co_return status;
  std::string answer;
  for (;;) {
    auto received = co_await stream->Receive();
    if (!received.ok()) co_return received.status();
    if (received->empty()) break;
    answer.append(reinterpret_cast<const char*>(received->data().data()), received->size());
  }
  if (!absl::StartsWith(answer, "HTTP/1.1 200 ")) co_return absl::InternalError(answer.substr(0, answer.find('\r')));
  co_return absl::Now() - start;
}

Task<absl::StatusOr<absl::Duration>> AskInTime(evring::net::SocketAddress target, std::string path) {
  co_return co_await evring::WithTimeout(absl::GetFlag(FLAGS_deadline), Ask(target, std::move(path)));
}

Task<absl::Status> Main() {
  auto target = evring::net::SocketAddress::Parse(absl::GetFlag(FLAGS_target));
  if (!target.ok()) co_return target.status();
  std::vector<evring::JoinHandle<absl::StatusOr<absl::Duration>>> asked;
  for (int i = 0; i < absl::GetFlag(FLAGS_requests); ++i) {
    asked.push_back(co_await evring::Spawn(AskInTime(*target, absl::GetFlag(FLAGS_path))));
  }
  std::vector<absl::Duration> times;
  int late = 0, failed = 0;
  absl::Status first_error;
  for (auto& handle : asked) {
    absl::StatusOr<absl::Duration> time = co_await std::move(handle);
    if (time.ok()) {
      times.push_back(*time);
    } else if (absl::IsDeadlineExceeded(time.status())) {
      ++late;
    } else {
      ++failed;
      first_error.Update(time.status());
    }
  }
  std::printf("answered %zu, late %d, failed %d\n", times.size(), late, failed);
  if (!first_error.ok()) std::printf("first error: %s\n", first_error.ToString().c_str());
  if (times.empty()) co_return absl::UnavailableError("no answer");
  std::sort(times.begin(), times.end());
  std::printf("fastest %s, slowest %s\n", absl::FormatDuration(times.front()).c_str(),
              absl::FormatDuration(times.back()).c_str());
  co_return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Asks an HTTP server many times at once, with a deadline.");
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = evring::Run(Main());
  if (!status.ok()) return std::fprintf(stderr, "fan_out: %s\n", status.ToString().c_str()), 1;
  return 0;
}
