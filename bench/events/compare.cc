// compare.cc: kevent::Queue beside raw io_uring, epoll and libevent on the same work, in one run.
//
//   bazel run -c opt //bench/events:compare
//
//   readiness   one thread writes a byte into some of 64 sockets, waits, and reads what is ready. Processor time per
//   event,
//               the writing and reading included, which are the same for all
//   hand_over   threads wait on one source for events that another thread posts one at a time. Returns from the wait
//               per event (1 is the least), and processor time per event
//   memory      bytes that a registration costs: of the program, and of the kernel (slab)
//
// The sources take turns in each round, in an order that is shuffled; ratios to epoll are taken within a round, and the
// table has their medians and quartiles. Absolute figures are for orientation.

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "bench/events/sources.h"
#include "bench/micro/clock.h"
#include "bench/statistics.h"
#include "kevent/check.h"

ABSL_FLAG(int, rounds, 15, "rounds; each measures every source once");
ABSL_FLAG(int, events, 100'000, "events of a source in a round of `readiness`");
ABSL_FLAG(int, hand_overs, 2'000, "events of a source in a round of `hand_over`");
ABSL_FLAG(int, registrations, 20'000, "of `memory`; a descriptor each, so at most the hard limit of descriptors");

namespace evring::bench {
namespace {

constexpr int kSockets = 64;

struct Named {
  std::string name;
  std::function<std::unique_ptr<ReadinessSource>()> make;
};

const Named kSources[] = {
    {"epoll", [] { return MakeEpollSource(); }},
    {"Queue", [] { return MakeQueueSource(256); }},
    {"raw io_uring", [] { return MakeUringSource(256); }},
    {"libevent", [] { return MakeLibeventSource(); }},
};

struct NamedShared {
  std::string name;
  std::function<std::unique_ptr<SharedSource>()> make;
};

const NamedShared kShared[] = {
    {"epoll", [] { return MakeSharedEpoll(); }},
    {"Queue", [] { return MakeSharedQueue(); }},
    {"raw io_uring", [] { return MakeSharedUring(); }},
};

class Pairs {
 public:
  Pairs() {
    for (auto& pair : fds_)
      EVRING_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) == 0, "a pair");
  }
  ~Pairs() {
    for (auto& pair : fds_) {
      close(pair[0]);
      close(pair[1]);
    }
  }
  int reader(size_t i) const { return fds_[i][0]; }
  int writer(size_t i) const { return fds_[i][1]; }

 private:
  std::array<std::array<int, 2>, kSockets> fds_;
};

// Processor time per event in ns; `active` sockets are written to at a time.
double Readiness(ReadinessSource* source, const Pairs& pairs, int active, int events) {
  std::array<int, kSockets> ready;
  size_t next = 0;
  const int64_t start = ClockNs(CLOCK_THREAD_CPUTIME_ID);
  for (int done = 0; done < events;) {
    for (int i = 0; i < active; ++i) {
      EVRING_CHECK(write(pairs.writer(next), "x", 1) == 1, "a byte");
      next = (next + 7) % kSockets;
    }
    for (int left = active; left > 0;) {
      const size_t n = source->Wait(ready);
      for (size_t i = 0; i < n; ++i) {
        char byte;
        // What is reported once more because it was armed again before it was read is nothing to wait for.
        if (recv(ready[i], &byte, 1, MSG_DONTWAIT) == 1) --left;
      }
    }
    done += active;
  }
  return static_cast<double>(ClockNs(CLOCK_THREAD_CPUTIME_ID) - start) / events;
}

struct HandOver {
  double returns = 0;  // of waits per event
  double cpu_ns = 0;   // per event, of all threads
};

HandOver HandOvers(SharedSource* source, int threads, int events) {
  std::atomic<uint64_t> returns{0};
  std::atomic<int> taken{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> waiting;
  for (int i = 0; i < threads; ++i) {
    waiting.emplace_back([&] {
      while (!stop.load(std::memory_order_relaxed)) {
        const bool took = source->WaitAndTake();
        if (stop.load(std::memory_order_relaxed)) break;
        returns.fetch_add(1, std::memory_order_relaxed);
        if (took) taken.fetch_add(1, std::memory_order_release);
      }
    });
  }
  usleep(20'000);  // until all of them wait
  const uint64_t before = returns.load();
  const int64_t start = ClockNs(CLOCK_PROCESS_CPUTIME_ID);
  for (int i = 1; i <= events; ++i) {
    source->Post();
    while (taken.load(std::memory_order_acquire) < i) std::this_thread::yield();
    if (i % 64 == 0) usleep(100);  // so that those who were woken for nothing are back
  }
  const int64_t cpu = ClockNs(CLOCK_PROCESS_CPUTIME_ID) - start;
  usleep(5'000);
  const uint64_t after = returns.load();
  stop.store(true);
  source->Stop();
  for (std::thread& thread : waiting) thread.join();
  return {static_cast<double>(after - before) / events, static_cast<double>(cpu) / events};
}

// A line of a file of the form "name: value kB", in bytes; 0 if there is none.
int64_t Lookup(const char* path, const char* name) {
  std::FILE* const file = std::fopen(path, "re");
  EVRING_CHECK(file != nullptr, "a file of /proc");
  char line[256];
  long long value = 0;
  while (std::fgets(line, sizeof(line), file) != nullptr) {
    if (std::strncmp(line, name, std::strlen(name)) == 0) std::sscanf(line + std::strlen(name), " %lld", &value);
  }
  std::fclose(file);
  return value * 1024;
}

struct Memory {
  double program = 0;
  double kernel = 0;
};

Memory PerRegistration(const Named& named, const std::vector<int>& fds) {
  const auto source = named.make();
  const int64_t program = Lookup("/proc/self/status", "RssAnon:");
  const int64_t kernel = Lookup("/proc/meminfo", "Slab:");
  for (const int fd : fds) source->Watch(fd);
  const auto per = [&](int64_t bytes) { return static_cast<double>(bytes) / static_cast<double>(fds.size()); };
  return {per(Lookup("/proc/self/status", "RssAnon:") - program), per(Lookup("/proc/meminfo", "Slab:") - kernel)};
}

template <size_t n>
std::array<size_t, n> Shuffled(std::mt19937* random) {
  std::array<size_t, n> order;
  for (size_t i = 0; i < n; ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), *random);
  return order;
}

void PrintRatios(const char* name, const std::vector<double>& ns, const std::vector<double>& epoll_ns) {
  const Quartiles ratio = RatioQuartiles(ns, epoll_ns);
  std::printf("  %-14s %8.0f ns   %5.3f [%5.3f-%5.3f]\n", name, QuartilesOf(ns).median, ratio.median, ratio.low,
              ratio.high);
}

void RunReadiness(std::mt19937* random) {
  constexpr size_t kCount = std::size(kSources);
  for (const int active : {1, 8, 64}) {
    std::array<std::vector<double>, kCount> ns;
    for (int round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
      for (const size_t i : Shuffled<kCount>(random)) {
        const Pairs pairs;
        const auto source = kSources[i].make();
        for (size_t s = 0; s < kSockets; ++s) source->Watch(pairs.reader(s));
        const int events = absl::GetFlag(FLAGS_events) / active * active;
        Readiness(source.get(), pairs, active, events / active / 10 * active);
        ns[i].push_back(Readiness(source.get(), pairs, active, events));
      }
    }
    std::printf("readiness, %d of %d sockets at a time: processor time per event, to epoll\n", active, kSockets);
    for (size_t i = 0; i < kCount; ++i) PrintRatios(kSources[i].name.c_str(), ns[i], ns[0]);
  }
}

void RunHandOver(std::mt19937* random) {
  constexpr size_t kCount = std::size(kShared);
  for (const int threads : {2, 4, 8, 16}) {
    std::array<std::vector<double>, kCount> ns;
    std::array<std::vector<double>, kCount> returns;
    for (int round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
      for (const size_t i : Shuffled<kCount>(random)) {
        const auto source = kShared[i].make();
        const HandOver result = HandOvers(source.get(), threads, absl::GetFlag(FLAGS_hand_overs));
        ns[i].push_back(result.cpu_ns);
        returns[i].push_back(result.returns);
      }
    }
    std::printf("hand_over, %d threads wait: processor time per event, to epoll; returns from the wait per event\n",
                threads);
    for (size_t i = 0; i < kCount; ++i) {
      const Quartiles ratio = RatioQuartiles(ns[i], ns[0]);
      std::printf("  %-14s %8.0f ns   %5.3f [%5.3f-%5.3f]   %6.3f\n", kShared[i].name.c_str(),
                  QuartilesOf(ns[i]).median, ratio.median, ratio.low, ratio.high, QuartilesOf(returns[i]).median);
    }
  }
}

void RunMemory() {
  constexpr size_t kOthers = 100;
  rlimit limit;
  EVRING_CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0, "a limit of descriptors");
  limit.rlim_cur = limit.rlim_max;
  EVRING_CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0, "the limit may be raised up to the hard one");
  const size_t n = std::min<size_t>(absl::GetFlag(FLAGS_registrations), limit.rlim_max - kOthers);
  std::vector<int> fds;
  for (size_t i = 0; i < n; ++i) {
    fds.push_back(eventfd(0, EFD_CLOEXEC));
    EVRING_CHECK(fds.back() >= 0, "an eventfd");
  }
  std::printf("memory, bytes for a registration of %zu: of the program, of the kernel\n", n);
  for (const Named& named : kSources) {
    const Memory memory = PerRegistration(named, fds);
    std::printf("  %-14s %8.0f %8.0f\n", named.name.c_str(), memory.program, memory.kernel);
    usleep(200'000);  // the kernel gives a closed ring's memory back late
  }
  for (const int fd : fds) close(fd);
}

}  // namespace
}  // namespace evring::bench

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "kevent::Queue beside raw io_uring, epoll and libevent; bench/README.md says how to read it");
  absl::ParseCommandLine(argc, argv);
  std::mt19937 random(1);
  evring::bench::RunReadiness(&random);
  evring::bench::RunHandOver(&random);
  evring::bench::RunMemory();
  return 0;
}
