// handle_test.cc: the states of a request, its records, a multishot that stays in flight, who wins between a cancel and
// a completion, and the misuse that is a failed check.

#include "kevent/handle.h"

#include <errno.h>
#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <memory>

#include "gtest/gtest.h"
#include "kevent/event.h"
#include "kevent/ring.h"
#include "tests/kevent/test_ring.h"

namespace evring::kevent {
namespace {

using State = Kevent::State;

TEST(Kevent, IsIdleAtFirst) {
  const TestKevent kevent(EventType::kAccept, 7, 99);
  EXPECT_EQ(kevent.state(), State::kIdle);
  EXPECT_FALSE(kevent.in_flight());
  EXPECT_EQ(kevent.type(), EventType::kAccept);
  EXPECT_EQ(kevent.descriptor(), 7);
  EXPECT_EQ(kevent.cookie(), 99u);
  EXPECT_GT(kevent.number(), kUserDataLast) << "cannot be taken for a message";
}

TEST(Kevent, GoesThroughItsStatesAndMayGoAgain) {
  const auto ring = MakeRing();
  TestKevent kevent;
  for (size_t round = 1; round <= 3; ++round) {
    kevent.StartNop(ring.get());
    EXPECT_EQ(kevent.state(), State::kInFlight);
    ring->Enter();
    EXPECT_EQ(kevent.state(), State::kInFlight) << "done is what was consumed";
    ConsumeAll(ring.get());
    EXPECT_EQ(kevent.state(), State::kDone);
    EXPECT_EQ(kevent.events().size(), round);
    kevent.set_descriptor(static_cast<int>(round));
  }
  EXPECT_EQ(kevent.events()[2].descriptor, 2);
}

TEST(Kevent, TheHandlerSeesItDoneAndMayFreeIt) {
  const auto ring = MakeRing();
  static int freed;
  freed = 0;
  class Suicidal : public Kevent {
   public:
    Suicidal() : Kevent(EventType::kNop, -1, 0, &OnEvent) {}
    ~Suicidal() { ++freed; }

   private:
    static void OnEvent(Kevent* kevent, const Event& event) {
      EXPECT_EQ(kevent->state(), State::kDone);
      EXPECT_TRUE(event.last());
      delete static_cast<Suicidal*>(kevent);
    }
  };
  for (int i = 0; i < 10; ++i) {
    io_uring_sqe* sqe = ring->GetSqe();
    io_uring_prep_nop(sqe);
    ring->Start(new Suicidal, sqe);
  }
  Drain(ring.get());
  EXPECT_EQ(freed, 10);
}

// --- Multishot
// -----------------------------------------------------------------------------------------------------------

TEST(KeventMultishot, StaysInFlightUntilTheRecordWithoutMore) {
  const auto ring = MakeRing();
  Pipe pipe;
  TestKevent poll(EventType::kPoll, pipe.reader(), 5);
  poll.StartPoll(ring.get(), /*multishot=*/true);
  for (size_t round = 1; round <= 3; ++round) {
    pipe.Write();
    ASSERT_EQ(ring->Wait(ring->state(), Patiently()), WaitResult::kEvents);
    ConsumeAll(ring.get());
    pipe.Read();
    ASSERT_EQ(poll.events().size(), round);
    EXPECT_EQ(poll.events().back().flags & Event::kMore, Event::kMore);
    EXPECT_FALSE(poll.events().back().last());
    EXPECT_EQ(poll.events().back().cookie, 5u);
    EXPECT_EQ(poll.state(), State::kInFlight);
    EXPECT_EQ(ring->in_flight(), 1);
  }
  poll.Cancel(ring.get());
  EXPECT_EQ(poll.state(), State::kCancelling);
  EXPECT_TRUE(poll.in_flight());
  Drain(ring.get());
  EXPECT_EQ(poll.state(), State::kDone);
  ASSERT_EQ(poll.events().size(), 4u);
  EXPECT_EQ(poll.events().back().result, -ECANCELED);
  EXPECT_TRUE(poll.events().back().last());
}

// Records that were on their way when the cancel was prepared still come, before the last one.
TEST(KeventMultishot, RecordsBeforeTheCancelStillCome) {
  const auto ring = MakeRing();
  Pipe pipe;
  TestKevent poll(EventType::kPoll, pipe.reader());
  poll.StartPoll(ring.get(), /*multishot=*/true);
  ring->Enter();
  pipe.Write();
  ring->Enter();
  poll.Cancel(ring.get());
  ring->Consume(1, [](Kevent* kevent, const Event& event) { kevent->Deliver(event); });
  EXPECT_EQ(poll.events().size(), 1u);
  EXPECT_EQ(poll.state(), State::kCancelling) << "a record with more to come does not end a cancel";
  Drain(ring.get());
  EXPECT_EQ(poll.events().back().result, -ECANCELED);
}

// --- Cancel
// --------------------------------------------------------------------------------------------------------------

TEST(KeventCancel, WinsAgainstWhatWaits) {
  const auto ring = MakeRing();
  Pipe pipe;
  TestKevent poll(EventType::kPoll, pipe.reader());
  poll.StartPoll(ring.get());
  ring->Enter();
  poll.Cancel(ring.get());
  Drain(ring.get());
  EXPECT_EQ(poll.result(), -ECANCELED);
  EXPECT_EQ(poll.state(), State::kDone);
}

TEST(KeventCancel, LosesAgainstACompletionAndTheResultStands) {
  const auto ring = MakeRing();
  Pipe pipe;
  pipe.Write('q');
  char byte = 0;
  TestKevent read(EventType::kFileRead, pipe.reader());
  io_uring_sqe* sqe = ring->GetSqe();
  io_uring_prep_read(sqe, pipe.reader(), &byte, 1, 0);
  ring->Start(&read, sqe);
  ring->Enter();
  read.Cancel(ring.get());
  EXPECT_EQ(read.state(), State::kCancelling);
  Drain(ring.get());
  EXPECT_EQ(read.result(), 1);
  EXPECT_EQ(byte, 'q');
  EXPECT_EQ(read.state(), State::kDone);
}

TEST(KeventCancel, InTheSameSubmissionAsTheRequest) {
  const auto ring = MakeRing();
  Pipe pipe;
  TestKevent poll(EventType::kPoll, pipe.reader());
  poll.StartPoll(ring.get());
  poll.Cancel(ring.get());
  Drain(ring.get());
  EXPECT_EQ(poll.result(), -ECANCELED);
}

// By number: also for a request that has ended meanwhile, whose handle may be gone. The answer is nobody's record.
TEST(KeventCancel, OfANumberThatIsNotRunningDoesNothing) {
  const auto ring = MakeRing();
  auto gone = std::make_unique<TestKevent>();
  gone->StartNop(ring.get());
  Drain(ring.get());
  const uint64_t number = gone->number();
  gone.reset();
  Kevent::PrepareCancel(ring->GetSqe(), number);
  EXPECT_EQ(ring->in_flight(), 0) << "a cancel is no request of a handle";
  ring->Enter();
  EXPECT_EQ(ring->ready(), 1u);
  EXPECT_EQ(ConsumeAll(ring.get()), 1u);
  EXPECT_EQ(ring->counters().wakes_received, 0u);
}

TEST(KeventCancel, ByNumberEndsTheRequest) {
  const auto ring = MakeRing();
  Pipe pipe;
  TestKevent poll(EventType::kPoll, pipe.reader());
  poll.StartPoll(ring.get());
  Kevent::PrepareCancel(ring->GetSqe(), poll.number());
  EXPECT_EQ(poll.state(), State::kInFlight) << "nothing of the handle is touched";
  Drain(ring.get());
  EXPECT_EQ(poll.result(), -ECANCELED);
}

// --- Misuse
// --------------------------------------------------------------------------------------------------------------

class KeventDeathTest : public testing::Test {
 protected:
  void SetUp() override { testing::GTEST_FLAG(death_test_style) = "threadsafe"; }
};

TEST_F(KeventDeathTest, DestroyedInFlight) {
  EXPECT_DEATH(
      {
        TestKevent kevent;
        io_uring_sqe sqe = {};
        kevent.Start(&sqe);
      },
      "a request belongs to the kernel until its last completion");
}

TEST_F(KeventDeathTest, DestroyedWhileItIsBeingCancelled) {
  EXPECT_DEATH(
      {
        TestKevent kevent;
        io_uring_sqe sqe = {};
        kevent.Start(&sqe);
        kevent.PrepareCancel(&sqe);
      },
      "a request belongs to the kernel until its last completion");
}

TEST_F(KeventDeathTest, DestroyedBetweenTheRecordsOfAMultishot) {
  EXPECT_DEATH(
      {
        TestKevent kevent;
        io_uring_sqe sqe = {};
        kevent.Start(&sqe);
        kevent.Complete(1, Event::kMore);
      },
      "a request belongs to the kernel until its last completion");
}

// A handle on the heap that is not destroyed when the process ends, so that only the misuse is a failed check.
TestKevent* Running() {
  auto* kevent = new TestKevent;
  static io_uring_sqe sqe;
  kevent->Start(&sqe);
  return kevent;
}

TEST_F(KeventDeathTest, StartedTwice) {
  EXPECT_DEATH(
      {
        io_uring_sqe sqe = {};
        Running()->Start(&sqe);
      },
      "started twice");
}

TEST_F(KeventDeathTest, StartedWhileItIsBeingCancelled) {
  EXPECT_DEATH(
      {
        TestKevent* kevent = Running();
        io_uring_sqe sqe = {};
        kevent->PrepareCancel(&sqe);
        kevent->Start(&sqe);
      },
      "started twice");
}

TEST_F(KeventDeathTest, ACompletionOutOfNowhere) {
  EXPECT_DEATH(TestKevent().Complete(0, 0), "a completion for a request that is not running");
  EXPECT_DEATH(
      {
        TestKevent* kevent = Running();
        kevent->Complete(0, 0);
        kevent->Complete(0, 0);
      },
      "a completion for a request that is not running");
}

TEST_F(KeventDeathTest, CancelledWhenItDoesNotRun) {
  EXPECT_DEATH(
      {
        TestKevent kevent;
        io_uring_sqe sqe = {};
        kevent.PrepareCancel(&sqe);
      },
      "only a running request can be cancelled");
}

TEST_F(KeventDeathTest, ADescriptorChangedInFlight) {
  EXPECT_DEATH(Running()->set_descriptor(3), "the descriptor of a running request is fixed");
}

}  // namespace
}  // namespace evring::kevent
