// weak_memory.h: what the C++ memory model lets a load see, as far as it can be had by running threads one step at a
// time.
//
// Each atomic keeps every value that was stored in it, in modification order (here: the order of execution). Each
// thread has a view: for each atomic, the oldest of those stores that it may still read. Reading or writing moves its
// view of that atomic forward (coherence). A release store carries the whole view of its thread along as a message, an
// acquire load that reads it takes the message into its own view; a relaxed store carries only itself. A
// read-modify-write reads the last store, and passes on the message of what it replaced (release sequence). A view also
// holds, for each thread, how many of its steps happened before: so data races on plain variables are found in the same
// way.
//
// Not modelled: a load that sees a store which its own thread has let a later store run ahead of (load buffering: r =
// x; y = 1 against r = y; x = 1 with both reading 1), stores to one atomic whose modification order is not the order of
// execution, seq_cst and fences (refused). So the model finds a wrong order if it loses a value, and not if it would
// let a read see the future.

#ifndef EVRING_TESTS_MODEL_WEAK_MEMORY_H_
#define EVRING_TESTS_MODEL_WEAK_MEMORY_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "kevent/check.h"

namespace evring::model {

inline constexpr int kThreadsMax = 5;             // of a scenario
inline constexpr int kSetupThread = kThreadsMax;  // makes the objects before they start, and looks at them afterwards
inline constexpr int kClocks = kThreadsMax + 1;
inline constexpr int kLocationsMax = 120;

struct View {
  std::array<uint16_t, kClocks + kLocationsMax> at{};

  uint16_t& Steps(int thread) { return at[thread]; }
  uint16_t& Oldest(int location) { return at[kClocks + location]; }
  uint16_t Steps(int thread) const { return at[thread]; }

  void Join(const View& other, int locations) {
    for (int i = 0; i < kClocks + locations; ++i) at[i] = std::max(at[i], other.at[i]);
  }
};

class WeakMemory {
 public:
  void Reset() {
    for (View& view : views_) view = View();
    locations_ = 0;
  }

  int NewLocation(uint64_t value) {
    EVRING_CHECK(locations_ < kLocationsMax, "a scenario has at most kLocationsMax atomics");
    const int location = locations_++;
    if (static_cast<size_t>(location) == stores_.size()) stores_.emplace_back();
    stores_[location].clear();
    stores_[location].push_back({value, View()});
    return location;
  }

  // The threads begin with what the set-up wrote.
  void EndSetup() { Step(kSetupThread); }
  void StartThread(int thread) { views_[thread] = views_[kSetupThread]; }
  void JoinThread(int thread) {
    Step(thread);
    views_[kSetupThread].Join(views_[thread], locations_);
  }

  // Every operation of a thread is a step of it, counted first.
  void Step(int thread) { ++views_[thread].Steps(thread); }

  int Last(int location) const { return static_cast<int>(stores_[location].size()) - 1; }
  int OldestReadable(int thread, int location) { return views_[thread].Oldest(location); }
  uint64_t Value(int location, int store) const { return stores_[location][store].value; }

  void Read(int thread, int location, int store, bool acquire) {
    View& view = views_[thread];
    view.Oldest(location) = static_cast<uint16_t>(store);
    if (acquire) view.Join(stores_[location][store].message, locations_);
  }

  // `sequence`: the store that a read-modify-write replaces, or -1.
  void Write(int thread, int location, uint64_t value, bool release, int sequence) {
    const int store = Last(location) + 1;
    EVRING_CHECK(store < UINT16_MAX, "too many stores");
    views_[thread].Oldest(location) = static_cast<uint16_t>(store);
    stores_[location].push_back({value, View()});
    View& message = stores_[location].back().message;
    if (release) message = views_[thread];
    if (sequence >= 0) message.Join(stores_[location][sequence].message, locations_);
    message.Oldest(location) = static_cast<uint16_t>(store);
  }

  const View& ViewOf(int thread) const { return views_[thread]; }

 private:
  struct Store {
    uint64_t value;
    View message;
  };

  std::array<View, kClocks> views_;
  std::vector<std::vector<Store>> stores_;
  int locations_ = 0;
};

}  // namespace evring::model

#endif  // EVRING_TESTS_MODEL_WEAK_MEMORY_H_
