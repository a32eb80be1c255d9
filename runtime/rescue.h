// rescue.h: a completion is never stuck behind a busy worker.
//
// A ring is served fastest when only its owner enters it (SINGLE_ISSUER | DEFER_TASKRUN), but then a worker that
// computes strands its completions for as long as it does. So the owner is asked, by a signal, to show them:
//
//   R1  The watchdog, a thread, looks at every worker's epoch once per threshold. The same odd epoch twice: the worker
//       is inside one task for longer than the threshold. It notes the epoch as stuck and signals the thread.
//   R2  The handler runs on the owner's thread, in the middle of the task. If the epoch is even it does nothing (the
//       owner is in its loop and will look by itself). Else, if the mailbox is free, it enters its own ring, which
//       submits what earlier tasks prepared and makes the completions visible, copies them to the mailbox, moves the
//       ring's read index and, if there were any, calls the watchdog.
//   R3  The watchdog sees the mailbox full and wakes one parked worker, as for any work. A searching worker claims the
//       mailbox by compare-and-swap ...
//   R4  ... delivers the completions: the tasks that waited become ready on the worker that delivers. It also fires the
//       stuck worker's timers and takes the task in its LIFO slot.
//   R5  Back in its loop, the owner delivers what is still in the mailbox before anything in its ring, and waits while
//       another worker is delivering: completions of one multishot keep their order.
//
// What the handler may touch: the completion side of the ring (the loop, the only other user, is not running: epoch
// odd), the submission tail up to the mark that was set before the task began, the mailbox. No lock, no allocation.
// Who moves the read index: the owner's thread only, in its loop or in the handler; so consuming costs no atomic
// operation more than without rescue. The fast path pays two stores of the epoch and one of the mark per task, and a
// load of the mailbox's state per visit to the ring.
// A signal inside io_uring_enter of a task (a full submission ring): the call returns EINTR or its count; both are
// handled there. SA_RESTART is set, so that blocking calls of the task go on where the kernel can restart them.
// Receive buffers named by a rescued completion belong to the busy worker's buffer ring: whoever returns one from
// another thread leaves it in a list for the owner (buffer_ring.h).
//
// While every worker sleeps the watchdog sleeps too. What it costs: bench/README.md.
//
// Checked by: tests/runtime/rescue_test.cc, tests/model/mailbox_model_test.cc.

#ifndef EVRING_RUNTIME_RESCUE_H_
#define EVRING_RUNTIME_RESCUE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"

namespace evring {

class Scheduler;

class Watchdog {
 public:
  // Installs the handler of options().rescue_signal and starts the thread; the workers' threads must be there. Errors:
  // kFailedPrecondition if the program handles that signal itself; kInvalidArgument if there is no such signal;
  // kResourceExhausted if the thread cannot be made.
  static absl::StatusOr<std::unique_ptr<Watchdog>> Create(Scheduler* scheduler);
  ~Watchdog() { Stop(); }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // Ends the thread; before the workers end, which may call asleep(), Wake() and Call() until they do. The handler
  // stays: on threads that are no workers of a runtime with a watchdog it does nothing.
  void Stop();

  // On each worker, before it runs: threads inherit the mask of the one that makes the runtime, in which an application
  // may have blocked every signal.
  static void UnblockSignal(int signal);

  // A worker that left its sleep found asleep(): Wake(). Any thread.
  bool asleep() const { return asleep_.load(std::memory_order_relaxed) != kAwake; }
  void Wake();

  // A mailbox is full. Async-signal-safe; any thread.
  void Call();

 private:
  enum State : uint32_t { kAwake, kAsleep };

  explicit Watchdog(Scheduler* scheduler) : scheduler_(scheduler) {}
  void Run();
  // One look at all workers; true if any has run a task since the last.
  bool Look();
  // Until that time, or the end; meanwhile it wakes a worker for each call.
  void RestUntil(int64_t time_ns);

  static void OnSignal(int signal);

  Scheduler* const scheduler_;
  std::atomic<uint32_t> asleep_{kAwake};
  std::atomic<bool> end_{false};
  std::atomic<uint32_t> calls_{0};  // counts what it leaves its rest for
  std::vector<uint64_t> epochs_;    // as of the last look
  std::thread thread_;
};

}  // namespace evring

#endif  // EVRING_RUNTIME_RESCUE_H_
