#include "runtime/runtime.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <latch>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "kevent/check.h"
#include "runtime/cpu_quota.h"

namespace evring {

int DefaultWorkerCount() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cpus = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set)
                                                          : static_cast<int>(std::thread::hardware_concurrency());
  if (const int quota = CgroupCpuQuota(); quota > 0) cpus = std::min(cpus, quota);
  return std::clamp(cpus, 1, 64);
}

absl::StatusOr<std::unique_ptr<Runtime>> Runtime::Create(const RuntimeOptions& options) {
  if (options.workers < 0 || options.workers > 64) {
    return absl::InvalidArgumentError(absl::StrCat("RuntimeOptions::workers is ", options.workers, ", not in [0, 64]"));
  }
  if (options.kernel == nullptr) return absl::InvalidArgumentError("RuntimeOptions::kernel is nullptr");
  if (options.timer_slack < absl::ZeroDuration() || options.timer_slack > absl::Hours(1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("RuntimeOptions::timer_slack is ", absl::FormatDuration(options.timer_slack), ", not in [0, 1h]"));
  }
  const int n = options.workers == 0 ? DefaultWorkerCount() : options.workers;
  auto runtime = absl::WrapUnique(new Runtime(std::make_unique<Scheduler>(options, n)));
  Scheduler* scheduler = runtime->scheduler_.get();

  // Every worker makes its ring on its own thread, and none runs before all have theirs. The threads share the state,
  // as the last of them may leave the latch after this has returned.
  struct Start {
    explicit Start(int n) : status(static_cast<size_t>(n)), made(n), decided(1) {}
    std::vector<absl::Status> status;
    std::latch made;
    std::latch decided;
    bool go = true;
  };
  auto start = std::make_shared<Start>(n);
  int threads = 0;
  absl::Status failure;
  for (; threads < n; ++threads) {
    const auto main = [scheduler, index = threads, start]() mutable {
      pthread_setname_np(pthread_self(), absl::StrCat("evring-", index).c_str());
      Worker* worker = scheduler->worker(index);
      const absl::Status status = worker->Start();
      const bool ok = status.ok();
      start->status[static_cast<size_t>(index)] = status;
      start->made.count_down();
      start->decided.wait();
      const bool go = start->go;
      start.reset();
      if (!ok) return;
      if (go) {
        worker->Run();
        worker->Drain();
      }
      worker->Close();
    };
    try {
      runtime->threads_.emplace_back(main);
    } catch (const std::system_error& error) {
      failure = absl::ResourceExhaustedError(absl::StrCat("cannot make a worker thread: ", error.what()));
      break;
    }
  }
  if (threads < n) start->made.count_down(n - threads);
  start->made.wait();
  for (const absl::Status& status : start->status) {
    if (failure.ok() && !status.ok()) failure = status;
  }
  if (failure.ok()) failure = scheduler->StartWatchdog();
  start->go = failure.ok();
  start->decided.count_down();
  if (failure.ok()) return runtime;
  for (std::thread& thread : runtime->threads_) thread.join();
  runtime->shut_down_ = true;
  return failure;
}

Runtime::~Runtime() { Shutdown(); }

void Runtime::Shutdown() {
  if (shut_down_) return;
  EVRING_CHECK(Worker::Current() == nullptr, "a worker cannot shut down its own runtime");
  shut_down_ = true;
  scheduler_->StopIntake();
  scheduler_->StopTasks();
  scheduler_->StopWatchdog();
  scheduler_->BeginDrain();
  for (std::thread& thread : threads_) thread.join();
}

WorkerCounters Runtime::counters() const {
  WorkerCounters sum;
  for (int i = 0; i < workers(); ++i) sum += counters(i);
  return sum;
}

}  // namespace evring
