// process_test.cc: children of this process: how they are started, what they inherit and what not, how they end, and
// that none is left over, whatever happens. The programs are those of a shell; each would end by itself.

#include "runtime/os/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "runtime/os/file.h"
#include "runtime/os/signals.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/testing.h"
#include "runtime/timeout.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

// True once this process has no child, not even an unreaped one.
bool NoChildIsLeft() {
  return Eventually([] {
    siginfo_t unused;
    return waitid(P_ALL, 0, &unused, WEXITED | WNOHANG | WNOWAIT) != 0 && errno == ECHILD;
  });
}

class Fixture : public ::testing::TestWithParam<int> {
 protected:
  Fixture() : descriptors_(CountIn("fd")) {
    std::string pattern = ::testing::TempDir() + "/process_test.XXXXXX";
    EVRING_CHECK(mkdtemp(pattern.data()) != nullptr, "the test needs a directory");
    char* const real = realpath(pattern.c_str(), nullptr);
    directory_ = real;
    std::free(real);
  }
  ~Fixture() override {
    EXPECT_TRUE(NoChildIsLeft());
    EXPECT_TRUE(Eventually([this] { return CountIn("fd") == descriptors_; }));
    EXPECT_EQ(std::system(("rm -rf '" + directory_ + "'").c_str()), 0);
  }

  static void Run(Task<> task) { RunOk(std::move(task), WithWorkers(GetParam())); }
  std::string Path(const std::string& name) const { return directory_ + "/" + name; }

 private:
  const int descriptors_;
  std::string directory_;
};

class ProcessTest : public Fixture {};
INSTANTIATE_TEST_SUITE_P(Workers, ProcessTest, ::testing::Values(1, 2, 4));

std::string ContentOf(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

ProcessOptions Shell(std::string script) { return ProcessOptions::Command("sh", "-c", std::move(script)); }

Task<absl::StatusOr<ExitStatus>> RunShell(std::string script) {
  absl::StatusOr<Process> process = co_await Process::Start(Shell(std::move(script)));
  if (!process.ok()) co_return process.status();
  co_return co_await process->Wait();
}

// What `script` writes; in a file, which cannot be full.
Task<absl::StatusOr<std::string>> OutputOf(ProcessOptions options, std::string path) {
  absl::StatusOr<File> file = co_await File::Open(path, O_WRONLY | O_CREAT | O_TRUNC);
  if (!file.ok()) co_return file.status();
  options.output = ChildStream::Descriptor(file->fd());
  absl::StatusOr<Process> process = co_await Process::Start(std::move(options));
  if (!process.ok()) co_return process.status();
  const absl::StatusOr<ExitStatus> ended = co_await process->Wait();
  if (!ended.ok()) co_return ended.status();
  if (!ended->ok()) co_return absl::UnknownError(ended->ToString());
  co_return ContentOf(path);
}

// --- The example of the header

Task<absl::StatusOr<ExitStatus>> Sort(const File* numbers, const File* sorted) {
  ProcessOptions options = ProcessOptions::Command("sort", "-n");
  options.input = ChildStream::Descriptor(numbers->fd());
  options.output = ChildStream::Descriptor(sorted->fd());
  absl::StatusOr<Process> sort = co_await Process::Start(std::move(options));
  if (!sort.ok()) co_return sort.status();
  absl::StatusOr<ExitStatus> ended = co_await sort->Wait();
  co_return ended;
}

Task<> SortNumbers(std::string in, std::string out) {
  std::ofstream(in) << "10\n9\n";
  CO_ASSERT_OK_AND_ASSIGN(const File numbers, co_await File::Open(in, O_RDONLY));
  CO_ASSERT_OK_AND_ASSIGN(const File sorted, co_await File::Open(out, O_WRONLY | O_CREAT));
  CO_ASSERT_OK_AND_ASSIGN(const ExitStatus ended, co_await Sort(&numbers, &sorted));
  EXPECT_TRUE(ended.ok()) << ended.ToString();
  EXPECT_EQ(ContentOf(out), "9\n10\n");
}

TEST_P(ProcessTest, TheExample) { Run(SortNumbers(Path("in"), Path("out"))); }

// --- How one ends

Task<> Ends() {
  CO_ASSERT_OK_AND_ASSIGN(ExitStatus status, co_await RunShell("exit 0"));
  EXPECT_EQ(status, ExitStatus::Exited(0));
  EXPECT_TRUE(status.ok());
  CO_ASSERT_OK_AND_ASSIGN(status, co_await RunShell("exit 3"));
  EXPECT_EQ(status, ExitStatus::Exited(3));
  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(status.exited());
  EXPECT_EQ(status.ToString(), "exit code 3");
  CO_ASSERT_OK_AND_ASSIGN(status, co_await RunShell("kill -KILL $$"));
  EXPECT_EQ(status, ExitStatus::Signalled(SIGKILL, false));
  EXPECT_FALSE(status.exited());
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.code(), -1);
  EXPECT_EQ(status.ToString(), "SIGKILL (Killed)");
  CO_ASSERT_OK_AND_ASSIGN(status, co_await RunShell("ulimit -c 0; kill -SEGV $$"));
  EXPECT_EQ(status.signal(), SIGSEGV);
}

TEST_P(ProcessTest, ItsEndIsTold) { Run(Ends()); }

Task<> WaitTwice() {
  CO_ASSERT_OK_AND_ASSIGN(Process process, co_await Process::Start(Shell("exit 5")));
  EXPECT_GT(process.pid(), 0);
  EXPECT_FALSE(process.exit_status().has_value());
  for (int i = 0; i < 2; ++i) {
    CO_ASSERT_OK_AND_ASSIGN(const ExitStatus status, co_await process.Wait());
    EXPECT_EQ(status.code(), 5);
    CO_ASSERT_TRUE(process.exit_status().has_value());
    EXPECT_EQ(process.exit_status()->code(), 5);
  }
  EXPECT_EQ(kevent::StatusErrno(process.Kill(SIGTERM)), ESRCH) << "nobody else is meant";
}

TEST_P(ProcessTest, ItIsReapedOnceAndRemembered) { Run(WaitTwice()); }

Task<absl::Status> ExitWith(int code) {
  const absl::StatusOr<ExitStatus> status = co_await RunShell(absl::StrCat("exit ", code));
  if (!status.ok()) co_return status.status();
  EXPECT_EQ(status->code(), code);
  co_return absl::OkStatus();
}

Task<> Many() {
  std::vector<JoinHandle<absl::Status>> handles;
  for (int i = 0; i < Scaled(64); ++i) handles.push_back(co_await Spawn(ExitWith(i)));
  for (auto& handle : handles) {
    const absl::Status status = co_await std::move(handle);
    EXPECT_TRUE(status.ok()) << status;
  }
}

TEST_P(ProcessTest, ManyAtOnceDoNotMixUpTheirEnds) { Run(Many()); }

Task<> Stolen() {
  CO_ASSERT_OK_AND_ASSIGN(Process process, co_await Process::Start(Shell("exit 5")));
  EXPECT_EQ(waitpid(process.pid(), nullptr, 0), process.pid());
  const absl::StatusOr<ExitStatus> status = co_await process.Wait();
  EXPECT_EQ(kevent::StatusErrno(status.status()), ECHILD) << status.status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status.status()));
}

TEST_P(ProcessTest, WhatSomebodyElseReapedIsAnError) { Run(Stolen()); }

// --- What cannot be started

Task<> Refused(std::string directory) {
  absl::StatusOr<Process> process = co_await Process::Start(ProcessOptions::Command(directory + "/none", "x"));
  EXPECT_EQ(kevent::StatusErrno(process.status()), ENOENT);
  EXPECT_NE(process.status().message().find("/none: ENOENT"), absl::string_view::npos) << process.status();
  process = co_await Process::Start(ProcessOptions::Command("there-is-no-program-of-this-name"));
  EXPECT_EQ(kevent::StatusErrno(process.status()), ENOENT) << process.status();
  const std::string text = directory + "/text";
  std::ofstream(text) << "no program\n";
  process = co_await Process::Start(ProcessOptions::Command(text));
  EXPECT_EQ(kevent::StatusErrno(process.status()), EACCES) << process.status();
  EXPECT_EQ(chmod(text.c_str(), 0755), 0);
  process = co_await Process::Start(ProcessOptions::Command(text));
  EXPECT_EQ(kevent::StatusErrno(process.status()), ENOEXEC) << process.status();
  process = co_await Process::Start(ProcessOptions::Command("true", std::string(1 << 20, 'x')));
  EXPECT_EQ(kevent::StatusErrno(process.status()), E2BIG) << process.status();
  ProcessOptions elsewhere = Shell("exit 0");
  elsewhere.directory = directory + "/none";
  process = co_await Process::Start(elsewhere);
  EXPECT_EQ(kevent::StatusErrno(process.status()), ENOENT);
  EXPECT_NE(process.status().message().find("directory"), absl::string_view::npos) << process.status();
  ProcessOptions closed = Shell("exit 0");
  closed.output = ChildStream::Descriptor(9999);
  process = co_await Process::Start(closed);
  EXPECT_EQ(kevent::StatusErrno(process.status()), EBADF) << process.status();
}

TEST_P(ProcessTest, WhatTheSystemRefusesComesBackByErrno) {
  const std::string directory = Path("d");
  ASSERT_EQ(mkdir(directory.c_str(), 0755), 0);
  Run(Refused(directory));
}

std::vector<ProcessOptions> SenselessOptions() {
  const std::string nul("a\0b", 3);
  std::vector<ProcessOptions> all(1);
  all.push_back(ProcessOptions({nul}));
  all.push_back(ProcessOptions({"true", nul}));
  for (int i = 0; i < 8; ++i) all.push_back(Shell("exit 0"));
  all[3].environment = std::vector<std::string>{"A=" + nul};
  all[4].directory = nul;
  all[5].blocked_signals = {0};
  all[6].kept_signals = {4096};
  all[7].output = ChildStream::Output();
  all[8].descriptors = {ChildDescriptor(0, 2)};
  all[9].descriptors = {ChildDescriptor(0, 5), ChildDescriptor(1, 5)};
  all[10].descriptors = {ChildDescriptor(0, 256)};
  return all;
}

Task<> Senseless() {
  const std::vector<ProcessOptions> all = SenselessOptions();
  for (size_t i = 0; i < all.size(); ++i) {
    const absl::StatusOr<Process> process = co_await Process::Start(all[i]);
    EXPECT_TRUE(absl::IsInvalidArgument(process.status())) << i << ": " << process.status();
  }
}

TEST_P(ProcessTest, WhatMakesNoSenseIsRefused) { Run(Senseless()); }

Task<absl::Status> StartWithFewDescriptors(ProcessOptions options) {
  const absl::StatusOr<Process> process = co_await Process::Start(std::move(options));
  co_return process.status();
}

// Lowers the limit of this process while it lives.
class FewDescriptors {
 public:
  explicit FewDescriptors(int more) {
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before_), 0);
    const int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);  // none below it is free
    rlimit low = before_;
    low.rlim_cur = static_cast<rlim_t>(lowest + more);
    close(lowest);
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  }
  ~FewDescriptors() { EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before_), 0); }

 private:
  rlimit before_;
};

Task<> TooManyDescriptors() {
  ProcessOptions options = ProcessOptions::Command("sleep", "1000");
  options.input = options.output = options.error = ChildStream::Pipe();
  int refused = 0;
  for (int more = 0; more < 12; ++more) {
    const FewDescriptors few(more);
    const absl::Status status = co_await StartWithFewDescriptors(options);
    if (status.ok()) continue;
    ++refused;
    EXPECT_EQ(kevent::StatusErrno(status), EMFILE) << more << ": " << status;
  }
  EXPECT_GE(refused, 7) << "six ends of pipes and the process";
}

// Wherever the descriptors run out: nothing is left behind, not even a child that runs already (the fixture looks).
TEST_P(ProcessTest, WithoutDescriptorsNothingIsStarted) { Run(TooManyDescriptors()); }

TEST_P(ProcessTest, WhereStatusesAreThrownAwayNoneIsStarted) {
  struct sigaction ignore = {};
  struct sigaction before;
  ignore.sa_handler = SIG_IGN;
  ASSERT_EQ(sigaction(SIGCHLD, &ignore, &before), 0);
  const auto status = evring::Run(RunShell("exit 0"), WithWorkers(GetParam()));
  EXPECT_TRUE(absl::IsFailedPrecondition(status.status())) << status.status();
  ASSERT_EQ(sigaction(SIGCHLD, &before, nullptr), 0);
}

// --- What it has

Task<> Surroundings(std::string directory) {
  const std::string out = directory + "/out";
  ProcessOptions options = Shell("echo $A-$HOME; pwd");
  options.environment.emplace();
  options.environment->push_back("A=a b");
  options.environment->push_back("PATH=/usr/bin:/bin");
  options.directory = directory;
  CO_ASSERT_OK_AND_ASSIGN(std::string text, co_await OutputOf(options, out));
  EXPECT_EQ(text, "a b-\n" + directory + "\n");
  EXPECT_EQ(setenv("EVRING_PROCESS_TEST", "inherited", 1), 0);
  CO_ASSERT_OK_AND_ASSIGN(text, co_await OutputOf(Shell("echo $EVRING_PROCESS_TEST"), out));
  EXPECT_EQ(text, "inherited\n");
  // Relative to where it works.
  const std::string script = directory + "/script";
  std::ofstream(script) << "#!/bin/sh\necho here\n";
  EXPECT_EQ(chmod(script.c_str(), 0755), 0);
  ProcessOptions relative({"./script"});
  relative.directory = directory;
  CO_ASSERT_OK_AND_ASSIGN(text, co_await OutputOf(relative, out));
  EXPECT_EQ(text, "here\n");
}

TEST_P(ProcessTest, ItsSurroundingsAreThoseThatWereAskedFor) {
  const std::string directory = Path("d");
  ASSERT_EQ(mkdir(directory.c_str(), 0755), 0);
  Run(Surroundings(directory));
}

Task<> Streams(std::string directory) {
  const std::string a = directory + "/a";
  const std::string b = directory + "/b";
  CO_ASSERT_OK_AND_ASSIGN(const File file_a, co_await File::Open(a, O_WRONLY | O_CREAT));
  CO_ASSERT_OK_AND_ASSIGN(const File file_b, co_await File::Open(b, O_WRONLY | O_CREAT));
  // Each has the number of the other.
  ProcessOptions crossed = Shell(absl::StrCat("echo to-a >&", file_b.fd(), "; echo to-b >&", file_a.fd()));
  crossed.arguments[0] = "bash";  // a shell that takes numbers of several digits
  crossed.descriptors.emplace_back(file_a.fd(), file_b.fd());
  crossed.descriptors.emplace_back(file_b.fd(), file_a.fd());
  CO_ASSERT_OK_AND_ASSIGN(Process process, co_await Process::Start(crossed));
  CO_ASSERT_OK_AND_ASSIGN(ExitStatus status, co_await process.Wait());
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(ContentOf(a), "to-a\n");
  EXPECT_EQ(ContentOf(b), "to-b\n");
  // Numbers that the copies would be given, each for the other.
  const int free = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  close(free);
  ProcessOptions next = Shell(absl::StrCat("echo more-a >&", free + 1, "; echo more-b >&", free));
  next.arguments[0] = "bash";
  next.descriptors.emplace_back(file_a.fd(), free + 1);
  next.descriptors.emplace_back(file_b.fd(), free);
  CO_ASSERT_OK_AND_ASSIGN(process, co_await Process::Start(next));
  CO_ASSERT_OK_AND_ASSIGN(status, co_await process.Wait());
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(ContentOf(a), "to-a\nmore-a\n");
  EXPECT_EQ(ContentOf(b), "to-b\nmore-b\n");
  // Nothing to read, and the errors where the output goes.
  ProcessOptions joined = Shell("cat; echo out; echo err >&2");
  joined.input = ChildStream::Null();
  joined.error = ChildStream::Output();
  CO_ASSERT_OK_AND_ASSIGN(const std::string text, co_await OutputOf(joined, directory + "/out"));
  EXPECT_EQ(text, "out\nerr\n");
}

TEST_P(ProcessTest, ItsStreamsAreThoseThatWereAskedFor) {
  const std::string directory = Path("d");
  ASSERT_EQ(mkdir(directory.c_str(), 0755), 0);
  Run(Streams(directory));
}

Task<> Pipes() {
  ProcessOptions options = Shell("read line; echo \"got $line\"; echo bad >&2");
  options.input = options.output = options.error = ChildStream::Pipe();
  CO_ASSERT_OK_AND_ASSIGN(Process process, co_await Process::Start(options));
  const std::string line = "hello\n";
  CO_ASSERT_OK(co_await process.input().Write(std::as_bytes(std::span(line))));
  CO_ASSERT_OK_AND_ASSIGN(std::string text, co_await process.output().ReadAll(100));
  EXPECT_EQ(text, "got hello\n");
  CO_ASSERT_OK_AND_ASSIGN(text, co_await process.error().ReadAll(100));
  EXPECT_EQ(text, "bad\n");
  CO_ASSERT_OK_AND_ASSIGN(const ExitStatus status, co_await process.Wait());
  EXPECT_TRUE(status.ok());
  CO_ASSERT_OK_AND_ASSIGN(Process other, co_await Process::Start(Shell("exit 0")));
  EXPECT_FALSE(other.input().valid() || other.output().valid() || other.error().valid());
  CO_ASSERT_OK(co_await other.Wait());
}

TEST_P(ProcessTest, ThisProcessHasTheOtherEndsOfItsPipes) { Run(Pipes()); }

Task<> NoOtherDescriptor(int leaked) {
  ProcessOptions options = Shell(absl::StrCat("test ! -e /proc/$$/fd/", leaked, " && test -e /proc/$$/fd/200"));
  options.descriptors.emplace_back(STDERR_FILENO, 200);
  CO_ASSERT_OK_AND_ASSIGN(Process process, co_await Process::Start(options));
  CO_ASSERT_OK_AND_ASSIGN(const ExitStatus status, co_await process.Wait());
  EXPECT_TRUE(status.ok()) << status.ToString();
}

TEST_P(ProcessTest, ItHasNoOtherDescriptor) {
  for (const int at : {100, 240}) {
    const int leaked = fcntl(STDERR_FILENO, F_DUPFD,
                             at);  // as by a library that does not think of exec
    ASSERT_GE(leaked, at);
    Run(NoOtherDescriptor(leaked));
    close(leaked);
  }
}

constexpr uint64_t Bit(int signal) { return uint64_t{1} << (signal - 1); }

// Two signals that the C library keeps for itself, and has each program that it starts ignore.
constexpr uint64_t kCLibrarys = Bit(32) | Bit(33);

// The masks in /proc/self/status, as numbers.
struct Masks {
  uint64_t blocked = 0;
  uint64_t ignored = 0;
};

Task<absl::StatusOr<Masks>> MasksOf(ProcessOptions options, std::string path) {
  options.arguments = ProcessOptions::Command("cat", "/proc/self/status").arguments;
  absl::StatusOr<std::string> text = co_await OutputOf(std::move(options), path);
  if (!text.ok()) co_return text.status();
  Masks masks;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("SigBlk:", 0) == 0) masks.blocked = std::stoull(line.substr(7), nullptr, 16);
    if (line.rfind("SigIgn:", 0) == 0) masks.ignored = std::stoull(line.substr(7), nullptr, 16) & ~kCLibrarys;
  }
  co_return masks;
}

Task<> Signals(std::string path) {
  CO_ASSERT_OK_AND_ASSIGN(Masks masks, co_await MasksOf(ProcessOptions(), path));
  EXPECT_EQ(masks.blocked, 0u);
  EXPECT_EQ(masks.ignored, 0u);
  ProcessOptions options;
  options.blocked_signals.push_back(SIGUSR1);
  options.kept_signals.push_back(SIGPIPE);
  options.kept_signals.push_back(SIGUSR2);
  CO_ASSERT_OK_AND_ASSIGN(masks, co_await MasksOf(options, path));
  EXPECT_EQ(masks.blocked, Bit(SIGUSR1));
  EXPECT_EQ(masks.ignored, Bit(SIGPIPE)) << "SIGUSR2 is not ignored here";
}

TEST_P(ProcessTest, ItDoesNotInheritWhatTheRuntimeDoesWithSignals) {
  sigset_t before;
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, nullptr, &before), 0);
  struct sigaction ignore = {};
  struct sigaction pipe_before;
  ignore.sa_handler = SIG_IGN;
  ASSERT_EQ(sigaction(SIGPIPE, &ignore, &pipe_before), 0);
  const auto signals = SignalSet::Block({SIGINT, SIGTERM});
  ASSERT_TRUE(signals.ok());
  Run(Signals(Path("out")));
  ASSERT_EQ(sigaction(SIGPIPE, &pipe_before, nullptr), 0);
  ASSERT_EQ(pthread_sigmask(SIG_SETMASK, &before, nullptr), 0);
}

// --- Signals, and ending it

Task<> Killed() {
  CO_ASSERT_OK_AND_ASSIGN(Process process, co_await Process::Start(ProcessOptions::Command("sleep", "1000")));
  CO_ASSERT_OK(process.Kill(0));
  EXPECT_EQ(kevent::StatusErrno(process.Kill(4096)), EINVAL);
  CO_ASSERT_OK(process.Kill(SIGUSR1));
  CO_ASSERT_OK_AND_ASSIGN(const ExitStatus status, co_await process.Wait());
  EXPECT_EQ(status, ExitStatus::Signalled(SIGUSR1, false));
}

TEST_P(ProcessTest, ItCanBeSignalled) { Run(Killed()); }

Task<absl::StatusOr<ExitStatus>> WaitShortly(Process* process, Process::OnStop on_stop) {
  co_return co_await WithTimeout(absl::Milliseconds(20), process->Wait(on_stop));
}

Task<> StoppedWait() {
  CO_ASSERT_OK_AND_ASSIGN(Process process, co_await Process::Start(ProcessOptions::Command("sleep", "1000")));
  absl::StatusOr<ExitStatus> status = co_await WaitShortly(&process, Process::OnStop::kLeave);
  EXPECT_TRUE(absl::IsDeadlineExceeded(status.status())) << status.status();
  EXPECT_FALSE(process.exit_status().has_value());
  CO_ASSERT_OK(process.Kill(0));
  // Stopped by a signal it would not take another one, if it were not let go on. (The test would take an hour.)
  CO_ASSERT_OK(process.Kill(SIGSTOP));
  status = co_await WaitShortly(&process, Process::OnStop::kEnd);
  EXPECT_TRUE(absl::IsDeadlineExceeded(status.status())) << status.status();
  CO_ASSERT_TRUE(process.exit_status().has_value()) << "it is reaped when the wait returns";
  EXPECT_EQ(process.exit_status()->signal(), SIGTERM);
}

TEST_P(ProcessTest, AStopOfTheWaitEndsItOrLeavesIt) { Run(StoppedWait()); }

// Does not care for SIGTERM, and says so when it does not.
ProcessOptions Stubborn(absl::Duration grace) {
  ProcessOptions options = Shell("trap '' TERM; echo; while :; do sleep 0.01; done");
  options.output = ChildStream::Pipe();
  options.grace = grace;
  return options;
}

Task<> Grace() {
  CO_ASSERT_OK_AND_ASSIGN(Process process, co_await Process::Start(Stubborn(absl::Milliseconds(30))));
  std::array<std::byte, 1> byte;
  CO_ASSERT_OK_AND_ASSIGN(const size_t n, co_await process.output().Read(byte));
  CO_ASSERT_EQ(n, 1u);
  const absl::StatusOr<ExitStatus> status = co_await StartCancelled(process.Wait());
  EXPECT_TRUE(absl::IsCancelled(status.status())) << status.status();
  EXPECT_NE(status.status().message().find("SIGKILL"), absl::string_view::npos) << status.status();
  CO_ASSERT_TRUE(process.exit_status().has_value());
  EXPECT_EQ(process.exit_status()->signal(), SIGKILL);
}

TEST_P(ProcessTest, WhoDoesNotListenIsKilledAfterTheGrace) { Run(Grace()); }

Task<> EndByCall() {
  CO_ASSERT_OK_AND_ASSIGN(Process process, co_await Process::Start(ProcessOptions::Command("sleep", "1000")));
  CO_ASSERT_OK_AND_ASSIGN(ExitStatus status, co_await process.End());
  EXPECT_EQ(status.signal(), SIGTERM);
  CO_ASSERT_OK_AND_ASSIGN(status, co_await process.End());
  EXPECT_EQ(status.signal(), SIGTERM) << "once more is nothing";
  // A stop does not interrupt it.
  CO_ASSERT_OK_AND_ASSIGN(Process other, co_await Process::Start(ProcessOptions::Command("sleep", "1000")));
  CO_ASSERT_OK_AND_ASSIGN(status, co_await StartCancelled(other.End()));
  EXPECT_EQ(status.signal(), SIGTERM);
}

TEST_P(ProcessTest, ItIsEndedByACall) { Run(EndByCall()); }

// A shell that starts another process, which has its output and does not hear SIGTERM.
Task<> Family(ProcessOptions::Group group, std::string script, bool ends_itself) {
  ProcessOptions options = Shell(std::move(script));
  options.output = ChildStream::Pipe();
  options.group = group;
  CO_ASSERT_OK_AND_ASSIGN(Process process, co_await Process::Start(options));
  std::array<std::byte, 1> byte;
  CO_ASSERT_OK_AND_ASSIGN(size_t n, co_await process.output().Read(byte));
  CO_ASSERT_EQ(n, 1u) << "the child's child runs";
  CO_ASSERT_OK_AND_ASSIGN(const ExitStatus status, co_await process.End());
  EXPECT_EQ(status.exited(), ends_itself) << status.ToString();
  CO_ASSERT_OK_AND_ASSIGN(n, co_await process.output().Read(byte));
  EXPECT_EQ(n, 0u) << "nobody has the other end any more";
}

constexpr char kParent[] = "(trap '' TERM; echo; exec sleep 1000) & wait";
constexpr char kPoliteParent[] = "trap 'exit 0' TERM; (trap '' TERM; echo; exec sleep 1000) & wait";

TEST_P(ProcessTest, WithAGroupOfItsOwnItsChildrenEndWithIt) {
  Run(Family(ProcessOptions::Group::kNewGroup, kParent, false));
  Run(Family(ProcessOptions::Group::kNewSession, kPoliteParent, true));
}

Task<> GroupOf(ProcessOptions::Group group, std::string path) {
  // The numbers of its group and of its session.
  ProcessOptions options = Shell("cut -d' ' -f5,6 /proc/$$/stat");
  options.group = group;
  CO_ASSERT_OK_AND_ASSIGN(const std::string text, co_await OutputOf(options, path));
  std::istringstream words(text);
  pid_t process_group = 0, session = 0;
  words >> process_group >> session;
  EXPECT_EQ(process_group == getpgrp(), group == ProcessOptions::Group::kSame);
  EXPECT_EQ(session == getsid(0), group != ProcessOptions::Group::kNewSession);
}

TEST_P(ProcessTest, ItsGroupAndSessionAreThoseThatWereAskedFor) {
  using Group = ProcessOptions::Group;
  for (const Group group : {Group::kSame, Group::kNewGroup, Group::kNewSession}) Run(GroupOf(group, Path("out")));
}

// --- Nothing is left over

Task<> Forgotten() {
  for (int i = 0; i < 5; ++i) {
    CO_ASSERT_OK_AND_ASSIGN(Process process, co_await Process::Start(ProcessOptions::Command("sleep", "1000")));
    CO_ASSERT_OK_AND_ASSIGN(Process other, co_await Process::Start(ProcessOptions::Command("sleep", "1000")));
    Process moved = std::move(process);
    moved = std::move(other);
  }
}

// The fixture sees that each was killed and reaped.
TEST_P(ProcessTest, OneThatIsForgottenIsKilledAndReaped) { Run(Forgotten()); }

Task<absl::Status> StartAndWait() {
  absl::StatusOr<Process> process = co_await Process::Start(Shell("sleep 0.02; exit 7"));
  if (!process.ok()) co_return process.status();
  const absl::StatusOr<ExitStatus> status = co_await process->Wait();
  EXPECT_EQ(status.ok() ? status->code() : 7, 7);
  co_return status.status();
}

Task<> Cancelled() {
  absl::Status status = co_await StartCancelled(StartAndWait());
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  CO_ASSERT_OK_AND_ASSIGN(const int points, co_await CancelAtEverySuspension(&StartAndWait));
  EXPECT_EQ(points, 2) << "the start and the wait";
}

TEST_P(ProcessTest, WhereverItIsCancelledNoneIsLeft) { Run(Cancelled()); }

Task<> Race() {
  for (int i = 0; i < Scaled(100); ++i) {
    CO_ASSERT_OK_AND_ASSIGN(Process process, co_await Process::Start(ProcessOptions::Command("true")));
    const absl::StatusOr<ExitStatus> status =
        co_await WithTimeout(absl::Microseconds(20 * i), process.Wait(Process::OnStop::kEnd));
    CO_ASSERT_TRUE(process.exit_status().has_value());
    if (status.ok()) {
      EXPECT_EQ(*status, *process.exit_status());
    } else {
      EXPECT_TRUE(absl::IsDeadlineExceeded(status.status())) << status.status();
    }
  }
}

TEST_P(ProcessTest, AStopThatRacesWithItsEndReapsIt) { Run(Race()); }

Task<absl::Status> WaitFor(Process* process) { co_return (co_await process->Wait()).status(); }

// The child ends by itself soon after the program that waited for it.
Task<> TwoWait() {
  CO_ASSERT_OK_AND_ASSIGN(Process process, co_await Process::Start(ProcessOptions::Command("sleep", "10")));
  JoinHandle<absl::Status> other = co_await Spawn(WaitFor(&process));
  static_cast<void>(co_await WaitFor(&process));
  static_cast<void>(co_await std::move(other));
}

TEST(ProcessDeathTest, TwoTasksThatWaitAtOnceAreAFailedCheck) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_DEATH(RunOk(TwoWait(), WithWorkers(1)), "one task at a time waits for a process");
}

// --- Elsewhere

Task<> StartSimulated() {
  const absl::StatusOr<Process> process = co_await Process::Start(ProcessOptions::Command("true"));
  EXPECT_TRUE(absl::IsUnimplemented(process.status())) << process.status();
  EXPECT_EQ(kevent::StatusErrno(process.status()), ENOSYS);
}

class SimulatedProcessTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, SimulatedProcessTest, SimulatedMachines(), MachineName);

TEST_P(SimulatedProcessTest, ASimulatedMachineHasNone) { RunOk(StartSimulated()); }

}  // namespace
}  // namespace evring
