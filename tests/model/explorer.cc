#include "tests/model/explorer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <sstream>
#include <string_view>
#include <tuple>

#include "tests/model/fiber.h"
#include "tests/model/weak_memory.h"

namespace evring::model {

using internal::Reply;
using internal::Request;

namespace {

constexpr int kNoThread = -1;

// Thrown on the threads of a schedule that is not run to its end, so that what lives on their stacks is destroyed.
struct Abandoned {};

bool Acquires(std::memory_order order) {
  return order == std::memory_order_acquire || order == std::memory_order_acq_rel;
}
bool Releases(std::memory_order order) {
  return order == std::memory_order_release || order == std::memory_order_acq_rel;
}
std::memory_order OrderOf(bool acquire, bool release) {
  if (acquire) return release ? std::memory_order_acq_rel : std::memory_order_acquire;
  return release ? std::memory_order_release : std::memory_order_relaxed;
}

const char* NameOf(std::memory_order order) {
  switch (order) {
    case std::memory_order_relaxed:
      return "relaxed";
    case std::memory_order_acquire:
      return "acquire";
    case std::memory_order_release:
      return "release";
    case std::memory_order_acq_rel:
      return "acq_rel";
    default:
      return "?";
  }
}

const char* NameOf(Op op) {
  switch (op) {
    case Op::kLoad:
      return "load";
    case Op::kStore:
      return "store";
    case Op::kReadModifyWrite:
      return "read_modify_write";
    case Op::kCompareExchange:
      return "compare_exchange";
    case Op::kPost:
      return "post";
    case Op::kWait:
      return "wait";
    case Op::kLock:
      return "lock";
    case Op::kUnlock:
      return "unlock";
  }
  return "?";
}

const char* NameOf(Change change) {
  switch (change) {
    case Change::kNone:
      return "unchanged";
    case Change::kDropAcquire:
      return "without acquire";
    case Change::kDropAcquireOnFailure:
      return "without acquire on failure";
    case Change::kDropRelease:
      return "without release";
    case Change::kNoWrite:
      return "without its write";
    case Change::kTwoSteps:
      return "in two steps";
    case Change::kNoCompare:
      return "without the compare";
  }
  return "?";
}

Site SiteOf(const Request& request) {
  return {.op = request.op, .order = request.order, .failure = request.failure, .where = request.where};
}

bool HasOrder(Op op) { return op <= Op::kCompareExchange; }

std::string FileOf(const std::source_location& where) {
  const std::string path = where.file_name();
  return path.substr(path.rfind('/') + 1);
}

uint32_t BitOf(int thread) { return uint32_t{1} << thread; }

}  // namespace

// One exploration: the tree of decisions, as the path that leads to the schedule being run, and that schedule's state.
class Engine {
 public:
  Engine(const Options& options, const std::function<void(Execution&)>& scenario);
  Result Explore();

  int NewLocation(uint64_t value, const void* address);
  Reply Perform(Request request);
  void PlainAccess(internal::PlainState* state, bool write, const std::source_location& where);
  [[noreturn]] void Fail(std::string what);
  void RunThread(int thread);

 private:
  enum class Phase {
    kSetup,       // the scenario makes its objects
    kStarting,    // each thread runs to its first access
    kRunning,     // decisions are made
    kDraining,    // all threads waited: they end, without decisions
    kAbandoning,  // the threads unwind
    kFinal,       // Finally
  };

  // The steps that come before, in every schedule of the class: for each thread, how far in the path.
  using Clock = std::array<int, kThreadsMax>;

  // A decision, and what came of it in the schedule being run.
  struct Node {
    uint32_t enabled = 0;    // threads that could go on
    uint32_t backtrack = 0;  // threads to be tried here
    uint32_t done = 0;       // threads that were
    uint32_t asleep = 0;     // threads whose next step here is known from an earlier branch
    int thread = kNoThread;
    int preemptions = 0;  // up to here
    int choice = 0;       // of the values that the access can see
    int choices = 1;
    int location = 0;
    Op op = Op::kLoad;
    bool writes = false;
    bool enables = false;  // a post that somebody could have been waiting for
    Clock clock{};         // the step and those before it
  };

  struct Thread {
    const std::function<void()>* body = nullptr;
    bool finished = true;
    Request pending;
    Clock clock{};
    int stale_reads = 0;
    int spurious_failures = 0;
  };

  struct Location {
    const void* address;
    int held_by = kNoThread;  // of a mutex
    Clock accesses{};
    Clock writes{};
    std::vector<int> nodes;  // the steps that accessed it
    struct Stale {
      int store = -1;
      int times = 0;
    };
    std::array<Stale, kThreadsMax> stale;
  };

  // For the trace.
  struct Step {
    int thread;
    Request request;
    Reply reply;
    uint64_t written;
    bool wrote;
    int stale;  // how many stores ago the value read was written
  };

  void RunSchedule();
  bool NextSchedule();
  void ForceReplay();
  void GoOnWith(int next);
  void ResumeUnfinished(Phase phase);

  void Announce(const Request& request);
  int Decide();
  uint32_t Enabled() const;
  bool Runnable(const Request& request) const;
  int Choose(int choices);
  Reply Execute(const Request& request);
  Reply CompareExchange(const Request& request, Step* step);
  int ChooseStore(int location);
  bool MayReadStale(int location, int store);
  void NoteRead(int location, int store, bool acquire, Step* step);
  void NoteWrite(int location, uint64_t value, bool release, int sequence, Step* step);
  void FinishStep(const Request& request, bool writes);

  bool Bounded() const { return options_.preemptions != Options::kUnlimited; }
  void Races(int thread, const Request& next, bool writes, int depth);
  void Reverse(int index, int thread, const Request& next, bool writes, int depth);
  static bool Dependent(int location, bool writes, int other_location, bool other_writes);
  static bool MayWrite(const Request& pending);
  static void Join(Clock* clock, const Clock& other) {
    for (int i = 0; i < kThreadsMax; ++i) (*clock)[i] = std::max((*clock)[i], other[i]);
  }

  Request Mutated(const Request& request) const;
  bool IsMutant(const Request& request) const;
  void NoteSite(const Request& request);
  void NoteFailure(std::string what);
  std::string Trace() const;
  std::string Schedule() const;
  std::string NameOfValue(uint64_t value) const;
  std::string NameOfLocation(int location) const;

  const Options& options_;
  const std::function<void(Execution&)>& scenario_;
  Result result_;

  std::vector<Node> path_;
  std::optional<Execution> run_;
  Phase phase_ = Phase::kSetup;
  bool failed_ = false;
  bool redundant_ = false;
  int depth_ = 0;  // steps begun in this schedule: path_[depth_ - 1] is the one being executed
  int first_new_ = 0;  // steps before this one are as in the last schedule
  int running_ = kSetupThread;
  int thread_count_ = 0;
  std::vector<Thread> threads_;
  std::vector<Location> locations_;
  WeakMemory memory_;
  std::vector<Step> steps_;
};

namespace {

Engine* engine = nullptr;

// The stacks that all explorations use, one after the other. Between schedules each waits at the end of its loop.
class Fibers {
 public:
  void SwitchTo(int thread) {
    std::unique_ptr<Fiber>& fiber = threads_[thread];
    if (fiber == nullptr) {
      fiber = std::make_unique<Fiber>([thread] {
        for (;;) engine->RunThread(thread);
      });
    }
    Switch(fiber.get());
  }
  void SwitchToMain() { Switch(&main_); }

 private:
  void Switch(Fiber* to) {
    Fiber* from = std::exchange(on_, to);
    to->SwitchFrom(from);
  }

  Fiber main_;
  Fiber* on_ = &main_;
  std::array<std::unique_ptr<Fiber>, kThreadsMax> threads_;
};

Fibers& TheFibers() {
  static Fibers fibers;
  return fibers;
}

}  // namespace

Engine::Engine(const Options& options, const std::function<void(Execution&)>& scenario)
    : options_(options), scenario_(scenario), threads_(kThreadsMax) {}

Result Engine::Explore() {
  EVRING_CHECK(engine == nullptr, "one exploration at a time");
  engine = this;
  if (!options_.replay.empty()) ForceReplay();
  bool more = true;
  while (more && !result_.failure && result_.schedules + result_.redundant < options_.schedules_max) {
    RunSchedule();
    more = options_.replay.empty() && NextSchedule();
  }
  result_.complete = !more && !result_.failure;
  std::sort(result_.sites.begin(), result_.sites.end());
  engine = nullptr;
  return std::move(result_);
}

// --- One schedule ------------------------------------------------------------------------------------------------------

void Engine::RunSchedule() {
  run_.emplace();
  memory_.Reset();
  locations_.clear();
  steps_.clear();
  failed_ = redundant_ = false;
  depth_ = 0;
  first_new_ = path_.empty() ? 0 : static_cast<int>(path_.size()) - 1;
  running_ = kSetupThread;
  phase_ = Phase::kSetup;
  scenario_(*run_);
  thread_count_ = static_cast<int>(run_->threads_.size());
  EVRING_CHECK(thread_count_ >= 1 && thread_count_ <= kThreadsMax, "a scenario has 1 to kThreadsMax threads");

  memory_.EndSetup();
  for (int i = 0; i < thread_count_; ++i) {
    Thread& thread = threads_[i];
    thread.body = &run_->threads_[i].second;
    thread.finished = false;
    thread.clock = {};
    thread.stale_reads = thread.spurious_failures = 0;
    memory_.StartThread(i);
  }
  ResumeUnfinished(Phase::kStarting);
  if (!failed_) {
    phase_ = Phase::kRunning;
    if (const int first = Decide(); first != kNoThread) GoOnWith(first);
  }
  running_ = kSetupThread;
  bool unfinished = false;
  for (int i = 0; i < thread_count_; ++i) {
    if (threads_[i].finished) continue;
    unfinished = true;
    if (!failed_ && !redundant_ && !Bounded()) Races(i, threads_[i].pending, MayWrite(threads_[i].pending), depth_);
  }
  if (unfinished && !failed_ && !redundant_) {
    phase_ = Phase::kFinal;
    for (int i = 0; i < thread_count_; ++i) memory_.JoinThread(i);
    try {
      if (!run_->when_all_blocked_ || !run_->when_all_blocked_()) NoteFailure("all threads are blocked");
    } catch (const Abandoned&) {
    }
    if (!failed_) ResumeUnfinished(Phase::kDraining);
  }
  ResumeUnfinished(Phase::kAbandoning);

  if (!failed_ && !redundant_) {
    phase_ = Phase::kFinal;
    for (int i = 0; i < thread_count_; ++i) memory_.JoinThread(i);
    try {
      if (run_->finally_) run_->finally_();
    } catch (const Abandoned&) {
    }
  }
  phase_ = Phase::kSetup;
  ++(redundant_ ? result_.redundant : result_.schedules);
  result_.steps += depth_;
  result_.depth = std::max(result_.depth, depth_);
  run_.reset();
}

// Lets every thread that has not ended go on in `phase` until it ends or, at the start, comes to its first access.
void Engine::ResumeUnfinished(Phase phase) {
  phase_ = phase;
  for (int i = 0; i < thread_count_; ++i) {
    if (failed_ && phase_ == Phase::kDraining) return;
    if (threads_[i].finished) continue;
    GoOnWith(i);
  }
  running_ = kSetupThread;
}

// A thread's part in one schedule, on its fiber.
void Engine::RunThread(int thread) {
  try {
    (*threads_[thread].body)();
  } catch (const Abandoned&) {
  } catch (const std::exception& e) {
    NoteFailure(std::string("exception: ") + e.what());
  }
  threads_[thread].finished = true;
  const int next = phase_ == Phase::kRunning && !failed_ ? Decide() : kNoThread;
  GoOnWith(next);
}

// Leaves the fiber for that of thread `next`, or if there is none for the main one.
void Engine::GoOnWith(int next) {
  if (next == kNoThread) {
    TheFibers().SwitchToMain();
  } else {
    running_ = next;
    TheFibers().SwitchTo(next);
  }
}

// --- Decisions ---------------------------------------------------------------------------------------------------------

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

// --- Partial order -----------------------------------------------------------------------------------------------------

// Does the order of two steps, of different threads, matter?
bool Engine::Dependent(int location, bool writes, int other_location, bool other_writes) {
  return location == other_location && (writes || other_writes);
}

// What a compare-and-swap will do is not known before.
bool Engine::MayWrite(const Request& pending) { return pending.op != Op::kLoad; }

// The step of `thread` that is `next`, or would be if it could: finds the steps that it could have come before, and has that
// tried.
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

// At the decision `index`, somebody is to be tried who leads to the next step of `thread` before the step that was made there:
// a thread whose first step, among those since then that need not come after it, need not come after another of those
// (an initial of the source set, in the words of the paper).
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

// --- Accesses ----------------------------------------------------------------------------------------------------------

int Engine::NewLocation(uint64_t value, const void* address) {
  EVRING_CHECK(phase_ == Phase::kSetup, "a scenario makes its atomics before its threads run");
  const int location = memory_.NewLocation(value);
  locations_.emplace_back().address = address;
  return location;
}

Reply Engine::Perform(Request request) {
  for (const std::memory_order order : {request.order, request.failure}) {
    EVRING_CHECK(order != std::memory_order_seq_cst && order != std::memory_order_consume,
                 "the model knows relaxed, acquire, release and acq_rel");
  }
  NoteSite(request);
  if (IsMutant(request)) {
    request = Mutated(request);
    const Change change = options_.mutant->change;
    const bool read_modify_write = request.op == Op::kReadModifyWrite || request.op == Op::kCompareExchange;
    if (change == Change::kNoWrite && request.op == Op::kStore) return Reply();
    if (read_modify_write && (change == Change::kNoWrite || change == Change::kTwoSteps)) {
      Request half = request;
      half.op = Op::kLoad;
      half.order = OrderOf(Acquires(request.order), false);
      Reply reply = Perform(half);
      reply.done = request.op == Op::kReadModifyWrite || reply.value == request.expected;
      if (change == Change::kNoWrite || !reply.done) return reply;
      half.op = Op::kStore;
      half.order = OrderOf(false, Releases(request.order));
      if (request.op == Op::kReadModifyWrite) half.operand = request.compute(reply.value, request.operand);
      Perform(half);
      return reply;
    }
  }
  const bool decided = running_ != kSetupThread && (phase_ == Phase::kStarting || phase_ == Phase::kRunning);
  if (decided) Announce(request);
  if (phase_ == Phase::kAbandoning && std::uncaught_exceptions() == 0) throw Abandoned();
  if (phase_ == Phase::kDraining) {
    if (request.op == Op::kWait) return Reply{.value = 0, .done = false};
    if (!Runnable(request)) throw Abandoned();
  }
  return Execute(request);
}

Reply Engine::Execute(const Request& request) {
  memory_.Step(running_);
  const int location = request.location;
  const int last = memory_.Last(location);
  Step step{.thread = running_, .request = request, .reply = {}, .written = 0, .wrote = false, .stale = 0};
  switch (request.op) {
    case Op::kLoad: {
      const int store = ChooseStore(location);
      step.reply.value = memory_.Value(location, store);
      NoteRead(location, store, Acquires(request.order), &step);
      break;
    }
    case Op::kStore:
      NoteWrite(location, request.operand, Releases(request.order), -1, &step);
      break;
    case Op::kReadModifyWrite:
      step.reply.value = memory_.Value(location, last);
      NoteRead(location, last, Acquires(request.order), &step);
      NoteWrite(location, request.compute(step.reply.value, request.operand), Releases(request.order), last, &step);
      break;
    case Op::kCompareExchange:
      step.reply = CompareExchange(request, &step);
      break;
    case Op::kPost:
      if (phase_ == Phase::kRunning) path_[depth_ - 1].enables = memory_.Value(location, last) == 0;
      NoteWrite(location, 1, true, last, &step);
      break;
    case Op::kWait:
      NoteRead(location, last, true, &step);
      NoteWrite(location, 0, false, -1, &step);
      break;
    case Op::kLock:
    case Op::kUnlock: {
      int& held_by = locations_[location].held_by;
      EVRING_CHECK(held_by == (request.op == Op::kLock ? kNoThread : running_), "a mutex is unlocked by its holder");
      held_by = request.op == Op::kLock ? running_ : kNoThread;
      NoteRead(location, last, true, &step);
      NoteWrite(location, 0, true, last, &step);
      break;
    }
  }
  if (running_ != kSetupThread) steps_.push_back(step);
  FinishStep(request, step.wrote);
  return step.reply;
}

// The outcomes: what the last store decides, failing on an outdated value, failing for no reason.
Reply Engine::CompareExchange(const Request& request, Step* step) {
  const int location = request.location;
  const int last = memory_.Last(location);
  const bool no_compare = IsMutant(request) && options_.mutant->change == Change::kNoCompare;
  const bool equal = no_compare || memory_.Value(location, last) == request.expected;
  std::array<int, 64> stores;
  int choices = 0;
  stores[choices++] = last;
  if (!no_compare && phase_ == Phase::kRunning) {
    for (int i = last - 1; i >= memory_.OldestReadable(running_, location) && choices < 63; --i) {
      if (memory_.Value(location, i) != request.expected && MayReadStale(location, i)) stores[choices++] = i;
    }
    if (equal && request.weak && threads_[running_].spurious_failures < options_.spurious_failures) {
      stores[choices++] = last;
    }
  }
  const int choice = Choose(choices);
  const int store = stores[choice];
  const uint64_t value = memory_.Value(location, store);
  if (choice == 0 && equal) {
    NoteRead(location, last, Acquires(request.order), step);
    NoteWrite(location, request.operand, Releases(request.order), last, step);
    return {.value = value, .done = true};
  }
  if (value == request.expected) ++threads_[running_].spurious_failures;
  NoteRead(location, store, Acquires(request.failure), step);
  return {.value = value, .done = false};
}

int Engine::ChooseStore(int location) {
  const int last = memory_.Last(location);
  if (phase_ != Phase::kRunning || running_ == kSetupThread) return last;
  std::array<int, 64> stores;
  int choices = 0;
  stores[choices++] = last;
  for (int i = last - 1; i >= memory_.OldestReadable(running_, location) && choices < 64; --i) {
    if (MayReadStale(location, i)) stores[choices++] = i;
  }
  return stores[Choose(choices)];
}

// A thread sees a store some time: it may read the same outdated one twice, not forever.
bool Engine::MayReadStale(int location, int store) {
  const Location::Stale& stale = locations_[location].stale[running_];
  if (stale.store == store && stale.times >= 2) return false;
  return options_.stale_reads == Options::kUnlimited || threads_[running_].stale_reads < options_.stale_reads;
}

void Engine::NoteRead(int location, int store, bool acquire, Step* step) {
  step->stale = memory_.Last(location) - store;
  if (step->stale > 0) {
    ++threads_[running_].stale_reads;
    Location::Stale& stale = locations_[location].stale[running_];
    stale = {.store = store, .times = stale.store == store ? stale.times + 1 : 1};
  }
  memory_.Read(running_, location, store, acquire);
}

void Engine::NoteWrite(int location, uint64_t value, bool release, int sequence, Step* step) {
  step->wrote = true;
  step->written = value;
  memory_.Write(running_, location, value, release, sequence);
}

void Engine::PlainAccess(internal::PlainState* state, bool write, const std::source_location& where) {
  if (phase_ == Phase::kAbandoning) return;
  const View& view = memory_.ViewOf(running_);
  const auto unordered = [&](int thread, uint16_t step) { return thread != running_ && view.Steps(thread) <= step; };
  bool race = state->writer >= 0 && unordered(state->writer, state->written_at);
  for (int i = 0; write && i < kClocks; ++i) race |= state->read_by[i] && unordered(i, state->read_at[i]);
  if (write) {
    state->writer = running_;
    state->written_at = view.Steps(running_);
  } else {
    state->read_by[running_] = true;
    state->read_at[running_] = view.Steps(running_);
  }
  if (race) {
    Fail("data race at " + FileOf(where) + ":" + std::to_string(where.line()) + " by " +
         (running_ == kSetupThread ? std::string("Finally") : run_->threads_[running_].first));
  }
}

// --- Failures ----------------------------------------------------------------------------------------------------------

void Engine::Fail(std::string what) {
  NoteFailure(std::move(what));
  throw Abandoned();
}

void Engine::NoteFailure(std::string what) {
  if (failed_) return;  // the first is the cause
  failed_ = true;
  result_.failure = Failure{.what = std::move(what), .schedule = Schedule(), .trace = Trace()};
}

std::string Engine::Schedule() const {
  std::ostringstream out;
  for (int i = 0; i < depth_; ++i) {
    out << (i == 0 ? "" : " ") << path_[i].thread;
    if (path_[i].choice != 0) out << ":" << path_[i].choice;
  }
  return std::move(out).str();
}

void Engine::ForceReplay() {
  std::istringstream in(options_.replay);
  for (std::string word; in >> word;) {
    Node node;
    node.thread = std::atoi(word.c_str());
    const size_t colon = word.find(':');
    if (colon != std::string::npos) node.choice = std::atoi(word.c_str() + colon + 1);
    path_.push_back(node);
  }
}

std::string Engine::NameOfValue(uint64_t value) const {
  for (const Execution::Named& named : run_->names_) {
    if (named.address == value) return named.name;
  }
  return std::to_string(static_cast<int64_t>(value));
}

std::string Engine::NameOfLocation(int location) const {
  const auto address = reinterpret_cast<uintptr_t>(locations_[location].address);
  for (const Execution::Named& named : run_->names_) {
    if (address >= named.address && address - named.address < named.size) {
      return named.name + "+" + std::to_string(address - named.address);
    }
  }
  return "#" + std::to_string(location);
}

std::string Engine::Trace() const {
  std::ostringstream out;
  int last = kNoThread;
  for (const Step& step : steps_) {
    if (step.thread != last) out << run_->threads_[step.thread].first << "\n";
    last = step.thread;
    const Site site = SiteOf(step.request);
    out << "  " << site.ToString() << " of " << NameOfLocation(step.request.location);
    const bool reads = step.request.op != Op::kStore && HasOrder(step.request.op);
    if (reads) out << " = " << NameOfValue(step.reply.value);
    if (step.stale > 0) out << " (outdated by " << step.stale << ")";
    if (step.request.op == Op::kCompareExchange && !step.wrote) out << " failed";
    if (step.wrote && HasOrder(step.request.op)) out << " <- " << NameOfValue(step.written);
    out << "\n";
  }
  for (int i = 0; i < thread_count_; ++i) {
    if (threads_[i].finished || phase_ == Phase::kSetup || phase_ == Phase::kStarting) continue;
    const Request& pending = threads_[i].pending;
    const Site site = SiteOf(pending);
    if (i != running_) out << run_->threads_[i].first << "\n  then " << site.ToString() << "\n";
  }
  return std::move(out).str();
}

// --- Mutants and sites -------------------------------------------------------------------------------------------------

bool Engine::IsMutant(const Request& request) const {
  return options_.mutant &&
         options_.mutant->site == SiteOf(request);
}

// The orders that remain; the other changes are made where the access is.
Request Engine::Mutated(const Request& request) const {
  Request mutated = request;
  if (options_.mutant->change == Change::kDropAcquire) mutated.order = OrderOf(false, Releases(request.order));
  if (options_.mutant->change == Change::kDropAcquireOnFailure) mutated.failure = std::memory_order_relaxed;
  if (options_.mutant->change == Change::kDropRelease) mutated.order = OrderOf(Acquires(request.order), false);
  return mutated;
}

void Engine::NoteSite(const Request& request) {
  if (options_.mutant || phase_ == Phase::kSetup || phase_ == Phase::kFinal) return;
  const Site site = SiteOf(request);
  for (const Site& known : result_.sites) {
    if (known == site) return;
  }
  result_.sites.push_back(site);
}

bool operator==(const Site& a, const Site& b) {
  return a.where.line() == b.where.line() && a.where.column() == b.where.column() && a.op == b.op &&
         a.order == b.order &&
         (a.where.file_name() == b.where.file_name() || std::strcmp(a.where.file_name(), b.where.file_name()) == 0);
}

bool operator<(const Site& a, const Site& b) {
  const auto key = [](const Site& s) {
    return std::tuple(std::string_view(s.where.file_name()), s.where.line(), s.where.column(), s.op, s.order);
  };
  return key(a) < key(b);
}

// From "T* ns::RunQueue<T, kCapacity, Atomics>::StealInto(RunQueue&) [with T = ...]".
std::string Site::Function() const {
  const std::string name = where.function_name();
  int angles = 0;
  size_t end = 0;
  while (end < name.size() && (name[end] != '(' || angles != 0)) {
    angles += name[end] == '<' ? 1 : name[end] == '>' ? -1 : 0;
    ++end;
  }
  const size_t start = name.find_last_of(": *&", end == 0 ? 0 : end - 1);
  return name.substr(start == std::string::npos ? 0 : start + 1, end - (start == std::string::npos ? 0 : start + 1));
}

std::string Site::ToString() const {
  std::string text = FileOf(where) + ":" + std::to_string(where.line()) + " " + Function() + ": " + NameOf(op);
  if (HasOrder(op)) text += std::string("(") + NameOf(order) + ")";
  return text;
}

std::string Mutant::ToString() const { return site.ToString() + " " + NameOf(change); }

std::string Result::ToString() const {
  std::ostringstream out;
  out << schedules << " schedules, " << redundant << " broken off, " << steps << " steps, the longest " << depth
      << (complete ? ", complete" : ", not complete") << "\n";
  if (failure) {
    out << "FAILED: " << failure->what << "\nschedule: " << failure->schedule << "\n" << failure->trace;
  }
  return std::move(out).str();
}

// --- The ways in -------------------------------------------------------------------------------------------------------

Result Explore(const Options& options, const std::function<void(Execution&)>& scenario) {
  return Engine(options, scenario).Explore();
}

void Check(bool ok, const char* what) {
  EVRING_CHECK(engine != nullptr, "model::Check is for scenarios");
  if (!ok) engine->Fail(what);
}

namespace internal {

int NewLocation(uint64_t value, const void* address) {
  EVRING_CHECK(engine != nullptr, "the atomics of the model live within a scenario");
  return engine->NewLocation(value, address);
}
Reply Perform(const Request& request) { return engine->Perform(request); }
void PlainAccess(PlainState* state, bool write, const std::source_location& where) {
  engine->PlainAccess(state, write, where);
}

}  // namespace internal

}  // namespace evring::model

namespace evring::kevent {

// In place of kevent/check.cc: a check that fails in the code under test is a finding of the explorer.
void CheckFailed(const char* file, int line, const char* condition, const char* text) {
  const std::string what = std::string(file) + ":" + std::to_string(line) + ": check failed: " + condition + ": " + text;
  if (model::engine != nullptr) model::engine->Fail(what);
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

}  // namespace evring::kevent
