// ring_test.cc: requests in, records out: contents, order, a full submission ring, and each answer of a kernel that
// refuses.

#include "kevent/ring.h"

#include <errno.h>
#include <liburing.h>

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "kevent/event.h"
#include "kevent/handle.h"
#include "kevent/kernel.h"
#include "tests/kevent/scripted_kernel.h"
#include "tests/kevent/test_ring.h"

namespace evring::kevent {
namespace {

TEST(Ring, ANopComesBackAsARecord) {
  const auto ring = MakeRing();
  TestKevent nop(EventType::kNop, 17, 0xfedcba9876543210u);
  nop.StartNop(ring.get());
  EXPECT_EQ(ring->in_flight(), 1);
  EXPECT_EQ(ring->unsubmitted(), 1u);
  EXPECT_EQ(ring->Enter(), 0);
  EXPECT_EQ(ring->unsubmitted(), 0u);
  EXPECT_EQ(ring->ready(), 1u);
  EXPECT_EQ(ConsumeAll(ring.get()), 1u);
  EXPECT_EQ(ring->in_flight(), 0);
  EXPECT_EQ(ring->ready(), 0u);

  ASSERT_EQ(nop.events().size(), 1u);
  const Event& event = nop.events()[0];
  EXPECT_EQ(event.type, EventType::kNop);
  EXPECT_EQ(event.descriptor, 17);
  EXPECT_EQ(event.cookie, 0xfedcba9876543210u) << "comes back unchanged, all 64 bits";
  EXPECT_EQ(event.result, 0);
  EXPECT_TRUE(event.last());
  EXPECT_EQ(event.payload, nop.number());
}

TEST(Ring, RecordsComeInTheOrderOfCompletion) {
  const auto ring = MakeRing();
  std::vector<std::unique_ptr<TestKevent>> nops;
  for (uint64_t i = 0; i < 100; ++i) {
    nops.push_back(std::make_unique<TestKevent>(EventType::kNop, -1, i));
    nops.back()->StartNop(ring.get());
  }
  EXPECT_EQ(ring->Enter(), 0);
  std::vector<uint64_t> cookies;
  const auto collect = [&cookies](Kevent*, const Event& event) { cookies.push_back(event.cookie); };
  EXPECT_EQ(ring->Consume(30, collect), 30u) << "no more than asked for";
  EXPECT_EQ(ring->ready(), 70u);
  EXPECT_EQ(ring->in_flight(), 70);
  EXPECT_EQ(ring->Consume(1000, collect), 70u);
  EXPECT_EQ(ring->Consume(1000, collect), 0u);
  ASSERT_EQ(cookies.size(), 100u);
  for (uint64_t i = 0; i < 100; ++i) EXPECT_EQ(cookies[i], i);
}

TEST(Ring, AResultIsTheKernelsOwn) {
  const auto ring = MakeRing();
  TestKevent read(EventType::kFileRead, -1);
  char byte = 0;
  io_uring_sqe* sqe = ring->GetSqe();
  io_uring_prep_read(sqe, 1 << 20, &byte, 1, 0);
  ring->Start(&read, sqe);
  Drain(ring.get());
  EXPECT_EQ(read.result(), -EBADF);
}

TEST(Ring, NeedsEnterSaysWhetherAnEnterWouldFindWork) {
  const auto ring = MakeRing();
  EXPECT_FALSE(ring->NeedsEnter());
  TestKevent nop;
  nop.StartNop(ring.get());
  EXPECT_TRUE(ring->NeedsEnter()) << "a request to submit";
  ring->Enter();
  EXPECT_FALSE(ring->NeedsEnter());
  ConsumeAll(ring.get());

  Pipe pipe;
  TestKevent poll(EventType::kPoll, pipe.reader());
  poll.StartPoll(ring.get());
  ring->Enter();
  EXPECT_FALSE(ring->NeedsEnter());
  pipe.Write();
  EXPECT_TRUE(ring->NeedsEnter()) << "a completion that the kernel defers to the owner";
  EXPECT_EQ(ring->ready(), 0u);
  ring->Enter();
  EXPECT_EQ(ring->ready(), 1u);
  EXPECT_FALSE(ring->NeedsEnter());
  ConsumeAll(ring.get());
  EXPECT_GT(poll.result(), 0);
}

TEST(Ring, CountsWhatItDoes) {
  const auto ring = MakeRing(Sizes(4, 16));
  std::vector<std::unique_ptr<TestKevent>> nops;
  for (int i = 0; i < 6; ++i) {
    nops.push_back(std::make_unique<TestKevent>());
    nops.back()->StartNop(ring.get());
  }
  Drain(ring.get());
  EXPECT_EQ(ring->counters().submitted, 6u);
  EXPECT_EQ(ring->counters().completions, 6u);
  EXPECT_EQ(ring->counters().full_queue, 1u) << "the fifth found four";
  EXPECT_EQ(ring->counters().enters, 2u);
  EXPECT_EQ(ring->counters().overflow_episodes, 0u);
  EXPECT_EQ(ring->counters().wakes_received, 0u);
}

TEST(Ring, SizesAreRoundedUp) {
  const auto ring = MakeRing(Sizes(5, 9));
  EXPECT_EQ(ring->sq_entries(), 8u);
  EXPECT_EQ(ring->cq_entries(), 16u);
  const auto large = MakeRing(Sizes(40'000, 70'000));
  EXPECT_EQ(large->sq_entries(), 32768u);
  EXPECT_EQ(large->cq_entries(), 65536u);
}

// --- A full submission ring
// ----------------------------------------------------------------------------------------------

TEST(Ring, AFullQueueIsSubmittedAndTheRequestTakenAllTheSame) {
  const auto ring = MakeRing(Sizes(2, 4096));
  std::vector<std::unique_ptr<TestKevent>> nops;
  for (uint64_t i = 0; i < 1000; ++i) {
    nops.push_back(std::make_unique<TestKevent>(EventType::kNop, -1, i));
    nops.back()->StartNop(ring.get());
  }
  Drain(ring.get());
  for (const auto& nop : nops) EXPECT_EQ(nop->result(), 0);
  EXPECT_EQ(ring->counters().full_queue, 499u);
}

// What a kernel answers that cannot take requests now: they stay queued, and go out once when it can.
class RingRefused : public testing::TestWithParam<int> {};

TEST_P(RingRefused, AFullQueueAnswersNullptrUntilTheKernelTakesSomething) {
  ScriptedKernel kernel;
  const auto ring = MakeRing(Sizes(2, 16), &kernel);
  TestKevent first(EventType::kNop, -1, 1), second(EventType::kNop, -1, 2), third(EventType::kNop, -1, 3);
  first.StartNop(ring.get());
  second.StartNop(ring.get());
  kernel.FailEnter(GetParam(), 2);
  EXPECT_EQ(ring->GetSqe(), nullptr);
  EXPECT_EQ(ring->GetSqe(), nullptr);
  EXPECT_TRUE(kernel.script_done());
  EXPECT_EQ(ring->unsubmitted(), 2u);
  third.StartNop(ring.get());
  EXPECT_EQ(ring->unsubmitted(), 1u);
  Drain(ring.get());
  EXPECT_EQ(first.result(), 0);
  EXPECT_EQ(second.result(), 0);
  EXPECT_EQ(third.result(), 0);
  EXPECT_EQ(ring->counters().submitted, 3u);
}

TEST_P(RingRefused, AnEnterSaysWhyAndKeepsTheRequests) {
  ScriptedKernel kernel;
  const auto ring = MakeRing(RingOptions(), &kernel);
  TestKevent nop;
  nop.StartNop(ring.get());
  kernel.FailEnter(GetParam());
  EXPECT_EQ(ring->Enter(), GetParam());
  EXPECT_EQ(ring->unsubmitted(), 1u);
  EXPECT_EQ(nop.state(), Kevent::State::kInFlight);
  EXPECT_EQ(ring->Enter(), 0);
  ConsumeAll(ring.get());
  EXPECT_EQ(nop.result(), 0);
}

INSTANTIATE_TEST_SUITE_P(EachRefusal, RingRefused, testing::Values(-EAGAIN, -ENOMEM, -EBUSY, -EINTR));

class RingDeathTest : public testing::Test {
 protected:
  void SetUp() override { testing::GTEST_FLAG(death_test_style) = "threadsafe"; }
};

TEST_F(RingDeathTest, ALostCompletionEndsTheProcess) {
  EXPECT_DEATH(
      {
        ScriptedKernel kernel;
        const auto ring = MakeRing(RingOptions(), &kernel);
        kernel.FailEnter(-EBADR);
        ring->Enter();
      },
      "no memory to keep an overflowing completion");
}

TEST_F(RingDeathTest, ALostCompletionIsNoticedByCopyOutToo) {
  EXPECT_DEATH(
      {
        ScriptedKernel kernel;
        const auto ring = MakeRing(RingOptions(), &kernel);
        kernel.FailEnter(-EBADR);
        RawCompletion out[1];
        ring->CopyOut(out, 1);
      },
      "no memory to keep an overflowing completion");
}

TEST_F(RingDeathTest, ARefusalThatCannotBeIsAFailedCheck) {
  for (const int error : {-EINVAL, -EBADF, -EFAULT, -ENXIO, -EOPNOTSUPP}) {
    EXPECT_DEATH(
        {
          ScriptedKernel kernel;
          const auto ring = MakeRing(RingOptions(), &kernel);
          kernel.FailEnter(error);
          ring->Enter();
        },
        "io_uring_enter refused a ring of ours");
  }
}

TEST_F(RingDeathTest, AnotherThreadMayNotEnter) {
  EXPECT_DEATH(
      {
        const auto ring = MakeRing();
        std::thread([&ring] { ring->Enter(); }).join();
      },
      "io_uring_enter refused a ring of ours");
}

TEST_F(RingDeathTest, ARingIsDrainedBeforeItIsClosed) {
  EXPECT_DEATH(
      {
        TestKevent nop;
        auto ring = MakeRing();
        nop.StartNop(ring.get());
        ring.reset();
      },
      "a ring is drained before it is closed");
}

// --- Handlers
// ------------------------------------------------------------------------------------------------------------

// A handler may prepare requests, its own handle's too, and submit them when the ring is full; what completes meanwhile
// comes with a later Consume().
class Restarting : public Kevent {
 public:
  Restarting(Ring* ring, int times) : Kevent(EventType::kNop, -1, 0, &OnEvent), ring_(ring), left_(times) {}
  void StartNop() {
    io_uring_sqe* sqe = ring_->GetSqe();
    EVRING_CHECK(sqe != nullptr, "the test has room");
    io_uring_prep_nop(sqe);
    ring_->Start(this, sqe);
  }
  int left() const { return left_; }

 private:
  static void OnEvent(Kevent* kevent, const Event&) {
    auto* self = static_cast<Restarting*>(kevent);
    if (--self->left_ > 0) self->StartNop();
  }

  Ring* const ring_;
  int left_;
};

TEST(Ring, AHandlerMayStartRequests) {
  const auto ring = MakeRing(Sizes(2, 4));
  std::vector<std::unique_ptr<Restarting>> nops;
  for (int i = 0; i < 16; ++i) {
    nops.push_back(std::make_unique<Restarting>(ring.get(), 50));
    nops.back()->StartNop();
  }
  Drain(ring.get());
  for (const auto& nop : nops) EXPECT_EQ(nop->left(), 0);
  EXPECT_EQ(ring->counters().completions, 16u * 50u);
}

// --- Overflow
// ------------------------------------------------------------------------------------------------------------

TEST(RingOverflow, LosesNothingKeepsTheOrderAndIsCounted) {
  const auto ring = MakeRing(Sizes(8, 8));
  constexpr uint64_t kCount = 300;
  std::vector<std::unique_ptr<TestKevent>> nops;
  for (uint64_t i = 0; i < kCount; ++i) {
    nops.push_back(std::make_unique<TestKevent>(EventType::kNop, -1, i));
    nops.back()->StartNop(ring.get());
  }
  ring->Enter();
  EXPECT_EQ(ring->counters().submitted, kCount) << "a full completion ring does not hold up requests";
  EXPECT_EQ(ring->ready(), 8u);
  EXPECT_TRUE(ring->NeedsEnter()) << "the kernel keeps the rest";
  EXPECT_EQ(ring->counters().overflow_episodes, 1u);

  std::vector<uint64_t> cookies;
  for (int round = 0; ring->in_flight() != 0; ++round) {
    ASSERT_LT(round, 1000) << "what was kept does not come";
    ring->Consume(5, [&cookies](Kevent*, const Event& event) { cookies.push_back(event.cookie); });
    if (ring->NeedsEnter()) ring->Enter();
  }
  ASSERT_EQ(cookies.size(), kCount);
  for (uint64_t i = 0; i < kCount; ++i) EXPECT_EQ(cookies[i], i);
  EXPECT_EQ(ring->counters().overflow_episodes, 1u) << "one episode, however many enters it took";
  EXPECT_FALSE(ring->NeedsEnter());

  // Another episode.
  for (auto& nop : nops) nop->StartNop(ring.get());
  Drain(ring.get());
  EXPECT_EQ(ring->counters().overflow_episodes, 2u);
  EXPECT_EQ(ring->counters().completions, 2 * kCount);
}

TEST(RingOverflow, AWaitBringsInWhatWasKept) {
  const auto ring = MakeRing(Sizes(4, 4));
  std::vector<std::unique_ptr<TestKevent>> nops;
  for (int i = 0; i < 12; ++i) {
    nops.push_back(std::make_unique<TestKevent>());
    nops.back()->StartNop(ring.get());
  }
  ring->Enter();
  int rounds = 0;
  while (ring->in_flight() != 0) {
    ConsumeAll(ring.get());
    if (ring->in_flight() == 0) break;
    ASSERT_EQ(ring->Wait(ring->state(), Patiently()), WaitResult::kEvents);
    ASSERT_LT(++rounds, 100);
  }
  EXPECT_EQ(ring->counters().completions, 12u);
}

}  // namespace
}  // namespace evring::kevent
