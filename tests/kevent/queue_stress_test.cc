// Exactly one: however many threads wait at a queue, each event lets one of them go, and costs one end of a leader's
// sleep and one promotion at most. And no event is lost when threads that wait are cancelled or end at any step.
//
// What must hold is counted: returns per event, records handed out, ends of sleeps. Nothing here looks at the clock.

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "kevent/kevent.h"
#include "kevent/queue.h"
#include "kevent/sanitizer.h"
#include "tests/kevent/test_queue.h"

namespace evring::kevent {
namespace {

constexpr uint64_t kEvents = kSanitized ? 1000 : 4000;
constexpr int kVictims = kSanitized ? 100 : 400;

using Times = std::vector<std::atomic<int>>;

void WaitUntil(const std::atomic<uint64_t>& counter, uint64_t value) {
  while (counter.load() < value) std::this_thread::yield();
}

int OpenDescriptors() {
  DIR* const directory = opendir("/proc/self/fd");
  int n = 0;
  while (readdir(directory) != nullptr) ++n;
  closedir(directory);
  return n;
}

class QueueThreads : public testing::TestWithParam<int> {
 protected:
  void Run(bool paced, bool masked) {
    const int threads_max = GetParam();
    auto queue = MakeQueue(32);
    Times times(kEvents);
    std::atomic<uint64_t> returned{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < threads_max; ++i) {
      threads.emplace_back([&] {
        sigset_t mask;
        pthread_sigmask(SIG_SETMASK, nullptr, &mask);
        WaitArgs wait;
        if (masked) wait.sigmask = &mask;
        for (;;) {
          Event record;
          size_t taken = 0;
          const Queue::Waited waited = queue->Next(std::span<Event>(&record, 1), &taken, wait);
          if (waited == Queue::Waited::kClosed) return;
          // With a mask a wait also ends when another has taken what it was woken for.
          if (masked && waited == Queue::Waited::kInterrupted) continue;
          ASSERT_EQ(waited, Queue::Waited::kRecords);
          ++times[record.cookie];
          ++returned;
        }
      });
    }
    for (uint64_t i = 0; i < kEvents; ++i) {
      ASSERT_GT(queue->Submit(User(i)), 0);
      if (paced) WaitUntil(returned, i + 1);
    }
    WaitUntil(returned, kEvents);
    const QueueCounters counters = queue->counters();
    queue->Close();
    for (std::thread& thread : threads) thread.join();
    for (const auto& n : times) ASSERT_EQ(n.load(), 1);
    EXPECT_EQ(returned.load(), kEvents);
    EXPECT_EQ(counters.submitted, kEvents);
    EXPECT_EQ(counters.consumed, kEvents);
    EXPECT_LE(counters.wakes, 2 * kEvents) << "an event ends one sleep of a leader and promotes one other, at most";
    EXPECT_EQ(counters.overflows, 0u);
  }
};

TEST_P(QueueThreads, EachEventLetsOneGo) { Run(/*paced=*/true, /*masked=*/false); }
TEST_P(QueueThreads, EachEventOfAFloodLetsOneGo) { Run(/*paced=*/false, /*masked=*/false); }
TEST_P(QueueThreads, EachEventLetsOneGoThatWaitsWithAMask) { Run(/*paced=*/true, /*masked=*/true); }

INSTANTIATE_TEST_SUITE_P(Threads, QueueThreads, testing::Values(2, 4, 8, 16, 32, 64),
                         [](const testing::TestParamInfo<int>& info) { return std::to_string(info.param); });

// --- Threads that end
// ---------------------------------------------------------------------------------------------------

// Threads that consume until they are cancelled.
struct Consumers {
  explicit Consumers(size_t events) : times(events) {}

  Queue* queue = nullptr;
  int kfd = -1;
  kevent_ring* ring = nullptr;
  Times times;
  std::atomic<uint64_t> returned{0};
  std::atomic<uint64_t> levels{0};
  std::atomic<bool> done{false};
  std::atomic<int> gone{0};

  void Got(const Event& record) {
    if (record.type == EventType::kUser) {
      ++times[record.cookie];
      ++returned;
    } else {
      ++levels;
    }
  }
};

constexpr int kCrew = 8;

// Keeps `kCrew` threads at work, of which `kVictims` in all are cancelled one after the other, while `feed(i)` is
// called for each event; then waits until all have been returned, and `end()` lets the rest go.
template <class Feed, class End>
void CancelWhileTheyWork(Consumers* consumers, void* (*work)(void*), Feed feed, End end) {
  std::atomic<bool> fed{false};
  std::thread feeder([&] {
    for (uint64_t i = 0; i < kEvents; ++i) {
      feed(i);
      if (i % 8 == 0) std::this_thread::yield();
    }
    fed.store(true);
  });
  std::mt19937 random(4711);
  std::vector<pthread_t> crew(kCrew);
  for (pthread_t& thread : crew) ASSERT_EQ(pthread_create(&thread, nullptr, work, consumers), 0);
  for (int i = 0; i < kVictims; ++i) {
    pthread_t& victim = crew[random() % kCrew];
    for (uint32_t n = random() % 64; n > 0; --n) std::this_thread::yield();
    pthread_cancel(victim);
    ASSERT_EQ(pthread_join(victim, nullptr), 0);
    ASSERT_EQ(pthread_create(&victim, nullptr, work, consumers), 0);
  }
  feeder.join();
  WaitUntil(consumers->returned, kEvents);
  end();
  for (const pthread_t thread : crew) ASSERT_EQ(pthread_join(thread, nullptr), 0);
  for (const auto& n : consumers->times) ASSERT_EQ(n.load(), 1);
}

// Every other wait is one with a mask.
void* ConsumeUntilCancelled(void* argument) {
  auto* const consumers = static_cast<Consumers*>(argument);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  for (bool masked = false;; masked = !masked) {
    WaitArgs wait;
    if (masked) wait.sigmask = &mask;
    Event record;
    size_t taken = 0;
    if (consumers->queue->Next(std::span<Event>(&record, 1), &taken, wait) == Queue::Waited::kClosed) return nullptr;
    if (taken == 1) consumers->Got(record);
  }
}

TEST(QueueCancellation, NoEventIsLostWithAThreadThatWaits) {
  const int before = OpenDescriptors();
  {
    auto queue = MakeQueue(16);
    Consumers consumers(kEvents);
    consumers.queue = queue.get();
    CancelWhileTheyWork(
        &consumers, ConsumeUntilCancelled, [&](uint64_t i) { ASSERT_GT(queue->Submit(User(i)), 0); },
        [&] { queue->Close(); });
    const QueueCounters counters = queue->counters();
    EXPECT_EQ(counters.submitted, kEvents);
    EXPECT_EQ(counters.consumed, kEvents);
  }
  EXPECT_EQ(OpenDescriptors(), before);
}

// What reports again and again is armed by whoever has consumed it, also if that thread ends; what was armed by a
// thread that ends goes on. One has a descriptor of its own, which is closed with it.
TEST(QueueCancellation, RegistrationsGoOnWithoutTheThreadThatArmedThem) {
  const int before = OpenDescriptors();
  {
    auto queue = MakeQueue(16);
    Consumers consumers(kEvents);
    consumers.queue = queue.get();
    const Pair always;
    ASSERT_GT(queue->Submit(Poll(always.here(), POLLOUT, 0, KEVENT_LEVEL)), 0);
    Event signal;
    signal.type = EventType::kSignal;
    signal.descriptor = SIGRTMIN + 3;
    signal.flags = KEVENT_MULTI;
    ASSERT_GT(queue->Submit(signal), 0);
    CancelWhileTheyWork(
        &consumers, ConsumeUntilCancelled, [&](uint64_t i) { ASSERT_GT(queue->Submit(User(i)), 0); },
        [&] {
          // Still there.
          const uint64_t n = consumers.levels.load();
          WaitUntil(consumers.levels, n + 100);
          EXPECT_EQ(queue->counters().ended, kEvents) << "all but two, which report again";
          queue->Close();
        });
  }
  EXPECT_EQ(OpenDescriptors(), before);
}

// The C interface gives a thread its record in two steps; between them it may be cancelled too, and what
// it was given goes to another.
void* WaitAndConsume(void* argument) {
  auto* const consumers = static_cast<Consumers*>(argument);
  while (!consumers->done.load()) {
    kevent_wait(consumers->kfd, kevent_ring_state(consumers->ring), nullptr, nullptr);
    pthread_testcancel();
    kevent_event ev;
    if (kevent_consume(consumers->ring, &ev) != 1) continue;
    ++consumers->times[ev.cookie];
    ++consumers->returned;
  }
  ++consumers->gone;
  return nullptr;
}

TEST(QueueCancellation, ARecordThatWasGivenAndNotConsumedGoesToAnother) {
  const int before = OpenDescriptors();
  const int kfd = kevent_init(16);
  ASSERT_GE(kfd, 0);
  Consumers consumers(kEvents);
  consumers.kfd = kfd;
  consumers.ring = kevent_map_ringbuf(kfd, 16);
  ASSERT_NE(consumers.ring, nullptr);
  CancelWhileTheyWork(
      &consumers, WaitAndConsume,
      [&](uint64_t i) {
        kevent_event ev = {};
        ev.type = KEVENT_EVENT_USER;
        ev.cookie = i;
        ASSERT_EQ(kevent_submit(kfd, &ev, 0, nullptr), 0);
      },
      [&] {
        consumers.done.store(true);
        while (consumers.gone.load() < kCrew) EXPECT_EQ(kevent_submit(kfd, nullptr, KEVENT_WAKE_ALL, nullptr), 0);
      });
  EXPECT_EQ(kevent_destroy(kfd, nullptr, 0), 0);
  EXPECT_EQ(OpenDescriptors(), before);
}

// Each thread waits once, and ends with what it was given.
void* WaitAndEnd(void* argument) {
  auto* const consumers = static_cast<Consumers*>(argument);
  while (kevent_wait(consumers->kfd, kevent_ring_state(consumers->ring), nullptr, nullptr) != 0) {
  }
  pthread_exit(nullptr);
}

TEST(QueueCancellation, AThreadThatEndsBetweenWaitAndConsumeGivesItsRecordBack) {
  const int kfd = kevent_init(16);
  ASSERT_GE(kfd, 0);
  Consumers consumers(0);
  consumers.kfd = kfd;
  consumers.ring = kevent_map_ringbuf(kfd, 16);
  constexpr uint64_t kPosted = 12;
  for (uint64_t i = 0; i < kPosted; ++i) {
    kevent_event ev = {};
    ev.type = KEVENT_EVENT_USER;
    ev.cookie = i;
    ASSERT_EQ(kevent_submit(kfd, &ev, 0, nullptr), 0);
  }
  for (int round = 0; round < kVictims / 4; ++round) {
    std::vector<pthread_t> threads(4);
    for (pthread_t& thread : threads) ASSERT_EQ(pthread_create(&thread, nullptr, WaitAndEnd, &consumers), 0);
    for (const pthread_t thread : threads) ASSERT_EQ(pthread_join(thread, nullptr), 0);
  }
  std::vector<int> times(kPosted);
  kevent_event ev;
  for (uint64_t i = 0; i < kPosted; ++i) {
    const timespec timeout = {10, 0};
    ASSERT_EQ(kevent_get_events(kfd, &ev, 1, 1, &timeout, nullptr), 1);
    ++times[ev.cookie];
  }
  for (const int n : times) EXPECT_EQ(n, 1);
  EXPECT_EQ(kevent_consume(consumers.ring, &ev), 0);
  EXPECT_EQ(kevent_destroy(kfd, nullptr, 0), 0);
}

}  // namespace
}  // namespace evring::kevent
