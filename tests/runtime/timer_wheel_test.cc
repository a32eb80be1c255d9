// The timing wheel in the cases that a random program would have to be lucky to meet: the boundaries of each level, the
// ends of the clock, callbacks that arm and cancel, the bound on one call, misuse.

#include "runtime/timer_wheel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "tests/runtime/timer_wheel_model.h"

namespace evring {
namespace {

// For each power of 64, the deadlines around it are due when they are and no nanosecond before.
TEST(TimerWheel, NoDeadlineAtALevelsBoundaryIsEarlyOrLate) {
  for (int bits = 0; bits <= 62; ++bits) {
    for (int64_t start : {int64_t{0}, int64_t{1}, int64_t{63}, int64_t{64}, (int64_t{1} << bits) - 1}) {
      for (int64_t offset = -2; offset <= 2; ++offset) {
        const int64_t deadline = (int64_t{1} << bits) + offset;
        if (deadline <= start) continue;
        SCOPED_TRACE(testing::Message() << "2^" << bits << " + " << offset << " from " << start);
        TimerWheel wheel(start);
        TimerNode n;
        int fired = 0;
        const auto fire = [&](TimerNode*) { ++fired; };
        wheel.Arm(&n, deadline);
        EXPECT_EQ(wheel.NextDeadline(), deadline);
        EXPECT_EQ(wheel.Advance(start + (deadline - start) / 2, fire, kAll), 0u);
        EXPECT_EQ(wheel.Advance(deadline - 1, fire, kAll), 0u);
        wheel.CheckInvariants();
        EXPECT_EQ(wheel.NextDeadline(), deadline);
        EXPECT_TRUE(n.armed());
        EXPECT_EQ(wheel.Advance(deadline, fire, kAll), 1u);
        EXPECT_EQ(fired, 1);
        EXPECT_FALSE(n.armed());
        EXPECT_EQ(n.deadline_ns(), deadline);
        wheel.CheckInvariants();
      }
    }
  }
}

// One node in every slot of every level, and two in each beside it: they come out in order although all levels are
// full.
TEST(TimerWheel, EverySlotOfEveryLevelInOrder) {
  std::vector<int64_t> deadlines;
  for (int level = 0; level < 11; ++level) {
    for (int64_t digit = 1; digit < (level == 10 ? 8 : 64); ++digit) {
      const int64_t start = digit << (6 * level);
      deadlines.insert(deadlines.end(), {start, start, start + ((int64_t{1} << (6 * level)) - 1)});
    }
  }
  std::vector<int64_t> shuffled = deadlines;
  std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937_64(7));
  std::sort(deadlines.begin(), deadlines.end());

  TimerWheel wheel(0);
  std::deque<TimerNode> nodes(shuffled.size());
  for (size_t i = 0; i < shuffled.size(); ++i) wheel.Arm(&nodes[i], shuffled[i]);
  wheel.CheckInvariants();
  std::vector<int64_t> fired;
  while (wheel.size() > 0) {
    const int64_t next = wheel.NextDeadline();
    ASSERT_EQ(wheel.Advance(next - 1, [](TimerNode*) {}, kAll), 0u);
    ASSERT_GT(wheel.Advance(next, [&](TimerNode* n) { fired.push_back(n->deadline_ns()); }, kAll), 0u);
    wheel.CheckInvariants();
  }
  EXPECT_EQ(fired, deadlines);
}

TEST(TimerWheel, TheEndsOfTheClock) {
  TimerWheel wheel(0);
  TimerNode least, zero, last, never;
  wheel.Arm(&least, std::numeric_limits<int64_t>::min());
  wheel.Arm(&zero, 0);
  wheel.Arm(&last, kNever - 1);
  wheel.Arm(&never, kNever);
  EXPECT_EQ(least.deadline_ns(), 0) << "a deadline that has passed is due now";
  std::vector<TimerNode*> fired;
  const auto fire = [&](TimerNode* n) { fired.push_back(n); };
  EXPECT_EQ(wheel.Advance(0, fire, kAll), 2u);
  EXPECT_EQ(wheel.NextDeadline(), kNever - 1);
  EXPECT_EQ(wheel.Advance(kNever - 2, fire, kAll), 0u);
  EXPECT_EQ(wheel.Advance(kNever - 1, fire, kAll), 1u);
  EXPECT_EQ(fired, (std::vector<TimerNode*>{&least, &zero, &last}));
  EXPECT_EQ(wheel.NextDeadline(), kNever);
  EXPECT_TRUE(never.armed());
  wheel.CheckInvariants();
  EXPECT_TRUE(wheel.Cancel(&never));
}

TEST(TimerWheel, AnEmptyWheelWantsNothing) {
  TimerWheel wheel(5);
  EXPECT_EQ(wheel.NextDeadline(), kNever);
  EXPECT_EQ(wheel.Advance(int64_t{1} << 60, [](TimerNode*) { FAIL(); }, kAll), 0u);
  EXPECT_EQ(wheel.now(), int64_t{1} << 60);
  EXPECT_EQ(wheel.size(), 0u);
}

TEST(TimerWheel, CancelSaysWhetherItCameInTime) {
  TimerWheel wheel(0);
  TimerNode n;
  EXPECT_FALSE(wheel.Cancel(&n)) << "never armed";
  wheel.Arm(&n, 10);
  EXPECT_TRUE(wheel.Cancel(&n));
  EXPECT_FALSE(wheel.Cancel(&n)) << "cancelled already";
  wheel.Arm(&n, 10);
  EXPECT_EQ(wheel.Advance(10, [](TimerNode*) {}, kAll), 1u);
  EXPECT_FALSE(wheel.Cancel(&n)) << "fired already";
}

TEST(TimerWheel, TimeDoesNotGoBack) {
  TimerWheel wheel(1000);
  TimerNode n;
  wheel.Arm(&n, 1500);
  wheel.Advance(1400, [](TimerNode*) {}, kAll);
  EXPECT_EQ(wheel.Advance(3, [](TimerNode*) {}, kAll), 0u);
  EXPECT_EQ(wheel.now(), 1400);
  TimerNode passed;
  wheel.Arm(&passed, 1399);
  EXPECT_EQ(wheel.NextDeadline(), 1400);
  EXPECT_EQ(wheel.Advance(-1, [](TimerNode*) {}, kAll), 1u) << "due at a time that was seen, so due";
  EXPECT_TRUE(wheel.Cancel(&n));
}

// A fire callback cancels nodes that are due in the same call, one before its turn in the same slot and one far off.
TEST(TimerWheel, ACallbackCancelsWhatIsDueInTheSameCall) {
  NumberedNode t[6];
  for (int i = 0; i < 6; ++i) t[i].id = i;
  TimerWheel wheel(0);
  wheel.Arm(&t[0], 100);
  wheel.Arm(&t[1], 100);
  wheel.Arm(&t[2], 100);
  wheel.Arm(&t[3], 101);
  wheel.Arm(&t[4], 1'000'000);
  wheel.Arm(&t[5], 2'000'000);
  std::vector<int> fired;
  wheel.Advance(
      3'000'000,
      [&](TimerNode* n) {
        fired.push_back(IdOf(n));
        if (n == &t[0]) {
          EXPECT_FALSE(wheel.Cancel(&t[0])) << "the one being fired is idle";
          for (int victim : {1, 3, 4}) EXPECT_TRUE(wheel.Cancel(&t[victim]));
        }
        wheel.CheckInvariants();
      },
      kAll);
  EXPECT_EQ(fired, (std::vector<int>{0, 2, 5}));
}

// A fire callback arms: due ones fire in the same call behind what was due, later ones do not, and the node itself may
// be armed again, or destroyed.
TEST(TimerWheel, ACallbackArmsAndDestroys) {
  NumberedNode again, due, later;
  auto destroyed = std::make_unique<NumberedNode>();
  again.id = 1, due.id = 2, later.id = 3, destroyed->id = 4;
  TimerWheel wheel(0);
  wheel.Arm(&again, 10);
  wheel.Arm(destroyed.get(), 20);
  std::vector<int> fired;
  const auto fire = [&](TimerNode* n) {
    const int id = IdOf(n);
    fired.push_back(id);
    if (id == 1 && fired.size() == 1) {
      wheel.Arm(&again, 300);
      wheel.Arm(&due, 5);
      wheel.Arm(&later, 101);
    } else if (id == 4) {
      destroyed.reset();
    }
    wheel.CheckInvariants();
  };
  EXPECT_EQ(wheel.Advance(100, fire, kAll), 3u);
  EXPECT_EQ(fired, (std::vector<int>{1, 4, 2}));
  EXPECT_EQ(wheel.NextDeadline(), 101);
  EXPECT_EQ(wheel.Advance(300, fire, kAll), 2u);
  EXPECT_EQ(fired, (std::vector<int>{1, 4, 2, 3, 1}));
}

// A callback that always arms what is due cannot keep a call from ending, nor the rest from firing.
TEST(TimerWheel, AlwaysDueNodesDoNotStarveTheRest) {
  TimerWheel wheel(0);
  TimerNode always, other;
  wheel.Arm(&always, 1);
  wheel.Arm(&other, 2);
  bool other_fired = false;
  const size_t fired = wheel.Advance(
      10, [&](TimerNode* n) { n == &always ? wheel.Arm(&always, 0) : static_cast<void>(other_fired = true); }, 100);
  EXPECT_EQ(fired, 100u);
  EXPECT_TRUE(other_fired);
  EXPECT_TRUE(wheel.Cancel(&always));
}

// A million nodes: armed and cancelled in another order; then a million that fall due at once, in small shares, with
// the work of each call bounded by what NextDeadline() and the counts show.
TEST(TimerWheel, AMillionArmedAndCancelled) {
  constexpr size_t kMillion = 1'000'000;
  std::mt19937_64 random(11);
  std::vector<uint32_t> order(kMillion);
  for (uint32_t i = 0; i < kMillion; ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), random);
  TimerWheel wheel(0);
  std::deque<TimerNode> nodes(kMillion);
  int64_t least = kNever;
  for (TimerNode& n : nodes) {
    const int64_t deadline = 1 + AnyScale(random, 45);
    least = std::min(least, deadline);
    wheel.Arm(&n, deadline);
  }
  EXPECT_EQ(wheel.size(), kMillion);
  EXPECT_EQ(wheel.NextDeadline(), least);
  wheel.CheckInvariants();
  for (uint32_t i : order) ASSERT_TRUE(wheel.Cancel(&nodes[i]));
  EXPECT_EQ(wheel.size(), 0u);
  EXPECT_EQ(wheel.NextDeadline(), kNever);
  wheel.CheckInvariants();
}

TEST(TimerWheel, AMillionDueAtOnceComeInBoundedShares) {
  constexpr size_t kMillion = 1'000'000;
  constexpr size_t kShare = 256;
  std::mt19937_64 random(12);
  TimerWheel wheel(0);
  std::deque<TimerNode> nodes(kMillion);
  for (TimerNode& n : nodes) wheel.Arm(&n, 30'000'000'000 + static_cast<int64_t>(random() % 1'000'000'000));
  const int64_t now = 32'000'000'000;
  size_t fired = 0;
  size_t calls = 0;
  int64_t previous = 0;
  while (wheel.NextDeadline() <= now) {
    const size_t once = wheel.Advance(
        now,
        [&](TimerNode* n) {
          ASSERT_LE(previous, n->deadline_ns());
          previous = n->deadline_ns();
        },
        kShare);
    ASSERT_LE(once, kShare);
    fired += once;
    ++calls;
  }
  EXPECT_EQ(fired, kMillion);
  EXPECT_EQ(wheel.size(), 0u);
  // Calls that only move add to those that fire: at most one for every kMovesPerFire * kShare moves, 10 moves a node.
  EXPECT_LE(calls, kMillion / kShare + 1 + kMillion * 10 / (kShare * TimerWheel::kMovesPerFire) + 1);
}

// The share of a call bounds the moves too: of a slot with many nodes of which none is due but the first, one call
// moves no more than its share, and the rest stays cancellable and in order.
TEST(TimerWheel, ALongMoveStopsAndGoesOn) {
  constexpr int kNodes = 1000;
  constexpr int64_t kStart = int64_t{1} << 30;
  CheckedWheel both(0, kNodes + 2);
  for (int i = 0; i < kNodes; ++i) both.Arm(i, kStart + (i * 7919) % 10'007 * 1000);
  EXPECT_EQ(both.Advance(kStart, 1, true), 0u) << "the node that is due may be the last in its slot";
  EXPECT_LE(both.wheel().NextDeadline(), kStart) << "due still: call again";
  both.Check();
  both.Arm(kNodes, kStart + 500);  // into the range of the slot that is being moved
  both.Arm(kNodes + 1, 3);         // due
  both.Check();
  for (int i = 900; i < kNodes; ++i) both.Cancel(i);
  both.Check();
  int64_t now = kStart;
  for (int calls = 0; both.wheel().size() > 0; ++calls) {
    ASSERT_LT(calls, 10'000);
    both.Advance(now, 1, true);
    both.Check();
    now = std::max(now, std::min(both.wheel().NextDeadline(), kNever - 1));
  }
}

// Cancelling everything that a stopped move had left ends it.
TEST(TimerWheel, CancellingTheRestOfALongMoveEndsIt) {
  constexpr int kNodes = 100;
  CheckedWheel both(0, kNodes);
  for (int i = 0; i < kNodes; ++i) both.Arm(i, (int64_t{1} << 30) + i * 1'000'000);
  both.Advance(int64_t{1} << 30, 1, true);
  for (int i = kNodes - 1; i >= 0; --i) {
    both.Cancel(i);
    both.Check();
  }
  EXPECT_EQ(both.wheel().NextDeadline(), kNever);
  both.Arm(3, int64_t{1} << 31);
  EXPECT_EQ(both.Advance(int64_t{1} << 31, kAll, true), 1u);
}

TEST(TimerWheelDeathTest, MisuseIsStopped) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  TimerWheel wheel(0), other(0);
  TimerNode n;
  wheel.Arm(&n, 10);
  EXPECT_DEATH(wheel.Arm(&n, 11), "armed twice");
  EXPECT_DEATH(other.Cancel(&n), "does not hold it");
  EXPECT_DEATH(n.~TimerNode(), "destroyed while its wheel");
  EXPECT_DEATH(wheel.~TimerWheel(), "destroyed while timers are armed");
  EXPECT_DEATH(TimerWheel(-1), "starts at 0");
  wheel.Cancel(&n);
}

}  // namespace
}  // namespace evring
