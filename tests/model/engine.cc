#include "tests/model/engine.h"

#include <exception>
#include <memory>
#include <sstream>
#include <utility>

#include "kevent/check.h"
#include "tests/model/fiber.h"

namespace evring::model {

Engine* engine = nullptr;

namespace {

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
  try {
    scenario_(*run_);
  } catch (const Abandoned&) {
    run_->threads_.clear();  // a check failed in the set-up
  }
  thread_count_ = static_cast<int>(run_->threads_.size());
  EVRING_CHECK(failed_ || (thread_count_ >= 1 && thread_count_ <= kThreadsMax),
               "a scenario has 1 to kThreadsMax threads");

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

}  // namespace evring::model
