#include "runtime/scheduler.h"

#include <chrono>
#include <cstdio>
#include <memory>
#include <mutex>
#include <thread>

#include "kevent/canary.h"
#include "kevent/check.h"
#include "runtime/blocking_pool.h"

namespace evring {

class Scheduler::RootContext final : public TaskContext {
 public:
  explicit RootContext(Scheduler* scheduler) : TaskContext(scheduler, nullptr) {}
  void OnLastChildLeft() override { scheduler()->OnRootEmpty(); }
};

Scheduler::Scheduler(const RuntimeOptions& options, int workers)
    : options_(options),
      idle_(workers),
      root_(ContextRef<TaskContext>::Adopt(new RootContext(this))),
      blocking_pool_(std::make_unique<BlockingPool>(options.blocking_threads_max, options.blocking_idle)),
      all_left_(workers + 1) {
  for (int i = 0; i < workers; ++i) workers_.push_back(std::make_unique<Worker>(this, i));
}

Scheduler::~Scheduler() = default;

void Scheduler::Schedule(TaskContext* context) {
  Worker* worker = Worker::Current();
  if (worker != nullptr && worker->scheduler() == this) [[likely]] {
    worker->PushNext(context);
  } else {
    Inject(context);
  }
}

void Scheduler::Inject(TaskContext* context) {
  // Once pushed, the task may run, end, and with it the runtime, while this thread has still a wake to send to a ring.
  // So it is counted in while the task keeps the runtime alive; StopTasks() waits for the count.
  const Stay stay(this);
  if (context->pinned_to() >= 0) [[unlikely]] {
    worker(context->pinned_to())->PostPinned(context);
  } else {
    inject_.Push(context);
    NotifyOne();
  }
}

void Scheduler::NotifyOne() {
  Worker* self = Worker::Current();
  if (self != nullptr && self->scheduler() != this) self = nullptr;
  const int index = self != nullptr ? idle_.NotifyOneFrom(self->index()) : idle_.NotifyOne();
  if (index < 0 || EVRING_CANARY(kWakeNotSent)) return;
  if (self != nullptr) self->wakes_sent_.Add(1);
  worker(index)->ring_->Wake();
}

absl::Status Scheduler::StartWatchdog() {
  if (worker_count() == 1 || options_.rescue_threshold == absl::InfiniteDuration()) return absl::OkStatus();
  auto watchdog = Watchdog::Create(this);
  if (!watchdog.ok()) return watchdog.status();
  watchdog_ = *std::move(watchdog);
  return absl::OkStatus();
}

void Scheduler::StopWatchdog() {
  if (watchdog_ != nullptr) watchdog_->Stop();
}

void Scheduler::WakeIfParked(int index) {
  if (idle_.IsParked(index)) worker(index)->ring_->Wake();
}

bool Scheduler::AnyWork() const {
  if (!inject_.EmptyApprox()) return true;
  for (const auto& worker : workers_) {
    if (!worker->queue_.EmptyApprox() || worker->mailbox_.full()) return true;
  }
  return false;
}

bool Scheduler::AllParked() {
  for (int i = 0; i < worker_count(); ++i) {
    if (!idle_.IsParked(i)) return false;
  }
  return true;
}

bool Scheduler::BeginIntake() {
  std::lock_guard lock(mutex_);
  if (intake_stopped_) return false;
  ++intake_;
  return true;
}

void Scheduler::EndIntake() {
  std::lock_guard lock(mutex_);
  if (--intake_ == 0) changed_.notify_all();
}

void Scheduler::StopIntake() {
  std::unique_lock lock(mutex_);
  intake_stopped_ = true;
  changed_.wait(lock, [this] { return intake_ == 0; });
}

void Scheduler::StopTasks() {
  root_->RequestStop();
  std::unique_lock lock(mutex_);
  int seconds = 0;
  while (root_->has_children()) {
    if (changed_.wait_for(lock, std::chrono::seconds(5)) == std::cv_status::timeout && root_->has_children()) {
      seconds += 5;
      std::fprintf(stderr, "evring: waiting for tasks to end, %d s after they were asked to stop\n", seconds);
    }
  }
  while (staying_.load(std::memory_order_acquire) != 0) std::this_thread::yield();  // pairs with ~Stay()
}

void Scheduler::OnRootEmpty() {
  // The empty section orders this after a waiter's look at the root.
  {
    std::lock_guard lock(mutex_);
  }
  changed_.notify_all();
}

void Scheduler::BeginDrain() {
  draining_.store(true, std::memory_order_release);
  // A message to each: one that is about to park finds it in its ring. One that is awake leaves Run() by itself, but
  // keeps its ring until we are through.
  for (const auto& worker : workers_) worker->ring_->Wake();
  all_left_.count_down();
}

}  // namespace evring
