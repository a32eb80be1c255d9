// example_process.h: a program under test: started from its runfiles, its output collected, signalled, waited for
// within bounds. Killed with the object, and with this process. One thread.

#ifndef EVRING_TESTS_SUPPORT_EXAMPLE_PROCESS_H_
#define EVRING_TESTS_SUPPORT_EXAMPLE_PROCESS_H_

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace evring::testing {

class ExampleProcess {
 public:
  // `command`: a program, and its arguments. A program without '/' is found in $PATH; others count from the root of the
  // repository, where tests run: "examples/http_server".
  explicit ExampleProcess(std::vector<std::string> command) {
    int out[2];
    EXPECT_EQ(pipe2(out, O_CLOEXEC), 0) << strerror(errno);
    std::vector<char*> arguments;
    for (std::string& argument : command) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ == 0) {
      dup2(out[1], STDOUT_FILENO);
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() == parent) execvp(arguments[0], arguments.data());
      static constexpr char kFailed[] = "the program could not be started\n";
      if (write(STDOUT_FILENO, kFailed, sizeof(kFailed) - 1) < 0) _exit(126);
      _exit(127);
    }
    close(out[1]);
    output_fd_ = out[0];
    EXPECT_GT(pid_, 0) << strerror(errno);
  }
  ExampleProcess(const ExampleProcess&) = delete;
  ExampleProcess& operator=(const ExampleProcess&) = delete;
  ~ExampleProcess() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(output_fd_);
  }

  // Reads "listening on ADDRESS:PORT". 0: it ended, or was silent for too long; the test has failed.
  uint16_t AwaitListening() {
    while (output_.find('\n') == std::string::npos) {
      if (!ReadOutput(std::chrono::seconds(30))) break;
    }
    if (output_.rfind("listening on ", 0) != 0) {
      ADD_FAILURE() << "does not listen; it said: " << output_;
      return 0;
    }
    const std::string line = output_.substr(0, output_.find('\n'));
    return static_cast<uint16_t>(std::atoi(line.c_str() + line.rfind(':') + 1));
  }

  void Signal(int number) { kill(pid_, number); }

  // Waits for the end: the exit code, 128 + the signal that ended it, or -1 (and the test fails) if it goes on for
  // longer than `seconds`.
  int AwaitEnd(int seconds = 60) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    while (ReadOutput(end - std::chrono::steady_clock::now())) {
    }
    for (int status; std::chrono::steady_clock::now() < end; usleep(1000)) {
      if (waitpid(pid_, &status, WNOHANG) != pid_) continue;
      pid_ = 0;
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    ADD_FAILURE() << "has not ended after " << seconds << " s; it said: " << output_;
    return -1;
  }

  // What it has printed on stdout so far, as far as it was waited for.
  const std::string& output() const { return output_; }

 private:
  // False: the output has ended, or nothing came in that time.
  bool ReadOutput(std::chrono::nanoseconds patience) {
    pollfd waiting = {output_fd_, POLLIN, 0};
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(patience).count();
    if (ms <= 0 || poll(&waiting, 1, static_cast<int>(ms)) <= 0) return false;
    char buffer[4096];
    const ssize_t n = read(output_fd_, buffer, sizeof(buffer));
    if (n <= 0) return false;
    output_.append(buffer, static_cast<size_t>(n));
    return true;
  }

  pid_t pid_ = -1;
  int output_fd_ = -1;
  std::string output_;
};

// Runs a program to its end; its exit code, and what it printed.
struct ProgramResult {
  int code;
  std::string output;
};
inline ProgramResult RunProgram(std::vector<std::string> command) {
  ExampleProcess program(std::move(command));
  const int code = program.AwaitEnd();
  return {code, program.output()};
}

}  // namespace evring::testing

#endif  // EVRING_TESTS_SUPPORT_EXAMPLE_PROCESS_H_
