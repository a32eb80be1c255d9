// spawn.h: tasks of their own, and waiting for them.
//
//   JoinHandle<int> h = co_await Spawn(Count());     a child of the calling task, on whichever worker takes it
//   int n = co_await std::move(h);                   its result, or its exception
//
// A child inherits the stop of its parent: asking a task to stop asks all its descendants. Awaiting a handle waits
// until the child has ended, even after a stop, which is passed on to it; so nothing that a child borrows from its
// parent goes away under it as long as the parent awaits. A handle that is destroyed without being awaited asks its
// child to stop and lets it go. To let a task run on its own, say so: SpawnDetached().
//
// Threads: Spawn on a worker, in a task. From other threads: Runtime::Spawn. JoinHandle::Wait() only on threads that
// are no workers.

#ifndef EVRING_RUNTIME_SPAWN_H_
#define EVRING_RUNTIME_SPAWN_H_

#include <atomic>
#include <coroutine>
#include <exception>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>
#include <variant>

#include "kevent/check.h"
#include "runtime/context.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "runtime/worker.h"

namespace evring {
namespace internal {

// A spawned task without its type: who waits for its end.
class SpawnedBase : public TaskContext {
 public:
  using TaskContext::TaskContext;

  bool done() const { return waiter_.load(std::memory_order_acquire) == kDone; }

  // Registers the task of `context`, which has begun to wait. False: this has ended already.
  bool AddWaiter(TaskContext* context) {
    uintptr_t expected = kNobody;
    return waiter_.compare_exchange_strong(expected, reinterpret_cast<uintptr_t>(context), std::memory_order_acq_rel,
                                           std::memory_order_acquire);
  }

  // Blocks the calling thread until this has ended.
  void BlockUntilDone() {
    uintptr_t expected = kNobody;
    if (!waiter_.compare_exchange_strong(expected, kThread, std::memory_order_acq_rel, std::memory_order_acquire)) {
      EVRING_CHECK(expected == kDone, "one waits for a handle");
      return;
    }
    waiter_.wait(kThread, std::memory_order_acquire);
  }

  bool is_task() const override { return true; }
  void set_join_wait(Wait* wait) { join_wait_ = wait; }
  void SetDetached() { detached_ = true; }

 protected:
  // The result is in place: tells whoever waits. What to resume next on this thread. `this` may be gone afterwards.
  std::coroutine_handle<> Finish() noexcept {
    MarkCompleted();
    // AcqRel: publishes the result to the waiter, and sees the waiter's fields.
    const uintptr_t waiter = waiter_.exchange(kDone, std::memory_order_acq_rel);
    std::coroutine_handle<> next = std::noop_coroutine();
    if (waiter == kThread) {
      waiter_.notify_all();
    } else if (waiter != kNobody) {
      auto* context = reinterpret_cast<TaskContext*>(waiter);
      if (context->FinishWait(join_wait_)) {
        if (context->scheduler() == scheduler()) [[likely]] {
          next = context->ResumeHere();
        } else {
          context->Schedule();  // a task of another runtime runs on that one's workers
        }
      }
    }
    Unref();  // the running task's
    return next;
  }

  bool detached() const { return detached_; }

 private:
  static constexpr uintptr_t kNobody = 0;
  static constexpr uintptr_t kDone = 1;
  static constexpr uintptr_t kThread = 2;

  std::atomic<uintptr_t> waiter_{kNobody};
  Wait* join_wait_ = nullptr;
  bool detached_ = false;
};

template <class T>
class Spawned : public SpawnedBase {
 public:
  Spawned(Scheduler* scheduler, TaskContext* parent, Task<T> task)
      : SpawnedBase(scheduler, parent), coroutine_(task.Release()) {
    EVRING_CHECK(coroutine_, "a task that was moved from cannot be spawned");
    coroutine_.promise().Attach(nullptr, this);
    set_resume(coroutine_);
  }
  ~Spawned() override {
    if (coroutine_) coroutine_.destroy();
  }

  static void* operator new(size_t size) { return AllocateFrame(size); }
  static void operator delete(void* memory, size_t size) { FreeFrame(memory, size); }

  std::coroutine_handle<> OnRootDone() noexcept override {
    KeepResult();
    OnEnded();
    return Finish();
  }

  T TakeResult() {
    if (result_.index() == 2) std::rethrow_exception(std::get<2>(result_));
    EVRING_CHECK(result_.index() == 1, "a task's result is taken once, after its end");
    if constexpr (!std::is_void_v<T>) return std::move(std::get<1>(result_));
  }

 protected:
  // The coroutine has ended: keeps its result and frees it.
  void KeepResult() noexcept {
    try {
      if constexpr (std::is_void_v<T>) {
        coroutine_.promise().Result();
        result_.template emplace<1>();
      } else {
        result_.template emplace<1>(coroutine_.promise().Result());
      }
    } catch (...) {
      if (detached()) std::terminate();  // nobody will ever see it
      result_.template emplace<2>(std::current_exception());
    }
    // What the coroutine held goes before anybody learns that it has ended.
    std::exchange(coroutine_, nullptr).destroy();
  }

  // The kept result: nullptr for an exception, and after DropResult().
  auto* kept() { return std::get_if<1>(&result_); }
  std::exception_ptr error() const {
    const auto* error = std::get_if<2>(&result_);
    return error == nullptr ? nullptr : *error;
  }
  void DropResult() noexcept { result_.template emplace<0>(); }

 private:
  // The coroutine has ended, and nobody has been told.
  virtual void OnEnded() noexcept {}

  typename Task<T>::Handle coroutine_;
  std::variant<std::monostate, std::conditional_t<std::is_void_v<T>, char, T>, std::exception_ptr> result_;
};

}  // namespace internal

template <class T = void>
class [[nodiscard]] JoinHandle {
 public:
  JoinHandle() = default;
  explicit JoinHandle(ContextRef<internal::Spawned<T>> spawned) : spawned_(std::move(spawned)) {}
  JoinHandle(JoinHandle&&) noexcept = default;
  JoinHandle& operator=(JoinHandle&& other) noexcept {
    if (this != &other) {
      LetGo();
      spawned_ = std::move(other.spawned_);
    }
    return *this;
  }
  ~JoinHandle() { LetGo(); }

  // False for a handle that is empty, was moved from, awaited or waited for.
  bool valid() const { return static_cast<bool>(spawned_); }
  // True once the task has ended: awaiting will not suspend. Any thread.
  bool done() const { return spawned_->done(); }
  // Asks the task to stop. Any thread.
  void RequestStop() { spawned_->RequestStop(); }

  class Awaiter final : private Wait {
   public:
    explicit Awaiter(ContextRef<internal::Spawned<T>> spawned) : spawned_(std::move(spawned)) {}
    bool await_ready() const noexcept { return spawned_->done(); }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
      TaskContext* context = waiting.promise().context();
      internal::Spawned<T>* spawned = spawned_.get();
      spawned->set_join_wait(this);
      if (context->BeginJoin(this, waiting)) spawned->RequestStop();
      if (!spawned->AddWaiter(context)) context->Complete(this);  // has just ended; last statement
    }
    T await_resume() { return spawned_->TakeResult(); }

   private:
    void OnStop() noexcept override { spawned_->RequestStop(); }

    ContextRef<internal::Spawned<T>> spawned_;
  };

  // Waits for the end of the task; once. A stop of the waiting task is passed on to it.
  Awaiter operator co_await() && {
    EVRING_CHECK(valid(), "a handle is awaited once");
    return Awaiter(std::move(spawned_));
  }

  // Blocks until the task has ended; its result, or its exception. On a thread that is no worker, once.
  T Wait() {
    EVRING_CHECK(valid(), "a handle is waited for once");
    EVRING_CHECK(Worker::Current() == nullptr, "a worker awaits, it does not block");
    ContextRef<internal::Spawned<T>> spawned = std::move(spawned_);
    spawned->BlockUntilDone();
    return spawned->TakeResult();
  }

 private:
  void LetGo() {
    if (spawned_) spawned_->RequestStop();
  }

  ContextRef<internal::Spawned<T>> spawned_;
};

namespace internal {

template <class T>
JoinHandle<T> SpawnUnder(TaskContext* parent, Task<T> task, std::source_location where) {
  auto* spawned = new Spawned<T>(parent->scheduler(), parent, std::move(task));
  spawned->site().SetMadeAt(where);
  JoinHandle<T> handle(
      ContextRef<Spawned<T>>::Share(spawned));  // one reference for the handle, one for the running task
  spawned->LinkToParent();
  spawned->Schedule();
  return handle;
}

// Awaited to learn the calling task's context; never suspends.
class CurrentContextAwaiter {
 public:
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
    context_ = handle.promise().context();
    return false;
  }
  TaskContext* await_resume() const noexcept { return context_; }

 protected:
  TaskContext* context_ = nullptr;
};

template <class T>
class SpawnAwaiter : private CurrentContextAwaiter {
 public:
  explicit SpawnAwaiter(Task<T> task) : task_(std::move(task)) {}
  using CurrentContextAwaiter::await_ready;
  using CurrentContextAwaiter::await_suspend;
  JoinHandle<T> await_resume() { return SpawnUnder(context_, std::move(task_), context_->site().where()); }

 private:
  Task<T> task_;
};

}  // namespace internal

// `co_await Spawn(task)` starts `task` as a child of the calling task and gives its JoinHandle; does not suspend.
template <class T>
[[nodiscard]] internal::SpawnAwaiter<T> Spawn(Task<T> task) {
  return internal::SpawnAwaiter<T>(std::move(task));
}

// Starts `task` as a child of no task: it runs until it ends or the runtime is shut down. On a worker. An exception
// that leaves it ends the process.
inline void SpawnDetached(Task<void> task, std::source_location where = std::source_location::current()) {
  Worker* worker = Worker::Current();
  EVRING_CHECK(worker != nullptr, "SpawnDetached is called on a worker; elsewhere use Runtime::Spawn");
  TaskContext* root = worker->scheduler()->root();
  auto* spawned = new internal::Spawned<void>(root->scheduler(), root, std::move(task));
  spawned->site().SetMadeAt(where);
  spawned->SetDetached();
  spawned->LinkToParent();
  spawned->Schedule();
}

}  // namespace evring

#endif  // EVRING_RUNTIME_SPAWN_H_
