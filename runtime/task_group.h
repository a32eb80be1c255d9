// task_group.h: tasks that are started one by one and awaited together.
//
//   TaskGroup group;
//   while (…) co_await group.Spawn(Serve(connection));   as many as you like: what has ended leaves nothing behind
//   absl::Status status = co_await group.Join();         always before the group goes away
//
// The children run in a scope of their own below the task that owns the group: a stop of that task reaches them, and a
// stop of the group (RequestStop(), or the first error) reaches them only. Join() waits until all have ended, after a
// stop too, so whatever the children borrow from the owner stays alive.
//
// A child fails by a Status that is not OK, or by an exception. The first failure is kept and is what Join() answers or
// rethrows; the policy says what becomes of the others:
//
//   TaskGroup group(TaskGroup::OnError::kCollect);
//   …
//   const std::vector<TaskGroup::Failure> failures = co_await group.JoinAll();
//
// The destructor checks that no child is left: an exception that is thrown between Spawn() and Join() ends the process.
// Where something may throw there, put it into a child, or catch it, Join(), and throw it on.

#ifndef EVRING_RUNTIME_TASK_GROUP_H_
#define EVRING_RUNTIME_TASK_GROUP_H_

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "kevent/check.h"
#include "runtime/context.h"
#include "runtime/join_counter.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/transfer.h"

namespace evring {

class TaskGroup {
 public:
  enum class OnError {
    kStopOthers,  // the first error asks all other children, and those spawned later, to stop
    kGoOn,        // the others are let be
    kCollect,     // so are they, and each error is kept, for JoinAll(): that of a child that was stopped as well
  };

  // How a child ended that did not end well.
  struct Failure {
    absl::Status status;           // its error; kUnknown with what() for an exception
    std::exception_ptr exception;  // nullptr if it did not throw
  };

  explicit TaskGroup(OnError on_error = OnError::kStopOthers) : on_error_(on_error) {}
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  ~TaskGroup();

  // `co_await group.Spawn(task)` starts `task`, which ends with nothing or with a Status, as a child; does not suspend.
  // By the task that owns the group, or by a child of it. After a stop the child is started with the stop requested.
  template <class T>
  [[nodiscard]] auto Spawn(Task<T> task) {
    static_assert(std::is_void_v<T> || std::is_same_v<T, absl::Status>, "a child ends with nothing or with a Status");
    return SpawnAwaiter<T>(this, std::move(task));
  }

  class JoinAwaiter;
  // `co_await group.Join()` waits until every child has ended. OK, or the first error; the first exception is rethrown.
  // By one task, which should be the owner: its stop is what reaches the children. Afterwards the group is as new.
  [[nodiscard]] JoinAwaiter Join();

  class JoinAllAwaiter;
  // `co_await group.JoinAll()` does the same, and throws nothing: a std::vector<Failure> of all that have failed, in
  // the order in which they did, empty if none has. With a policy other than kCollect, of the first only.
  [[nodiscard]] JoinAllAwaiter JoinAll();

  // Asks all children to stop, and those spawned from now until Join(). By the owner or a child.
  void RequestStop();

  // Children that have not ended; a number that may change at any time. By the owner, not while it joins.
  size_t running() const { return counter_.pending(); }

 private:
  template <class T>
  class Child;
  class KeptChild;
  template <class T>
  class CollectedChild;
  template <class T>
  class SpawnAwaiter;

  // The scope, made by the first that spawns, which is the owner.
  TaskContext* Scope(TaskContext* spawner);
  // A child ended with an error: the first is kept.
  void Fail(absl::Status status, std::exception_ptr exception) noexcept;
  // The same where all are kept: the child itself is, until the group is joined.
  void Keep(KeptChild* child) noexcept;
  // After all have ended. The first failure, or all that are kept; the group is as new.
  absl::Status TakeFirst();
  std::vector<Failure> TakeAll();
  void Renew();

  const OnError on_error_;
  ContextRef<TaskContext> scope_;
  bool stop_early_ = false;  // RequestStop() was called before there was a scope
  internal::JoinCounter counter_;
  std::atomic<bool> failed_{false};
  absl::Status error_;  // these two by the child that set failed_, read after all have ended
  std::exception_ptr exception_;
  std::atomic<KeptChild*> kept_{nullptr};  // kCollect: the children that have failed, the last one first
};

template <class T>
class TaskGroup::Child : public internal::Spawned<T> {
 public:
  Child(TaskContext* scope, Task<T> task, TaskGroup* group)
      : internal::Spawned<T>(scope->scheduler(), scope, std::move(task)), group_(group) {}

  std::coroutine_handle<> OnRootDone() noexcept override {
    this->KeepResult();
    if (std::exception_ptr exception = this->error(); exception != nullptr) {
      OnFailure(absl::OkStatus(), std::move(exception));
    } else if constexpr (!std::is_void_v<T>) {
      if (absl::Status& status = *this->kept(); !status.ok()) OnFailure(std::move(status), nullptr);
    }
    this->MarkCompleted();
    const std::coroutine_handle<> next = group_->counter_.Leave();  // the group may be gone
    this->Unref();                                                  // and so may this
    return next;
  }

 protected:
  TaskGroup* group() const { return group_; }

 private:
  virtual void OnFailure(absl::Status status, std::exception_ptr exception) noexcept {
    group_->Fail(std::move(status), std::move(exception));
  }

  TaskGroup* const group_;
};

// A child that has failed and waits for the join, without its type. What keeping it costs is paid with kCollect only.
class TaskGroup::KeptChild {
 public:
  // Gives its failure out, and itself up.
  virtual Failure Release() = 0;

 protected:
  ~KeptChild() = default;

 private:
  friend class TaskGroup;
  KeptChild* next_ = nullptr;  // the one that failed before
};

template <class T>
class TaskGroup::CollectedChild final : public Child<T>, public KeptChild {
 public:
  using Child<T>::Child;
  Failure Release() override {
    Failure failure = std::exchange(failure_, Failure());
    this->Unref();
    return failure;
  }

 private:
  void OnFailure(absl::Status status, std::exception_ptr exception) noexcept override {
    failure_.status = std::move(status);
    failure_.exception = std::move(exception);
    this->Ref();  // the group's
    this->group()->Keep(this);
  }

  Failure failure_;
};

template <class T>
class TaskGroup::SpawnAwaiter : private internal::CurrentContextAwaiter {
 public:
  SpawnAwaiter(TaskGroup* group, Task<T> task) : group_(group), task_(std::move(task)) {}
  using CurrentContextAwaiter::await_ready;
  using CurrentContextAwaiter::await_suspend;
  void await_resume() {
    TaskContext* scope = group_->Scope(context_);
    Child<T>* child = group_->on_error_ == OnError::kCollect ? new CollectedChild<T>(scope, std::move(task_), group_)
                                                             : new Child<T>(scope, std::move(task_), group_);
    child->site().SetMadeAt(context_->site().where());  // the scope stands where it began
    child->SetLocals(context_->locals());               // the spawning task's, which may see more than the scope
    group_->counter_.Add();
    child->LinkToParent();
    child->Schedule();
  }

 private:
  TaskGroup* const group_;
  Task<T> task_;
};

class [[nodiscard]] TaskGroup::JoinAwaiter : private Wait {
 public:
  explicit JoinAwaiter(TaskGroup* group) : group_(group) {}

  bool await_ready() const noexcept { return group_->running() == 0; }
  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
    TaskContext* context = waiting.promise().context();
    if (context->BeginJoin(this, waiting)) group_->RequestStop();
    std::coroutine_handle<> next = std::noop_coroutine();
    if (group_->counter_.Arrive(context, this) && context->FinishWait(this)) next = waiting;
    return Transfer(next);  // unless that is `waiting`, the group may be gone
  }
  absl::Status await_resume() { return group_->TakeFirst(); }

 protected:
  TaskGroup* group() const { return group_; }

 private:
  void OnStop() noexcept override { group_->RequestStop(); }

  TaskGroup* const group_;
};

class [[nodiscard]] TaskGroup::JoinAllAwaiter final : public JoinAwaiter {
 public:
  static constexpr bool kResultIsTaken = true;

  using JoinAwaiter::JoinAwaiter;
  [[nodiscard]] std::vector<Failure> await_resume();
};

inline TaskGroup::JoinAwaiter TaskGroup::Join() { return JoinAwaiter(this); }
inline TaskGroup::JoinAllAwaiter TaskGroup::JoinAll() { return JoinAllAwaiter(this); }

}  // namespace evring

#endif  // EVRING_RUNTIME_TASK_GROUP_H_
