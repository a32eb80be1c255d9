// Queue on the real kernel: registering, consuming, waiting, cancelling, with one thread and with several. The types of
// events have tests of their own (queue_types_test.cc), as have overflow, level-triggered events and exactly one
// wake-up.

#include "kevent/queue.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "kevent/kevent.h"

namespace evring::kevent {
namespace {

std::unique_ptr<Queue> Make(uint32_t entries = 64) {
  QueueOptions options;
  options.entries = entries;
  auto queue = Queue::Create(options);
  EXPECT_TRUE(queue.ok()) << queue.status();
  return queue.ok() ? *std::move(queue) : nullptr;
}

Event Poll(int fd, short events, uint64_t cookie, uint32_t flags = 0) {
  Event event;
  event.type = EventType::kPoll;
  event.descriptor = fd;
  event.cookie = cookie;
  event.result = events;
  event.flags = flags;
  return event;
}

WaitArgs Within(int64_t ms) {
  WaitArgs wait;
  wait.deadline_ns = SystemKernel()->NowNs() + ms * 1'000'000;
  return wait;
}

// The next record within ten seconds.
Event Next(Queue* queue) {
  Event record;
  size_t taken = 0;
  EXPECT_EQ(queue->Next(std::span<Event>(&record, 1), &taken, Within(10'000)), Queue::Waited::kRecords);
  return record;
}

class Pair {
 public:
  Pair() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds_), 0); }
  ~Pair() {
    close(fds_[0]);
    close(fds_[1]);
  }
  int here() const { return fds_[0]; }
  int there() const { return fds_[1]; }

 private:
  int fds_[2];
};

TEST(Queue, ARecordSaysWhatWasRegistered) {
  auto queue = Make();
  Pair pair;
  const int64_t number = queue->Submit(Poll(pair.here(), POLLIN, 0x1234'5678'9abc'def0));
  ASSERT_GT(number, 0);
  Event record;
  EXPECT_FALSE(queue->TryNext(&record)) << "nothing to read yet";
  ASSERT_EQ(write(pair.there(), "x", 1), 1);
  record = Next(queue.get());
  EXPECT_EQ(record.type, EventType::kPoll);
  EXPECT_EQ(record.descriptor, pair.here());
  EXPECT_EQ(record.cookie, 0x1234'5678'9abc'def0u);
  EXPECT_EQ(record.result, POLLIN);
  EXPECT_TRUE(record.last());
  EXPECT_EQ(record.payload, static_cast<uint64_t>(number));
  EXPECT_EQ(queue->Cancel(number), -ENOENT) << "a one-shot has ended with its record";
}

TEST(Queue, LevelReportsAsLongAsItIsSo) {
  auto queue = Make();
  Pair pair;
  ASSERT_EQ(write(pair.there(), "xy", 2), 2);
  const int64_t number = queue->Submit(Poll(pair.here(), POLLIN, 1, KEVENT_LEVEL));
  ASSERT_GT(number, 0);
  for (int i = 0; i < 2; ++i) {
    const Event record = Next(queue.get());
    EXPECT_EQ(record.result, POLLIN);
    EXPECT_FALSE(record.last());
    char byte;
    ASSERT_EQ(read(pair.here(), &byte, 1), 1);
  }
  Event record;
  size_t taken = 0;
  EXPECT_EQ(queue->Next(std::span<Event>(&record, 1), &taken, Within(20)), Queue::Waited::kDeadline);
  EXPECT_EQ(queue->Cancel(number), 0);
  record = Next(queue.get());
  EXPECT_EQ(record.result, -ECANCELED);
  EXPECT_TRUE(record.last());
}

TEST(Queue, PostedRecordsComeAsTheyAreInOrder) {
  auto queue = Make();
  for (uint64_t i = 0; i < 10; ++i) {
    Event event;
    event.type = EventType::kUser;
    event.cookie = i;
    event.flags = Event::kMore;
    event.payload = ~i;
    ASSERT_EQ(queue->Post(event), 0);
  }
  for (uint64_t i = 0; i < 10; ++i) {
    Event record;
    ASSERT_TRUE(queue->TryNext(&record));
    EXPECT_EQ(record.cookie, i);
    EXPECT_EQ(record.payload, ~i);
    EXPECT_EQ(record.flags, Event::kMore);
  }
  const QueueCounters counters = queue->counters();
  EXPECT_EQ(counters.submitted, 10u);
  EXPECT_EQ(counters.consumed, 10u);
}

TEST(Queue, AWaitEndsByDeadlineStateAndWake) {
  auto queue = Make();
  Event record;
  size_t taken = 0;
  EXPECT_EQ(queue->Next(std::span<Event>(&record, 1), &taken, Within(0)), Queue::Waited::kDeadline);
  const uint32_t other = queue->state() + 1;
  EXPECT_EQ(queue->Next(std::span<Event>(&record, 1), &taken, WaitArgs(), &other), Queue::Waited::kStateMoved);
  std::thread waker([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    queue->Wake(/*all=*/false);
  });
  EXPECT_EQ(queue->Next(std::span<Event>(&record, 1), &taken, WaitArgs()), Queue::Waited::kWoken);
  EXPECT_EQ(taken, 0u);
  waker.join();
}

TEST(Queue, EachRecordGoesToOneThread) {
  constexpr int kThreads = 8;
  constexpr uint64_t kEvents = 4000;
  auto queue = Make(32);
  std::array<std::atomic<int>, kEvents> times = {};
  std::atomic<uint64_t> returned{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (;;) {
        Event record;
        size_t taken = 0;
        const Queue::Waited waited = queue->Next(std::span<Event>(&record, 1), &taken, WaitArgs());
        if (waited == Queue::Waited::kClosed) return;
        ASSERT_EQ(waited, Queue::Waited::kRecords);
        ASSERT_EQ(taken, 1u);
        ++times[record.cookie];
        ++returned;
      }
    });
  }
  for (uint64_t i = 0; i < kEvents; ++i) {
    Event event;
    event.type = EventType::kUser;
    event.cookie = i;
    ASSERT_GT(queue->Submit(event), 0);
    if (i % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  while (returned.load() < kEvents) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  queue->Close();
  for (std::thread& thread : threads) thread.join();
  for (const auto& n : times) EXPECT_EQ(n.load(), 1);
}

TEST(Queue, RequestsOfAThreadThatEndedGoOn) {
  auto queue = Make();
  Pair pair;
  std::thread([&] { ASSERT_GT(queue->Submit(Poll(pair.here(), POLLIN, 7)), 0); }).join();
  ASSERT_EQ(write(pair.there(), "x", 1), 1);
  const Event record = Next(queue.get());
  EXPECT_EQ(record.result, POLLIN);
  EXPECT_EQ(record.cookie, 7u);
}

TEST(Queue, ManyAlwaysReadyOnesShareASmallRing) {
  constexpr int kSockets = 300;
  auto queue = Make(16);
  std::vector<std::unique_ptr<Pair>> pairs;
  for (int i = 0; i < kSockets; ++i) {
    pairs.push_back(std::make_unique<Pair>());
    ASSERT_GT(queue->Submit(Poll(pairs.back()->here(), POLLOUT, static_cast<uint64_t>(i), KEVENT_LEVEL)), 0);
  }
  std::vector<int> times(kSockets);
  for (int i = 0; i < 10 * kSockets; ++i) ++times[Next(queue.get()).cookie];
  for (const int n : times) EXPECT_EQ(n, 10) << "each in its turn";
  EXPECT_EQ(queue->counters().overflows, 0u);
}

TEST(Queue, OverflowLosesNothingAndIsToldOnce) {
  std::atomic<int> told{0};
  QueueOptions options;
  options.entries = 8;
  options.on_overflow = [&] { ++told; };
  auto queue = Queue::Create(options);
  ASSERT_TRUE(queue.ok());
  std::vector<std::unique_ptr<Pair>> pairs;
  for (int i = 0; i < 100; ++i) {
    pairs.push_back(std::make_unique<Pair>());
    ASSERT_GT((*queue)->Submit(Poll(pairs.back()->here(), POLLIN, static_cast<uint64_t>(i))), 0);
  }
  for (const auto& pair : pairs) ASSERT_EQ(write(pair->there(), "x", 1), 1);
  for (uint64_t i = 0; i < 100; ++i) EXPECT_EQ(Next(queue->get()).cookie, i);
  EXPECT_EQ(told.load(), 1);
  EXPECT_EQ((*queue)->counters().overflows, 1u);
}

}  // namespace
}  // namespace evring::kevent
