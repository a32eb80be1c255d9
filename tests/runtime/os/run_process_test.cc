// run_process_test.cc: programs that are run to their end: what goes in and comes out, however much; limits, time, and
// that nothing is left over.

#include "runtime/os/run_process.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "runtime/testing.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

class RunProcessTest : public ::testing::TestWithParam<int> {
 protected:
  RunProcessTest() : descriptors_(CountIn("fd")) {}
  ~RunProcessTest() override {
    EXPECT_TRUE(Eventually([] {
      siginfo_t unused;
      return waitid(P_ALL, 0, &unused, WEXITED | WNOHANG | WNOWAIT) != 0 && errno == ECHILD;
    })) << "a child is left";
    EXPECT_TRUE(Eventually([this] { return CountIn("fd") == descriptors_; }));
  }
  static void Run(Task<> task) { RunOk(std::move(task), WithWorkers(GetParam())); }

 private:
  const int descriptors_;
};
INSTANTIATE_TEST_SUITE_P(Workers, RunProcessTest, ::testing::Values(1, 2, 4));

ProcessOptions Shell(std::string script) { return ProcessOptions::Command("sh", "-c", std::move(script)); }

// --- The example of the header

Task<absl::Status> Sort(std::string* into) {
  const ProcessOptions sort = ProcessOptions::Command("sort", "-n");
  absl::StatusOr<ProcessResult> sorted = co_await RunProcess(sort, RunProcessOptions("10\n9\n"));
  if (!sorted.ok()) co_return sorted.status();
  if (!sorted->status.ok()) co_return absl::InternalError(sorted->error);
  *into = sorted->output;
  co_return absl::OkStatus();
}

Task<> Example() {
  std::string sorted;
  CO_ASSERT_OK(co_await Sort(&sorted));
  EXPECT_EQ(sorted, "9\n10\n");
}

TEST_P(RunProcessTest, TheExample) { Run(Example()); }

// --- What goes through

Task<> Results() {
  CO_ASSERT_OK_AND_ASSIGN(ProcessResult result, co_await RunProcess(Shell("echo out; echo err >&2; exit 4")));
  EXPECT_EQ(result.status, ExitStatus::Exited(4));
  EXPECT_EQ(result.output, "out\n");
  EXPECT_EQ(result.error, "err\n");
  EXPECT_TRUE(result.complete);
  CO_ASSERT_OK_AND_ASSIGN(result, co_await RunProcess(Shell("kill -USR1 $$")));
  EXPECT_EQ(result.status, ExitStatus::Signalled(SIGUSR1, false));
  const absl::StatusOr<ProcessResult> none = co_await RunProcess(ProcessOptions::Command("/none/such"));
  EXPECT_EQ(kevent::StatusErrno(none.status()), ENOENT) << none.status();
}

TEST_P(RunProcessTest, StatusOutputAndErrorsAreTheResult) { Run(Results()); }

Task<> Much() {
  // Many times what a pipe holds, in both directions and beside them: whoever serves one after the other hangs.
  const std::string much(size_t{3} << 20, 'm');
  CO_ASSERT_OK_AND_ASSIGN(ProcessResult result,
                          co_await RunProcess(ProcessOptions::Command("tee", "/dev/stderr"), RunProcessOptions(much)));
  EXPECT_TRUE(result.status.ok()) << result.status.ToString();
  EXPECT_TRUE(result.output == much) << result.output.size();
  EXPECT_TRUE(result.error == much) << result.error.size();
  // It writes before it reads.
  CO_ASSERT_OK_AND_ASSIGN(result, co_await RunProcess(Shell("head -c 1000000 /dev/zero; head -c 1000000 "
                                                            "/dev/zero >&2; cat >/dev/null"),
                                                      RunProcessOptions(much)));
  EXPECT_EQ(result.output.size(), 1'000'000u);
  EXPECT_EQ(result.error.size(), 1'000'000u);
  // It does not read, and no signal ends this process for it.
  CO_ASSERT_OK_AND_ASSIGN(result, co_await RunProcess(Shell("exec <&-; echo done"), RunProcessOptions(much)));
  EXPECT_EQ(result.output, "done\n");
}

TEST_P(RunProcessTest, AllStreamsAreServedAtTheSameTime) { Run(Much()); }

// --- Limits

Task<> Limits() {
  RunProcessOptions options;
  options.output_bytes_max = 100'000;
  CO_ASSERT_OK_AND_ASSIGN(const ProcessResult fits, co_await RunProcess(Shell("head -c 100000 /dev/zero"), options));
  EXPECT_EQ(fits.output.size(), 100'000u);
  absl::StatusOr<ProcessResult> result = co_await RunProcess(Shell("head -c 100001 /dev/zero; sleep 1000"), options);
  EXPECT_TRUE(absl::IsResourceExhausted(result.status())) << result.status();
  EXPECT_NE(result.status().message().find("100000"), absl::string_view::npos) << result.status();
  result = co_await RunProcess(Shell("exec cat /dev/zero >&2"), options);
  EXPECT_TRUE(absl::IsResourceExhausted(result.status())) << result.status();
}

TEST_P(RunProcessTest, WhoWritesTooMuchIsKilled) { Run(Limits()); }

Task<> Timeout() {
  RunProcessOptions options;
  options.timeout = absl::Milliseconds(20);
  const absl::StatusOr<ProcessResult> result = co_await RunProcess(ProcessOptions::Command("sleep", "1000"), options);
  EXPECT_TRUE(absl::IsDeadlineExceeded(result.status())) << result.status();
  EXPECT_NE(result.status().message().find("sleep took longer than 20ms"), absl::string_view::npos) << result.status();
}

TEST_P(RunProcessTest, WhoTakesTooLongIsEnded) { Run(Timeout()); }

Task<> HeldOpen() {
  ProcessOptions process = Shell("echo first; sleep 1000 & echo $!");
  process.grace = absl::Milliseconds(20);
  CO_ASSERT_OK_AND_ASSIGN(ProcessResult result, co_await RunProcess(process));
  EXPECT_TRUE(result.status.ok());
  EXPECT_FALSE(result.complete);
  CO_ASSERT_EQ(result.output.rfind("first\n", 0), 0u);
  const pid_t left = std::stoi(result.output.substr(6));
  EXPECT_EQ(kill(left, SIGKILL), 0) << "it is nobody's business but its own";
}

TEST_P(RunProcessTest, WhoHoldsItsPipesOpenIsNotWaitedFor) { Run(HeldOpen()); }

// --- Stops

Task<absl::Status> Scenario() {
  const absl::StatusOr<ProcessResult> result =
      co_await RunProcess(Shell("cat; sleep 0.01; echo end"), RunProcessOptions("text"));
  EXPECT_EQ(result.ok() ? result->output : "textend\n", "textend\n");
  co_return result.status();
}

Task<> Cancelled() {
  const absl::Status status = co_await StartCancelled(Scenario());
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  CO_ASSERT_OK_AND_ASSIGN(const int points, co_await CancelAtEverySuspension(&Scenario));
  EXPECT_GE(points, 4);
}

TEST_P(RunProcessTest, WhereverItIsCancelledNothingIsLeft) { Run(Cancelled()); }

}  // namespace
}  // namespace evring
