// server_process.h: a server under test: started on one CPU, asked for its CPU time, stopped.
//
// Used by the driver `compare` and by tests, on one thread. A server is any program that prints a line
// "listening on ADDRESS:PORT" on stdout once it accepts connections and leaves with exit code 0 on SIGTERM.

#ifndef EVRING_BENCH_SERVER_PROCESS_H_
#define EVRING_BENCH_SERVER_PROCESS_H_

#include <sys/types.h>
#include <time.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace evring::bench {

class ServerProcess {
 public:
  struct Options {
    std::vector<std::string> command;  // the program's path and its arguments
    int cpu = -1;                      // that all its threads run on; -1: any
    uint64_t descriptors_max = 0;      // RLIMIT_NOFILE; 0: ours
  };

  // Starts the server and waits until it says that it listens. kInvalidArgument: no command. kUnavailable: it could not
  // be started, ended first, or said nothing for ten seconds; the message has what it printed. The server is killed if
  // this process dies.
  static absl::StatusOr<std::unique_ptr<ServerProcess>> Start(const Options& options);

  // Kills a server that Stop was not called for, and waits for its end.
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  pid_t pid() const { return pid_; }
  const std::string& address() const { return address_; }
  uint16_t port() const { return port_; }

  // CPU time of all its threads so far, those that run now and those that ended included, to the nanosecond.
  absl::StatusOr<absl::Duration> CpuTime() const;

  // Sends SIGTERM and waits. kInternal: it ended in another way than with exit code 0. kDeadlineExceeded: it was still
  // there after `patience`, and was killed.
  absl::Status Stop(absl::Duration patience);

 private:
  ServerProcess(pid_t pid, int output) : pid_(pid), output_(output) {}
  absl::Status AwaitListening();

  pid_t pid_;   // 0: ended and waited for
  int output_;  // the read end of its stdout
  clockid_t cpu_clock_ = 0;
  std::string address_;
  uint16_t port_ = 0;
};

}  // namespace evring::bench

#endif  // EVRING_BENCH_SERVER_PROCESS_H_
