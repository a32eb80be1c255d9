// scheduler.h: what the workers share: who is idle, the inject queue, the root of the task tree, the phases of life.
//
// A task that becomes ready is put somewhere (worker.h) and then, if another worker could take it, at most one parked
// worker is woken for it: none if one is searching already, or if the worker that made it ready will run it next. The
// protocol and its proof: idle.h.

#ifndef EVRING_RUNTIME_SCHEDULER_H_
#define EVRING_RUNTIME_SCHEDULER_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <latch>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "runtime/context.h"
#include "runtime/idle.h"
#include "runtime/inject_queue.h"
#include "runtime/options.h"
#include "runtime/rescue.h"
#include "runtime/worker.h"

namespace evring {

class BlockingPool;

class Scheduler {
 public:
  Scheduler(const RuntimeOptions& options, int workers);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  const RuntimeOptions& options() const { return options_; }
  int worker_count() const { return static_cast<int>(workers_.size()); }
  Worker* worker(int index) { return workers_[static_cast<size_t>(index)].get(); }

  // The context that all others descend from. A stop of it stops everything.
  TaskContext* root() { return root_.get(); }
  BlockingPool* blocking_pool() { return blocking_pool_.get(); }

  // Puts a ready task where a worker finds it: on a worker's thread next in line, else in the inject queue. Any thread.
  void Schedule(TaskContext* context);
  void Inject(TaskContext* context);

  // While one lives, the shutdown goes no further than to the end of the last task: the rings are there, and with them
  // what may be let go of. Any thread; made while the runtime lives.
  class Stay {
   public:
    // What follows, a push or the lock of the tree, publishes it.
    explicit Stay(Scheduler* scheduler) : scheduler_(scheduler) {
      scheduler_->staying_.fetch_add(1, std::memory_order_relaxed);
    }
    Stay(const Stay&) = delete;
    Stay& operator=(const Stay&) = delete;
    ~Stay() { scheduler_->staying_.fetch_sub(1, std::memory_order_release); }  // the last touch; pairs with StopTasks()

   private:
    Scheduler* const scheduler_;
  };

  // Work was put where any worker can take it: wakes one parked worker, unless one is searching. Any thread.
  void NotifyOne();
  // Wakes that very worker if it is parked: its inbox was filled. Any thread.
  void WakeIfParked(int index);

  // --- For the workers
  // ------------------------------------------------------------------------------------------------

  // True if a parking worker would leave work behind.
  bool AnyWork() const;

  // For the watchdog: every worker sleeps, or is about to. One that leaves later sees what the caller wrote before.
  bool AllParked();

  // The watchdog sleeps as long as all workers do; the first that leaves its ring wakes it.
  bool watchdog_asleep() const { return has_watchdog() && watchdog_->asleep(); }
  void WakeWatchdog() { watchdog_->Wake(); }
  // There is rescue. The same from before the workers run until they have ended.
  bool has_watchdog() const { return watchdog_ != nullptr; }
  void CallWatchdog() { watchdog_->Call(); }

  // Whether the workers go on: until every task has ended after a stop.
  bool draining() const { return draining_.load(std::memory_order_acquire); }
  // The calling worker has left Run(). Returns when all have and the one who ends them has woken them: no worker looks
  // into another or wakes one from here on, so each may close its ring when it is through.
  void AwaitAllLeft() { all_left_.arrive_and_wait(); }

  // --- For the runtime
  // ------------------------------------------------------------------------------------------------

  // False once intake has stopped: the caller must not spawn. True counts the caller in until EndIntake().
  bool BeginIntake();
  void EndIntake();
  // Every worker has its ring and none runs yet: starts the watchdog, if there is to be one. Errors: Watchdog::Create.
  absl::Status StartWatchdog();
  void StopWatchdog();
  // Stops intake; returns when nobody is between BeginIntake and EndIntake.
  void StopIntake();
  // Asks every task to stop and waits until the last has ended and no other thread has a Stay any more. Says so
  // on standard error every few seconds of waiting.
  void StopTasks();
  // Lets the workers leave Run().
  void BeginDrain();

  // Called with no lock held when the root has lost its last child.
  void OnRootEmpty();

 private:
  friend class Worker;

  class RootContext;

  const RuntimeOptions options_;
  std::vector<std::unique_ptr<Worker>> workers_;
  Idle<> idle_;
  InjectQueue<TaskContext> inject_;
  ContextRef<TaskContext> root_;
  std::unique_ptr<BlockingPool> blocking_pool_;
  std::unique_ptr<Watchdog> watchdog_;  // nullptr: no rescue. Set before the workers run, kept until they have ended
  std::atomic<bool> draining_{false};
  std::atomic<uint32_t> staying_{0};  // threads with a Stay
  std::latch all_left_;               // the workers and the thread in BeginDrain()

  std::mutex mutex_;
  std::condition_variable changed_;
  int intake_ = 0;  // these two under mutex_
  bool intake_stopped_ = false;
};

}  // namespace evring

#endif  // EVRING_RUNTIME_SCHEDULER_H_
