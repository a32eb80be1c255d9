// The timing wheel against its model in seeded random programs, from nanoseconds to centuries: what fires and in which
// order, and how often a worker that wakes at each NextDeadline() wakes for nothing.

#include "tests/runtime/timer_wheel_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "runtime/timer_wheel.h"

namespace evring {
namespace {

struct Program {
  const char* name;
  int timers;
  int bits_max;     // scale of deadlines and steps
  size_t max;       // of each Advance
  int coarse_bits;  // deadlines are rounded down to this many bits: ties
};

class TimerWheelProgram : public testing::TestWithParam<Program> {};

TEST_P(TimerWheelProgram, FiresWhatTheOracleFiresInItsOrder) {
  const Program& program = GetParam();
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    int64_t now = AnyScale(random, 62);
    CheckedWheel both(now, program.timers);
    for (int step = 0; step < 600; ++step) {
      const int id = static_cast<int>(random() % program.timers);
      const uint64_t what = random() % 100;
      if (what < 60) {
        int64_t deadline = AddClamped(now, AnyScale(random, program.bits_max));
        deadline = (deadline >> program.coarse_bits) << program.coarse_bits;
        if (random() % 16 == 0) deadline = now - AnyScale(random, 40);  // passed already, perhaps negative
        if (!both.armed(id)) both.Arm(id, deadline);
      } else if (what < 75) {
        both.Cancel(id);
      } else {
        switch (random() % 4) {
          case 0:
            now = AddClamped(now, AnyScale(random, program.bits_max));
            break;
          case 1:  // to the very deadline, or one short of it
            if (both.earliest() != kNever) now = std::max(now, both.earliest() - static_cast<int64_t>(random() % 2));
            break;
          case 2:  // as the worker does
            if (both.wheel().NextDeadline() != kNever) now = std::max(now, both.wheel().NextDeadline());
            break;
          case 3:  // time stands, or seems to go back
            break;
        }
        const int64_t shown = random() % 8 == 0 ? now - AnyScale(random, 20) : now;
        both.Advance(shown, program.max, program.max == kAll);
        if (program.max == kAll) {
          ASSERT_GT(both.earliest(), both.wheel().now()) << "left over";
        }
      }
      both.Check();
      if (HasFailure()) return;
    }
    // However small the share of one call, NextDeadline() brings everything out.
    for (int calls = 0; both.wheel().size() > 0; ++calls) {
      ASSERT_LT(calls, 200'000) << "the wheel does not drain";
      now = std::max(now, both.wheel().NextDeadline());
      both.Advance(now, program.max, program.max == kAll);
      if (HasFailure()) return;
    }
    both.Check();
  }
}

INSTANTIATE_TEST_SUITE_P(Scales, TimerWheelProgram,
                         testing::Values(Program{"nanoseconds", 100, 10, kAll, 0},
                                         Program{"milliseconds", 100, 22, kAll, 0},
                                         Program{"minutes", 100, 38, kAll, 0}, Program{"centuries", 100, 62, kAll, 0},
                                         Program{"ties", 200, 24, kAll, 18}, Program{"oneAtATime", 100, 30, 1, 0},
                                         Program{"smallShare", 300, 22, 3, 0},
                                         Program{"tiesInSmallShares", 300, 24, 2, 20}),
                         [](const auto& info) { return info.param.name; });

// Random programs whose callbacks do the arming and cancelling. The oracle takes part in the callback.
TEST(TimerWheel, RandomCallbacks) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    constexpr int kTimers = 64;
    TimerWheel wheel(0);
    std::deque<NumberedNode> timers(kTimers);
    std::multimap<int64_t, int> oracle;
    std::vector<std::multimap<int64_t, int>::iterator> where(kTimers, oracle.end());
    const auto arm = [&](int id, int64_t deadline) {
      if (timers[id].armed()) return;
      wheel.Arm(&timers[id], deadline);
      where[id] = oracle.emplace(timers[id].deadline_ns(), id);
    };
    const auto cancel = [&](int id) {
      if (wheel.Cancel(&timers[id])) oracle.erase(where[id]);
    };
    for (int id = 0; id < kTimers; ++id) {
      timers[id].id = id;
      arm(id, AnyScale(random, 30));
    }
    int64_t now = 0;
    for (int step = 0; step < 200; ++step) {
      now += AnyScale(random, 28);
      const size_t max = 1 + random() % 100;
      wheel.Advance(
          now,
          [&](TimerNode* n) {
            ASSERT_FALSE(oracle.empty());
            EXPECT_EQ(n->deadline_ns(), oracle.begin()->first);
            oracle.erase(where[IdOf(n)]);
            for (int i = 0; i < 3; ++i) {
              const int id = static_cast<int>(random() % kTimers);
              if (random() % 3 == 0) {
                cancel(id);
              } else {
                arm(id, now + AnyScale(random, 30) - AnyScale(random, 20));
              }
            }
          },
          max);
      wheel.CheckInvariants();
      ASSERT_EQ(wheel.size(), oracle.size());
      if (HasFailure()) return;
      arm(static_cast<int>(random() % kTimers), now + AnyScale(random, 30));
    }
    for (NumberedNode& t : timers) wheel.Cancel(&t);
  }
}

// With one timeout for all, cancelled in any order, NextDeadline() is exact: there is no needless wake at all.
TEST(TimerWheel, AConstantTimeoutIsNeverWokenForNothing) {
  constexpr int kTimers = 200;
  constexpr int64_t kTimeout = 30'000'000'000;
  std::mt19937_64 random(5);
  CheckedWheel both(1'000'000, kTimers);
  int64_t now = 1'000'000;
  for (int step = 0; step < 50'000; ++step) {
    const int id = static_cast<int>(random() % kTimers);
    both.armed(id) ? both.Cancel(id) : both.Arm(id, now + kTimeout);
    ASSERT_EQ(both.wheel().NextDeadline(), both.earliest());
    now += static_cast<int64_t>(random() % 400'000'000);
    both.Advance(now, kAll, true);
    ASSERT_EQ(both.wheel().NextDeadline(), both.earliest());
    if (HasFailure()) return;
  }
}

// Timeouts of every length, nearly all cancelled: a worker that wakes at each NextDeadline() wakes for nothing only at
// the deadline of a cancelled timer, and once for each at most.
TEST(TimerWheel, ANeedlessWakeIsPaidForByACancel) {
  constexpr int kTimers = 500;
  std::mt19937_64 random(6);
  CheckedWheel both(0, kTimers);
  std::vector<int64_t> deadline(kTimers);
  std::multiset<int64_t> cancelled;
  int64_t now = 0;
  int needless = 0;
  for (int step = 0; step < 100'000; ++step) {
    const int id = static_cast<int>(random() % kTimers);
    if (both.armed(id)) {
      both.Cancel(id);
      cancelled.insert(deadline[id]);
    } else {
      deadline[id] = now + 1 + AnyScale(random, 34);
      both.Arm(id, deadline[id]);
    }
    const int64_t next = both.wheel().NextDeadline();
    if (step % 16 != 0 || next == kNever) continue;
    now = std::max(now, next);
    if (both.Advance(now, kAll, true) == 0) {
      ++needless;
      const auto paid = cancelled.find(now);
      ASSERT_NE(paid, cancelled.end());
      cancelled.erase(paid);
      ASSERT_GT(both.wheel().NextDeadline(), now);
    }
    if (HasFailure()) return;
  }
  EXPECT_GT(needless, 0) << "the program no longer reaches the case";
  EXPECT_LT(needless, 100'000 / 16 / 4) << "most wakes have something to fire";
}

}  // namespace
}  // namespace evring
