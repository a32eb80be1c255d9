// ring_rescue_test.cc: CopyOut() from a signal handler, while the owner of the ring computes: its completions become
// visible to another thread, in order, and only what was sealed is submitted.
//
// The handler stands for the one of the runtime: it acts only while `may_act` is set, as that one does only in a task.

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "kevent/features.h"
#include "kevent/ring.h"
#include "kevent/sanitizer.h"
#include "tests/kevent/test_ring.h"

namespace evring::kevent {
namespace {

constexpr unsigned kOutMax = 64;

// What the handler reads and writes. `copied` is stored with release: who sees it sees `out`.
struct {
  std::atomic<Ring*> ring{nullptr};
  std::atomic<bool> may_act{false};
  unsigned max = kOutMax;
  RawCompletion out[kOutMax];
  std::atomic<unsigned> copied{0};
  std::atomic<int> runs{0};
} rescue;

void OnSignal(int) {
  const int saved_errno = errno;
  Ring* const ring = rescue.ring.load(std::memory_order_relaxed);
  if (ring != nullptr && rescue.may_act.load(std::memory_order_relaxed) &&
      rescue.copied.load(std::memory_order_acquire) == 0) {
    rescue.copied.store(ring->CopyOut(rescue.out, rescue.max), std::memory_order_release);
    rescue.runs.fetch_add(1);
  }
  errno = saved_errno;
}

class RingRescue : public testing::Test {
 protected:
  void SetUp() override {
    rescue.max = kOutMax;
    rescue.copied = 0;
    rescue.runs = 0;
    struct sigaction action = {};
    action.sa_handler = &OnSignal;
    action.sa_flags = SA_RESTART;
    sigfillset(&action.sa_mask);
    sigaction(SIGURG, &action, &old_);
  }
  void TearDown() override {
    rescue.may_act = false;
    rescue.ring = nullptr;
    sigaction(SIGURG, &old_, nullptr);
  }
  void Attach(Ring* ring) {
    rescue.ring = ring;
    rescue.may_act = true;
  }
  // The handler runs now, on this thread, in the middle of whatever it does.
  std::vector<RawCompletion> Interrupt() {
    rescue.copied = 0;
    raise(SIGURG);
    return std::vector<RawCompletion>(rescue.out, rescue.out + rescue.copied.exchange(0));
  }

 private:
  struct sigaction old_;
};

// What another thread does with copied completions.
int64_t DispatchAll(const std::vector<RawCompletion>& completions) {
  int64_t ended = 0;
  for (const RawCompletion& completion : completions) {
    ended += Ring::Dispatch(completion, [](Kevent* kevent, const Event& event) { kevent->Deliver(event); });
  }
  return ended;
}

TEST_F(RingRescue, ShowsTheCompletionsOfAnOwnerThatComputes) {
  const auto ring = MakeRing();
  Pipe pipe;
  TestKevent poll(EventType::kPoll, pipe.reader(), 77);
  poll.StartPoll(ring.get());
  ring->Enter();
  ring->Seal();
  Attach(ring.get());
  const pthread_t owner = pthread_self();
  const int64_t end = NowNs() + 20'000 * kMs;
  std::atomic<bool> taken{false};
  std::thread other([&] {
    pipe.Write();
    pthread_kill(owner, SIGURG);
    while (rescue.copied.load(std::memory_order_acquire) == 0 && NowNs() < end) std::this_thread::yield();
    EXPECT_EQ(DispatchAll({rescue.out, rescue.out + rescue.copied}), 1);
    taken.store(true, std::memory_order_release);
  });
  // Computes: neither enters the ring nor looks at it.
  uint64_t sum = 0;
  while (!taken.load(std::memory_order_acquire)) {
    ++sum;
#ifdef EVRING_TSAN
    usleep(1);  // ThreadSanitizer holds a signal back until the next call that it knows
#endif
  }
  other.join();
  rescue.may_act = false;
  EXPECT_GT(sum, 0u);
  ring->ForgetInFlight(1);
  EXPECT_EQ(ring->in_flight(), 0);
  EXPECT_EQ(ring->ready(), 0u) << "its slot was given back";
  ASSERT_EQ(poll.events().size(), 1u);
  EXPECT_EQ(poll.events()[0].cookie, 77u);
  EXPECT_EQ(poll.events()[0].result, POLLIN);
}

// One enter runs no more than about twenty of what the kernel has deferred.
TEST_F(RingRescue, OneRunShowsAllThatHasArrived) {
  const auto ring = MakeRing();
  Pipe pipe;
  std::vector<std::unique_ptr<TestKevent>> polls;
  for (unsigned i = 0; i < kOutMax - 1; ++i) {
    polls.push_back(std::make_unique<TestKevent>(EventType::kPoll, pipe.reader()));
    polls.back()->StartPoll(ring.get());
  }
  ring->Enter();
  ring->Seal();
  Attach(ring.get());
  pipe.Write();
  const std::vector<RawCompletion> copied = Interrupt();
  EXPECT_EQ(copied.size(), polls.size());
  ring->ForgetInFlight(DispatchAll(copied));
  rescue.may_act = false;
  Drain(ring.get());
}

TEST_F(RingRescue, SubmitsWhatWasSealedAndNothingElse) {
  const auto ring = MakeRing();
  TestKevent sealed_one, sealed_two, open;
  sealed_one.StartNop(ring.get());
  sealed_two.StartNop(ring.get());
  ring->Seal();
  // Half written: a handler that submitted it would hand the kernel whatever stood there before.
  io_uring_sqe* half = ring->GetSqe();
  ASSERT_NE(half, nullptr);
  half->opcode = 0xff;
  half->user_data = 0x1234'5678;
  Attach(ring.get());
  const std::vector<RawCompletion> copied = Interrupt();
  ASSERT_EQ(copied.size(), 2u);
  EXPECT_EQ(copied[0].user_data, sealed_one.number());
  EXPECT_EQ(copied[1].user_data, sealed_two.number());
  ring->ForgetInFlight(DispatchAll(copied));
  EXPECT_EQ(Interrupt().size(), 0u) << "the open one is not submitted by a second run either";

  rescue.may_act = false;
  io_uring_prep_nop(half);
  ring->Start(&open, half);
  Drain(ring.get());
  EXPECT_EQ(open.result(), 0);
  EXPECT_EQ(ring->counters().submitted, 3u);
}

TEST_F(RingRescue, NothingSealedNothingSubmitted) {
  const auto ring = MakeRing();
  TestKevent nop;
  nop.StartNop(ring.get());
  Attach(ring.get());
  EXPECT_EQ(Interrupt().size(), 0u);
  rescue.may_act = false;
  Drain(ring.get());
  EXPECT_EQ(nop.result(), 0);
}

// After a submit of the owner's own, its mark is behind: the handler must not move the tail back.
TEST_F(RingRescue, AnOldMarkDoesNoHarm) {
  const auto ring = MakeRing();
  ring->Seal();
  TestKevent first, second;
  first.StartNop(ring.get());
  ring->Enter();
  second.StartNop(ring.get());
  Attach(ring.get());
  const std::vector<RawCompletion> copied = Interrupt();
  ASSERT_EQ(copied.size(), 1u);
  EXPECT_EQ(copied[0].user_data, first.number());
  ring->ForgetInFlight(DispatchAll(copied));
  rescue.may_act = false;
  Drain(ring.get());
  EXPECT_EQ(second.result(), 0);
}

// What the handler has submitted is not submitted again, nor asked for: the next wait submits and waits as ever.
TEST_F(RingRescue, AWaitAfterwardsSubmitsAndWaits) {
  const auto ring = MakeRing();
  TestKevent rescued[3];
  for (TestKevent& nop : rescued) nop.StartNop(ring.get());
  ring->Seal();
  Attach(ring.get());
  ring->ForgetInFlight(DispatchAll(Interrupt()));
  rescue.may_act = false;
  for (TestKevent& nop : rescued) EXPECT_EQ(nop.result(), 0);

  Pipe pipe;
  TestKevent next(EventType::kPoll, pipe.reader());
  next.StartPoll(ring.get());
  WaitArgs briefly;
  briefly.deadline_ns = NowNs() + 2 * kMs;
  EXPECT_EQ(ring->Wait(ring->state(), briefly), WaitResult::kDeadline) << "it has waited";
  EXPECT_EQ(ring->counters().submitted, 4u);
  EXPECT_EQ(ring->unsubmitted(), 0u);
  pipe.Write();
  EXPECT_EQ(ring->Wait(ring->state(), Patiently()), WaitResult::kEvents);
  ConsumeAll(ring.get());
  EXPECT_EQ(next.result(), POLLIN);
}

TEST_F(RingRescue, CopiesAtMostWhatThereIsRoomForAndTheRestStaysInOrder) {
  const auto ring = MakeRing();
  std::vector<std::unique_ptr<TestKevent>> nops;
  for (uint64_t i = 0; i < 10; ++i) {
    nops.push_back(std::make_unique<TestKevent>(EventType::kNop, -1, i));
    nops.back()->StartNop(ring.get());
  }
  ring->Seal();
  Attach(ring.get());
  rescue.max = 4;
  std::vector<uint64_t> order;
  for (int round = 0; round < 2; ++round) {
    const std::vector<RawCompletion> copied = Interrupt();
    EXPECT_EQ(copied.size(), 4u);
    for (const RawCompletion& completion : copied) order.push_back(completion.user_data);
    ring->ForgetInFlight(DispatchAll(copied));
  }
  rescue.may_act = false;
  ring->Consume(100, [&order](Kevent* kevent, const Event& event) {
    order.push_back(event.payload);
    kevent->Deliver(event);
  });
  ASSERT_EQ(order.size(), 10u);
  for (size_t i = 0; i < 10; ++i) EXPECT_EQ(order[i], nops[i]->number());
  EXPECT_EQ(ring->in_flight(), 0);
}

TEST_F(RingRescue, BringsInWhatOverflowed) {
  const auto ring = MakeRing(Sizes(64, 64));
  std::vector<std::unique_ptr<TestKevent>> nops;
  for (int i = 0; i < 200; ++i) {
    nops.push_back(std::make_unique<TestKevent>());
    nops.back()->StartNop(ring.get());
  }
  ring->Enter();
  ring->Seal();
  Attach(ring.get());
  int rounds = 0;
  while (ring->in_flight() != 0 && ++rounds < 20) ring->ForgetInFlight(DispatchAll(Interrupt()));
  EXPECT_EQ(ring->in_flight(), 0);
  for (const auto& nop : nops) EXPECT_EQ(nop->result(), 0);
}

// Wakes and the answers of cancels are no completions of handles: they are used up, and what stands behind them comes
// out.
TEST_F(RingRescue, WhatIsNoHandlesIsUsedUp) {
  for (const bool messages : {true, false}) {
    RingOptions options;
    if (!messages) options.allowed = Features::All().Without(Feature::kSyncMessage);
    const auto ring = MakeRing(options);
    ring->Enter();
    Pipe pipe;
    TestKevent poll(EventType::kPoll, pipe.reader());
    TestKevent nop;
    poll.StartPoll(ring.get());
    ring->Enter();
    ring->Wake();
    poll.Cancel(ring.get());
    nop.StartNop(ring.get());
    ring->Seal();
    Attach(ring.get());
    const std::vector<RawCompletion> copied = Interrupt();
    EXPECT_EQ(copied.size(), 2u) << "the cancelled request and the nop";
    ring->ForgetInFlight(DispatchAll(copied));
    rescue.may_act = false;
    EXPECT_EQ(poll.result(), -ECANCELED);
    EXPECT_EQ(nop.result(), 0);
    EXPECT_EQ(ring->ready(), 0u);

    // A wake that comes later finds its way: the eventfd was armed again.
    WaitArgs briefly;
    briefly.deadline_ns = NowNs() + kMs;
    EXPECT_EQ(ring->Wait(ring->state(), briefly), WaitResult::kDeadline);
    std::thread waker([&ring] {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      ring->Wake();
    });
    EXPECT_EQ(ring->Wait(ring->state(), Patiently()), WaitResult::kEvents);
    waker.join();
    ConsumeAll(ring.get());
  }
}

// A thread interrupts the owner at any moment that it may, while the owner prepares, seals, submits and consumes as the
// runtime's loop does; its tasks fill the submission ring at times, so that it enters in their middle. Every nop
// completes once, and with the copied completions delivered before those in the ring, the order is that of submission.
TEST_F(RingRescue, AtAnyMomentNothingIsLostRepeatedOrOutOfOrder) {
  constexpr uint64_t kRequestsMin = 20'000;
  constexpr int kRunsMin = 200;
  const auto ring = MakeRing(Sizes(8, 64));
  std::vector<std::unique_ptr<TestKevent>> nops;
  std::vector<uint64_t> order;
  const auto collect = [&order](Kevent* kevent, const Event& event) {
    order.push_back(event.cookie);
    kevent->Deliver(event);
  };
  rescue.ring = ring.get();
  const pthread_t owner = pthread_self();
  std::atomic<bool> done{false};
  std::thread interrupter([&] {
    while (!done) {
      pthread_kill(owner, SIGURG);
      std::this_thread::yield();
    }
  });
  const int64_t end = NowNs() + 30'000 * kMs;
  const auto enough = [&] { return (nops.size() >= kRequestsMin && rescue.runs.load() >= kRunsMin) || NowNs() > end; };
  while (!enough() || ring->in_flight() != 0) {
    // A task.
    ring->Seal();
    rescue.may_act.store(true, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    const uint64_t requests = enough() ? 0 : nops.size() % 12 + 1;
    for (uint64_t i = 0; i < requests; ++i) {
      nops.push_back(std::make_unique<TestKevent>(EventType::kNop, -1, nops.size()));
      nops.back()->StartNop(ring.get());
    }
    std::atomic_signal_fence(std::memory_order_seq_cst);
    rescue.may_act.store(false, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    // The loop: what was copied comes first.
    int64_t ended = 0;
    for (unsigned i = 0; i < rescue.copied.load(std::memory_order_acquire); ++i) {
      ended += Ring::Dispatch(rescue.out[i], collect);
    }
    rescue.copied = 0;
    ring->ForgetInFlight(ended);
    if (ring->NeedsEnter()) ring->Enter();
    ring->Consume(16, collect);
  }
  done = true;
  interrupter.join();
  EXPECT_GT(rescue.runs, 0) << "no signal fell into a task: nothing was tested";
  ASSERT_EQ(order.size(), nops.size());
  for (uint64_t i = 0; i < order.size(); ++i) ASSERT_EQ(order[i], i);
  for (const auto& nop : nops) ASSERT_EQ(nop->events().size(), 1u);
}

}  // namespace
}  // namespace evring::kevent
