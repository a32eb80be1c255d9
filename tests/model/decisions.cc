// decisions.cc: who goes on, and which schedules need not be run.

#include <bit>

#include "kevent/check.h"
#include "tests/model/engine.h"

namespace evring::model {

// The running thread is about to do `request`: decides who goes on, and returns when that is this thread.
void Engine::Announce(const Request& request) {
  const int self = running_;
  threads_[self].pending = request;
  if (phase_ == Phase::kStarting) {
    GoOnWith(kNoThread);
  } else {
    if (const int next = Decide(); next != self) GoOnWith(next);
  }
  if (phase_ == Phase::kAbandoning) throw Abandoned();
}

// Whose step is next; kNoThread if there is none: all ended, all blocked, or the rest is known.
int Engine::Decide() {
  const uint32_t enabled = Enabled();
  if (enabled == 0) return kNoThread;
  if (depth_ >= options_.steps_max) {
    NoteFailure("the schedule does not end");
    return kNoThread;
  }
  const int last = depth_ == 0 ? kNoThread : path_[depth_ - 1].thread;
  const bool last_could = last != kNoThread && (enabled & BitOf(last)) != 0;
  if (depth_ == static_cast<int>(path_.size())) {
    Node node;
    node.enabled = enabled;
    uint32_t candidates = enabled;
    if (Bounded()) {
      node.preemptions = depth_ == 0 ? 0 : path_[depth_ - 1].preemptions;
      if (last_could && node.preemptions >= options_.preemptions) candidates = BitOf(last);
      node.backtrack = candidates;
    } else if (depth_ > 0) {
      // Whoever slept before the last step still does, unless that step is dependent with his next.
      const Node& parent = path_[depth_ - 1];
      for (int i = 0; i < thread_count_; ++i) {
        if (((parent.asleep | parent.done) & BitOf(i)) == 0 || i == parent.thread) continue;
        const Request& next = threads_[i].pending;
        if (!Dependent(parent.location, parent.writes, next.location, MayWrite(next))) node.asleep |= BitOf(i);
      }
      candidates &= ~node.asleep;
      if (candidates == 0) {
        redundant_ = true;
        return kNoThread;
      }
    }
    node.thread = last_could && (candidates & BitOf(last)) != 0 ? last : std::countr_zero(candidates);
    node.backtrack |= BitOf(node.thread);
    path_.push_back(node);
  }
  Node& node = path_[depth_];
  if (node.enabled == 0) node.enabled = enabled;  // of a replay
  EVRING_CHECK(node.enabled == enabled, "the scenario behaves differently when repeated");
  if (Bounded()) {
    const int before = depth_ == 0 ? 0 : path_[depth_ - 1].preemptions;
    node.preemptions = before + (last_could && node.thread != last ? 1 : 0);
  }
  ++depth_;
  return node.thread;
}

uint32_t Engine::Enabled() const {
  uint32_t enabled = 0;
  for (int i = 0; i < thread_count_; ++i) {
    if (!threads_[i].finished && Runnable(threads_[i].pending)) enabled |= BitOf(i);
  }
  return enabled;
}

bool Engine::Runnable(const Request& request) const {
  if (request.op == Op::kWait) return memory_.Value(request.location, memory_.Last(request.location)) != 0;
  if (request.op == Op::kLock) return locations_[request.location].held_by == kNoThread;
  return true;
}

// The next path, with the last decision that can be made differently.
bool Engine::NextSchedule() {
  path_.resize(depth_);
  while (!path_.empty()) {
    Node& node = path_.back();
    if (++node.choice < node.choices) return true;
    node.choice = 0;
    node.choices = 1;
    node.done |= BitOf(node.thread);
    if (const uint32_t rest = node.backtrack & ~node.done & ~node.asleep; rest != 0) {
      node.thread = std::countr_zero(rest);
      return true;
    }
    path_.pop_back();
  }
  return false;
}

// Decides among the values that the running step can see; 0 first.
int Engine::Choose(int choices) {
  if (phase_ != Phase::kRunning) return 0;
  Node& node = path_[depth_ - 1];
  EVRING_CHECK(node.choice < choices, "the scenario behaves differently when repeated");
  node.choices = choices;
  return node.choice;
}

// --- Partial order
// -----------------------------------------------------------------------------------------------------

// Does the order of two steps, of different threads, matter?
bool Engine::Dependent(int location, bool writes, int other_location, bool other_writes) {
  return location == other_location && (writes || other_writes);
}

// What a compare-and-swap will do is not known before.
bool Engine::MayWrite(const Request& pending) { return pending.op != Op::kLoad; }

// The step of `thread` that is `next`, or would be if it could: finds the steps that it could have come before, and has
// that tried.
void Engine::Races(int thread, const Request& next, bool writes, int depth) {
  Clock ordered = threads_[thread].clock;
  const std::vector<int>& nodes = locations_[next.location].nodes;
  for (auto i = nodes.rbegin(); i != nodes.rend(); ++i) {
    const Node& node = path_[*i];
    if (*i < ordered[node.thread]) continue;  // comes before in any case, or before one of those below
    if (!Dependent(node.location, node.writes, next.location, writes)) continue;
    // What cannot run before the other has: a lock before the unlock, a wait before the post.
    if (next.op == Op::kLock && node.op == Op::kUnlock) continue;
    if (next.op == Op::kWait && node.op == Op::kPost && node.enables) continue;
    Reverse(*i, thread, next, writes, depth);
    Join(&ordered, node.clock);
  }
}

// At the decision `index`, somebody is to be tried who leads to the next step of `thread` before the step that was made
// there: a thread whose first step, among those since then that need not come after it, need not come after another of
// those (an initial of the source set, in the words of the paper).
void Engine::Reverse(int index, int thread, const Request& next, bool writes, int depth) {
  Node& raced = path_[index];
  std::array<int, kThreadsMax> first;
  first.fill(depth);
  uint32_t initials = 0;
  const auto comes_first = [&](const Clock& clock) {
    for (int t = 0; t < thread_count_; ++t) {
      if (first[t] < clock[t]) return false;
    }
    return true;
  };
  bool next_is_first = true;
  for (int i = index + 1; i < depth; ++i) {
    const Node& node = path_[i];
    if (index < node.clock[raced.thread]) continue;
    if (first[node.thread] == depth) {
      if (comes_first(node.clock)) initials |= BitOf(node.thread);
      first[node.thread] = i;
    }
    next_is_first &= !Dependent(node.location, node.writes, next.location, writes);
  }
  if (next_is_first && first[thread] == depth && comes_first(threads_[thread].clock)) initials |= BitOf(thread);
  initials &= raced.enabled;
  if (initials == 0) {
    raced.backtrack |= raced.enabled;
  } else if ((initials & (raced.backtrack | raced.asleep)) == 0) {
    raced.backtrack |= initials & -initials;
  }
}

// The step is done: finds its races, and orders it behind what it depends on.
void Engine::FinishStep(const Request& request, bool writes) {
  if (phase_ != Phase::kRunning) return;
  const int index = depth_ - 1;
  Node& node = path_[index];
  node.location = request.location;
  node.op = request.op;
  node.writes = writes;
  if (Bounded()) return;
  if (index >= first_new_) Races(node.thread, request, writes, index);
  Location& location = locations_[request.location];
  Clock& clock = threads_[node.thread].clock;
  Join(&clock, writes ? location.accesses : location.writes);
  clock[node.thread] = index + 1;
  Join(&location.accesses, clock);
  if (writes) location.writes = clock;
  node.clock = clock;
  location.nodes.push_back(index);
}

}  // namespace evring::model
