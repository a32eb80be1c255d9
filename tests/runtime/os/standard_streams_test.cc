// standard_streams_test.cc: standard input and output as each of the things they can be: lines, limits, ends, stops,
// positions and flags that others share. On this machine's kernel: a simulated one has no such streams, and says so.

#include "runtime/os/standard_streams.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "kevent/owned_descriptor.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/testing.h"
#include "runtime/timeout.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;
using kevent::OwnedDescriptor;

// Both ends of something that lines go through: `near` is the program's, `far` the other side's.
struct Ends {
  OwnedDescriptor near;
  OwnedDescriptor far;
};

Ends MakePipe(bool reads) {
  int fds[2];
  EVRING_CHECK(pipe2(fds, O_CLOEXEC) == 0, "a pipe");
  Ends ends;
  ends.near = OwnedDescriptor(fds[reads ? 0 : 1]);
  ends.far = OwnedDescriptor(fds[reads ? 1 : 0]);
  return ends;
}

// The program has the terminal, the test the user's side. Nothing is echoed, nor is LF written as CR LF.
Ends MakeTerminal() {
  int user = -1, terminal = -1;
  EVRING_CHECK(openpty(&user, &terminal, nullptr, nullptr, nullptr) == 0, "a terminal");
  termios modes;
  EVRING_CHECK(tcgetattr(terminal, &modes) == 0, "its modes");
  modes.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  modes.c_oflag &= ~static_cast<tcflag_t>(OPOST);
  EVRING_CHECK(tcsetattr(terminal, TCSANOW, &modes) == 0, "its modes");
  Ends ends;
  ends.near = OwnedDescriptor(terminal);
  ends.far = OwnedDescriptor(user);
  return ends;
}

Ends MakeSocket() {
  int fds[2];
  EVRING_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "a pair");
  Ends ends;
  ends.near = OwnedDescriptor(fds[0]);
  ends.far = OwnedDescriptor(fds[1]);
  return ends;
}

OwnedDescriptor MakeFile() {
  std::string path = ::testing::TempDir() + "/standard_streams.XXXXXX";
  const int fd = mkostemp(path.data(), O_CLOEXEC);
  EVRING_CHECK(fd >= 0 && unlink(path.c_str()) == 0, "a file");
  return OwnedDescriptor(fd);
}

void WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    ASSERT_GT(n, 0);
    text.remove_prefix(static_cast<size_t>(n));
  }
}

std::string ContentOf(int fd) {
  std::string text(100'000, '\0');
  const ssize_t n = pread(fd, text.data(), text.size(), 0);
  text.resize(n < 0 ? 0 : static_cast<size_t>(n));
  return text;
}

// A descriptor of the process that is something else for a while.
class Replaced {
 public:
  Replaced(int fd, int by) : fd_(fd), before_(fcntl(fd, F_DUPFD_CLOEXEC, 3)) { EXPECT_EQ(dup2(by, fd), fd); }
  ~Replaced() {
    if (before_.valid()) {
      EXPECT_EQ(dup2(before_.get(), fd_), fd_);
    } else {
      close(fd_);
    }
  }

 private:
  const int fd_;
  const OwnedDescriptor before_;
};

class StandardStreams : public EveryMachine {
 protected:
  void Run(Task<> task) {
    const int before = CountIn("fd");
    RunOk(std::move(task));
    EXPECT_EQ(CountIn("fd"), before);
  }
};
INSTANTIATE_TEST_SUITE_P(Workers, StandardStreams, RealMachines({1, 2, 4}), MachineName);

Task<absl::Status> Converse() {
  for (;;) {
    const absl::StatusOr<std::string> line = co_await Stdin().ReadLine(/*limit=*/1000);
    if (absl::IsOutOfRange(line.status())) break;
    if (!line.ok()) co_return line.status();
    const absl::Status status = co_await Stdout().Write(absl::StrCat("you said: ", *line, "\n"));
    if (!status.ok()) co_return status;
  }
  co_return absl::OkStatus();
}

Task<> ConverseOk() { CO_ASSERT_OK(co_await Converse()); }

constexpr std::string_view kSaid = "one\ntwo\r\n\nlast";
constexpr std::string_view kAnswered = "you said: one\nyou said: two\nyou said: \nyou said: last\n";

TEST_P(StandardStreams, TalkThroughPipes) {
  Ends in = MakePipe(/*reads=*/true);
  Ends out = MakePipe(/*reads=*/false);
  WriteAll(in.far.get(), kSaid);
  in.far.Close();
  {
    const Replaced stdin_is(STDIN_FILENO, in.near.get());
    const Replaced stdout_is(STDOUT_FILENO, out.near.get());
    Run(ConverseOk());
  }
  std::array<char, 1000> answer;
  const ssize_t n = read(out.far.get(), answer.data(), answer.size());
  EXPECT_EQ(std::string(answer.data(), static_cast<size_t>(std::max<ssize_t>(n, 0))), kAnswered);
}

TEST_P(StandardStreams, TalkThroughFilesFromWhereTheyStand) {
  const OwnedDescriptor in = MakeFile();
  const OwnedDescriptor out = MakeFile();
  WriteAll(in.get(), absl::StrCat("read before\n", std::string(kSaid)));
  ASSERT_EQ(lseek(in.get(), 12, SEEK_SET), 12);
  WriteAll(out.get(), "written before\n");
  {
    const Replaced stdin_is(STDIN_FILENO, in.get());
    const Replaced stdout_is(STDOUT_FILENO, out.get());
    Run(ConverseOk());
  }
  EXPECT_EQ(ContentOf(out.get()), absl::StrCat("written before\n", std::string(kAnswered)));
  EXPECT_EQ(lseek(out.get(), 0, SEEK_CUR), static_cast<off_t>(15 + kAnswered.size())) << "who shares it goes on behind";
  EXPECT_EQ(lseek(in.get(), 0, SEEK_CUR), static_cast<off_t>(12 + kSaid.size()));
}

TEST_P(StandardStreams, TalkThroughATerminalAndLeaveItAsItIs) {
  for (const bool blocks : {true, false}) {
    Ends terminal = MakeTerminal();
    if (!blocks) {
      ASSERT_EQ(fcntl(terminal.near.get(), F_SETFL, O_RDWR | O_NONBLOCK), 0);
    }
    const int flags = fcntl(terminal.near.get(), F_GETFL);
    std::string answer;
    std::thread user([&] {
      for (const std::string_view typed : {"on", "e\n", "two\n", "\n", "last\n"}) {
        usleep(3000);
        WriteAll(terminal.far.get(), typed);
      }
      std::array<char, 1000> buffer;
      while (answer.size() < kAnswered.size()) {
        const ssize_t n = read(terminal.far.get(), buffer.data(), buffer.size());
        if (n <= 0) break;
        answer.append(buffer.data(), static_cast<size_t>(n));
      }
      WriteAll(terminal.far.get(), "\x04");  // ^D
    });
    {
      const Replaced stdin_is(STDIN_FILENO, terminal.near.get());
      const Replaced stdout_is(STDOUT_FILENO, terminal.near.get());
      Run(ConverseOk());
    }
    user.join();
    EXPECT_EQ(answer, kAnswered);
    EXPECT_EQ(fcntl(terminal.near.get(), F_GETFL), flags);
  }
}

TEST_P(StandardStreams, TalkToNobody) {
  const OwnedDescriptor null(open("/dev/null", O_RDWR | O_CLOEXEC));
  const Replaced stdin_is(STDIN_FILENO, null.get());
  const Replaced stdout_is(STDOUT_FILENO, null.get());
  Run(ConverseOk());
}

// --- Lines

Task<> LinesOf(InputStream* in, std::vector<std::string>* lines, size_t limit) {
  for (;;) {
    absl::StatusOr<std::string> line = co_await in->ReadLine(limit);
    if (absl::IsOutOfRange(line.status())) co_return;
    CO_ASSERT_OK(line);
    lines->push_back(*std::move(line));
  }
}

TEST_P(StandardStreams, LinesAreReadWholeHoweverTheyCome) {
  std::vector<std::string> expected;
  std::string text;
  for (size_t i = 0; i < 60; ++i) {
    expected.push_back(std::string(i * i * 7 % 20'001, static_cast<char>('a' + i % 26)));
    absl::StrAppend(&text, expected.back(), i % 3 == 0 ? "\r\n" : "\n");
  }
  for (const size_t piece : {1'000'000, 1'021, 7}) {
    Ends ends = MakePipe(/*reads=*/true);
    std::thread writer([&] {
      std::string_view left = text;
      for (; !left.empty(); left.remove_prefix(std::min(piece, left.size()))) {
        WriteAll(ends.far.get(), left.substr(0, piece));
      }
      ends.far.Close();
    });
    InputStream in(ends.near.get());
    std::vector<std::string> lines;
    RunOk(LinesOf(&in, &lines, 20'001));
    writer.join();
    EXPECT_TRUE(lines == expected) << lines.size() << " lines, pieces of " << piece;
  }
}

Task<> LimitedLines(InputStream* in) {
  const absl::StatusOr<std::string> exact = co_await in->ReadLine(5);
  CO_ASSERT_OK(exact);
  EXPECT_EQ(*exact, "12345");
  const absl::StatusOr<std::string> with_cr = co_await in->ReadLine(5);
  CO_ASSERT_OK(with_cr);
  EXPECT_EQ(*with_cr, "abcde");
  for (int i = 0; i < 2; ++i) {
    const absl::StatusOr<std::string> too_long = co_await in->ReadLine(5);
    EXPECT_TRUE(absl::IsResourceExhausted(too_long.status())) << too_long.status();
  }
  // Nothing was consumed.
  std::array<std::byte, 2> two;
  CO_ASSERT_OK_AND_ASSIGN(const size_t n, co_await in->Read(two));
  EXPECT_EQ(n, 2u);
  EXPECT_EQ(static_cast<char>(two[0]), '6');
  const absl::StatusOr<std::string> rest = co_await in->ReadLine(5);
  CO_ASSERT_OK(rest);
  EXPECT_EQ(*rest, "8901");
  const absl::StatusOr<std::string> without_end = co_await in->ReadLine(5);
  EXPECT_TRUE(absl::IsResourceExhausted(without_end.status())) << without_end.status();
  const absl::StatusOr<std::string> last = co_await in->ReadLine(6);
  CO_ASSERT_OK(last);
  EXPECT_EQ(*last, "abcdef");
  const absl::StatusOr<std::string> end = co_await in->ReadLine(6);
  EXPECT_TRUE(absl::IsOutOfRange(end.status())) << end.status();
}

TEST_P(StandardStreams, ALineKeepsToItsLimit) {
  Ends ends = MakePipe(/*reads=*/true);
  WriteAll(ends.far.get(), "12345\nabcde\r\n678901\nabcdef");
  ends.far.Close();
  InputStream in(ends.near.get());
  RunOk(LimitedLines(&in));
}

Task<> LineInTwo(InputStream* in, int far) {
  for (const bool is_end : {true, false}) {
    WriteAll(far, "abcde\r");
    JoinHandle<absl::Status> writing = co_await Spawn([](int far, const char* text) -> Task<absl::Status> {
      const absl::Status slept = co_await Sleep(absl::Milliseconds(5));
      WriteAll(far, text);
      co_return slept;
    }(far, is_end ? "\n" : "\r\n"));
    const absl::StatusOr<std::string> line = co_await in->ReadLine(5);
    if (is_end) {
      CO_ASSERT_OK(line);
      EXPECT_EQ(*line, "abcde");
    } else {
      EXPECT_TRUE(absl::IsResourceExhausted(line.status())) << line.status();
    }
    CO_ASSERT_OK(co_await std::move(writing));
  }
}

TEST_P(StandardStreams, ACrAtTheLimitMayBelongToTheEndOfTheLine) {
  Ends ends = MakePipe(/*reads=*/true);
  InputStream in(ends.near.get());
  RunOk(LineInTwo(&in, ends.far.get()));
}

Task<> EndlessLine(InputStream* in) {
  const absl::StatusOr<std::string> line = co_await in->ReadLine(100'000);
  EXPECT_TRUE(absl::IsResourceExhausted(line.status())) << line.status();
}

TEST_P(StandardStreams, AnEndlessLineIsRefused) {
  const OwnedDescriptor zeros(open("/dev/zero", O_RDONLY | O_CLOEXEC));
  InputStream in(zeros.get());
  RunOk(EndlessLine(&in));
}

TEST_P(StandardStreams, SeveralTasksGetWholeLines) {
  Ends ends = MakePipe(/*reads=*/true);
  std::vector<std::string> expected;
  for (int i = 0; i < 2'000; ++i) expected.push_back(absl::StrCat("line ", i, std::string(i % 50, '.')));
  std::thread writer([&] {
    for (const std::string& line : expected) WriteAll(ends.far.get(), line + "\n");
    ends.far.Close();
  });
  InputStream in(ends.near.get());
  std::array<std::vector<std::string>, 4> lines;
  const auto all = [](InputStream* in, std::array<std::vector<std::string>, 4>* lines) -> Task<> {
    std::vector<JoinHandle<void>> readers;
    for (std::vector<std::string>& own : *lines) {
      JoinHandle<void> reader = co_await Spawn(LinesOf(in, &own, 1'000));
      readers.push_back(std::move(reader));
    }
    for (JoinHandle<void>& reader : readers) co_await std::move(reader);
  };
  RunOk(all(&in, &lines));
  writer.join();
  std::vector<std::string> read;
  for (std::vector<std::string>& own : lines) {
    for (std::string& line : own) read.push_back(std::move(line));
  }
  std::sort(read.begin(), read.end());
  std::sort(expected.begin(), expected.end());
  EXPECT_TRUE(read == expected) << read.size() << " lines";
}

// --- Writing

Task<absl::Status> WriteOften(OutputStream* out, char letter) {
  const std::string text(150'000, letter);
  for (int i = 0; i < 3; ++i) {
    const absl::Status status = co_await out->Write(text);
    if (!status.ok()) co_return status;
  }
  co_return absl::OkStatus();
}

Task<> WriteTogether(OutputStream* out) {
  std::vector<JoinHandle<absl::Status>> writers;
  for (const char letter : {'a', 'b', 'c'}) {
    JoinHandle<absl::Status> writer = co_await Spawn(WriteOften(out, letter));
    writers.push_back(std::move(writer));
  }
  for (JoinHandle<absl::Status>& writer : writers) CO_ASSERT_OK(co_await std::move(writer));
}

TEST_P(StandardStreams, WhatSeveralTasksWriteIsNotMixed) {
  Ends ends = MakePipe(/*reads=*/false);
  std::string all;
  std::thread reader([&] {
    std::array<char, 10'000> buffer;
    while (all.size() < 9 * 150'000) {
      const ssize_t n = read(ends.far.get(), buffer.data(), buffer.size());
      if (n <= 0) break;
      all.append(buffer.data(), static_cast<size_t>(n));
    }
  });
  OutputStream out(ends.near.get());
  RunOk(WriteTogether(&out));
  reader.join();
  ASSERT_EQ(all.size(), 9u * 150'000);
  for (size_t i = 0; i < all.size(); i += 150'000) {
    EXPECT_EQ(std::string_view(all).substr(i, 150'000).find_first_not_of(all[i]), std::string_view::npos) << i;
  }
}

Task<> WriteLong(OutputStream* out, std::string_view text) { CO_ASSERT_OK(co_await out->Write(text)); }

TEST_P(StandardStreams, ASlowTerminalIsWaitedForWhetherItBlocksOrNot) {
  std::string text;
  for (int i = 0; i < 30'000; ++i) absl::StrAppend(&text, i, "\n");
  for (const bool blocks : {true, false}) {
    Ends terminal = MakeTerminal();
    if (!blocks) {
      ASSERT_EQ(fcntl(terminal.near.get(), F_SETFL, O_RDWR | O_NONBLOCK), 0);
    }
    std::string seen;
    std::thread user([&] {
      usleep(20'000);  // until it is full
      std::array<char, 4'000> buffer;
      while (seen.size() < text.size()) {
        const ssize_t n = read(terminal.far.get(), buffer.data(), buffer.size());
        if (n <= 0) break;
        seen.append(buffer.data(), static_cast<size_t>(n));
      }
    });
    OutputStream out(terminal.near.get());
    RunOk(WriteLong(&out, text));
    user.join();
    EXPECT_TRUE(seen == text) << seen.size();
  }
}

Task<> WriteErrors(OutputStream* out, int error) {
  const absl::Status status = co_await out->Write("x");
  EXPECT_EQ(kevent::StatusErrno(status), error) << status;
  EXPECT_NE(std::string(status.message()).find("write fd="), std::string::npos) << status;
}

TEST_P(StandardStreams, ErrorsOfAWriteAreTheSystemsAndNoSignal) {
  static std::atomic<int> signals;
  signals = 0;
  struct sigaction action = {}, before;
  action.sa_handler = [](int) { ++signals; };
  ASSERT_EQ(sigaction(SIGPIPE, &action, &before), 0);
  Ends pipe = MakePipe(/*reads=*/false);
  Ends socket = MakeSocket();
  const OwnedDescriptor full(open("/dev/full", O_WRONLY | O_CLOEXEC));
  pipe.far.Close();
  socket.far.Close();
  for (const auto& [fd, error] : {std::pair(pipe.near.get(), EPIPE), std::pair(socket.near.get(), EPIPE),
                                  std::pair(full.get(), ENOSPC), std::pair(9999, EBADF)}) {
    OutputStream out(fd);
    RunOk(WriteErrors(&out, error));
  }
  EXPECT_EQ(sigaction(SIGPIPE, &before, nullptr), 0);
  EXPECT_EQ(signals, 0);
}

// --- Stops

Task<absl::Status> Line(InputStream* in) {
  const absl::StatusOr<std::string> line = co_await in->ReadLine();
  co_return line.status();
}

Task<> StopWaiting(InputStream* in, int far) {
  absl::Status status = co_await StartCancelled(Line(in));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  for (const int us : {0, 50, 2'000}) {
    status = co_await WithTimeout(absl::Microseconds(us), Line(in));
    EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  }
  // Half a line is kept. One task waits to read, one for its turn.
  WriteAll(far, "half");
  JoinHandle<absl::Status> reading = co_await Spawn(Line(in));
  JoinHandle<absl::Status> waiting = co_await Spawn(Line(in));
  CO_ASSERT_OK(co_await Sleep(absl::Milliseconds(5)));
  waiting.RequestStop();
  reading.RequestStop();
  status = co_await std::move(waiting);
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  status = co_await std::move(reading);
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  WriteAll(far, " a line\n");
  const absl::StatusOr<std::string> line = co_await in->ReadLine();
  CO_ASSERT_OK(line);
  EXPECT_EQ(*line, "half a line");
}

TEST_P(StandardStreams, AStopEndsAWaitForALineAndLosesNothing) {
  for (const bool terminal : {false, true}) {
    Ends ends = terminal ? MakeTerminal() : MakePipe(/*reads=*/true);
    InputStream in(ends.near.get());
    RunOk(StopWaiting(&in, ends.far.get()));
  }
}

Task<absl::Status> ReadAndWrite() {
  Ends ends = MakeSocket();
  InputStream in(ends.near.get());
  OutputStream out(ends.far.get());
  for (int i = 0; i < 3; ++i) {
    JoinHandle<absl::Status> reading = co_await Spawn(Line(&in));
    const absl::Status slept = co_await Sleep(absl::Microseconds(100));
    absl::Status status = co_await out.Write("a line\n");
    status.Update(slept);
    if (!status.ok()) reading.RequestStop();
    status.Update(co_await std::move(reading));
    if (!status.ok()) co_return status;
  }
  co_return absl::OkStatus();
}

Task<> StopEverywhere() {
  CO_ASSERT_OK_AND_ASSIGN(const int suspensions, co_await CancelAtEverySuspension(&ReadAndWrite));
  EXPECT_GE(suspensions, 6);
}

TEST_P(StandardStreams, AStopAnywhereEndsAConversation) { Run(StopEverywhere()); }

// --- Simulated

Task<> RefusedWhenSimulated() {
  const absl::StatusOr<std::string> line = co_await Stdin().ReadLine();
  EXPECT_TRUE(absl::IsUnimplemented(line.status())) << line.status();
  std::array<std::byte, 1> byte;
  const absl::StatusOr<size_t> n = co_await Stdin().Read(byte);
  EXPECT_TRUE(absl::IsUnimplemented(n.status())) << n.status();
  const absl::Status status = co_await Stdout().Write("x");
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
  EXPECT_EQ(kevent::StatusErrno(status), ENOSYS);
}

TEST(StandardStreamsSimulated, AreRefused) { RunOk(RefusedWhenSimulated(), CalmMachine(2)); }

}  // namespace
}  // namespace evring
