// worker.h: one thread, one ring, one queue of ready tasks; and the loop that everything happens in.
//
//   Run():   take a ready task -> run it to its next wait (which prepares requests in the ring)
//            when none is ready, after kPollInterval tasks, or after kPollNs (Pace()):
//              Poll():   submit what was prepared, reap completions, fire timers   -> ready tasks
//            nothing anywhere:
//              Search(): take from the inject queue, from other workers, from the mailboxes of busy ones
//              Park():   sleep in the ring until a completion, a timer or a message
//
// Threads: a Worker's methods are for its own thread (Worker::Current()), but for those under "Any thread".
//
// Where a task is put when it becomes ready: by a completion, at the back of the queue of the worker that reaped it; by
// another task, in the LIFO slot of the worker it runs on, next in line while its data is in the cache (kLifoCap times
// in a row at most, so that two tasks that wake each other starve nobody); by a thread that is no worker, in the inject
// queue, which is looked at every kInjectInterval tasks however busy a worker is.
//
// In a task. `epoch_` is odd while a task runs. The rescue signal (rescue.h) acts only then, and the loop touches the
// completion side of the ring only outside: the two never meet.

#ifndef EVRING_RUNTIME_WORKER_H_
#define EVRING_RUNTIME_WORKER_H_

#include <sys/types.h>

#include <array>
#include <atomic>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <memory>

#include "absl/status/status.h"
#include "kevent/buffer_ring.h"
#include "kevent/canary.h"
#include "kevent/handle.h"
#include "kevent/ring.h"
#include "runtime/context.h"
#include "runtime/inject_queue.h"
#include "runtime/lifo_slot.h"
#include "runtime/mailbox.h"
#include "runtime/run_queue.h"
#include "runtime/spin_lock.h"
#include "runtime/timer.h"
#include "runtime/timer_wheel.h"

namespace evring {

class Scheduler;

// Counts since the start. Read from other threads they may be a little old.
struct WorkerCounters {
  uint64_t tasks_run = 0;       // resumptions
  uint64_t polls = 0;           // visits to the ring
  uint64_t parks = 0;           // sleeps
  uint64_t searches = 0;        // rounds of looking for work elsewhere
  uint64_t steals = 0;          // rounds that took tasks from another worker
  uint64_t wakes_sent = 0;      // messages to parked workers
  uint64_t spurious_wakes = 0;  // chosen and woken, and found nothing to do
  uint64_t timers_fired = 0;
  uint64_t rescues = 0;         // mailboxes of busy workers emptied by this one
  uint64_t rescued_events = 0;  // completions in them
  uint64_t enters = 0;          // system calls on the ring
  uint64_t completions = 0;     // records consumed from it
  uint64_t overflow_episodes = 0;

  WorkerCounters& operator+=(const WorkerCounters& other);
};

class alignas(64) Worker {
 public:
  // The worker whose thread this is, nullptr on other threads. Not to be kept across a co_await.
  static Worker* Current() { return current_; }

  Worker(Scheduler* scheduler, int index);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  Scheduler* scheduler() const { return scheduler_; }
  int index() const { return index_; }

  // --- Life, on the worker's own thread
  // -------------------------------------------------------------------------------

  absl::Status Start();  // makes the ring and its buffers
  void Run();            // until the scheduler says that all tasks have ended
  void Drain();          // cancels what is still in flight and reaps it all
  void Close();          // closes the ring

  // --- For what runs on this worker
  // -----------------------------------------------------------------------------------

  // A blank submission entry; never nullptr: what does not fit into the ring waits in memory and goes out in order.
  io_uring_sqe* PrepareSqe() {
    if (backlog_.empty()) [[likely]] {
      if (io_uring_sqe* sqe = ring_->GetSqe(); sqe != nullptr) [[likely]]
        return sqe;
    }
    return BacklogSqe();
  }
  void StartRequest(kevent::Kevent* kevent, io_uring_sqe* sqe) { ring_->Start(kevent, sqe); }
  // Cancels a request of this worker's ring by its number; nothing happens if it has ended.
  void CancelRequest(uint64_t number) {
    if (!EVRING_CANARY(kCancelForgotten)) kevent::Kevent::PrepareCancel(PrepareSqe(), number);
  }

  // A ready task that a running one has woken or spawned: next in line.
  void PushNext(TaskContext* context);
  // A ready task, behind all others of this worker. The caller gives way right after: it may be the only one, of which
  // no other worker is told.
  void PushBack(TaskContext* context);

  // For handlers of completions and timers: a task that became ready; shown to all when the batch is done.
  void PushReaped(TaskContext* context);

  // The same for a task that is pinned to this worker. Any thread.
  void PostPinned(TaskContext* context);

  // An operation that is ready at once takes one from the budget of the running task; false: it is used up, so suspend
  // by GiveWay and let others run.
  bool ConsumeBudget() { return --budget_ > 0; }
  // The running task suspends at `resume`, behind all others of this worker. It may run elsewhere before this returns.
  void GiveWay(TaskContext* context, std::coroutine_handle<> resume) {
    context->SuspendAt(resume);
    PushBack(context);
  }
  // For an operation that is ready at once. True: the budget is used up, and the task gives way.
  bool GiveWayIfSpent(TaskContext* context, std::coroutine_handle<> resume) {
    if (ConsumeBudget()) [[likely]]
      return false;
    GiveWay(context, resume);
    return true;
  }

  // Monotonic time as of the last visit to the ring; costs a load.
  int64_t CoarseNowNs() const { return now_ns_; }
  int64_t NowNs() const { return ring_->kernel()->NowNs(); }

  kevent::Features features() const { return ring_->features(); }

  // What multishot receives of this ring draw from.
  kevent::BufferRing* buffers() { return buffers_.get(); }
  // For who asks what its kernel can do.
  kevent::Ring* ring() { return ring_.get(); }

  // A T of this worker's own, made by default at first use, destroyed when the worker closes. For caches that would
  // otherwise be thread_local; at most kMaxLocals types in a program.
  template <class T>
  T& Local() {
    static const size_t slot = NewLocalSlot();
    std::shared_ptr<void>& local = locals_[slot];
    if (local == nullptr) local = std::make_shared<T>();
    return *static_cast<T*>(local.get());
  }

  // --- Any thread
  // -----------------------------------------------------------------------------------------------------

  // Runs `request` on this worker's thread, soon, between two tasks. It stays the caller's to keep alive until then.
  void Post(RemoteRequest* request);

  // Arms `timer` in this worker's wheel. False: it was cancelled before; it will not fire.
  [[nodiscard]] bool ArmTimer(Timer* timer, int64_t deadline_ns);

  // True: `timer`, armed or about to be armed in this worker's wheel, will not fire. False: it has fired or is firing.
  bool CancelTimer(Timer* timer);

  WorkerCounters counters() const;

 private:
  friend class Scheduler;
  friend class Watchdog;

  static constexpr uint32_t kPollInterval = 61;
  static constexpr int64_t kPollNs = 200'000;
  static constexpr uint32_t kPaceTasks = 8;  // tasks between two looks at the clock, while they are short
  static constexpr uint32_t kInjectInterval = 31;
  static constexpr int kLifoCap = 3;
  static constexpr int kTaskBudget = 128;
  static constexpr unsigned kReapMax = 256;  // at a time, so that a flood does not overflow the queue of ready tasks
  static constexpr size_t kFireMax = 64;
  static constexpr size_t kMaxLocals = 16;

  // A counter that one thread adds to and any may read.
  class Counter {
   public:
    void Add(uint64_t n) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
    uint64_t get() const { return value_.load(std::memory_order_relaxed); }

   private:
    std::atomic<uint64_t> value_{0};
  };

  TaskContext* NextTask();
  TaskContext* NextPinned();
  bool SentToItsWorker(TaskContext* context);
  void RunTask(TaskContext* context);
  void Pace();
  bool Poll();
  bool Reap();
  bool Settle();
  bool PublishReaped();
  void NotifyOfMore();
  void Enqueue(TaskContext* context);
  void FireTimers(Worker* of);
  RemoteRequest* TakeInbox();
  void RunInbox();
  void RunInboxOf(Worker* stuck);
  bool Search();
  void PutFirst(TaskContext* task);
  bool Help(Worker* victim);
  bool HasStealable(int64_t now_ns);
  void Park();
  void FoundWork();
  io_uring_sqe* BacklogSqe();
  void FlushBacklog();
  void TakeRingCounters();
  static size_t NewLocalSlot();

  static constinit thread_local Worker* current_;

  // The owner's own.
  Scheduler* const scheduler_;
  const int index_;
  bool alone_ = false;      // the only worker: nobody steals, nobody searches
  bool searching_ = false;  // counted as searching in Idle
  int budget_ = 0;
  int lifo_streak_ = 0;
  uint32_t tick_ = 0;
  uint32_t polled_tick_ = 0;  // tick_ at the last visit to the ring
  uint32_t paced_tick_ = 1;   // tick_ at the next look at the clock
  uint32_t pinned_tick_ = 0;  // tick_ at the next look at the pinned tasks
  uint32_t reaped_ = 0;       // tasks made ready by the Reap() that goes on
  int64_t now_ns_ = 0;
  uint64_t random_;
  std::unique_ptr<kevent::Ring> ring_;
  std::unique_ptr<kevent::BufferRing> buffers_;
  std::deque<io_uring_sqe> backlog_;
  std::array<std::shared_ptr<void>, kMaxLocals> locals_;
  pid_t thread_id_ = 0;

  // Read by others all the time, written by the owner.
  alignas(64) std::atomic<uint64_t> epoch_{0};  // odd: in a task
  std::atomic<bool> has_requests_{false};       // requests were in flight when the last task began

  Counter tasks_run_, polls_, parks_, searches_, steals_, wakes_sent_, spurious_wakes_, timers_fired_, rescues_,
      rescued_events_, enters_, completions_, overflow_episodes_;

  // Shared.
  RunQueue<TaskContext> queue_;
  LifoSlot<TaskContext> lifo_;
  InjectQueue<TaskContext> pinned_;  // ready tasks that run nowhere else
  alignas(64) std::atomic<RemoteRequest*> inbox_{nullptr};
  std::atomic<uint64_t> stuck_epoch_{0};  // the watchdog's: an epoch found to last too long
  alignas(64) SpinLock timers_lock_;
  TimerWheel timers_;
  Mailbox mailbox_;
};

}  // namespace evring

#endif  // EVRING_RUNTIME_WORKER_H_
