// sync_host.h: tasks and threads as the algorithms of runtime/sync see them, made of the explorer's atomics: the Host
// of runtime/sync/internal/waiter.h for model tests. The wait word, the node and the primitive are the real code.

#ifndef EVRING_TESTS_MODEL_SYNC_HOST_H_
#define EVRING_TESTS_MODEL_SYNC_HOST_H_

#include <coroutine>
#include <cstdint>
#include <mutex>
#include <utility>

#include "runtime/sync/internal/state_word.h"
#include "runtime/sync/internal/waiter.h"
#include "runtime/wait_word.h"
#include "tests/model/explorer.h"
#include "tests/model/model_atomics.h"

namespace evring::model {

class SyncTask;

class SyncWait {
 protected:
  SyncWait() = default;
  ~SyncWait() = default;

 private:
  friend class SyncTask;
  virtual void OnStop() noexcept = 0;
};

// In the place of TaskContext. A scenario's thread plays the task: where a coroutine is resumed, it goes on.
class SyncTask {
 public:
  [[nodiscard]] bool BeginWait(SyncWait* wait, std::coroutine_handle<>) { return word_.Begin(wait); }
  [[nodiscard]] bool FinishWait(SyncWait* wait) { return word_.Finish(wait); }
  void Complete(SyncWait* wait) {
    if (FinishWait(wait)) ready_.Post();
  }
  bool stop_requested() const { return word_.stop_requested(); }

  // After FinishWait() was true.
  void MakeReady() { ready_.Post(); }

  // As TaskContext::RequestStop.
  void RequestStop() {
    SyncWait* wait = nullptr;
    if (!word_.Stop(&wait) || wait == nullptr) return;
    wait->OnStop();
    if (word_.Unpin()) ready_.Post();
  }

  // Until the task is made ready, or the scenario ends instead (Execution::WhenAllBlocked).
  void Suspended() { left_waiting_ = !ready_.Wait(); }
  bool left_waiting() const { return left_waiting_; }

 private:
  WaitWord<SyncWait, ModelAtomics> word_;
  Event ready_;
  bool left_waiting_ = false;
};

// Lets in one at a time, so that nobody spins. It orders what passes it, which the real spinning does by the accesses
// of the word: that Lock() acquires and Unlock() releases is for ThreadSanitizer to see.
class SyncTurnstile {
 public:
  void Enter() { mutex_.lock(); }
  void Leave() { mutex_.unlock(); }

 private:
  ModelMutex mutex_;
};

// In the place of Timer.
class SyncTimer {
 public:
  using Fire = void (*)(SyncTimer* timer);
  explicit SyncTimer(Fire fire) : fire_(fire) {}

 protected:
  bool revoked() const { return revoked_; }

 private:
  friend class SyncTimers;
  const Fire fire_;
  bool known_ = false;  // these under the lock
  bool revoked_ = false;
};

// In the place of a Worker, of which it has the timers: one.
class SyncTimers {
 public:
  [[nodiscard]] bool ArmTimer(SyncTimer* timer, int64_t) {
    const std::lock_guard lock(mutex_);
    timer->known_ = true;
    if (!timer->revoked_) timer_ = timer;
    armed_.Post();
    return !timer->revoked_;
  }
  bool CancelTimer(SyncTimer* timer) {
    const std::lock_guard lock(mutex_);
    if (!timer->known_) {
      timer->revoked_ = true;
      return true;
    }
    return std::exchange(timer_, nullptr) != nullptr;
  }

  // Time passes: what is armed fires.
  void Pass() {
    SyncTimer* due;
    {
      const std::lock_guard lock(mutex_);
      due = std::exchange(timer_, nullptr);
    }
    if (due != nullptr) due->fire_(due);
  }
  // Returns when one was armed, or would have been.
  void UntilArmed() { static_cast<void>(armed_.Wait()); }

 private:
  ModelMutex mutex_;
  SyncTimer* timer_ = nullptr;
  Event armed_;
};

struct SyncHost {
  using Wait = SyncWait;
  using Context = SyncTask;
  using Word = evring::internal::StateWord<ModelAtomics, SyncTurnstile>;
  using Lock = ModelMutex;
  using Atomics = ModelAtomics;
  using Timer = SyncTimer;
  using Timers = SyncTimers;
  static void MakeReady(SyncTask* task) { task->MakeReady(); }
};

// A co_await, as in runtime/sync/internal/awaiter.h. Returns the node's state at its end.
template <class Core, class Node>
typename Node::State Await(SyncTask* task, Core* core, evring::internal::Suspension<Core, Node>* node) {
  using State = typename Node::State;
  if (task->stop_requested()) {
    node->state = State::kCancelled;
  } else if (!core->Try(node) && node->Suspend(task, std::noop_coroutine())) {
    task->Suspended();
  }
  return node->state;
}

}  // namespace evring::model

#endif  // EVRING_TESTS_MODEL_SYNC_HOST_H_
