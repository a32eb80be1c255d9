// Queue on the real kernel: registering, consuming, waiting, cancelling, with one thread and with several. The types of
// events have tests of their own (queue_types_test.cc), as have overflow, level-triggered events and exactly one
// wake-up.

#include "kevent/queue.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kevent/kevent.h"
#include "tests/kevent/test_queue.h"
#include "tests/support/forwarding_kernel.h"

namespace evring::kevent {
namespace {

TEST(Queue, ARecordSaysWhatWasRegistered) {
  auto queue = MakeQueue();
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
  auto queue = MakeQueue();
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
  auto queue = MakeQueue();
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
  auto queue = MakeQueue();
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
  auto queue = MakeQueue(32);
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
  auto queue = MakeQueue();
  Pair pair;
  std::thread([&] { ASSERT_GT(queue->Submit(Poll(pair.here(), POLLIN, 7)), 0); }).join();
  ASSERT_EQ(write(pair.there(), "x", 1), 1);
  const Event record = Next(queue.get());
  EXPECT_EQ(record.result, POLLIN);
  EXPECT_EQ(record.cookie, 7u);
}

TEST(Queue, ManyAlwaysReadyOnesShareASmallRing) {
  constexpr int kSockets = 300;
  auto queue = MakeQueue(16);
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

// What a test does on the leader's thread just before it enters the kernel to sleep.
class LeaderHook final : public ForwardingKernel {
 public:
  int Enter(io_uring* ring, Features features, unsigned to_submit, unsigned min_complete, unsigned flags,
            const WaitArgs& wait) override {
    if (min_complete != 0) {
      if (std::function<void()> hook = std::exchange(hook_, nullptr)) hook();
    }
    return ForwardingKernel::Enter(ring, features, to_submit, min_complete, flags, wait);
  }
  void OnSleep(std::function<void()> hook) { hook_ = std::move(hook); }

 private:
  std::function<void()> hook_;
};

// What stands in line for room is armed by whoever makes the room while the leader goes to sleep.
TEST(Queue, RoomThatIsMadeWhileTheLeaderGoesToSleepIsUsed) {
  LeaderHook kernel;
  auto queue = MakeQueue(8, &kernel);
  Event record;
  kernel.OnSleep([&] {
    for (uint64_t i = 0; i < 8; ++i) ASSERT_GT(queue->Submit(User(i)), 0);
    for (uint64_t i = 0; i < 6; ++i) {
      ASSERT_TRUE(queue->TryNext(&record));
      EXPECT_EQ(record.cookie, i);
    }
  });
  EXPECT_EQ(Next(queue.get()).cookie, 6u);
  EXPECT_EQ(Next(queue.get()).cookie, 7u);
}

// A request for later is no reason to keep others waiting that it met in line.
TEST(Queue, WhatStoodInLineIsNotPutOffWithAnother) {
  LeaderHook kernel;
  auto queue = MakeQueue(8, &kernel);
  Event record;
  kernel.OnSleep([&] {
    for (uint64_t i = 0; i < 7; ++i) ASSERT_GT(queue->Submit(User(i)), 0);
    for (uint64_t i = 0; i < 6; ++i) ASSERT_TRUE(queue->TryNext(&record));
    ASSERT_GT(queue->Submit(User(7), Queue::Full::kStandInLine, kNoDeadline, /*later=*/true), 0);
  });
  EXPECT_EQ(Next(queue.get()).cookie, 6u);
  EXPECT_EQ(Next(queue.get()).cookie, 7u);
}

// Whoever takes the completion that was to get the leader out of the kernel puts another one there.
TEST(Queue, AWakeGetsThroughThoughAnotherTakesItFromTheRing) {
  for (const uint32_t min : {1u, 4u}) {
    LeaderHook kernel;
    auto queue = MakeQueue(16, &kernel);
    ASSERT_EQ(queue->SetMinEvents(min), 0);
    kernel.OnSleep([&] {
      Event record;
      queue->Wake(/*all=*/false);
      for (int i = 0; i < 20; ++i) EXPECT_FALSE(queue->TryNext(&record));
    });
    Event record;
    size_t taken = 0;
    EXPECT_EQ(queue->Next(std::span<Event>(&record, 1), &taken, Within(10'000)), Queue::Waited::kWoken);
  }
}

TEST(Queue, AWakeFindsALeaderThatWaitsForMany) {
  auto queue = MakeQueue(64);
  ASSERT_EQ(queue->SetMinEvents(16), 0);
  std::thread waker([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    queue->Wake(/*all=*/true);
  });
  Event record;
  size_t taken = 0;
  EXPECT_EQ(queue->Next(std::span<Event>(&record, 1), &taken, Within(10'000)), Queue::Waited::kWoken);
  waker.join();
}

TEST(Queue, ManyWakesLetEachWaitGoOnce) {
  auto queue = MakeQueue(8);
  std::atomic<bool> done{false};
  std::thread waker([&] {
    while (!done.load()) queue->Wake(/*all=*/false);
  });
  Event record;
  size_t taken = 0;
  for (int i = 0; i < 2000; ++i) {
    ASSERT_EQ(queue->Next(std::span<Event>(&record, 1), &taken, Within(10'000)), Queue::Waited::kWoken) << i;
  }
  done.store(true);
  waker.join();
}

TEST(Queue, CloseFindsAllWhoWait) {
  for (const uint32_t min : {1u, 8u}) {
    auto queue = MakeQueue(64);
    ASSERT_EQ(queue->SetMinEvents(min), 0);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        Event record;
        size_t taken = 0;
        EXPECT_EQ(queue->Next(std::span<Event>(&record, 1), &taken, Within(10'000)), Queue::Waited::kClosed);
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    queue->Close();
    for (std::thread& thread : threads) thread.join();
  }
}

TEST(Queue, AWaitForManyEndsWithFewerAtItsDeadline) {
  auto queue = MakeQueue(64);
  ASSERT_EQ(queue->SetMinEvents(4), 0);
  ASSERT_EQ(queue->Post(User(1)), 0);
  std::array<Event, 8> records;
  size_t taken = 0;
  const uint64_t enters = queue->counters().enters;
  EXPECT_EQ(queue->Next(records, &taken, Within(30)), Queue::Waited::kRecords);
  EXPECT_EQ(taken, 1u);
  EXPECT_LE(queue->counters().enters, enters + 2) << "it slept";
}

TEST(Queue, AWaitForManyBeginsWithThatMany) {
  auto queue = MakeQueue(64);
  ASSERT_EQ(queue->SetMinEvents(4), 0);
  std::thread poster([&] {
    for (uint64_t i = 0; i < 4; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      ASSERT_EQ(queue->Post(User(i)), 0);
    }
  });
  std::array<Event, 8> records;
  size_t taken = 0;
  EXPECT_EQ(queue->Next(records, &taken, Within(10'000)), Queue::Waited::kRecords);
  EXPECT_EQ(taken, 4u);
  poster.join();
}

TEST(Queue, TheNumberOfEventsDoesNotChangeForWhoWaits) {
  LeaderHook kernel;
  auto queue = MakeQueue(64, &kernel);
  EXPECT_EQ(queue->SetMinEvents(0), -EINVAL);
  EXPECT_EQ(queue->SetMinEvents(17), -EINVAL) << "more than a quarter";
  kernel.OnSleep([&] { EXPECT_EQ(queue->SetMinEvents(2), -EBUSY); });
  Event record;
  size_t taken = 0;
  EXPECT_EQ(queue->Next(std::span<Event>(&record, 1), &taken, Within(1)), Queue::Waited::kDeadline);
  EXPECT_EQ(queue->SetMinEvents(2), 0);
}

// SIGUSR1 has a handler that does nothing. With SA_RESTART: it would let a futex(2) go on.
class Handler {
 public:
  Handler() {
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    action.sa_flags = SA_RESTART;
    EXPECT_EQ(sigaction(SIGUSR1, &action, &before_), 0);
  }
  ~Handler() { sigaction(SIGUSR1, &before_, nullptr); }

 private:
  struct sigaction before_;
};

// A leader, and a follower, with a mask and without, with records to come and with fewer there than it waits for.
TEST(Queue, ASignalEndsAWait) {
  const Handler handler;
  for (const bool follows : {false, true}) {
    for (const bool masked : {false, true}) {
      for (const uint64_t there : {0, 1}) {
        SCOPED_TRACE(testing::Message() << "follows " << follows << " masked " << masked << " there " << there);
        auto queue = MakeQueue(64);
        ASSERT_EQ(queue->SetMinEvents(4), 0);
        if (there != 0) {
          ASSERT_EQ(queue->Post(User(1)), 0);
        }
        std::thread leader;
        if (follows) {
          leader = std::thread([&] {
            Event record;
            size_t taken = 0;
            EXPECT_EQ(queue->Next(std::span<Event>(&record, 1), &taken, WaitArgs()), Queue::Waited::kClosed);
          });
          std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        std::atomic<bool> done{false};
        std::thread waits([&] {
          sigset_t blocked, open;
          sigemptyset(&blocked);
          sigaddset(&blocked, SIGUSR1);
          pthread_sigmask(masked ? SIG_BLOCK : SIG_UNBLOCK, &blocked, &open);
          sigdelset(&open, SIGUSR1);
          WaitArgs wait;
          if (masked) wait.sigmask = &open;
          Event record;
          size_t taken = 0;
          EXPECT_EQ(queue->Next(std::span<Event>(&record, 1), &taken, wait),
                    there != 0 ? Queue::Waited::kRecords : Queue::Waited::kInterrupted);
          EXPECT_EQ(taken, there);
          done.store(true);
        });
        // Again and again: without a mask one may come before the wait.
        while (!done.load()) {
          pthread_kill(waits.native_handle(), SIGUSR1);
          std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        waits.join();
        queue->Close();
        if (follows) leader.join();
      }
    }
  }
}

TEST(Queue, WhatIsForLaterReachesTheKernelWithTheWaitOfAFollower) {
  auto queue = MakeQueue();
  std::thread leader([&] { Next(queue.get()); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  for (uint64_t i = 0; i < 2; ++i) {
    ASSERT_GT(queue->Submit(User(i), Queue::Full::kStandInLine, kNoDeadline, /*later=*/true), 0);
  }
  Next(queue.get());
  leader.join();
}

TEST(Queue, CloseFindsWhoWaitsForRoom) {
  auto queue = MakeQueue(8);
  for (uint64_t i = 0; i < 6; ++i) ASSERT_GT(queue->Submit(User(i)), 0);
  EXPECT_EQ(queue->Submit(User(6), Queue::Full::kRefuse), -EAGAIN);
  EXPECT_EQ(queue->Submit(User(6), Queue::Full::kWait, SystemKernel()->NowNs() + 1'000'000), -EAGAIN);
  std::thread closer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    queue->Close();
  });
  EXPECT_EQ(queue->Submit(User(6), Queue::Full::kWait), -ECANCELED);
  closer.join();
}

TEST(Queue, WhoWaitsForRoomIsServedByAConsumer) {
  auto queue = MakeQueue(8);
  for (uint64_t i = 0; i < 6; ++i) ASSERT_GT(queue->Submit(User(i)), 0);
  std::thread consumer([&] {
    Event record;
    for (uint64_t i = 0; i < 200;) {
      if (queue->TryNext(&record)) {
        EXPECT_EQ(record.cookie, i++);
      } else {
        std::this_thread::yield();
      }
    }
  });
  for (uint64_t i = 6; i < 200; ++i) {
    ASSERT_GT(queue->Submit(User(i), Queue::Full::kWait, SystemKernel()->NowNs() + 10'000'000'000), 0);
  }
  consumer.join();
}

}  // namespace
}  // namespace evring::kevent
