// Waiting through the C interface: every way in which kevent_wait() and kevent_get_events() end, for the thread that
// waits in the kernel (the leader) and for one that waits behind it (a follower); signals and their mask; threads that
// end with a record in hand.

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "kevent/kevent.h"
#include "tests/kevent/c_interface_util.h"

namespace evring::kevent {
namespace {

std::atomic<int> handled{0};

void Handle(int) { handled.fetch_add(1); }

// Installs Handle() for SIGUSR1, blocked but for where a test unblocks it.
void Prepare(int sa_flags) {
  struct sigaction action = {};
  action.sa_handler = Handle;
  action.sa_flags = sa_flags;
  ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &set, nullptr), 0);
  handled = 0;
}

void SetBlocked(int how) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  EXPECT_EQ(pthread_sigmask(how, &set, nullptr), 0);
}

// A thread that leads until the queue is destroyed, so that others follow. It takes no signal.
class Leader {
 public:
  explicit Leader(TestQueue* queue)
      : queue_(queue), thread_([queue] {
          SetBlocked(SIG_BLOCK);
          EXPECT_FAILS("kevent_wait ECANCELED",
                       kevent_wait(queue->kfd(), kevent_ring_state(queue->ring()), nullptr, nullptr));
        }) {
    // It waits as soon as the queue says that somebody does.
    while (kevent_ctl(queue_->kfd(), KEVENT_CTL_MIN_EVENTS, 1u) == 0) std::this_thread::yield();
  }
  ~Leader() {
    queue_->Destroy();
    thread_.join();
  }

 private:
  TestQueue* const queue_;
  std::thread thread_;
};

// K9: zero polls, a time ends the wait, a state that has moved ends it at once.
TEST(CWait, StateAndTimeout) {
  TestQueue queue;
  const unsigned state = kevent_ring_state(queue.ring());
  EXPECT_FAILS("kevent_wait ETIMEDOUT", kevent_wait(queue.kfd(), state, &kAtOnce, nullptr));
  const timespec soon = {0, 20'000'000};
  EXPECT_FAILS("kevent_wait ETIMEDOUT", kevent_wait(queue.kfd(), state, &soon, nullptr));
  EXPECT_FAILS("kevent_wait EWOULDBLOCK", kevent_wait(queue.kfd(), state + 1, nullptr, nullptr));
  ASSERT_EQ(queue.Post(1), 0);
  EXPECT_EQ(kevent_wait(queue.kfd(), state, nullptr, nullptr), 0) << "a record is there";
  kevent_event ev;
  EXPECT_EQ(kevent_consume(queue.ring(), &ev), 1);
  EXPECT_FAILS("kevent_wait EWOULDBLOCK", kevent_wait(queue.kfd(), state, nullptr, nullptr));
  const timespec far = {INT64_MAX, 999'999'999};
  ASSERT_EQ(queue.Post(2), 0);
  EXPECT_EQ(kevent_wait(queue.kfd(), kevent_ring_state(queue.ring()), &far, nullptr), 0);
}

TEST(CWait, BadArguments) {
  TestQueue queue;
  const unsigned state = kevent_ring_state(queue.ring());
  kevent_event events[4];
  for (const timespec& wrong : {timespec{-1, 0}, timespec{0, -1}, timespec{0, 1'000'000'000}}) {
    EXPECT_FAILS("kevent_wait EINVAL", kevent_wait(queue.kfd(), state, &wrong, nullptr));
    EXPECT_FAILS("kevent_get_events EINVAL", kevent_get_events(queue.kfd(), events, 1, 4, &wrong, nullptr));
  }
  EXPECT_FAILS("kevent_get_events EINVAL", kevent_get_events(queue.kfd(), nullptr, 1, 4, nullptr, nullptr));
  EXPECT_FAILS("kevent_get_events EINVAL", kevent_get_events(queue.kfd(), events, 0, 0, nullptr, nullptr));
  EXPECT_FAILS("kevent_get_events EINVAL", kevent_get_events(queue.kfd(), events, 5, 4, nullptr, nullptr));
  EXPECT_FAILS("kevent_get_events EINVAL", kevent_get_events(queue.kfd(), events, 2, 4, nullptr, nullptr));
  EXPECT_FAILS("kevent_wait EBADF", kevent_wait(-1, state, &kAtOnce, nullptr));
  EXPECT_FAILS("kevent_get_events EBADF", kevent_get_events(-1, events, 1, 4, &kAtOnce, nullptr));
}

// K16: min, max and a timeout in one call, more than fit into a batch of its own.
TEST(CWait, GetEventsTakesABatch) {
  TestQueue queue(1024);
  std::vector<kevent_event> events(300);
  EXPECT_EQ(kevent_get_events(queue.kfd(), events.data(), 0, 300, nullptr, nullptr), 0) << "0: does not wait";
  EXPECT_EQ(kevent_get_events(queue.kfd(), events.data(), 1, 300, &kAtOnce, nullptr), 0);
  for (uint64_t i = 0; i < 310; ++i) ASSERT_EQ(queue.Post(i), 0);
  ASSERT_EQ(kevent_get_events(queue.kfd(), events.data(), 1, 300, nullptr, nullptr), 300);
  for (uint64_t i = 0; i < 300; ++i) EXPECT_EQ(events[i].cookie, i);
  EXPECT_EQ(kevent_wait(queue.kfd(), kevent_ring_state(queue.ring()), nullptr, nullptr), 0);
  // What this thread was given by the wait comes first.
  ASSERT_EQ(kevent_get_events(queue.kfd(), events.data(), 0, 300, nullptr, nullptr), 10);
  for (uint64_t i = 0; i < 10; ++i) EXPECT_EQ(events[i].cookie, 300 + i);
}

TEST(CWait, FewerWhenTheTimeIsOver) {
  TestQueue queue;
  ASSERT_EQ(kevent_ctl(queue.kfd(), KEVENT_CTL_MIN_EVENTS, 4u), 0);
  ASSERT_EQ(queue.Post(1), 0);
  ASSERT_EQ(queue.Post(2), 0);
  kevent_event events[8];
  const timespec soon = {0, 20'000'000};
  EXPECT_EQ(kevent_get_events(queue.kfd(), events, 4, 8, &soon, nullptr), 2);
  EXPECT_EQ(kevent_get_events(queue.kfd(), events, 4, 8, &soon, nullptr), 0);
}

// K10: a submit of NULL lets one thread go, or all of them.
TEST(CWait, NullWakesOneOrAll) {
  TestQueue queue;
  std::atomic<int> gone{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      // What wakes the thread that sleeps in the kernel moves the state too.
      while (kevent_wait(queue.kfd(), kevent_ring_state(queue.ring()), nullptr, nullptr) != 0) {
        ASSERT_EQ(errno, EWOULDBLOCK);
      }
      kevent_event ev;
      EXPECT_EQ(kevent_consume(queue.ring(), &ev), 0);
      ++gone;
    });
  }
  while (gone == 0) {
    ASSERT_EQ(kevent_submit(queue.kfd(), nullptr, 0, nullptr), 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  while (gone != 4) {
    ASSERT_EQ(kevent_submit(queue.kfd(), nullptr, KEVENT_WAKE_ALL, nullptr), 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  for (std::thread& thread : threads) thread.join();
}

// K12: who waits when the queue is destroyed is told so; the rest of the waits find no queue.
TEST(CWait, DestroyEndsAllWaits) {
  for (int round = 0; round < 20; ++round) {
    TestQueue queue;
    std::atomic<int> ready{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        kevent_event events[4];
        sigset_t none;
        sigemptyset(&none);
        ++ready;
        if (i < 2) {
          EXPECT_FAILS("kevent_wait ECANCELED", kevent_wait(queue.kfd(), 0, nullptr, i == 0 ? &none : nullptr));
        } else {
          EXPECT_FAILS("kevent_get_events ECANCELED",
                       kevent_get_events(queue.kfd(), events, 1, 4, nullptr, i == 2 ? &none : nullptr));
        }
      });
    }
    while (ready != 4) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    queue.Destroy();
    for (std::thread& thread : threads) thread.join();
  }
}

// A signal with a handler ends a wait, whatever SA_RESTART says.
void ASignalInterrupts(bool follows, int sa_flags, bool get_events) {
  Prepare(sa_flags);
  TestQueue queue;
  {
    std::unique_ptr<Leader> leader;
    if (follows) leader = std::make_unique<Leader>(&queue);
    std::atomic<bool> done{false};
    std::thread waiter([&] {
      SetBlocked(SIG_UNBLOCK);
      kevent_event ev;
      if (get_events) {
        EXPECT_FAILS("kevent_get_events EINTR", kevent_get_events(queue.kfd(), &ev, 1, 1, nullptr, nullptr));
      } else {
        EXPECT_FAILS("kevent_wait EINTR", kevent_wait(queue.kfd(), kevent_ring_state(queue.ring()), nullptr, nullptr));
      }
      done = true;
    });
    while (!done) {
      pthread_kill(waiter.native_handle(), SIGUSR1);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    waiter.join();
    EXPECT_GE(handled, 1);
  }
}

TEST(CWait, ASignalInterruptsTheLeader) {
  for (const int flags : {0, SA_RESTART}) {
    for (const bool get_events : {false, true}) ASignalInterrupts(/*follows=*/false, flags, get_events);
  }
}

TEST(CWait, ASignalInterruptsAFollower) {
  for (const int flags : {0, SA_RESTART}) {
    for (const bool get_events : {false, true}) ASignalInterrupts(/*follows=*/true, flags, get_events);
  }
}

// K9: a signal that is blocked outside of the wait interrupts that wait once, at whatever moment it comes: before the
// wait, between its looks at the ring, or in its sleep.
void TheMaskLosesNoSignal(bool follows) {
  constexpr int kRounds = 1500;
  Prepare(0);
  TestQueue queue;
  {
    std::unique_ptr<Leader> leader;
    if (follows) leader = std::make_unique<Leader>(&queue);
    std::atomic<int> round{0};
    std::atomic<bool> failed{false};
    std::thread waiter([&] {
      sigset_t mask;
      pthread_sigmask(SIG_BLOCK, nullptr, &mask);
      ASSERT_TRUE(sigismember(&mask, SIGUSR1));
      sigdelset(&mask, SIGUSR1);
      for (int i = 1; i <= kRounds && !failed; ++i) {
        round.store(i);
        const int rc = kevent_wait(queue.kfd(), kevent_ring_state(queue.ring()), &kLong, &mask);
        const int error = errno;
        EXPECT_EQ(rc, -1);
        EXPECT_EQ(error, EINTR) << "round " << i << ": " << strerror(error);
        EXPECT_EQ(handled, i);
        if (rc != -1 || error != EINTR || handled != i) failed = true;
      }
      round.store(kRounds + 1);
    });
    uint32_t random = 1;
    for (int i = 1; i <= kRounds && !failed; ++i) {
      while (round.load() < i && !failed) std::this_thread::yield();
      random = random * 1664525u + 1013904223u;
      for (std::atomic<uint32_t> spin{random >> 20}; spin.load() > 0; spin.fetch_sub(1)) {
      }
      pthread_kill(waiter.native_handle(), SIGUSR1);
    }
    waiter.join();
    EXPECT_EQ(handled, kRounds);
  }
}

TEST(CWait, TheMaskLosesNoSignalOfTheLeader) { TheMaskLosesNoSignal(/*follows=*/false); }

TEST(CWait, TheMaskLosesNoSignalOfAFollower) { TheMaskLosesNoSignal(/*follows=*/true); }

// The mask may also block what the thread takes otherwise; the thread's own mask is as before afterwards.
TEST(CWait, TheMaskBlocksForTheTimeOfTheWait) {
  Prepare(0);
  TestQueue queue;
  std::atomic<bool> waits{false};
  std::thread waiter([&] {
    SetBlocked(SIG_UNBLOCK);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    waits = true;
    EXPECT_EQ(kevent_wait(queue.kfd(), kevent_ring_state(queue.ring()), &kLong, &mask), 0);
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, nullptr, &now);
    EXPECT_FALSE(sigismember(&now, SIGUSR1));
  });
  // Once it waits the signal stays pending and the wait goes on.
  while (kevent_ctl(queue.kfd(), KEVENT_CTL_MIN_EVENTS, 1u) == 0) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  pthread_kill(waiter.native_handle(), SIGUSR1);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(handled, 0);
  ASSERT_EQ(queue.Post(1), 0);
  waiter.join();
  EXPECT_EQ(handled, 1) << "and is delivered after it";
}

// --- Threads that end

struct Ending {
  TestQueue* queue;
  bool exits;
  std::atomic<bool> has{false};
};

void* TakeAndEnd(void* argument) {
  auto* ending = static_cast<Ending*>(argument);
  EXPECT_EQ(kevent_wait(ending->queue->kfd(), kevent_ring_state(ending->queue->ring()), nullptr, nullptr), 0);
  ending->has = true;
  if (ending->exits) pthread_exit(nullptr);
  // A cancellation point in which ThreadSanitizer does not lose its account of the thread.
  for (;; sched_yield()) pthread_testcancel();
}

// K10: a thread that was woken for a record and ends without consuming it gives it back, and another one is woken.
void AnEndGivesBack(bool exits) {
  TestQueue queue;
  Ending ending{&queue, exits};
  pthread_t dies;
  ASSERT_EQ(pthread_create(&dies, nullptr, TakeAndEnd, &ending), 0);
  ASSERT_EQ(queue.Post(77), 0);
  while (!ending.has) std::this_thread::yield();
  kevent_event ev;
  if (!exits) {
    EXPECT_EQ(kevent_consume(queue.ring(), &ev), 0) << "the record is the other thread's";
    ASSERT_EQ(pthread_cancel(dies), 0);
  }
  ASSERT_EQ(kevent_wait(queue.kfd(), kevent_ring_state(queue.ring()), &kLong, nullptr) == 0 || errno == EWOULDBLOCK,
            true);
  EXPECT_EQ(queue.Next().cookie, 77u);
  void* result;
  ASSERT_EQ(pthread_join(dies, &result), 0);
  EXPECT_EQ(result, exits ? nullptr : PTHREAD_CANCELED);
}

TEST(CWait, AThreadThatExitsGivesItsRecordBack) { AnEndGivesBack(/*exits=*/true); }

TEST(CWait, AThreadThatIsCancelledGivesItsRecordBack) { AnEndGivesBack(/*exits=*/false); }

// A record given for a queue that is destroyed before the thread ends goes with the queue.
TEST(CWait, ARecordOutlivedByItsThread) {
  std::thread([] {
    for (int i = 0; i < 40; ++i) {
      TestQueue queue(8);
      ASSERT_EQ(queue.Post(1), 0);
      ASSERT_EQ(kevent_wait(queue.kfd(), kevent_ring_state(queue.ring()), nullptr, nullptr), 0);
    }
  }).join();
}

void* WaitForEver(void* argument) {
  auto* queue = static_cast<TestQueue*>(argument);
  kevent_event ev = {};
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  for (;;) {
    const int rc = kevent_get_events(queue->kfd(), &ev, 1, 1, nullptr, (ev.cookie & 1) != 0 ? &mask : nullptr);
    if (rc < 0) return nullptr;
    // It is cancelled in a wait only: what it has taken it passes on.
    if (rc == 1 && kevent_requeue(queue->kfd(), &ev) != 0) ADD_FAILURE() << strerror(errno);
  }
}

// K20: threads are cancelled in their waits, leaders and followers, with and without a mask; nothing hangs, and no
// record is lost.
TEST(CWait, CancelledWaitsLoseNothing) {
  TestQueue queue;
  constexpr uint64_t kRecords = 16;
  for (uint64_t i = 0; i < kRecords; ++i) ASSERT_EQ(queue.Post(i), 0);
  for (int round = 0; round < 60; ++round) {
    pthread_t threads[4];
    for (pthread_t& thread : threads) ASSERT_EQ(pthread_create(&thread, nullptr, WaitForEver, &queue), 0);
    if (round % 3 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    for (const pthread_t thread : threads) ASSERT_EQ(pthread_cancel(thread), 0);
    for (const pthread_t thread : threads) {
      void* result;
      ASSERT_EQ(pthread_join(thread, &result), 0);
      EXPECT_EQ(result, PTHREAD_CANCELED);
    }
  }
  std::multiset<uint64_t> cookies;
  for (uint64_t i = 0; i < kRecords; ++i) cookies.insert(queue.Next().cookie);
  for (uint64_t i = 0; i < kRecords; ++i) EXPECT_EQ(cookies.count(i), 1u) << i;
  kevent_event ev;
  EXPECT_EQ(kevent_consume(queue.ring(), &ev), 0);
}

// Calls that are no cancellation points leave a pending cancellation alone, and do their work.
void* CallWithACancelPending(void* argument) {
  auto* queue = static_cast<TestQueue*>(argument);
  pthread_cancel(pthread_self());
  TestQueue own(8);
  kevent_event ev = Request(KEVENT_EVENT_SIGNAL, SIGUSR2, 1, 0, KEVENT_MULTI);
  EXPECT_EQ(kevent_submit(own.kfd(), &ev, KEVENT_WAIT, nullptr), 0);
  EXPECT_EQ(kevent_cancel(own.kfd(), ev.payload), 0);
  EXPECT_EQ(own.Post(2), 0);
  int n = 0;
  while (n < 2) n += kevent_consume(own.ring(), &ev);
  EXPECT_EQ(kevent_requeue(own.kfd(), &ev), 0);
  own.Destroy();
  EXPECT_EQ(queue->Post(3), 0);
  // Here it ends, though a record is there or not: at the wait that sleeps.
  const unsigned state = kevent_ring_state(queue->ring());
  while (kevent_consume(queue->ring(), &ev) == 1) {
  }
  kevent_wait(queue->kfd(), state, nullptr, nullptr);
  return nullptr;
}

TEST(CWait, OnlyWaitsAreCancellationPoints) {
  TestQueue queue;
  pthread_t thread;
  ASSERT_EQ(pthread_create(&thread, nullptr, CallWithACancelPending, &queue), 0);
  void* result;
  ASSERT_EQ(pthread_join(thread, &result), 0);
  EXPECT_EQ(result, PTHREAD_CANCELED);
  ASSERT_EQ(queue.Post(4), 0);
  EXPECT_EQ(queue.Next().cookie, 4u) << "the queue works on";
}

}  // namespace
}  // namespace evring::kevent
