// Level-triggered events: a thousand sockets that can always be written to share a ring of 256 records. Each has one
// place in it at most, none starves another or what else there is, and arming them again costs one call for as many
// records as the ring takes, not one each.

#include <poll.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "kevent/kevent.h"
#include "kevent/queue.h"
#include "tests/kevent/test_queue.h"

namespace evring::kevent {
namespace {

constexpr uint32_t kEntries = 256;
constexpr uint32_t kLimit = kEntries - kEntries / 4;  // up to where a ring is armed
constexpr uint64_t kSockets = 1000;
constexpr int kRounds = 10;

class QueueLevel : public testing::Test {
 protected:
  void SetUp() override {
    AllowManyDescriptors();
    queue_ = MakeQueue(kEntries);
    for (uint64_t i = 0; i < kSockets; i += 2) {
      pairs_.push_back(std::make_unique<Pair>());
      ASSERT_GT(queue_->Submit(Poll(pairs_.back()->here(), POLLOUT, i, KEVENT_LEVEL)), 0);
      ASSERT_GT(queue_->Submit(Poll(pairs_.back()->there(), POLLOUT, i + 1, KEVENT_LEVEL)), 0);
    }
  }

  std::vector<std::unique_ptr<Pair>> pairs_;
  std::unique_ptr<Queue> queue_;
};

TEST_F(QueueLevel, EachHasOnePlaceInTheRingAtMost) {
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t first = Next(queue_.get()).cookie;  // has filled the ring
    std::vector<int> places(kSockets);
    uint32_t n = 0;
    places[first] = 1;
    // Without a wait nothing is armed again: what comes is what lay there.
    for (Event record; queue_->TryNext(&record); ++n) ASSERT_EQ(++places[record.cookie], 1);
    EXPECT_LE(n + 1, kEntries);
  }
  EXPECT_EQ(queue_->counters().overflows, 0u);
}

TEST_F(QueueLevel, EachComesInItsTurnWithoutACallOfItsOwn) {
  const uint64_t enters = queue_->counters().enters;
  std::vector<int> times(kSockets);
  constexpr uint64_t kRecords = kRounds * kSockets;
  for (uint64_t i = 0; i < kRecords; ++i) {
    const Event record = Next(queue_.get());
    ASSERT_EQ(record.result, POLLOUT);
    ASSERT_FALSE(record.last());
    ++times[record.cookie];
  }
  for (const int n : times) EXPECT_EQ(n, kRounds);
  const QueueCounters counters = queue_->counters();
  EXPECT_LE(counters.enters - enters, kRecords / kLimit + 1) << "one for each filling of the ring";
  EXPECT_EQ(counters.overflows, 0u);
  EXPECT_EQ(counters.consumed, kRecords);
}

TEST_F(QueueLevel, ATimerAndAPostComeAmongThem) {
  timespec delay = {0, 1'000'000};
  Event timer;
  timer.type = EventType::kTimeout;
  timer.cookie = kSockets;
  timer.payload = reinterpret_cast<uintptr_t>(&delay);
  ASSERT_GT(queue_->Submit(timer), 0);
  ASSERT_GT(queue_->Submit(User(kSockets + 1)), 0);
  // Both have the line before them, of all the others. The timer is armed then, and may be due at once.
  bool timed = false;
  uint64_t until_post = 0;
  for (uint64_t cookie; (cookie = Next(queue_.get()).cookie) != kSockets + 1; ++until_post) {
    timed = timed || cookie == kSockets;
    ASSERT_LE(until_post, kSockets + kEntries);
  }
  // Else it comes while nobody consumes, and is in the ring.
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  for (uint64_t until_timer = 0; !timed; ++until_timer) {
    timed = Next(queue_.get()).cookie == kSockets;
    ASSERT_LE(until_timer, kEntries);
  }
}

TEST_F(QueueLevel, SeveralConsumersShareThemWithoutACallForEach) {
  constexpr int kThreads = 4;
  constexpr uint64_t kRecords = 4 * kRounds * kSockets;
  const uint64_t enters = queue_->counters().enters;
  std::vector<std::atomic<int>> times(kSockets);
  std::atomic<uint64_t> records{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      while (records.fetch_add(1) < kRecords) ++times[Next(queue_.get()).cookie];
    });
  }
  for (std::thread& thread : threads) thread.join();
  const QueueCounters counters = queue_->counters();
  EXPECT_EQ(counters.consumed, kRecords);
  EXPECT_EQ(counters.overflows, 0u);
  // Whoever finds the ring empty arms what has come back by then, which may be little.
  EXPECT_LE(counters.enters - enters, kRecords / 16);
  // The line is first in, first out; a thread may keep the record that it holds for a while.
  for (const auto& n : times) EXPECT_GT(n.load(), 0);
  std::printf("%.4f calls per record\n", static_cast<double>(counters.enters - enters) / kRecords);
}

}  // namespace
}  // namespace evring::kevent
