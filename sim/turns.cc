#include "sim/turns.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "kevent/check.h"

namespace evring::sim {
namespace {

constexpr uint64_t kYieldOneIn = 4;
constexpr std::chrono::microseconds kFreeWait(20);
constexpr int kFreeWaitsInVainMax = 50;

}  // namespace

thread_local Turns::Thread* Turns::current_ = nullptr;

Turns::Turns(World* world, int threads, uint64_t rounds_max, std::function<void(const std::string& why)> fail)
    : world_(world), rounds_max_(rounds_max), fail_(std::move(fail)) {
  EVRING_CHECK(threads > 0, "a simulation has a worker");
  for (int i = 0; i < threads; ++i) threads_.push_back(std::make_unique<Thread>(i));
}

void Turns::Begin(Lock* lock, Thread* self) {
  current_ = self;
  if (phase_ == Phase::kStopping || phase_ == Phase::kFree) return;
  self->state_ = Thread::State::kReady;
  self->turn_.notify_all();  // Start() may wait for it
  self->turn_.wait(*lock, [self] { return self->state_ == Thread::State::kRunning; });
}

void Turns::Start(Lock* lock) {
  EVRING_CHECK(phase_ == Phase::kMaking, "a simulation is started once");
  for (const auto& thread : threads_) {
    thread->turn_.wait(*lock, [&thread] { return thread->state_ == Thread::State::kReady; });
  }
  phase_ = Phase::kTurns;
  Thread* first = PickNext();
  first->state_ = Thread::State::kRunning;
  first->turn_.notify_one();
}

void Turns::Finish() {
  phase_ = Phase::kStopping;
  for (const auto& thread : threads_) {
    thread->state_ = Thread::State::kRunning;
    thread->turn_.notify_one();
  }
}

void Turns::LetTimePass() { phase_ = Phase::kFree; }

bool Turns::AllWait() const {
  return std::all_of(threads_.begin(), threads_.end(), [this](const auto& thread) {
    return thread->has_work == nullptr || (thread->state_ == Thread::State::kWaiting && !CanRun(*thread));
  });
}

int64_t Turns::NextNs() const {
  int64_t next = world_->next();
  for (const auto& thread : threads_) {
    if (thread->state_ == Thread::State::kWaiting) next = std::min(next, thread->deadline_);
  }
  return next;
}

bool Turns::CanRun(const Thread& thread) const {
  switch (thread.state_) {
    case Thread::State::kReady:
      return true;
    case Thread::State::kWaiting:
      return thread.has_work() || thread.deadline_ <= world_->now();
    default:
      return false;
  }
}

Turns::Thread* Turns::PickNext() {
  for (;;) {
    std::vector<Thread*> can;
    for (const auto& thread : threads_) {
      if (CanRun(*thread)) can.push_back(thread.get());
    }
    if (!can.empty()) return can[can.size() == 1 ? 0 : world_->random.Below(can.size())];
    const int64_t next = NextNs();
    const int64_t asked = world_->asked();
    if (next == kNever && asked == kNever) fail_("every worker waits, and nothing will ever happen");
    if (++rounds_ > rounds_max_) fail_("it goes on for ever");
    if (asked < next) {
      world_->MoveToAsked();
      continue;
    }
    if (next > world_->now() && world_->paused() && asked == kNever) {
      fail_(absl::StrCat("every worker waits, and time is paused: what is next would come in ",
                         absl::FormatDuration(absl::Nanoseconds(next - world_->now())),
                         ", but nobody advances or resumes it"));
    }
    world_->MoveTo(next);
  }
}

void Turns::Pass(Lock* lock, Thread* self) {
  Thread* next = PickNext();
  next->state_ = Thread::State::kRunning;
  if (next == self) return;
  world_->Say(absl::StrCat("worker ", next->index, " runs"));
  next->turn_.notify_one();
  self->turn_.wait(*lock, [self] { return self->state_ == Thread::State::kRunning; });
}

void Turns::MaybeYield(Lock* lock, Thread* self) {
  if (!taken() || threads_.size() == 1 || !world_->random.OneIn(kYieldOneIn)) return;
  self->state_ = Thread::State::kReady;
  Pass(lock, self);
}

void Turns::Wait(Lock* lock, Thread* self, int64_t deadline) {
  if (taken()) {
    self->state_ = Thread::State::kWaiting;
    self->deadline_ = deadline;
    Pass(lock, self);
    return;
  }
  WaitFreely(lock, self, deadline);
}

void Turns::WaitFreely(Lock* lock, Thread* self, int64_t deadline) {
  const Thread::State before = std::exchange(self->state_, Thread::State::kWaiting);
  self->deadline_ = deadline;
  if (NextNs() == kNever) {
    self->turn_.wait(*lock, [self] { return self->has_work(); });
  } else {
    // Events may follow one another for ever: others must be able to send a message meanwhile.
    lock->unlock();
    std::this_thread::sleep_for(kFreeWait);
    lock->lock();
    if (CanRun(*self)) {
      self->waited_in_vain_ = 0;
    } else if (phase_ != Phase::kStopping) {
      self->waited_in_vain_ = AllWait() ? 0 : self->waited_in_vain_ + 1;
      const int64_t next = NextNs();
      const bool jumps = self->waited_in_vain_ == 0 || self->waited_in_vain_ > kFreeWaitsInVainMax;
      if (jumps && next != kNever) world_->MoveTo(next);
    }
  }
  self->state_ = before;
}

void Turns::Wake(Thread* thread) {
  if (!taken()) thread->turn_.notify_one();
}

}  // namespace evring::sim
