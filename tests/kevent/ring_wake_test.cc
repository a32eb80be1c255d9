// ring_wake_test.cc: a wake from another thread arrives, however it falls between the steps of a wait; with messages
// and with the eventfd that stands in for them.

#include <dirent.h>
#include <errno.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "kevent/features.h"
#include "kevent/ring.h"
#include "tests/kevent/scripted_kernel.h"
#include "tests/kevent/test_ring.h"

namespace evring::kevent {
namespace {

// True: by messages, as the kernel has them. False: by the eventfd.
class RingWake : public testing::TestWithParam<bool> {
 protected:
  static RingOptions Options(RingOptions options = RingOptions()) {
    if (!GetParam()) options.allowed = Features::All().Without(Feature::kSyncMessage);
    return options;
  }
  void SetUp() override {
    if (GetParam() && !MakeRing()->features().has(Feature::kSyncMessage)) {
      GTEST_SKIP() << "this kernel has no messages from outside a ring (6.13)";
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Means, RingWake, testing::Bool(),
                         [](const auto& info) { return info.param ? "Message" : "EventFd"; });

TEST_P(RingWake, BeforeTheWaitIsNotLost) {
  const auto ring = MakeRing(Options());
  std::thread([&ring] { ring->Wake(); }).join();
  EXPECT_EQ(ring->Wait(ring->state(), Patiently()), WaitResult::kEvents);
  ConsumeAll(ring.get());
  EXPECT_EQ(ring->counters().wakes_received, 1u);
  EXPECT_EQ(ring->in_flight(), 0) << "a wake is nobody's request";
}

TEST_P(RingWake, EndsASleep) {
  const auto ring = MakeRing(Options());
  for (uint64_t i = 1; i <= 5; ++i) {
    std::thread waker([&ring] {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      ring->Wake();
    });
    EXPECT_EQ(ring->Wait(ring->state(), Patiently()), WaitResult::kEvents);
    waker.join();
    ConsumeAll(ring.get());
    EXPECT_EQ(ring->counters().wakes_received, i);
  }
}

TEST_P(RingWake, OfAThreadByItselfWorksToo) {
  const auto ring = MakeRing(Options());
  ring->Wake();
  EXPECT_EQ(ring->Wait(ring->state(), Patiently()), WaitResult::kEvents);
  ConsumeAll(ring.get());
}

TEST_P(RingWake, IsUsedUpByOneWait) {
  const auto ring = MakeRing(Options());
  ring->Wake();
  EXPECT_EQ(ring->Wait(ring->state(), Patiently()), WaitResult::kEvents);
  ConsumeAll(ring.get());
  WaitArgs briefly;
  briefly.deadline_ns = NowNs() + kMs;
  EXPECT_EQ(ring->Wait(ring->state(), briefly), WaitResult::kDeadline);
}

TEST_P(RingWake, ComesAmongRecordsWithoutDisturbingThem) {
  const auto ring = MakeRing(Options());
  std::vector<std::unique_ptr<TestKevent>> nops;
  for (int i = 0; i < 20; ++i) {
    nops.push_back(std::make_unique<TestKevent>());
    nops.back()->StartNop(ring.get());
    if (i % 3 == 0) ring->Wake();
    if (i % 5 == 0) ring->Enter();
  }
  Drain(ring.get());
  for (const auto& nop : nops) EXPECT_EQ(nop->result(), 0);
  EXPECT_GE(ring->counters().wakes_received, 1u);
}

// Two threads wake each other in turn, and each sleeps only while it has not been asked for. With a wake lost, both
// would sleep: the wait's own end would show it.
TEST_P(RingWake, TwoThreadsInTurnLoseNone) {
  constexpr int kRounds = 20'000;
  struct Side {
    std::atomic<Ring*> ring{nullptr};
    std::atomic<int> asked{0};
  };
  Side sides[2];
  std::atomic<int> stuck{0};
  const RingOptions options = Options();
  const auto run = [&](int self) {
    const auto ring = MakeRing(options);
    sides[self].ring = ring.get();
    while (sides[1 - self].ring == nullptr) std::this_thread::yield();
    Ring* const other = sides[1 - self].ring;
    int served = 0;
    if (self == 0) {
      sides[1].asked.fetch_add(1);
      other->Wake();
    }
    while (served < kRounds) {
      const uint32_t seen = ring->state();
      // Looks, then sleeps: a wake between the two is stored.
      if (sides[self].asked.load() == served) {
        if (ring->Wait(seen, Patiently()) == WaitResult::kDeadline) {
          ++stuck;
          sides[self].ring = nullptr;
          return;
        }
        ConsumeAll(ring.get());
        continue;
      }
      ++served;
      if (self == 1 || served < kRounds) {
        sides[1 - self].asked.fetch_add(1);
        other->Wake();
      }
    }
    // The other may still be about to wake us: it does so before it has served all.
    sides[self].ring = nullptr;
    while (sides[1 - self].ring != nullptr) std::this_thread::yield();
    ConsumeAll(ring.get());
  };
  std::thread first(run, 0);
  std::thread second(run, 1);
  first.join();
  second.join();
  EXPECT_EQ(stuck, 0);
}

TEST_P(RingWake, ManyThreadsAtOnce) {
  const auto ring = MakeRing(Options());
  constexpr int kThreads = 4;
  constexpr int kWakes = 2'000;
  std::atomic<int> sent{0};
  std::vector<std::thread> wakers;
  for (int t = 0; t < kThreads; ++t) {
    wakers.emplace_back([&] {
      for (int i = 0; i < kWakes; ++i) {
        sent.fetch_add(1);
        ring->Wake();
      }
    });
  }
  int seen = 0;
  while (seen < kThreads * kWakes) {
    const uint32_t state = ring->state();
    seen = sent.load();
    if (seen == kThreads * kWakes) break;
    // What was sent after the look has a wake behind it.
    ASSERT_NE(ring->Wait(state, Patiently()), WaitResult::kDeadline);
    ConsumeAll(ring.get());
  }
  for (std::thread& waker : wakers) waker.join();
  while (ring->NeedsEnter() || ring->ready() != 0) {
    ring->Enter();
    ConsumeAll(ring.get());
  }
  if (GetParam()) {
    EXPECT_EQ(ring->counters().wakes_received, uint64_t{kThreads} * kWakes) << "each is a record";
  } else {
    EXPECT_GE(ring->counters().wakes_received, 1u);
  }
}

// More wakes than the completion ring holds: the kernel keeps them, and all are counted.
TEST_P(RingWake, AFloodOverflowsInOrder) {
  const auto ring = MakeRing(Options(Sizes(4, 4)));
  for (int i = 0; i < 500; ++i) ring->Wake();
  TestKevent nop;
  nop.StartNop(ring.get());
  Drain(ring.get());
  while (ring->NeedsEnter() || ring->ready() != 0) {
    ring->Enter();
    ConsumeAll(ring.get());
  }
  EXPECT_EQ(nop.result(), 0);
  EXPECT_EQ(ring->counters().wakes_received, GetParam() ? 500u : 1u) << "an eventfd adds them up";
}

// --- The end
// -------------------------------------------------------------------------------------------------------------

int OpenDescriptors() {
  int count = 0;
  DIR* folder = opendir("/proc/self/fd");
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

TEST_P(RingWake, ARingClosesWhateverItsWakesStandAt) {
  const int before = OpenDescriptors();
  {
    const auto fresh = MakeRing(Options());
  }
  {
    const auto submitted = MakeRing(Options());
    submitted->Enter();
  }
  {
    const auto woken = MakeRing(Options());
    woken->Wake();
  }
  {
    const auto woken_and_visible = MakeRing(Options());
    woken_and_visible->Enter();
    woken_and_visible->Wake();
    woken_and_visible->Enter();
  }
  {
    const auto used = MakeRing(Options());
    used->Wake();
    used->Wait(used->state(), Patiently());
    ConsumeAll(used.get());
  }
  EXPECT_EQ(OpenDescriptors(), before);
}

// --- A kernel that refuses a message
// -------------------------------------------------------------------------------------

TEST(RingWakeRefused, IsRepeatedUntilItIsTaken) {
  ScriptedKernel kernel;
  const auto ring = MakeRing(RingOptions(), &kernel);
  if (!ring->features().has(Feature::kSyncMessage)) GTEST_SKIP() << "this kernel has no messages (6.13)";
  kernel.FailMessage(-ENOMEM, 3);
  kernel.FailMessage(-EAGAIN, 3);
  kernel.FailMessage(-EINTR, 3);
  ring->Wake();
  EXPECT_EQ(kernel.messages(), 10);
  EXPECT_EQ(ring->Wait(ring->state(), Patiently()), WaitResult::kEvents);
  ConsumeAll(ring.get());
  EXPECT_EQ(ring->counters().wakes_received, 1u);
}

TEST(RingWakeRefused, AFullTargetNeedsNone) {
  ScriptedKernel kernel;
  const auto ring = MakeRing(RingOptions(), &kernel);
  if (!ring->features().has(Feature::kSyncMessage)) GTEST_SKIP() << "this kernel has no messages (6.13)";
  kernel.FailMessage(-EOVERFLOW);
  ring->Wake();
  EXPECT_EQ(kernel.messages(), 1);
}

TEST(RingWakeDeathTest, AWakeThatCannotBeSentIsAFailedCheck) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  if (!MakeRing()->features().has(Feature::kSyncMessage)) GTEST_SKIP() << "this kernel has no messages (6.13)";
  EXPECT_DEATH(
      {
        ScriptedKernel kernel;
        const auto ring = MakeRing(RingOptions(), &kernel);
        kernel.FailMessage(-EBADF);
        ring->Wake();
      },
      "a wake cannot be sent");
}

}  // namespace
}  // namespace evring::kevent
