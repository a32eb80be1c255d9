// runtime.h: a set of workers, from start to orderly end.
//
//   int main() { return evring::Run(Main()).ok() ? 0 : 1; }
//
// Run() is all that most programs need. A Runtime is for those that have threads of their own: any thread may spawn
// tasks on it and wait for their results.
//
// Shutdown, in this order (Runtime::Shutdown, called by the destructor):
//   1  intake stops: Spawn() from outside answers kUnavailable
//   2  every task is asked to stop; waits end, frames unwind; this returns when the last task has ended
//   3  the blocking pool is empty by then, and the watchdog ends
//   4  the workers leave their loops, cancel what is still in flight in their rings (multishots of streams that were
//      let go) and reap every completion
//   5  rings are closed, threads joined
// A task that neither waits nor looks at StopRequested() holds up step 2; that is said on standard error.

#ifndef EVRING_RUNTIME_RUNTIME_H_
#define EVRING_RUNTIME_RUNTIME_H_

#include <memory>
#include <source_location>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/options.h"
#include "runtime/run_result.h"
#include "runtime/scheduler.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/task_dump.h"
#include "runtime/worker.h"

namespace evring {

class Runtime {
 public:
  // Starts the workers. Errors: those of the ring (Kernel::Setup), kResourceExhausted if a thread cannot be made,
  // kInvalidArgument for options out of range, and the watchdog's (Watchdog::Create).
  static absl::StatusOr<std::unique_ptr<Runtime>> Create(const RuntimeOptions& options = RuntimeOptions());
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // Starts `task` as a task of its own. From any thread that is not a worker of this runtime. kUnavailable once the
  // shutdown has begun. JoinHandle::Wait() blocks for the result. Throws std::bad_alloc if there is no memory for it:
  // then the task is destroyed without having run.
  template <class T>
  absl::StatusOr<JoinHandle<T>> Spawn(Task<T> task, std::source_location where = std::source_location::current()) {
    const Intake intake(scheduler_.get());
    if (!intake.open()) return absl::UnavailableError("the runtime is shutting down");
    return internal::SpawnUnder(scheduler_->root(), std::move(task), where);
  }

  // Asks every task to stop. Any thread; not async-signal-safe.
  void RequestStop() { scheduler_->root()->RequestStop(); }

  // See the head of this file. Once, from a thread that is not a worker.
  void Shutdown();

  // Every task that lives, as a tree (task_dump.h). Any thread, until the shutdown ends.
  std::vector<TaskInfo> Tasks() const {
    const Scheduler::Stay stay(scheduler_.get());
    return internal::ListTasks(scheduler_->root());
  }
  std::string DumpTasks() const { return ToString(Tasks()); }

  int workers() const { return scheduler_->worker_count(); }
  WorkerCounters counters(int worker) const { return scheduler_->worker(worker)->counters(); }
  WorkerCounters counters() const;

 private:
  // The calling thread's turn in the intake. The shutdown waits for its end, which an exception must not pass by.
  class Intake {
   public:
    explicit Intake(Scheduler* scheduler) : scheduler_(scheduler->BeginIntake() ? scheduler : nullptr) {}
    ~Intake() {
      if (scheduler_ != nullptr) scheduler_->EndIntake();
    }
    Intake(const Intake&) = delete;
    Intake& operator=(const Intake&) = delete;

    bool open() const { return scheduler_ != nullptr; }

   private:
    Scheduler* const scheduler_;
  };

  explicit Runtime(std::unique_ptr<Scheduler> scheduler) : scheduler_(std::move(scheduler)) {}

  std::unique_ptr<Scheduler> scheduler_;
  std::vector<std::thread> threads_;
  bool shut_down_ = false;
};

// How many workers fit this process: the CPUs of its affinity mask, but no more than the cgroup's CPU quota rounded up.
int DefaultWorkerCount();

// Runs `task` on a runtime of its own, blocks until it has ended, shuts the runtime down and hands on the result. A
// Status that the task ends with, and the error of a runtime that cannot be made, come out the same way. An exception
// that leaves the task is rethrown here.
template <class T>
internal::RunResultType<T> Run(Task<T> task, const RuntimeOptions& options = RuntimeOptions(),
                               std::source_location where = std::source_location::current()) {
  auto runtime = Runtime::Create(options);
  if (!runtime.ok()) return runtime.status();
  auto handle = (*runtime)->Spawn(std::move(task), where);
  if (!handle.ok()) return handle.status();
  if constexpr (std::is_void_v<T>) {
    handle->Wait();
    return absl::OkStatus();
  } else {
    return handle->Wait();
  }
}

}  // namespace evring

#endif  // EVRING_RUNTIME_RUNTIME_H_
