// process_options.h: what a child process is started with, and how one has ended. Values; no process yet (process.h).

#ifndef EVRING_RUNTIME_OS_PROCESS_OPTIONS_H_
#define EVRING_RUNTIME_OS_PROCESS_OPTIONS_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace evring {

// What a child has as its standard input, output or error.
class ChildStream {
 public:
  enum class Kind { kInherit, kNull, kPipe, kDescriptor, kOutput };

  // What this process has.
  static ChildStream Inherit() { return ChildStream(Kind::kInherit, -1); }
  // Nothing: /dev/null.
  static ChildStream Null() { return ChildStream(Kind::kNull, -1); }
  // A pipe, of which this process has the other end.
  static ChildStream Pipe() { return ChildStream(Kind::kPipe, -1); }
  // A copy of `fd`, which is borrowed until Start() has ended.
  static ChildStream Descriptor(int fd) { return ChildStream(Kind::kDescriptor, fd); }
  // For the error stream only: where the output goes.
  static ChildStream Output() { return ChildStream(Kind::kOutput, -1); }

  Kind kind() const { return kind_; }
  int fd() const { return fd_; }

 private:
  ChildStream(Kind kind, int fd) : kind_(kind), fd_(fd) {}

  Kind kind_;
  int fd_;
};

// One more descriptor for a child: it has a copy of `ours` as number `childs`, 3 to 255. Borrowed until Start() has
// ended.
struct ChildDescriptor {
  ChildDescriptor(int ours, int childs) : ours(ours), childs(childs) {}
  int ours;
  int childs;
};

struct ProcessOptions {
  ProcessOptions() {}
  explicit ProcessOptions(std::vector<std::string> arguments) : arguments(std::move(arguments)) {}
  // Command("sort", "-n"): each is something that a string is made of. (gcc 12 does not compile `{"sort", "-n"}` beside
  // a co_await.)
  template <class... Arguments>
  static ProcessOptions Command(std::string program, Arguments... arguments) {
    ProcessOptions options;
    options.arguments.push_back(std::move(program));
    (options.arguments.emplace_back(std::move(arguments)), ...);
    return options;
  }

  // The program, and what it is given. Without a slash it is looked for in the PATH of this process, with one from
  // `directory` on.
  std::vector<std::string> arguments;
  // "NAME=value" each; nullopt: those of this process.
  std::optional<std::vector<std::string>> environment;
  // Where it works; empty: where this process does.
  std::string directory;

  ChildStream input = ChildStream::Inherit();
  ChildStream output = ChildStream::Inherit();
  ChildStream error = ChildStream::Inherit();
  // Beyond these it has none: all others are closed, also those that were not opened as close-on-exec.
  std::vector<ChildDescriptor> descriptors;

  // With a group or a session of its own, signals go to all of the group, so that what the child has started ends with
  // it; and a key at the terminal does not reach it.
  enum class Group { kSame, kNewGroup, kNewSession };
  Group group = Group::kSame;

  // Signals that it begins with blocked. All others are not, whatever the runtime blocks (SignalSet).
  std::vector<int> blocked_signals;
  // Signals that it ignores if this process does. All others have their default.
  std::vector<int> kept_signals;

  // How long after SIGTERM it is sent SIGKILL, when it is to be ended.
  absl::Duration grace = absl::Seconds(5);
};

// How a process has ended.
class ExitStatus {
 public:
  static ExitStatus Exited(int code) { return ExitStatus(code, 0, false); }
  static ExitStatus Signalled(int signal, bool core) { return ExitStatus(-1, signal, core); }

  // It returned 0.
  bool ok() const { return code_ == 0; }
  bool exited() const { return signal_ == 0; }
  // Of exit(3), 0 to 255; -1: a signal ended it.
  int code() const { return code_; }
  // That has ended it; 0: it exited.
  int signal() const { return signal_; }
  bool core_dumped() const { return core_; }
  // "exit code 3", "SIGSEGV (Segmentation fault), core dumped".
  std::string ToString() const;

  friend bool operator==(const ExitStatus&, const ExitStatus&) = default;

 private:
  ExitStatus(int code, int signal, bool core) : code_(code), signal_(signal), core_(core) {}

  int code_;
  int signal_;
  bool core_;
};

}  // namespace evring

#endif  // EVRING_RUNTIME_OS_PROCESS_OPTIONS_H_
