// Overflow of small rings: whatever floods them, nothing is lost, the order is kept, each episode is told once, and the
// queue works on as before. And what is not to overflow a ring does not: posts, calls of helper threads, what reports
// again and again.

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kevent/kevent.h"
#include "kevent/queue.h"
#include "tests/kevent/test_queue.h"

namespace evring::kevent {
namespace {

constexpr uint64_t kFlood = 300;

class QueueOverflow : public testing::TestWithParam<uint32_t> {
 protected:
  void SetUp() override {
    AllowManyDescriptors();
    QueueOptions options;
    options.entries = GetParam();
    options.on_overflow = [this] { ++told_; };
    queue_ = MakeQueue(std::move(options));
    ASSERT_EQ(queue_->entries(), GetParam());
  }

  void ExpectEpisodes(uint64_t n) {
    EXPECT_EQ(told_.load(), n);
    EXPECT_EQ(queue_->counters().overflows, n);
  }

  // Those of kFlood registrations come, each once, in whatever order.
  void ExpectEachOnce() {
    std::vector<int> times(kFlood);
    for (uint64_t i = 0; i < kFlood; ++i) {
      const Event record = Next(queue_.get());
      EXPECT_EQ(record.result, 0);
      ++times[record.cookie];
    }
    for (const int n : times) EXPECT_EQ(n, 1);
  }

  // Nothing more comes, and all that was submitted has been handed out.
  void ExpectBalance(uint64_t n) {
    Event record;
    EXPECT_FALSE(queue_->TryNext(&record));
    const QueueCounters counters = queue_->counters();
    EXPECT_EQ(counters.submitted, n);
    EXPECT_EQ(counters.consumed, n);
  }

  std::atomic<uint64_t> told_{0};
  std::unique_ptr<Queue> queue_;
};

TEST_P(QueueOverflow, PollsComeInOrderEpisodeAfterEpisode) {
  for (uint64_t episode = 1; episode <= 3; ++episode) {
    std::vector<std::unique_ptr<Pair>> pairs;
    for (uint64_t i = 0; i < kFlood; ++i) {
      pairs.push_back(std::make_unique<Pair>());
      ASSERT_GT(queue_->Submit(Poll(pairs.back()->here(), POLLIN, i)), 0);
    }
    for (const auto& pair : pairs) pair->Write();
    for (uint64_t i = 0; i < kFlood; ++i) ASSERT_EQ(Next(queue_.get()).cookie, i);
    ExpectBalance(episode * kFlood);
    ExpectEpisodes(episode);
  }
}

// A post that comes meanwhile stands in line, and comes after what was there.
TEST_P(QueueOverflow, APostComesAfterWhatHasOverflown) {
  std::vector<std::unique_ptr<Pair>> pairs;
  for (uint64_t i = 0; i < kFlood; ++i) {
    pairs.push_back(std::make_unique<Pair>());
    ASSERT_GT(queue_->Submit(Poll(pairs.back()->here(), POLLIN, i)), 0);
  }
  for (const auto& pair : pairs) pair->Write();
  ASSERT_GT(queue_->Submit(User(kFlood)), 0);
  ExpectEpisodes(1);  // noticed by the post
  EXPECT_EQ(queue_->Submit(User(0), Queue::Full::kRefuse), -EAGAIN);
  for (uint64_t i = 0; i <= kFlood; ++i) ASSERT_EQ(Next(queue_.get()).cookie, i);
  ExpectEpisodes(1);
}

TEST_P(QueueOverflow, TimersAllCome) {
  for (uint64_t i = 0; i < kFlood; ++i) {
    timespec delay = {0, 50'000'000};
    Event event;
    event.type = EventType::kTimeout;
    event.cookie = i;
    event.payload = reinterpret_cast<uintptr_t>(&delay);
    ASSERT_GT(queue_->Submit(event), 0);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
  ExpectEachOnce();
  ExpectBalance(kFlood);
  EXPECT_GE(told_.load(), 1u);
  ExpectEpisodes(told_.load());
}

TEST_P(QueueOverflow, EventfdsComeInOrderWithTheirValues) {
  std::vector<int> fds;
  for (uint64_t i = 0; i < kFlood; ++i) {
    fds.push_back(eventfd(0, EFD_CLOEXEC));
    Event event;
    event.type = EventType::kEventFd;
    event.descriptor = fds.back();
    event.cookie = i;
    ASSERT_GT(queue_->Submit(event), 0);
  }
  for (uint64_t i = 0; i < kFlood; ++i) ASSERT_EQ(eventfd_write(fds[i], i + 1), 0);
  for (uint64_t i = 0; i < kFlood; ++i) {
    const Event record = Next(queue_.get());
    ASSERT_EQ(record.cookie, i);
    EXPECT_EQ(record.payload, i + 1);
  }
  ExpectBalance(kFlood);
  ExpectEpisodes(1);
  for (const int fd : fds) close(fd);
}

// Nobody consumes while they come: they stand in line.
TEST_P(QueueOverflow, PostsDoNotOverflow) {
  for (uint64_t i = 0; i < 10 * kFlood; ++i) ASSERT_GT(queue_->Submit(User(i)), 0);
  for (uint64_t i = 0; i < 10 * kFlood; ++i) ASSERT_EQ(Next(queue_.get()).cookie, i);
  ExpectBalance(10 * kFlood);
  ExpectEpisodes(0);
}

TEST_P(QueueOverflow, CallsOfHelperThreadsDoNotOverflow) {
  FILE* const file = tmpfile();
  ASSERT_NE(file, nullptr);
  for (uint64_t i = 0; i < kFlood; ++i) {
    Event event;
    event.type = EventType::kFlock;
    event.descriptor = fileno(file);
    event.cookie = i;
    event.result = i % 2 == 0 ? LOCK_SH : LOCK_UN;
    int64_t number;
    while ((number = queue_->Submit(event)) == -EAGAIN) std::this_thread::yield();  // as many as there are threads
    ASSERT_GT(number, 0);
  }
  ExpectEachOnce();
  ExpectBalance(kFlood);
  ExpectEpisodes(0);
  fclose(file);
}

// More sources than the ring has room for, all of which have something to report all the time.
TEST_P(QueueOverflow, WhatReportsAgainSlowsDownBeforeIt) {
  std::vector<std::unique_ptr<Pair>> pairs;
  std::vector<int> fds;
  for (uint64_t i = 0; i < 100; ++i) {
    pairs.push_back(std::make_unique<Pair>());
    ASSERT_GT(queue_->Submit(Poll(pairs.back()->here(), POLLOUT, i, KEVENT_LEVEL)), 0);
    fds.push_back(eventfd(1000, EFD_CLOEXEC | EFD_SEMAPHORE));
    Event event;
    event.type = EventType::kEventFd;
    event.descriptor = fds.back();
    event.cookie = 100 + i;
    event.flags = KEVENT_MULTI;
    ASSERT_GT(queue_->Submit(event), 0);
  }
  std::vector<int> times(200);
  for (int i = 0; i < 20 * 200; ++i) ++times[Next(queue_.get()).cookie];
  for (const int n : times) EXPECT_EQ(n, 20) << "each in its turn";
  ExpectEpisodes(0);
  for (const int fd : fds) close(fd);
}

// Five listeners, to each of which a hundred have connected before anybody accepts.
TEST_P(QueueOverflow, AcceptsSlowDownBeforeIt) {
  constexpr int kListeners = 5;
  constexpr int kClients = 100;
  std::vector<int> listeners, clients;
  for (int i = 0; i < kListeners; ++i) {
    const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)), 0);  // a name of the kernel's
    ASSERT_EQ(listen(listener, kClients), 0);
    socklen_t size = sizeof(address);
    ASSERT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
    listeners.push_back(listener);
    for (int j = 0; j < kClients; ++j) {
      clients.push_back(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
      ASSERT_EQ(connect(clients.back(), reinterpret_cast<sockaddr*>(&address), size), 0);
    }
    Event event;
    event.type = EventType::kAccept;
    event.descriptor = listener;
    event.cookie = static_cast<uint64_t>(i);
    event.flags = KEVENT_MULTI;
    ASSERT_GT(queue_->Submit(event), 0);
  }
  std::vector<int> times(kListeners);
  for (int i = 0; i < kListeners * kClients; ++i) {
    const Event record = Next(queue_.get());
    ASSERT_GE(record.result, 0);
    EXPECT_FALSE(record.last());
    ++times[record.cookie];
    close(record.result);
  }
  for (const int n : times) EXPECT_EQ(n, kClients);
  ExpectEpisodes(0);
  for (const int fd : clients) close(fd);
  for (const int fd : listeners) close(fd);
}

// Several threads consume, and let in what the kernel has kept, while it comes.
TEST_P(QueueOverflow, SeveralConsumersLoseNothingAndTellEachEpisodeOnce) {
  constexpr int kThreads = 4;
  constexpr uint64_t kRounds = 10;
  std::vector<std::atomic<int>> times(kRounds * kFlood);
  std::atomic<uint64_t> returned{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (;;) {
        std::array<Event, 3> records;
        size_t taken = 0;
        if (queue_->Next(records, &taken, WaitArgs()) == Queue::Waited::kClosed) return;
        for (size_t j = 0; j < taken; ++j) ++times[records[j].cookie];
        returned += taken;
      }
    });
  }
  for (uint64_t round = 0; round < kRounds; ++round) {
    std::vector<std::unique_ptr<Pair>> pairs;
    for (uint64_t i = 0; i < kFlood; ++i) {
      pairs.push_back(std::make_unique<Pair>());
      ASSERT_GT(queue_->Submit(Poll(pairs.back()->here(), POLLIN, round * kFlood + i)), 0);
    }
    for (const auto& pair : pairs) pair->Write();
    while (returned.load() < (round + 1) * kFlood) std::this_thread::yield();
  }
  queue_->Close();
  for (std::thread& thread : threads) thread.join();
  for (const auto& n : times) ASSERT_EQ(n.load(), 1);
  ExpectEpisodes(told_.load());
}

INSTANTIATE_TEST_SUITE_P(Entries, QueueOverflow, testing::Values(8, 16, 32, 64),
                         [](const testing::TestParamInfo<uint32_t>& info) { return std::to_string(info.param); });

TEST(QueueOverflowCallback, MayUseTheQueueAndMayBeExchanged) {
  AllowManyDescriptors();
  Queue* used = nullptr;
  int told = 0;
  QueueOptions options;
  options.entries = 8;
  options.on_overflow = [&] {
    ++told;
    ASSERT_EQ(used->Post(User(1000)), 0);
    used->SetOnOverflow(nullptr);
  };
  auto queue = MakeQueue(std::move(options));
  used = queue.get();
  for (int episode = 0; episode < 2; ++episode) {
    std::vector<std::unique_ptr<Pair>> pairs;
    for (uint64_t i = 0; i < 20; ++i) {
      pairs.push_back(std::make_unique<Pair>());
      ASSERT_GT(queue->Submit(Poll(pairs.back()->here(), POLLIN, i)), 0);
    }
    for (const auto& pair : pairs) pair->Write();
    for (uint64_t i = 0; i < 20; ++i) ASSERT_EQ(Next(queue.get()).cookie, i);
    if (episode == 0) {
      EXPECT_EQ(Next(queue.get()).cookie, 1000u);
    }
  }
  EXPECT_EQ(told, 1);
  EXPECT_EQ(queue->counters().overflows, 2u);
}

}  // namespace
}  // namespace evring::kevent
