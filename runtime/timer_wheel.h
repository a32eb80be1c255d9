// timer_wheel.h: the armed timers of one worker, in order of their deadlines. Nothing allocates; arming and cancelling
// are O(1).
//
// Called by the worker that owns the wheel and by others that cancel, never by two threads at once: the owner's
// SpinLock guards it. Times are CLOCK_MONOTONIC in nanoseconds; the wheel reads no clock, Advance() brings the time.
//
// A hierarchical timing wheel (Varghese and Lauck) whose tick is one nanosecond, so that it is also a radix heap and
// its order is exact. A deadline is read as 11 digits of 6 bits. A node's level is the place of the highest digit in
// which its deadline differs from position_ (0 if none does), its slot there is that digit.
//   W1  position_ <= now_, and position_ <= every armed deadline.
//   W2  A node is in the slot which its deadline and position_ name; the nodes of moving_ alone are above it.
//   W3  A slot's list has its nodes in the order in which they came; a slot of level 0 holds one deadline only.
//   W4  A slot's `earliest` is no later than any deadline in it, and is one of them if its list is in their order.
// From W1 and W2: every node of a level precedes all of the levels above, and within a level the slots are in order. So
// the next deadline is in the first occupied slot of the lowest occupied level: two bit scans, however far away it is
// and however long the wheel slept.
//
// Time passes in two kinds of steps, taken only for the first slot, once its `earliest` has come:
//   level 0, or a node alone in its slot: the node fires, position_ becomes its deadline.
//   else: position_ becomes `earliest`, and the nodes of the slot move to where W2 has them now: down by a level at
//   least, so that no node moves more than 10 times in its life (a million within ten seconds: about three times).
// A slot may hold a million nodes, so a move stops when Advance() has done its share and goes on in the next: moving_.
//
// NextDeadline() and cancelled timers. A slot whose nodes were armed in order of their deadlines, as with a constant
// timeout, always knows its earliest exactly, and so does a slot whose earliest was not cancelled. Otherwise `earliest`
// may be that of a node cancelled since: the wait then ends at a time at which a timer was to fire, and finds none due.
// That Advance() moves the slot, so there is at most one needless wake for each such cancel, and none is repeated.
//
// Checked by: tests/runtime/timer_wheel_model_test.cc (random programs, CheckInvariants() after each step) and
// timer_wheel_test.cc. Measured by: bench/micro/timer_wheel_bench.cc.

#ifndef EVRING_RUNTIME_TIMER_WHEEL_H_
#define EVRING_RUNTIME_TIMER_WHEEL_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "kevent/check.h"

namespace evring {

// One timer, to be embedded in what waits for it. The wheel links it while it is armed, so that it can neither move nor
// be destroyed then; it can be armed again as soon as it has fired or was cancelled, inside the fire callback too.
class TimerNode {
 public:
  TimerNode() = default;
  TimerNode(const TimerNode&) = delete;
  TimerNode& operator=(const TimerNode&) = delete;
  ~TimerNode() { EVRING_CHECK(!armed(), "a timer is destroyed while its wheel still links to it"); }

  // Whether a wheel holds it. Under the wheel's lock, or where the caller knows that it cannot change.
  bool armed() const { return slot_ != kIdle; }

  // Of an armed node the time at which it falls due, in monotonic nanoseconds: the deadline it was armed with, or the
  // wheel's now() of that moment if the deadline had passed. Kept after it fired or was cancelled.
  int64_t deadline_ns() const { return deadline_; }

 private:
  friend class TimerWheel;
  static constexpr int16_t kIdle = -1;

  TimerNode* next_ = nullptr;  // in the list of its slot
  TimerNode* prev_ = nullptr;
  int64_t deadline_ = 0;
  uint32_t wheel_ = 0;  // id of the wheel that armed it
  int16_t slot_ = kIdle;
};
static_assert(sizeof(TimerNode) == 32, "half a cache line in every sleeping task");

class TimerWheel {
 public:
  // "No timer is armed", later than every time.
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  // How many nodes Advance() moves at most for each node that it may fire.
  static constexpr size_t kMovesPerFire = 8;

  // An empty wheel whose time is `now_ns`, at least 0 (as the monotonic clock is).
  explicit TimerWheel(int64_t now_ns);
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;
  ~TimerWheel() { EVRING_CHECK(size_ == 0, "a wheel is destroyed while timers are armed in it"); }

  // Arms `n`, which must be idle and stays borrowed until it fires or is cancelled. `deadline_ns` may be any number:
  // one that now() has reached falls due at once and fires, behind what is due already, in the next Advance(), or in
  // the one under way when armed by its callback. INT64_MAX, the end of the clock, never comes.
  void Arm(TimerNode* n, int64_t deadline_ns) {
    EVRING_CHECK(!n->armed(), "a timer is armed twice");
    n->deadline_ = std::max(deadline_ns, now_);
    n->wheel_ = id_;
    Link(n);
    ++size_;
  }

  // Makes `n` idle. False: it was idle already, because it fired, was cancelled or never armed. It must not be armed in
  // another wheel.
  bool Cancel(TimerNode* n) {
    if (!n->armed()) return false;
    EVRING_CHECK(n->wheel_ == id_, "a timer is cancelled in a wheel that does not hold it");
    Unlink(n);
    --size_;
    return true;
  }

  // Brings the time to `now_ns` and hands the nodes that are due (deadline <= now, to the nanosecond) to
  // `fire(TimerNode*)`, each idle by then, in order of deadline_ns(). Nodes of one deadline keep their arming order,
  // but for those armed while a long move is under way. Time does not go back: an earlier `now_ns` counts as now().
  //
  // Bounded: at most `max` nodes fire and kMovesPerFire * max are moved. Returns how many fired. With more due than
  // that, NextDeadline() <= now_ns afterwards, even if fewer than `max` fired: call again. Call it now and then when
  // nothing is due, too (a few ns): timers armed next to the current time are moved less.
  //
  // `fire` may arm and cancel any node, those due in the same call included, and may destroy the node handed to it. It
  // must not throw or call Advance().
  template <class F>
  size_t Advance(int64_t now_ns, F&& fire, size_t max) {
    now_ = std::max(now_, now_ns);
    size_t moves = max > SIZE_MAX / kMovesPerFire ? SIZE_MAX : max * kMovesPerFire;
    size_t fired = 0;
    while (fired < max) {
      TimerNode* n = TakeDue(&moves);
      if (n == nullptr) break;
      ++fired;
      fire(n);
    }
    return fired;
  }

  // When Advance() is wanted next: never later than the earliest deadline; when earlier, see the head of this file.
  // kNever if nothing is armed. A few ns.
  int64_t NextDeadline() const {
    if (levels_ == 0) return kNever;
    const int64_t earliest = slots_[FirstSlot()].earliest;
    return moving_ == kNone ? earliest : std::min(earliest, slots_[moving_].earliest);
  }

  // How many nodes are armed.
  size_t size() const { return size_; }

  // The latest time that Advance() was called with.
  int64_t now() const { return now_; }

  // Checks W1 to W4 and all links, O(armed nodes). For tests.
  void CheckInvariants() const;

 private:
  static constexpr int kDigitBits = 6;
  static constexpr int kSlotsPerLevel = 1 << kDigitBits;
  static constexpr int kLevels = 11;
  static constexpr int kSlots = kLevels * kSlotsPerLevel;
  static constexpr int kNone = -1;
  static_assert(kLevels * kDigitBits >= 63, "a non-negative int64_t has a digit at every level");
  static_assert(kSlotsPerLevel == 64, "the slots of a level are the bits of one word");

  struct Slot {
    TimerNode* head = nullptr;
    TimerNode* tail = nullptr;
    int64_t earliest = 0;  // W4; means nothing while the slot is empty
  };

  // The slot of `deadline` by W2, counted through all levels.
  int SlotOf(int64_t deadline) const {
    const uint64_t differing = static_cast<uint64_t>(deadline ^ position_) | 1;
    const int level = (63 - __builtin_clzll(differing)) / kDigitBits;
    const int digit = static_cast<int>(deadline >> (level * kDigitBits)) & (kSlotsPerLevel - 1);
    return level * kSlotsPerLevel + digit;
  }

  int FirstSlot() const {
    const int level = __builtin_ctz(levels_);
    return level * kSlotsPerLevel + __builtin_ctzll(occupied_[level]);
  }

  void Link(TimerNode* n) {
    const int index = SlotOf(n->deadline_);
    n->slot_ = static_cast<int16_t>(index);
    Slot& slot = slots_[index];
    const int level = index / kSlotsPerLevel;
    const uint64_t bit = uint64_t{1} << (index % kSlotsPerLevel);
    TimerNode* const tail = slot.tail;
    n->next_ = nullptr;
    n->prev_ = tail;
    slot.tail = n;
    if (tail == nullptr) {
      slot.head = n;
      slot.earliest = n->deadline_;
      occupied_[level] |= bit;
      levels_ |= 1u << level;
      return;
    }
    tail->next_ = n;
    if (n->deadline_ < tail->deadline_) {
      unordered_[level] |= bit;
      slot.earliest = std::min(slot.earliest, n->deadline_);
    }
  }

  void Unlink(TimerNode* n) {
    const int index = n->slot_;
    Slot& slot = slots_[index];
    TimerNode* const next = n->next_;
    TimerNode* const prev = n->prev_;
    n->slot_ = TimerNode::kIdle;
    (prev == nullptr ? slot.head : prev->next_) = next;
    (next == nullptr ? slot.tail : next->prev_) = prev;
    if (prev == nullptr || slot.head == slot.tail) HeadChanged(index);
  }

  // After the nodes at the front of a slot were taken out, or all but one.
  void HeadChanged(int index) {
    Slot& slot = slots_[index];
    const int level = index / kSlotsPerLevel;
    const uint64_t bit = uint64_t{1} << (index % kSlotsPerLevel);
    if (slot.head == slot.tail) unordered_[level] &= ~bit;  // one node is in order, and none
    if (slot.head == nullptr) {
      occupied_[level] &= ~bit;
      if (occupied_[level] == 0) levels_ &= ~(1u << level);
      if (moving_ == index) moving_ = kNone;
    } else if ((unordered_[level] & bit) == 0) {
      slot.earliest = slot.head->deadline_;
    }
  }

  // Unlinks and returns the next node that is due at now_. Null: none is, or `*moves` are used up.
  TimerNode* TakeDue(size_t* moves);

  // Goes on with the move of slot moving_. False: `*moves` are used up before it is empty.
  bool Move(size_t* moves);

  std::array<Slot, kSlots> slots_;
  std::array<uint64_t, kLevels> occupied_{};   // bit: the slot has nodes
  std::array<uint64_t, kLevels> unordered_{};  // bit: the slot's list is not in order of deadlines
  uint32_t levels_ = 0;                        // bit: the level has an occupied slot
  int moving_ = kNone;                         // the slot whose move is under way
  const uint32_t id_;
  int64_t now_;
  int64_t position_;
  size_t size_ = 0;
};

}  // namespace evring

#endif  // EVRING_RUNTIME_TIMER_WHEEL_H_
