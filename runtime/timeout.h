// timeout.h: ending a task by the clock.
//
//   absl::StatusOr<TcpStream> s = co_await WithTimeout(absl::Seconds(1), TcpStream::Connect(address));
//
// The inner task runs at once, on the same worker, as a child with a stop of its own. When the deadline passes it is
// asked to stop, and when it has ended the outer one goes on: nothing of it is left behind. A stop of the outer task is
// passed on.
//
// What runs inside of several deadlines, also those of the tasks above it, is bounded by the nearest; which that is,
// and whether it was the reason of a stop, says current_deadline.h. The deadline that ended a task is told by where
// kDeadlineExceeded comes out: around it the call has that answer itself, further inside each one has the answer of its
// task, which is mostly kCancelled.
//
// A Deadline can be moved while the task runs; moving it is a store, so a server can move it at every request.

#ifndef EVRING_RUNTIME_TIMEOUT_H_
#define EVRING_RUNTIME_TIMEOUT_H_

#include <algorithm>
#include <atomic>
#include <coroutine>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "runtime/run_result.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/timer.h"
#include "runtime/wall_clock.h"

namespace evring {
namespace internal {

// Asks the task that it is part of to stop when the deadline has passed. Holds a reference to it while it may fire.
class DeadlineTimer final : private Timer {
 public:
  // `step_ns`: the deadline is looked at this often at least, so that it may be moved nearer; kNever: when it is due.
  DeadlineTimer(TaskContext* task, int64_t deadline_ns, int64_t step_ns)
      : Timer(&OnFire), task_(task), deadline_ns_(deadline_ns), step_ns_(step_ns) {}

  void Start(Worker* worker);  // once
  void Cancel();               // the task has ended
  void MoveTo(int64_t deadline_ns) { deadline_ns_.store(deadline_ns, std::memory_order_relaxed); }
  bool expired() const { return expired_.load(std::memory_order_acquire); }  // pairs with OnFire()
  // The deadline as it is now; kNever once the task has ended: nobody is stopped by it any more. Any thread.
  int64_t deadline_ns() const {
    return ended_.load(std::memory_order_relaxed) ? TimerWheel::kNever : deadline_ns_.load(std::memory_order_relaxed);
  }

 private:
  static void OnFire(Timer* timer);
  int64_t NextLook(int64_t now_ns) const;

  TaskContext* const task_;
  std::atomic<int64_t> deadline_ns_;
  const int64_t step_ns_;
  Worker* worker_ = nullptr;  // in whose wheel; nullptr: it is never armed
  std::atomic<bool> expired_{false};
  std::atomic<bool> ended_{false};
};

template <class T>
class TimedTask final : public Spawned<T> {
 public:
  TimedTask(Scheduler* scheduler, TaskContext* parent, Task<T> task, int64_t deadline_ns, int64_t step_ns)
      : Spawned<T>(scheduler, parent, std::move(task)), timer_(this, deadline_ns, step_ns) {}

  DeadlineTimer& timer() { return timer_; }
  const DeadlineTimer* deadline() const override { return &timer_; }

  // After the end: the result, or kDeadlineExceeded in its place. Once.
  RunResultType<T> TakeTimedResult() {
    const bool expired = timer_.expired();
    if constexpr (std::is_void_v<T>) {
      this->TakeResult();
      if (!expired) return absl::OkStatus();
    } else {
      T result = this->TakeResult();
      if constexpr (RunResult<T>::kIsStatus) {
        if (!expired || result.ok()) return result;
      } else {
        if (!expired) return result;
      }
    }
    return absl::DeadlineExceededError("the deadline has passed");
  }

 private:
  void OnEnded() noexcept override { timer_.Cancel(); }

  DeadlineTimer timer_;
};

}  // namespace internal

// A deadline that its task can move. Borrowed by WithDeadline until that has ended.
class Deadline {
 public:
  // At first `d` after the start. It is never moved nearer than `nearest` from the moment of moving (a nearer one
  // counts as `nearest`, and that as a millisecond at least): its timer looks at it that often.
  explicit Deadline(absl::Duration d, absl::Duration nearest)
      : first_(d), nearest_(std::max(nearest, absl::Milliseconds(1))) {}
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

  // To `d` from now (the coarse time of the worker), or never (InfiniteDuration). By the bounded task; a store.
  void MoveTo(absl::Duration d) {
    if (timer_ == nullptr) return;
    timer_->MoveTo(internal::DeadlineAfter(Worker::Current()->CoarseNowNs(), d < nearest_ ? nearest_ : d));
  }

  // It has passed, and the task was asked to stop because of it. By the bounded task, or after its end.
  bool expired() const { return timer_ != nullptr ? timer_->expired() : expired_; }

 private:
  template <class T>
  friend class DeadlineAwaiter;

  const absl::Duration first_;
  const absl::Duration nearest_;
  internal::DeadlineTimer* timer_ = nullptr;  // while the task runs
  bool expired_ = false;
};

template <class T>
class [[nodiscard]] DeadlineAwaiter final : private Wait {
 public:
  using Result = internal::RunResultType<T>;

  DeadlineAwaiter(absl::Duration d, Deadline* deadline, Task<T> task)
      : duration_(d), deadline_(deadline), task_(std::move(task)) {}
  DeadlineAwaiter(DeadlineAwaiter&& other) = delete;
  ~DeadlineAwaiter() {
    if (timed_ != nullptr) timed_->Unref();
  }

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> waiting) {
    TaskContext* outer = waiting.promise().context();
    Worker* worker = Worker::Current();
    EVRING_CHECK(worker != nullptr, "a timeout is awaited on a worker");
    const int64_t now = worker->NowNs();
    const bool movable = deadline_ != nullptr;
    auto* timed =
        new internal::TimedTask<T>(outer->scheduler(), outer, std::move(task_),
                                   internal::DeadlineAfter(now, movable ? deadline_->first_ : duration_),
                                   movable ? internal::DeadlineAfter(0, deadline_->nearest_) : TimerWheel::kNever);
    timed->Ref();  // ours, besides the running task's
    timed_ = timed;
    if (movable) deadline_->timer_ = &timed->timer();
    timed->RunInPlaceOf(*outer);
    timed->set_join_wait(this);
    timed->LinkToParent();
    if (outer->BeginJoin(this, waiting)) timed->RequestStop();
    EVRING_CHECK(timed->AddWaiter(outer), "it has not begun");
    timed->timer().Start(worker);
    return Transfer(timed->resume());
  }

  Result await_resume() {
    if (deadline_ != nullptr) {
      deadline_->expired_ = timed_->timer().expired();
      deadline_->timer_ = nullptr;
    }
    return timed_->TakeTimedResult();
  }

 private:
  void OnStop() noexcept override { timed_->RequestStop(); }

  const absl::Duration duration_;
  Deadline* const deadline_;
  Task<T> task_;
  internal::TimedTask<T>* timed_ = nullptr;
};

// Runs `task` and asks it to stop `d` from now (late by up to the runtime's timer slack, options.h); returns when it
// has ended. Await on a worker. kDeadlineExceeded: the time came first. A task that ends with a Status or StatusOr may
// still succeed then, and the success is handed on; any other late result is destroyed. Exceptions of the task travel
// on.
template <class T>
DeadlineAwaiter<T> WithTimeout(absl::Duration d, Task<T> task) {
  return DeadlineAwaiter<T>(d, nullptr, std::move(task));
}

// The same until a time of WallNow(), turned into monotonic time now.
template <class T>
DeadlineAwaiter<T> WithDeadline(absl::Time deadline, Task<T> task) {
  return DeadlineAwaiter<T>(deadline - WallNow(), nullptr, std::move(task));
}

// The same with a deadline that `task` moves as it goes.
template <class T>
DeadlineAwaiter<T> WithDeadline(Deadline* deadline, Task<T> task) {
  return DeadlineAwaiter<T>(absl::ZeroDuration(), deadline, std::move(task));
}

}  // namespace evring

#endif  // EVRING_RUNTIME_TIMEOUT_H_
