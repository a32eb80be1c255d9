// rescue.cc: what a task that computes does to the connections beside it, with rescue and without.
//
//   bazel run -c opt //bench:rescue
//
// Two workers serve echo connections; on one of them a task computes for --burst at a time. A client, a plain thread,
// sends one message at a time over the connections in turn and measures how long each answer takes. The same is done
// with rescue switched off, in alternation, on fresh runtimes. Prints the latencies, what the watchdog's thread used of
// a CPU, and how late a thread was at worst that does nothing but sleep for a millisecond at a time: as long as that
// the machine alone keeps a message waiting. At the end the ratio of the medians of the rounds' 99th percentiles, and
// the longest wait with rescue in ticks of the system's scheduler.

#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "kevent/check.h"
#include "net/socket.h"
#include "net/stream.h"
#include "runtime/placement.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"

ABSL_FLAG(int, connections, 16, "echo connections, spread over the two workers");
ABSL_FLAG(int, rounds, 5, "rounds; each measures both settings once");
ABSL_FLAG(absl::Duration, length, absl::Seconds(1), "how long one measurement takes");
ABSL_FLAG(absl::Duration, burst, absl::Milliseconds(50), "how long the busy task computes before it lets others run");
ABSL_FLAG(absl::Duration, threshold, evring::RuntimeOptions().rescue_threshold, "RuntimeOptions::rescue_threshold");
ABSL_FLAG(absl::Duration, pause, absl::Milliseconds(1), "between two messages of the client");

namespace {

using evring::Task;

struct Latencies {
  double p50_us = 0, p99_us = 0, max_us = 0;
  size_t messages = 0;
  uint64_t rescued_events = 0;
  double watchdog_percent = 0;
  double sleeper_late_us = 0;
};

Task<> Echo(evring::net::Stream stream, int worker) {
  co_await evring::ResumeOn(worker);
  for (;;) {
    auto received = co_await stream.Receive();
    if (!received.ok() || received->empty()) co_return;
    if (!(co_await stream.Write(received->data())).ok()) co_return;
  }
}

Task<> Hog(absl::Duration burst, const std::atomic<bool>* stop) {
  co_await evring::ResumeOn(0);
  while (!stop->load(std::memory_order_relaxed)) {
    const absl::Time end = absl::Now() + burst;
    while (absl::Now() < end) {
    }
    co_await evring::Yield();
  }
}

// Processor time of the one watchdog of the process, 0 if there is none. proc_pid_schedstat: nanoseconds come first.
absl::Duration WatchdogTime() {
  std::error_code gone;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task", gone)) {
    std::string name;
    std::getline(std::ifstream(thread.path() / "comm"), name);
    if (name != "evring-watchdog") continue;
    int64_t ns = 0;
    std::ifstream(thread.path() / "schedstat") >> ns;
    return absl::Nanoseconds(ns);
  }
  return absl::ZeroDuration();
}

double Microseconds(absl::Duration d) { return absl::ToDoubleMicroseconds(d); }

// A thread that sleeps for a millisecond at a time until Stop(), which tells how late it was at worst.
class Sleeper {
 public:
  ~Sleeper() { Stop(); }

  absl::Duration Stop() {
    stop_.store(true, std::memory_order_relaxed);
    if (thread_.joinable()) thread_.join();
    return late_;
  }

 private:
  void Run() {
    while (!stop_.load(std::memory_order_relaxed)) {
      const absl::Time end = absl::Now() + absl::Milliseconds(1);
      absl::SleepFor(absl::Milliseconds(1));
      late_ = std::max(late_, absl::Now() - end);
    }
  }

  std::atomic<bool> stop_{false};
  absl::Duration late_;
  std::thread thread_{[this] { Run(); }};  // the last: it uses the others
};

absl::StatusOr<Latencies> Measure(bool rescue) {
  evring::RuntimeOptions options;
  options.workers = 2;
  options.rescue_threshold = rescue ? absl::GetFlag(FLAGS_threshold) : absl::InfiniteDuration();
  auto runtime = evring::Runtime::Create(options);
  if (!runtime.ok()) return runtime.status();

  std::vector<evring::net::Socket> clients;
  std::vector<evring::JoinHandle<>> tasks;
  for (int i = 0; i < absl::GetFlag(FLAGS_connections); ++i) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) return absl::InternalError("socketpair");
    clients.emplace_back(fds[0]);
    auto task = (*runtime)->Spawn(Echo(evring::net::Stream(evring::net::Socket(fds[1])), i % 2));
    if (!task.ok()) return task.status();
    tasks.push_back(*std::move(task));
  }
  absl::SleepFor(absl::Milliseconds(20));
  std::atomic<bool> stop{false};
  auto hog = (*runtime)->Spawn(Hog(absl::GetFlag(FLAGS_burst), &stop));
  if (!hog.ok()) return hog.status();

  std::vector<double> times;
  Sleeper sleeper;
  const absl::Duration watchdog = WatchdogTime();
  const absl::Time begin = absl::Now();
  const absl::Time end = begin + absl::GetFlag(FLAGS_length);
  for (size_t next = 0; absl::Now() < end; next = (next + 1) % clients.size()) {
    char message[64];
    std::memset(message, 'x', sizeof(message));
    const absl::Time start = absl::Now();
    if (send(clients[next].fd(), message, sizeof(message), MSG_NOSIGNAL) != sizeof(message) ||
        recv(clients[next].fd(), message, sizeof(message), MSG_WAITALL) != sizeof(message)) {
      return absl::InternalError("a connection broke");
    }
    times.push_back(Microseconds(absl::Now() - start));
    absl::SleepFor(absl::GetFlag(FLAGS_pause));
  }
  const double watchdog_percent = 100 * absl::FDivDuration(WatchdogTime() - watchdog, absl::Now() - begin);
  const double sleeper_late_us = Microseconds(sleeper.Stop());
  stop.store(true, std::memory_order_relaxed);
  hog->Wait();
  for (const auto& client : clients) shutdown(client.fd(), SHUT_RDWR);
  for (auto& task : tasks) task.Wait();

  std::sort(times.begin(), times.end());
  Latencies result;
  result.messages = times.size();
  result.p50_us = times[times.size() / 2];
  result.p99_us = times[times.size() * 99 / 100];
  result.max_us = times.back();
  result.rescued_events = (*runtime)->counters().rescued_events;
  result.watchdog_percent = watchdog_percent;
  result.sleeper_late_us = sleeper_late_us;
  return result;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// The coarse clock goes on once per tick.
double TickUs() {
  timespec tick;
  EVRING_CHECK(clock_getres(CLOCK_MONOTONIC_COARSE, &tick) == 0, "Linux has this clock");
  return static_cast<double>(tick.tv_sec) * 1e6 + static_cast<double>(tick.tv_nsec) * 1e-3;
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Latency of connections beside a task that computes, with rescue and without.");
  absl::ParseCommandLine(argc, argv);
  std::printf(
      "| round | rescue | messages | p50 us | p99 us | max us | rescued events | watchdog, %% | sleeper late, max us "
      "|\n"
      "|---|---|---|---|---|---|---|---|---|\n");
  std::vector<double> p99[2];
  double longest_us = 0;
  for (int round = 0; round < std::max(absl::GetFlag(FLAGS_rounds), 1); ++round) {
    for (const bool rescue : {round % 2 == 0, round % 2 != 0}) {
      auto result = Measure(rescue);
      if (!result.ok()) return std::fprintf(stderr, "rescue: %s\n", result.status().ToString().c_str()), 1;
      std::printf("| %d | %s | %zu | %.0f | %.0f | %.0f | %llu | %.2f | %.0f |\n", round, rescue ? "on" : "off",
                  result->messages, result->p50_us, result->p99_us, result->max_us,
                  static_cast<unsigned long long>(result->rescued_events), result->watchdog_percent,
                  result->sleeper_late_us);
      p99[rescue].push_back(result->p99_us);
      if (rescue) longest_us = std::max(longest_us, result->max_us);
    }
  }
  std::printf("\np99, off to on: %.1f\n", Median(p99[0]) / Median(p99[1]));
  std::printf("longest wait with rescue: %.2f ticks of %.0f us\n", longest_us / TickUs(), TickUs());
  return 0;
}
