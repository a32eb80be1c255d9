#include "runtime/timer_wheel.h"

#include <atomic>
#include <utility>

namespace evring {
namespace {

uint32_t NextWheelId() {
  static constinit std::atomic<uint32_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;  // a counter: it orders nothing
}

}  // namespace

TimerWheel::TimerWheel(int64_t now_ns) : id_(NextWheelId()), now_(now_ns), position_(now_ns) {
  EVRING_CHECK(now_ns >= 0, "the monotonic clock starts at 0");
}

TimerNode* TimerWheel::TakeDue(size_t* moves) {
  for (;;) {
    if (moving_ != kNone && !Move(moves)) return nullptr;
    if (levels_ == 0) {
      position_ = now_;
      return nullptr;
    }
    const int index = FirstSlot();
    Slot& slot = slots_[index];
    if (slot.earliest > now_) {
      // W2 holds for every position before the start of the first slot: up to there, no digit of a deadline that
      // differs from the position's becomes equal to it.
      const int shift = index / kSlotsPerLevel * kDigitBits;
      position_ = std::min(now_, ((slot.earliest >> shift) << shift) - 1);
      return nullptr;
    }
    TimerNode* n = slot.head;
    if (index < kSlotsPerLevel || n->next_ == nullptr) {
      position_ = n->deadline_;
      Unlink(n);
      --size_;
      return n;
    }
    position_ = slot.earliest;
    moving_ = index;
  }
}

bool TimerWheel::Move(size_t* moves) {
  const int index = moving_;
  Slot& slot = slots_[index];
  TimerNode* n = slot.head;
  while (n != nullptr && *moves > 0) {
    --*moves;
    Link(std::exchange(n, n->next_));  // into another slot, at least one level down
  }
  slot.head = n;
  (n == nullptr ? slot.tail : n->prev_) = nullptr;
  HeadChanged(index);
  return n == nullptr;
}

void TimerWheel::CheckInvariants() const {
  EVRING_CHECK(position_ >= 0 && position_ <= now_, "W1: the position is not ahead of the time");
  size_t seen = 0;
  for (int index = 0; index < kSlots; ++index) {
    const int level = index / kSlotsPerLevel;
    const uint64_t bit = uint64_t{1} << (index % kSlotsPerLevel);
    const Slot& slot = slots_[index];
    EVRING_CHECK((slot.head != nullptr) == ((occupied_[level] & bit) != 0), "the slot's bit says whether it has nodes");
    EVRING_CHECK((slot.head == nullptr) == (slot.tail == nullptr), "a list has two ends or none");
    if (slot.head == nullptr) {
      EVRING_CHECK((unordered_[level] & bit) == 0, "an empty slot is in order");
      EVRING_CHECK(moving_ != index, "the move of a slot ends when it is empty");
      continue;
    }
    EVRING_CHECK((levels_ & (1u << level)) != 0, "the level's bit says that it has nodes");
    const bool in_order = (unordered_[level] & bit) == 0;
    int64_t least = kNever;
    EVRING_CHECK(slot.head->prev_ == nullptr && slot.tail->next_ == nullptr, "the ends of the list");
    for (const TimerNode* n = slot.head; n != nullptr; n = n->next_) {
      const TimerNode* next = n->next_;
      EVRING_CHECK(next != nullptr ? next->prev_ == n : slot.tail == n, "the links agree");
      EVRING_CHECK(n->slot_ == index && n->wheel_ == id_, "a node knows its slot and wheel");
      EVRING_CHECK(n->deadline_ >= position_, "W1: no armed deadline is before the position");
      if (moving_ == index) {
        EVRING_CHECK(SlotOf(n->deadline_) / kSlotsPerLevel < level, "W2: a node of the moving slot goes down");
      } else {
        EVRING_CHECK(SlotOf(n->deadline_) == index, "W2: the deadline and the position name the slot");
      }
      EVRING_CHECK(!in_order || next == nullptr || n->deadline_ <= next->deadline_, "not marked, so in order");
      EVRING_CHECK(level > 0 || n->deadline_ == slot.head->deadline_, "W3: a slot of level 0 holds one deadline");
      least = std::min(least, n->deadline_);
      ++seen;
    }
    EVRING_CHECK(slot.earliest <= least, "W4: earliest is a lower bound");
    EVRING_CHECK(!in_order || slot.earliest == least, "W4: exact if in order");
  }
  for (int level = 0; level < kLevels; ++level) {
    EVRING_CHECK(((levels_ & (1u << level)) != 0) == (occupied_[level] != 0), "the level's bit agrees with its slots");
  }
  EVRING_CHECK(seen == size_, "size counts the armed nodes");
}

}  // namespace evring
