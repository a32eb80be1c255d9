// timer_wheel_model.h: a timing wheel beside what it must equal: a std::multimap from deadline to node, whose order
// (deadline, then arming order) is the order in which the wheel fires.

#ifndef EVRING_TESTS_RUNTIME_TIMER_WHEEL_MODEL_H_
#define EVRING_TESTS_RUNTIME_TIMER_WHEEL_MODEL_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <random>
#include <vector>

#include "runtime/timer_wheel.h"

namespace evring {

constexpr int64_t kNever = TimerWheel::kNever;
constexpr size_t kAll = SIZE_MAX;

struct NumberedNode : TimerNode {
  int id = 0;
};

inline int IdOf(TimerNode* n) { return static_cast<NumberedNode*>(n)->id; }

// A wheel beside its oracle. Each step is made in both, and what they answer is compared.
class CheckedWheel {
 public:
  CheckedWheel(int64_t now, int timers) : wheel_(now), timers_(timers), where_(timers, oracle_.end()) {
    for (int i = 0; i < timers; ++i) timers_[i].id = i;
  }

  ~CheckedWheel() {
    for (NumberedNode& t : timers_) wheel_.Cancel(&t);
  }

  void Arm(int id, int64_t deadline) {
    wheel_.Arm(&timers_[id], deadline);
    where_[id] = oracle_.emplace(std::max(deadline, wheel_.now()), id);
    ASSERT_EQ(timers_[id].deadline_ns(), where_[id]->first);
  }

  void Cancel(int id) {
    ASSERT_EQ(wheel_.Cancel(&timers_[id]), armed(id));
    if (armed(id)) oracle_.erase(where_[id]);
    where_[id] = oracle_.end();
  }

  // `exact_ties`: nodes of one deadline must come in arming order.
  size_t Advance(int64_t now, size_t max, bool exact_ties) {
    const int64_t time = std::max(now, wheel_.now());
    int64_t previous = -1;
    const size_t fired = wheel_.Advance(
        now,
        [&](TimerNode* n) {
          const int id = IdOf(n);
          EXPECT_FALSE(n->armed());
          EXPECT_LE(n->deadline_ns(), time) << "fired early";
          EXPECT_LE(previous, n->deadline_ns());
          previous = n->deadline_ns();
          ASSERT_TRUE(armed(id)) << "fired twice, or after its cancel";
          EXPECT_EQ(where_[id]->first, oracle_.begin()->first) << "an earlier one is armed";
          if (exact_ties) {
            EXPECT_EQ(id, oracle_.begin()->second);
          }
          oracle_.erase(where_[id]);
          where_[id] = oracle_.end();
        },
        max);
    EXPECT_LE(fired, max);
    return fired;
  }

  void Check() {
    wheel_.CheckInvariants();
    ASSERT_EQ(wheel_.size(), oracle_.size());
    if (oracle_.empty()) {
      ASSERT_EQ(wheel_.NextDeadline(), kNever);
    } else {
      ASSERT_LE(wheel_.NextDeadline(), oracle_.begin()->first);
    }
  }

  bool armed(int id) const { return where_[id] != oracle_.end(); }
  int64_t earliest() const { return oracle_.empty() ? kNever : oracle_.begin()->first; }
  TimerWheel& wheel() { return wheel_; }

 private:
  using Oracle = std::multimap<int64_t, int>;
  TimerWheel wheel_;
  std::deque<NumberedNode> timers_;
  Oracle oracle_;
  std::vector<Oracle::iterator> where_;
};

// A duration whose scale is uniform: as likely nanoseconds as years.
inline int64_t AnyScale(std::mt19937_64& random, int bits_max) {
  const int bits = static_cast<int>(random() % (bits_max + 1));
  return static_cast<int64_t>(random() & ((uint64_t{1} << bits) - 1));
}

inline int64_t AddClamped(int64_t a, int64_t b) { return a > kNever - b ? kNever : a + b; }

}  // namespace evring

#endif  // EVRING_TESTS_RUNTIME_TIMER_WHEEL_MODEL_H_
