// queue_test.cc: kevent::Queue on the simulated kernel.
//
// Differential: random programs of registrations, cancels and posts run on the real kernel and on the simulated one,
// and the records of each step are compared: which they are, their results and flags; their order is the kernel's.
// Storm: a task with a queue among faults: each registration has one last record, bytes are neither lost nor doubled,
// and in the end everything is back.
//
// One thread uses the queue: its followers sleep on futexes of their own, which no simulated kernel sees. Other types
// than those of bytes, polls and times: queue_kinds_test.cc. Which are not simulated, and why, stands in
// docs/kevent.md, On a simulated kernel.

#include "kevent/queue.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "kevent/kevent.h"
#include "kevent/sanitizer.h"
#include "runtime/task.h"
#include "sim/kernel.h"
#include "sim/random.h"
#include "sim/simulation.h"
#include "tests/sim/seeds.h"
#include "tests/sim/traces.h"

namespace evring::sim {
namespace {

using kevent::Event;
using kevent::EventType;
using kevent::Queue;

constexpr uint64_t kPrograms = kevent::kSanitized ? 300 : 3'000;
constexpr int kEnds = 4;  // two pairs of sockets
constexpr int kSteps = 24;
constexpr size_t kBytesMax = 96;
constexpr int64_t kPatientNs[] = {0, 2'000'000, 50'000'000};  // for the real kernel, when the answers differ

std::unique_ptr<Queue> MakeQueue(kevent::Kernel* kernel, uint32_t entries) {
  kevent::QueueOptions options;
  options.kernel = kernel;
  options.entries = entries;
  auto queue = Queue::Create(std::move(options));
  EXPECT_TRUE(queue.ok()) << queue.status();
  return queue.ok() ? *std::move(queue) : nullptr;
}

struct Step {
  enum class Kind { kPoll, kLevel, kSend, kReceive, kCancel, kPost, kTimerNow, kTimerFar, kShutdown, kNotASocket };
  static constexpr uint64_t kKinds = 10;

  Kind kind;
  int end;
  size_t size;
  int other;  // a step, or a direction

  std::string ToString() const {
    return absl::StrCat("kind ", static_cast<int>(kind), " end ", end, " size ", size, " other ", other);
  }
};

std::vector<Step> RandomProgram(uint64_t seed) {
  Random random(seed, /*stream=*/11);
  std::vector<Step> program;
  for (int i = 0; i < kSteps; ++i) {
    const auto kind = static_cast<Step::Kind>(random.Below(Step::kKinds));
    const auto end = static_cast<int>(random.Below(kEnds));
    const size_t size = 1 + random.Below(kBytesMax);
    const auto other = static_cast<int>(random.Below(kSteps));
    // An end of the stream is told by polls in ways of its own (differential_test.cc): mostly without.
    program.push_back({kind == Step::Kind::kShutdown && !random.OneIn(4) ? Step::Kind::kSend : kind, end, size, other});
  }
  return program;
}

// A program on one kernel; a line for each step.
class ProgramRun {
 public:
  ProgramRun(kevent::Kernel* kernel, int64_t quiet_ns)
      : kernel_(kernel), quiet_ns_(quiet_ns), queue_(MakeQueue(kernel, /*entries=*/16)) {
    for (int i = 0; i < kEnds; i += 2) {
      EXPECT_EQ(kernel->SocketPair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, &fds_[static_cast<size_t>(i)]), 0);
    }
  }
  ~ProgramRun() {
    queue_.reset();
    for (const int fd : fds_) kernel_->Close(fd);
  }

  std::vector<std::string> Do(const std::vector<Step>& program) {
    std::vector<std::string> trace;
    for (size_t i = 0; i < program.size(); ++i) {
      const int64_t answer = DoStep(program[i], i);
      trace.push_back(absl::StrCat(answer > 0 ? 1 : answer, ":", Drain()));
    }
    for (const auto& [step, number] : numbers_) queue_->Cancel(number);
    trace.push_back(Drain());
    return trace;
  }

 private:
  int64_t DoStep(const Step& step, size_t i) {
    Event event;
    event.cookie = i;
    event.descriptor = fds_[static_cast<size_t>(step.end)];
    kevent_io io = {};
    kevent_timer timer = {};
    switch (step.kind) {
      case Step::Kind::kPoll:
      case Step::Kind::kLevel:
        event.type = EventType::kPoll;
        event.result = POLLIN;
        if (step.kind == Step::Kind::kLevel) event.flags = KEVENT_LEVEL;
        break;
      case Step::Kind::kSend:
      case Step::Kind::kReceive: {
        // Which of two gets what is the kernel's affair: one at a time.
        const bool receive = step.kind == Step::Kind::kReceive;
        if (!(receive ? receiving_ : sending_).insert(step.end).second) return 0;
        event.type = receive ? EventType::kReceive : EventType::kSend;
        std::array<char, kBytesMax>& buffer = buffers_[i];
        buffer.fill(static_cast<char>('a' + i));
        io.buffer = buffer.data();
        io.size = step.size;
        event.payload = reinterpret_cast<uintptr_t>(&io);
        break;
      }
      case Step::Kind::kCancel: {
        const auto found = numbers_.find(static_cast<size_t>(step.other));
        return queue_->Cancel(found == numbers_.end() ? int64_t{0x7777} : found->second);
      }
      case Step::Kind::kPost:
        event.type = EventType::kUser;
        break;
      case Step::Kind::kTimerNow:
      case Step::Kind::kTimerFar:
        event.type = EventType::kTimer;
        timer.clock = CLOCK_MONOTONIC;
        timer.absolute = 1;  // the two kernels' clocks differ: a time that is over for both, or for neither
        if (step.kind == Step::Kind::kTimerFar) timer.first.tv_sec = 4'000'000'000;
        event.payload = reinterpret_cast<uintptr_t>(&timer);
        break;
      case Step::Kind::kShutdown:
        return kernel_->Shutdown(event.descriptor, step.other % 2 == 0 ? SHUT_WR : SHUT_RDWR);
      case Step::Kind::kNotASocket:
        event.type = EventType::kPoll;
        event.descriptor = -1;
        event.result = POLLIN;
        break;
    }
    const int64_t number = queue_->Submit(event);
    if (number > 0) numbers_[i] = number;
    return number;
  }

  // What has come until nothing comes any more, of each registration the last record: one that is always ready reports
  // again and again, and may have done so before something changed.
  std::string Drain() {
    std::map<size_t, std::string> latest;
    for (int unchanged = 0; unchanged <= 2 * kSteps;) {
      Event record;
      size_t n = 0;
      kevent::WaitArgs wait;
      wait.deadline_ns = kernel_->NowNs() + quiet_ns_;
      if (queue_->Next(std::span<Event>(&record, 1), &n, wait) != Queue::Waited::kRecords) break;
      const auto step = static_cast<size_t>(record.cookie);
      if (record.last()) {
        numbers_.erase(step);
        const int end = static_cast<int>(std::find(fds_.begin(), fds_.end(), record.descriptor) - fds_.begin());
        if (record.type == EventType::kReceive) receiving_.erase(end);
        if (record.type == EventType::kSend) sending_.erase(end);
      }
      std::string text = absl::StrCat(step, "=", record.result, "/", record.flags);
      if (record.type == EventType::kReceive && record.result > 0) {
        absl::StrAppend(&text, " ", absl::string_view(buffers_[step].data(), static_cast<size_t>(record.result)));
      }
      std::string& last = latest[step];
      unchanged = last == text ? unchanged + 1 : 0;
      last = text;
    }
    return absl::StrJoin(latest, ", ", [](std::string* out, const auto& item) { out->append(item.second); });
  }

  kevent::Kernel* const kernel_;
  const int64_t quiet_ns_;
  std::unique_ptr<Queue> queue_;
  std::array<int, kEnds> fds_ = {};
  std::map<size_t, std::array<char, kBytesMax>> buffers_;  // by the number of the step
  std::map<size_t, int64_t> numbers_;                      // the same: registrations that have not ended
  std::set<int> receiving_;
  std::set<int> sending_;
};

Trace OnSimulated(const std::vector<Step>& program) {
  Kernel kernel((KernelOptions()));
  Trace trace = ProgramRun(&kernel, /*quiet_ns=*/10'000'000).Do(program);
  EXPECT_EQ(kernel.open_descriptors(), 0);
  return trace;
}

TEST(QueueDifferential, RandomProgramsHaveTheSameRecords) {
  int differ = 0;
  for (uint64_t seed = 1; seed <= kPrograms && differ < 3; ++seed) {
    const std::vector<Step> program = RandomProgram(seed);
    const Trace simulated = OnSimulated(program);
    const Trace real = WithPatience(kPatientNs, simulated, [&](int64_t quiet_ns) {
      return ProgramRun(kevent::SystemKernel(), quiet_ns).Do(program);
    });
    if (real == simulated) continue;
    ++differ;
    ADD_FAILURE() << "program " << seed << ":\n" << Difference(program, real, simulated, "cancelled");
  }
}

// Streams of bytes through a queue, level-triggered polls and timers beside them, cancels at any time.
class Storm {
 public:
  Storm(kevent::Kernel* kernel, Random* random)
      : kernel_(kernel), random_(random), queue_(MakeQueue(kernel, 8 << random->Below(3))) {
    for (size_t i = 0; i < pairs_.size(); ++i) {
      Pair& pair = pairs_[i];
      // A machine is out of descriptors at times.
      while (kernel->SocketPair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.fds) != 0) {
      }
    }
  }
  ~Storm() {
    queue_.reset();
    for (const Pair& pair : pairs_) {
      kernel_->Close(pair.fds[0]);
      kernel_->Close(pair.fds[1]);
    }
  }

  void Run() {
    for (int step = 0; step < 400; ++step) {
      const size_t i = random_->Below(pairs_.size());
      switch (random_->Below(7)) {
        case 0:
          Send(i);
          break;
        case 1:
          Receive(i);
          break;
        case 2:
          Watch(i);
          break;
        case 3:
          Timer();
          break;
        case 4:
          CancelOne();
          break;
        default:
          Take(/*all=*/false);
      }
    }
    // Whoever does not end by itself is cancelled; a cancel is refused when the kernel has no room for it.
    for (int tries = 0; !live_.empty() && tries < 10'000; ++tries) {
      for (const int64_t number : std::set<int64_t>(live_)) queue_->Cancel(number);
      Take(/*all=*/true);
    }
    EXPECT_TRUE(live_.empty()) << live_.size() << " registrations have not ended";
    const kevent::QueueCounters counters = queue_->counters();
    EXPECT_EQ(counters.submitted, registered_);
    EXPECT_EQ(ended_, registered_) << "each has one last record";
  }

 private:
  struct Pair {
    int fds[2] = {-1, -1};
    bool sending = false;
    bool receiving = false;
    uint8_t next_sent = 0;
    uint8_t next_received = 0;
    uint8_t out[64];
    uint8_t in[64];
  };
  enum Cookie : uint64_t { kSend = 0, kReceive = 100, kOther = 200 };

  int64_t Submit(const Event& event) {
    const int64_t number = queue_->Submit(event);
    EXPECT_GT(number, 0);
    live_.insert(number);
    ++registered_;
    return number;
  }

  void Send(size_t i) {
    Pair& pair = pairs_[i];
    if (std::exchange(pair.sending, true)) return;
    const size_t size = 1 + random_->Below(sizeof(pair.out));
    for (size_t k = 0; k < size; ++k) pair.out[k] = static_cast<uint8_t>(pair.next_sent + k);
    kevent_io io = {pair.out, size, 0, 0};
    Event event;
    event.type = EventType::kSend;
    event.descriptor = pair.fds[0];
    event.cookie = kSend + i;
    event.payload = reinterpret_cast<uintptr_t>(&io);
    Submit(event);
  }

  void Receive(size_t i) {
    Pair& pair = pairs_[i];
    if (std::exchange(pair.receiving, true)) return;
    kevent_io io = {pair.in, 1 + random_->Below(sizeof(pair.in)), 0, 0};
    Event event;
    event.type = EventType::kReceive;
    event.descriptor = pair.fds[1];
    event.cookie = kReceive + i;
    event.payload = reinterpret_cast<uintptr_t>(&io);
    Submit(event);
  }

  void Watch(size_t i) {
    Event event;
    event.type = EventType::kPoll;
    event.descriptor = pairs_[i].fds[random_->Below(2)];
    event.result = random_->OneIn(2) ? POLLIN : POLLOUT;
    event.flags = random_->OneIn(2) ? KEVENT_LEVEL : 0;
    event.cookie = kOther;
    Submit(event);
  }

  void Timer() {
    kevent_timer timer = {};
    timer.clock = CLOCK_MONOTONIC;
    timer.first.tv_nsec = static_cast<long>(random_->Below(1'000'000));
    if (random_->OneIn(2)) timer.interval.tv_nsec = 1 + static_cast<long>(random_->Below(1'000'000));
    Event event;
    event.type = EventType::kTimer;
    event.payload = reinterpret_cast<uintptr_t>(&timer);
    event.cookie = kOther;
    Submit(event);
  }

  void CancelOne() {
    if (live_.empty()) return;
    auto number = live_.begin();
    std::advance(number, static_cast<std::ptrdiff_t>(random_->Below(live_.size())));
    const int rc = queue_->Cancel(*number);
    EXPECT_TRUE(rc == 0 || rc == -EALREADY || rc == -EAGAIN || rc == -ENOENT) << rc;
  }

  // Some records, or all that come within a second.
  void Take(bool all) {
    for (int i = 0; i < (all ? 200 : 4); ++i) {
      Event record;
      size_t n = 0;
      kevent::WaitArgs wait;
      wait.deadline_ns = kernel_->NowNs() + (all ? 1'000'000'000 : 100'000);
      const Queue::Waited waited = queue_->Next(std::span<Event>(&record, 1), &n, wait);
      if (waited == Queue::Waited::kDeadline) return;
      if (waited == Queue::Waited::kRecords) Handle(record);
    }
  }

  void Handle(const Event& record) {
    if (record.last()) {
      EXPECT_EQ(live_.erase(static_cast<int64_t>(LastOf(record))), 1u) << "a last record, once";
      ++ended_;
    }
    if (record.cookie >= kOther) return;
    Pair& pair = pairs_[record.cookie % 100];
    const auto size = static_cast<size_t>(std::max(record.result, 0));
    if (record.cookie < kReceive) {
      pair.sending = false;
      pair.next_sent = static_cast<uint8_t>(pair.next_sent + size);
    } else {
      pair.receiving = false;
      for (size_t k = 0; k < size; ++k) EXPECT_EQ(pair.in[k], pair.next_received++);
    }
  }

  static uint64_t LastOf(const Event& record) { return record.payload; }

  kevent::Kernel* const kernel_;
  Random* const random_;
  std::unique_ptr<Queue> queue_;
  std::array<Pair, 3> pairs_;
  std::set<int64_t> live_;
  uint64_t registered_ = 0;
  uint64_t ended_ = 0;
};

Task<void> InAStorm() {
  Storm storm(kevent::Kernel::Current(), Simulation::Current()->random());
  storm.Run();
  co_return;
}

TEST(QueueStorm, EveryRegistrationEndsOnceAndNoByteIsLost) {
  RunSeeds(1000, [](const SimulationOptions& seeded) {
    SimulationOptions options = seeded;
    options.faults = FaultRules::Storm();
    Simulation simulation(options);
    simulation.Run(InAStorm());
    EXPECT_EQ(simulation.report().open_descriptors, 0);
  });
}

}  // namespace
}  // namespace evring::sim
