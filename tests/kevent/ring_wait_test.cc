// ring_wait_test.cc: what ends a wait: a ring state that has moved, a completion, the deadline, a signal, a kernel
// without memory. Deadlines and signals are met in every combination of features that serves them.

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <thread>

#include "gtest/gtest.h"
#include "kevent/features.h"
#include "kevent/ring.h"
#include "tests/kevent/scripted_kernel.h"
#include "tests/kevent/test_ring.h"

namespace evring::kevent {
namespace {

RingOptions With(Features allowed) {
  RingOptions options;
  options.allowed = allowed;
  return options;
}

WaitArgs Until(int64_t deadline_ns) {
  WaitArgs wait;
  wait.deadline_ns = deadline_ns;
  return wait;
}

// Each feature that a wait depends on, present and masked.
class RingWait : public testing::TestWithParam<Features> {
 protected:
  RingWait() : ring_(MakeRing(With(GetParam()))) {}
  const std::unique_ptr<Ring> ring_;
};

INSTANTIATE_TEST_SUITE_P(Features, RingWait,
                         testing::Values(Features::All(), Features(), Features::All().Without(Feature::kAbsoluteTimer),
                                         Features::All().Without(Feature::kRegisteredRing),
                                         Features::All().Without(Feature::kNoIowait),
                                         Features::All().Without(Feature::kSyncMessage)),
                         [](const auto& info) { return "mask" + std::to_string(info.index); });

TEST_P(RingWait, UsesOnlyWhatIsAllowed) { EXPECT_EQ(ring_->features() & GetParam(), ring_->features()); }

TEST_P(RingWait, ReturnsAtOnceIfTheStateHasMoved) {
  const uint32_t seen = ring_->state();
  TestKevent nop;
  nop.StartNop(ring_.get());
  ring_->Enter();
  EXPECT_NE(ring_->state(), seen);
  const uint64_t enters = ring_->counters().enters;
  ASSERT_EQ(ring_->Wait(seen, Patiently()), WaitResult::kStateMoved);
  EXPECT_EQ(ring_->counters().enters, enters) << "no system call";
  ConsumeAll(ring_.get());
  // Consumed or not: it has moved since.
  EXPECT_EQ(ring_->Wait(seen, Patiently()), WaitResult::kStateMoved);
}

TEST_P(RingWait, ReturnsAtOnceIfRecordsAreLeft) {
  TestKevent nop;
  nop.StartNop(ring_.get());
  ring_->Enter();
  EXPECT_EQ(ring_->Wait(ring_->state(), WaitArgs()), WaitResult::kEvents);
  ConsumeAll(ring_.get());
}

TEST_P(RingWait, SubmitsAndReturnsWithTheCompletion) {
  TestKevent nop;
  nop.StartNop(ring_.get());
  EXPECT_EQ(ring_->Wait(ring_->state(), WaitArgs()), WaitResult::kEvents);
  ConsumeAll(ring_.get());
  EXPECT_EQ(nop.result(), 0);
}

TEST_P(RingWait, SleepsUntilACompletionArrives) {
  Pipe pipe;
  TestKevent poll(EventType::kPoll, pipe.reader());
  poll.StartPoll(ring_.get());
  std::thread writer([&pipe] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    pipe.Write();
  });
  EXPECT_EQ(ring_->Wait(ring_->state(), Patiently()), WaitResult::kEvents);
  writer.join();
  ConsumeAll(ring_.get());
  EXPECT_EQ(poll.result(), POLLIN);
}

// --- The deadline
// --------------------------------------------------------------------------------------------------------

TEST_P(RingWait, TheDeadlineIsAbsoluteAndNeverEarly) {
  for (const int64_t distance : {int64_t{1}, int64_t{100'000}, 3 * kMs}) {
    const int64_t deadline = NowNs() + distance;
    EXPECT_EQ(ring_->Wait(ring_->state(), Until(deadline)), WaitResult::kDeadline);
    EXPECT_GE(NowNs(), deadline);
  }
}

TEST_P(RingWait, ADeadlineThatHasPassedDoesNotSleep) {
  for (const int64_t deadline :
       {NowNs(), NowNs() - 1, int64_t{1}, int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::min()}) {
    EXPECT_EQ(ring_->Wait(ring_->state(), Until(deadline)), WaitResult::kDeadline) << deadline;
  }
}

TEST_P(RingWait, ADeadlineFarAwayDoesNotEndTheWait) {
  // The largest that is a deadline: 292 years.
  TestKevent nop;
  nop.StartNop(ring_.get());
  EXPECT_EQ(ring_->Wait(ring_->state(), Until(kNoDeadline - 1)), WaitResult::kEvents);
  ConsumeAll(ring_.get());

  Pipe pipe;
  TestKevent poll(EventType::kPoll, pipe.reader());
  poll.StartPoll(ring_.get());
  std::thread writer([&pipe] {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    pipe.Write();
  });
  EXPECT_EQ(ring_->Wait(ring_->state(), Until(kNoDeadline - 1)), WaitResult::kEvents);
  writer.join();
  ConsumeAll(ring_.get());
}

// The kernel then reports the submit, not the time; the clock tells.
TEST_P(RingWait, TheDeadlineIsSeenThoughTheSameCallSubmitted) {
  Pipe pipe;
  TestKevent poll(EventType::kPoll, pipe.reader());
  poll.StartPoll(ring_.get());
  const int64_t deadline = NowNs() + 2 * kMs;
  EXPECT_EQ(ring_->Wait(ring_->state(), Until(deadline)), WaitResult::kDeadline);
  EXPECT_GE(NowNs(), deadline);
  EXPECT_EQ(ring_->unsubmitted(), 0u);
  poll.Cancel(ring_.get());
  Drain(ring_.get());
  EXPECT_EQ(poll.result(), -ECANCELED);
}

TEST_P(RingWait, ACompletionGoesBeforeADeadlineThatHasPassed) {
  TestKevent nop;
  nop.StartNop(ring_.get());
  EXPECT_EQ(ring_->Wait(ring_->state(), Until(0)), WaitResult::kEvents);
  ConsumeAll(ring_.get());
}

// --- Signals
// -------------------------------------------------------------------------------------------------------------

std::atomic<int> handled{0};

// Blocks SIGUSR1 in this thread and counts the times that it is handled.
class BlockedSignal {
 public:
  BlockedSignal() {
    handled = 0;
    struct sigaction action = {};
    action.sa_handler = [](int) { handled.fetch_add(1); };
    sigaction(SIGUSR1, &action, &old_action_);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, &old_mask_);
    open_ = old_mask_;
    sigdelset(&open_, SIGUSR1);
  }
  ~BlockedSignal() {
    sigaction(SIGUSR1, &old_action_, nullptr);
    pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
  }
  BlockedSignal(const BlockedSignal&) = delete;
  BlockedSignal& operator=(const BlockedSignal&) = delete;

  // The thread's mask without the signal.
  const sigset_t* open() const { return &open_; }
  bool IsBlocked() const {
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, nullptr, &now);
    return sigismember(&now, SIGUSR1) == 1;
  }

 private:
  struct sigaction old_action_;
  sigset_t old_mask_;
  sigset_t open_;
};

TEST_P(RingWait, APendingSignalThatTheMaskLetsThroughInterrupts) {
  const BlockedSignal signal;
  raise(SIGUSR1);
  EXPECT_EQ(handled, 0);
  WaitArgs wait = Patiently();
  wait.sigmask = signal.open();
  ASSERT_EQ(ring_->Wait(ring_->state(), wait), WaitResult::kInterrupted);
  EXPECT_EQ(handled, 1) << "its handler has run";
  EXPECT_TRUE(signal.IsBlocked()) << "the mask held for the wait only";

  // Without a deadline too.
  raise(SIGUSR1);
  wait.deadline_ns = kNoDeadline;
  EXPECT_EQ(ring_->Wait(ring_->state(), wait), WaitResult::kInterrupted);
  EXPECT_EQ(handled, 2);
}

TEST_P(RingWait, APendingSignalThatStaysBlockedDoesNotInterrupt) {
  const BlockedSignal signal;
  raise(SIGUSR1);
  EXPECT_EQ(ring_->Wait(ring_->state(), Until(NowNs() + 2 * kMs)), WaitResult::kDeadline);
  EXPECT_EQ(handled, 0);
  // Let it out before the guard puts the default action back.
  pthread_sigmask(SIG_SETMASK, signal.open(), nullptr);
  EXPECT_EQ(handled, 1);
}

// The kernel then reports the submit, not the signal.
TEST_P(RingWait, ASignalIsSeenThoughTheSameCallSubmitted) {
  const BlockedSignal signal;
  Pipe pipe;
  TestKevent poll(EventType::kPoll, pipe.reader());
  poll.StartPoll(ring_.get());
  raise(SIGUSR1);
  WaitArgs wait = Patiently();
  wait.sigmask = signal.open();
  EXPECT_EQ(ring_->Wait(ring_->state(), wait), WaitResult::kInterrupted);
  EXPECT_EQ(handled, 1);
  EXPECT_EQ(ring_->unsubmitted(), 0u);
  poll.Cancel(ring_.get());
  Drain(ring_.get());
}

TEST_P(RingWait, ASignalFromAnotherThreadEndsASleep) {
  const BlockedSignal signal;
  const pthread_t waiter = pthread_self();
  std::atomic<bool> done{false};
  // Sent again and again: one that came before the sleep stays pending, since the signal is blocked outside it.
  std::thread sender([&] {
    while (!done) {
      pthread_kill(waiter, SIGUSR1);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  WaitArgs wait = Patiently();
  wait.sigmask = signal.open();
  for (int i = 0; i < 20; ++i) {
    const int before = handled;
    const WaitResult result = ring_->Wait(ring_->state(), wait);
    EXPECT_EQ(result, WaitResult::kInterrupted);
    EXPECT_GT(handled, before);
    if (result != WaitResult::kInterrupted) break;
  }
  done = true;
  sender.join();
  pthread_sigmask(SIG_SETMASK, signal.open(), nullptr);
}

TEST_P(RingWait, ACompletionGoesBeforeASignal) {
  const BlockedSignal signal;
  TestKevent nop;
  nop.StartNop(ring_.get());
  raise(SIGUSR1);
  WaitArgs wait;
  wait.sigmask = signal.open();
  EXPECT_EQ(ring_->Wait(ring_->state(), wait), WaitResult::kEvents);
  ConsumeAll(ring_.get());
  pthread_sigmask(SIG_SETMASK, signal.open(), nullptr);
  EXPECT_EQ(handled, 1);
}

// --- A kernel without memory
// ---------------------------------------------------------------------------------------------

class RingWaitRefused : public testing::TestWithParam<int> {};

TEST_P(RingWaitRefused, SaysSoAndKeepsTheRequests) {
  ScriptedKernel kernel;
  const auto ring = MakeRing(RingOptions(), &kernel);
  TestKevent nop;
  nop.StartNop(ring.get());
  kernel.FailEnter(GetParam());
  EXPECT_EQ(ring->Wait(ring->state(), Patiently()), WaitResult::kNoMemory);
  EXPECT_EQ(ring->unsubmitted(), 1u);
  EXPECT_EQ(ring->Wait(ring->state(), Patiently()), WaitResult::kEvents);
  ConsumeAll(ring.get());
  EXPECT_EQ(nop.result(), 0);
}

// Without messages, a wake needs a read on an eventfd. Where that cannot be armed the ring does not sleep.
TEST_P(RingWaitRefused, DoesNotSleepWhereNoWakeCouldArrive) {
  ScriptedKernel kernel;
  RingOptions options = Sizes(1, 8);
  options.allowed = Features::All().Without(Feature::kSyncMessage);
  const auto ring = MakeRing(options, &kernel);
  ring->Enter();  // the read that was armed when the ring was made
  ring->Wake();
  ring->Enter();
  ASSERT_EQ(ring->ready(), 1u) << "the read has ended and has to be armed again";
  TestKevent nop;
  nop.StartNop(ring.get());  // takes the only entry
  kernel.FailEnter(GetParam());
  ConsumeAll(ring.get());
  EXPECT_EQ(ring->counters().wakes_received, 1u);
  ASSERT_TRUE(kernel.script_done()) << "arming was tried";
  kernel.FailEnter(GetParam());
  const uint64_t enters = ring->counters().enters;
  EXPECT_EQ(ring->Wait(ring->state(), WaitArgs()), WaitResult::kNoMemory);
  EXPECT_EQ(ring->counters().enters, enters + 1) << "tried again, and did not sleep";
  // With memory it works again.
  EXPECT_EQ(ring->Wait(ring->state(), Patiently()), WaitResult::kStateMoved) << "making room has run the nop";
  Drain(ring.get());
  ring->Wake();
  EXPECT_EQ(ring->Wait(ring->state(), Patiently()), WaitResult::kEvents);
  ConsumeAll(ring.get());
  EXPECT_EQ(ring->counters().wakes_received, 2u);
}

INSTANTIATE_TEST_SUITE_P(EachRefusal, RingWaitRefused, testing::Values(-EAGAIN, -ENOMEM, -EBUSY));

}  // namespace
}  // namespace evring::kevent
