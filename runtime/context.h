// context.h: TaskContext, the identity of one logical task (or of one cancellation scope inside it): what it waits for,
// how it is made ready, how a stop reaches it and its children.
//
// A task is a chain of coroutines that await each other; at any time it runs, is ready, or waits for one thing. All of
// the chain's promises point to the same context. Contexts are counted references on the heap.
//
// The wait word. One atomic word decides who resumes a waiting task, so that a completion and a stop never both do:
//
//     word = pointer to the Wait, or 0 | kStop | kPinned | kDeferred
//
//   W1  BeginWait: 0 -> wait. Fails if kStop is set: the caller does not suspend and answers "cancelled".
//       (BeginJoin: the same, but allowed with kStop set: for waits that themselves forward the stop.)
//   W2  FinishWait, by whoever completes the wait: wait -> 0; true: the caller now owns the right to make the task
//       ready. If kPinned is set: sets kDeferred instead, false; the stopper will do it (W4).
//   W3  RequestStop: sets kStop, once; if a wait is there, sets kPinned in the same step and then calls
//       Wait::OnStop(). Pinned, the wait and its coroutine frame stay alive, whoever completes it meanwhile.
//   W4  After OnStop: clears kPinned; with kDeferred set, clears the pointer too and makes the task ready.
//
// Why nothing is lost: each wait has exactly one completer (the contract of a Wait), which meets the word exactly once,
// in W2; if W2 comes before W3's step, the stopper sees no pointer; if after, the completer sees kPinned or an unpinned
// word. All steps are read-modify-writes of one word, so they have one order.
//
// The tree. A spawned task is linked into its parent's list of children until it has completed and has no children
// left; a stop goes down the tree, past children that are shielded. Linking and the stop race as: RequestStop sets
// kStop, then takes the list's lock; LinkToParent links under the lock, then looks at kStop. One of the two sees the
// other. (Observers: the same.)
//
// A stop is carried out without recursion, however deep tasks wait for each other: a RequestStop() inside of another on
// the same thread (a join passes the stop on, say) sets kStop and leaves the rest to the outermost.
//
// Checked by: tests/runtime/context_test.cc, tests/model/wait_word_model_test.cc.

#ifndef EVRING_RUNTIME_CONTEXT_H_
#define EVRING_RUNTIME_CONTEXT_H_

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/await_site.h"
#include "runtime/local_binding.h"
#include "runtime/spin_lock.h"
#include "runtime/thread_bound.h"
#include "runtime/wait_word.h"

namespace evring {

class Scheduler;
class TaskContext;
class Worker;
template <class Context = TaskContext>
class ContextRef;

namespace internal {
class DeadlineTimer;
}

// What a task is suspended on. Lives in the awaiter, in the frame of the suspended coroutine.
class Wait {
 public:
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;

 protected:
  Wait() = default;
  ~Wait() = default;

 private:
  friend class TaskContext;

  // A stop was requested: see to it that the wait completes soon (FinishWait may be called from inside). Called at most
  // once per wait, by the thread that requests the stop; the frame is alive until it returns. Takes no lock that is
  // held while RequestStop is called.
  virtual void OnStop() noexcept = 0;
};

// Told of a stop besides the task itself. What users see of it is CancelCallback (cancellation.h).
class StopObserver {
 public:
  StopObserver(const StopObserver&) = delete;
  StopObserver& operator=(const StopObserver&) = delete;

 protected:
  StopObserver() = default;
  ~StopObserver() = default;

  // The thread that calls OnStopRequested(); for who was told by RemoveObserver() that the call has begun.
  std::thread::id caller() const { return caller_; }

 private:
  friend class TaskContext;

  // Called once, by the thread that requests the stop, with no lock held; may destroy the observer.
  virtual void OnStopRequested() noexcept = 0;

  StopObserver* next_ = nullptr;  // these under the context's children_lock_
  StopObserver* previous_ = nullptr;
  bool linked_ = false;
  std::thread::id caller_;
};

// A request to a worker from another thread; links into the worker's inbox. Owned by whoever posts it, until it ran.
class RemoteRequest {
 public:
  using Run = void (*)(RemoteRequest* request, Worker* worker);
  // kAnyWorker: if the addressed worker is stuck in a task, another may run it in its place, on its own thread.
  enum class By : bool { kOwner, kAnyWorker };
  explicit RemoteRequest(Run run, By by = By::kOwner) : run_(run), by_(by) {}

 private:
  friend class Worker;
  const Run run_;
  const By by_;
  RemoteRequest* next_ = nullptr;
};

class TaskContext {
 public:
  TaskContext(Scheduler* scheduler, TaskContext* parent);
  TaskContext(const TaskContext&) = delete;
  TaskContext& operator=(const TaskContext&) = delete;

  Scheduler* scheduler() const { return scheduler_; }

  // --- Waiting (by the task, and by whoever completes the wait)
  // -------------------------------------------------------

  // The task, about to suspend at `resume`. False: a stop was requested, do not suspend.
  [[nodiscard]] bool BeginWait(Wait* wait, std::coroutine_handle<> resume) {
    if (watched_) [[unlikely]]
      OnWatchedWait();
    SuspendAt(resume);
    return word_.Begin(wait);
  }

  // The same for a wait that must be waited out even after a stop. If one was requested before, OnStop() is not called.
  // True: a stop was requested before.
  bool BeginJoin(Wait* wait, std::coroutine_handle<> resume) {
    if (watched_) [[unlikely]]
      OnWatchedWait();
    SuspendAt(resume);
    return word_.BeginJoin(wait);
  }

  // Once per begun wait, from any thread. True: the caller makes the task ready (Schedule, or resumes it itself).
  // Nothing of the wait may be touched afterwards, unless true was returned and the task was not made ready yet.
  [[nodiscard]] bool FinishWait(Wait* wait) { return word_.Finish(wait); }

  // FinishWait, then Schedule if that is ours to do.
  void Complete(Wait* wait) {
    if (FinishWait(wait)) Schedule();
  }

  // From here on OnWatchedWait() is called before each wait, of this and of what is started below it. Before it can
  // run.
  void Watch() { watched_ = true; }

  // The wait that is going on, if a stop has reached it and it has not completed.
  bool StillStopping(const Wait* wait) const { return word_.Current() == wait; }

  // Where the task awaits, and what.
  internal::AwaitSite& site() { return site_; }
  const internal::AwaitSite& site() const { return site_; }

  // --- Scheduling
  // -----------------------------------------------------------------------------------------------------

  // Puts the task where a worker will find it. Any thread.
  void Schedule();

  // Where it goes on. Set by BeginWait; for a task that did not start yet, by set_resume.
  std::coroutine_handle<> resume() const { return resume_; }
  void set_resume(std::coroutine_handle<> resume) { resume_ = resume; }
  // The task suspends at `resume`. The caller sees to it that it goes on.
  void SuspendAt(std::coroutine_handle<> resume) {
    internal::NoteSuspension(this);
    resume_ = resume;
  }
  // For whoever has finished the task's wait, or taken it out of a queue, on a worker of its runtime: what to resume on
  // this thread. A task that is pinned to another worker goes there instead.
  std::coroutine_handle<> ResumeHere();

  // The worker that alone runs the task (placement.h), or -1. By the task, and by whoever is about to resume it.
  int pinned_to() const { return pinned_to_; }
  void PinTo(int worker) { pinned_to_ = worker; }
  // A scope of `outer` that runs in its place, as WithTimeout() makes one. Before it can run.
  void RunInPlaceOf(const TaskContext& outer) { pinned_to_ = outer.pinned_to_; }

  // --- Cancellation
  // ---------------------------------------------------------------------------------------------------

  bool stop_requested() const { return word_.stop_requested(); }

  // Asks the task and all its descendants to stop: every wait that is going on ends soon, every later one at once.
  // Any thread that has a reference, any number of times; the first counts.
  void RequestStop();

  // From here on `observer` is told of the stop. False: it was requested before, nobody is told. Any thread.
  [[nodiscard]] bool AddObserver(StopObserver* observer);
  // True: `observer` will not be told. False: the call has begun, or ended. Any thread.
  bool RemoveObserver(StopObserver* observer);

  // A stop of the parent will not reach this, nor what is below it. Before LinkToParent().
  void ShieldFromParent() { shielded_ = true; }
  // The one whose stop reaches this as well; nullptr for a root and what is shielded. By the task or one below it: from
  // there the whole chain stays in the tree.
  TaskContext* StoppedWith() const { return shielded_ ? nullptr : parent_; }
  // What stops this by the clock, or nullptr. Any thread that has a reference.
  virtual const internal::DeadlineTimer* deadline() const { return nullptr; }
  // Links `this` into its parent's list; before the task can run. No effect without a parent.
  void LinkToParent();

  // The task's last act on any thread, after its result is in place: leaves the tree as soon as no child is left.
  // `this` may be freed when this returns, unless the caller has a reference.
  void MarkCompleted();

  // A context without a parent: called when its last child has left, with no lock held. Other contexts: never.
  virtual void OnLastChildLeft() {}
  bool has_children();

  // --- Task-local values
  // ----------------------------------------------------------------------------------------------

  // What the task sees: the binding made last, or nullptr. By the task, and by whoever makes a child of it; a scope of
  // a group keeps what it began with.
  internal::LocalBinding* locals() const { return locals_; }
  // Shares `locals`, and lets go of what was there. By the task, or before it can run.
  void SetLocals(internal::LocalBinding* locals) {
    internal::LocalBinding::Release(std::exchange(locals_, internal::LocalBinding::Share(locals)));
  }

  // --- Being looked at, by any thread that has a reference (task_dump.h)
  // ------------------------------------------------------------------------------------------------------------------

  // Whether a coroutine runs in it; false for the scope of a group and for the root.
  virtual bool is_task() const { return false; }
  bool waiting() const { return word_.Current() != nullptr; }
  // Its children in the order of their making; true beside them if it has itself ended. Locks out who spawns a child of
  // it, or ends one, while they are gone through.
  std::pair<std::vector<ContextRef<TaskContext>>, bool> Children();

  // --- Lifetime
  // -------------------------------------------------------------------------------------------------------

  void Ref() { references_.fetch_add(1, std::memory_order_relaxed); }
  void Unref() {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) Destroy();  // the last one sees all that was done
  }

  // The coroutine that a spawned task started with has ended; returns what to resume next on this thread.
  virtual std::coroutine_handle<> OnRootDone() noexcept { return std::noop_coroutine(); }

  // Links for the queue that the ready task is in.
  TaskContext* queue_next = nullptr;

 protected:
  virtual ~TaskContext();
  // Frees `this`.
  virtual void Destroy() { delete this; }
  // The task is about to wait. Its awaiter may hold locks.
  virtual void OnWatchedWait() noexcept {
    if (parent_ != nullptr) parent_->OnWatchedWait();
  }

 private:
  struct Stopping;

  void LeaveParent();
  // What is left to do of a stop after its bit was set; `wait` is pinned, or nullptr.
  void CarryOutStop(Wait* wait);

  static constinit thread_local Stopping* stopping_;

  WaitWord<Wait> word_;
  std::coroutine_handle<> resume_;
  internal::AwaitSite site_;
  Scheduler* const scheduler_;
  TaskContext* parent_;             // counted; until this leaves the tree
  internal::LocalBinding* locals_;  // counted; inherited from the parent, until this has completed
  const bool is_root_;              // made without a parent
  bool watched_;                    // inherited
  bool shielded_ = false;           // never changes once linked
  int pinned_to_ = -1;

  SpinLock children_lock_;
  bool completed_ = false;  // these five under children_lock_
  bool had_children_ = false;
  std::atomic<uint32_t> references_{1};
  TaskContext* first_child_ = nullptr;
  StopObserver* observers_ = nullptr;
  TaskContext* next_sibling_ = nullptr;  // these two under the parent's children_lock_
  TaskContext* previous_sibling_ = nullptr;
};

// A counted reference.
template <class Context>
class ContextRef {
 public:
  ContextRef() = default;
  // Takes over a reference that the caller has.
  static ContextRef Adopt(Context* context) {
    ContextRef ref;
    ref.context_ = context;
    return ref;
  }
  static ContextRef Share(Context* context) {
    if (context != nullptr) context->Ref();
    return Adopt(context);
  }
  ContextRef(ContextRef&& other) noexcept : context_(other.Release()) {}
  ContextRef(const ContextRef& other) : context_(other.context_) {
    if (context_ != nullptr) context_->Ref();
  }
  ContextRef& operator=(ContextRef other) noexcept {
    std::swap(context_, other.context_);
    return *this;
  }
  ~ContextRef() {
    if (context_ != nullptr) context_->Unref();
  }

  Context* get() const { return context_; }
  Context* operator->() const { return context_; }
  explicit operator bool() const { return context_ != nullptr; }
  Context* Release() { return std::exchange(context_, nullptr); }

 private:
  Context* context_ = nullptr;
};

}  // namespace evring

#endif  // EVRING_RUNTIME_CONTEXT_H_
