// gather.h: tasks that are started together and awaited together: what WhenAll and WhenAny share.
//
// A Gathering lives in the frame of the task that waits. Its children are children of that task; all are made and
// linked before the first one starts, the first one runs on the calling worker at once, the others are ready tasks like
// any. One child may turn out to be decisive: the first that fails (WhenAll), the first that ends (WhenAny). The others
// are then asked to stop. The task goes on when all have ended, on the worker of the last.

#ifndef EVRING_RUNTIME_GATHER_H_
#define EVRING_RUNTIME_GATHER_H_

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "runtime/context.h"
#include "runtime/join_counter.h"
#include "runtime/run_result.h"
#include "runtime/spawn.h"
#include "runtime/task.h"

namespace evring::internal {

class Gathering;

// Void has no values: where a value is needed, this stands for it.
template <class T>
using ValueOf = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

// A child without its type.
class GatheredBase {
 public:
  virtual TaskContext* context() = 0;
  virtual std::exception_ptr exception() const = 0;

 protected:
  ~GatheredBase() = default;
};

class Gathering : private Wait {
 public:
  Gathering(const Gathering&) = delete;
  Gathering& operator=(const Gathering&) = delete;

  // A child has ended. False: nobody will ask for its result. By the child.
  [[nodiscard]] bool Ended(size_t index, bool failed) noexcept;
  // The child's last touch of this; what to resume next.
  [[nodiscard]] std::coroutine_handle<> Leave() noexcept { return counter_.Leave(); }

 protected:
  enum class Decisive { kFirstFailure, kFirstEnd };
  static constexpr size_t kNone = SIZE_MAX;

  explicit Gathering(Decisive kind) : kind_(kind) {}
  ~Gathering();

  // Room for `n` children. May throw std::bad_alloc, as making a child may: then none starts, and those made so far go
  // with this.
  void Reserve(size_t n) { children_.reserve(n); }
  // The next child, for which there is room; its one reference is ours. Before Start().
  void Add(GatheredBase* child) { children_.push_back(child); }
  size_t size() const { return children_.size(); }
  GatheredBase* child(size_t index) const { return children_[index]; }

  // Starts the children; `waiting` of the task `outer` goes on when all have ended. What to resume now.
  [[nodiscard]] std::coroutine_handle<> Start(TaskContext* outer, std::coroutine_handle<> waiting) noexcept;

  // After the wait: the index of the decisive child, or kNone.
  size_t decisive() const { return decisive_.load(std::memory_order_relaxed); }
  // After the wait: throws what the decisive child has thrown, if it has.
  void RethrowDecisive() const;

 private:
  void OnStop() noexcept override {}  // the children are told as such

  const Decisive kind_;
  std::atomic<size_t> decisive_{kNone};
  JoinCounter counter_;
  absl::InlinedVector<GatheredBase*, 4> children_;
};

template <class T>
class Gathered final : public Spawned<T>, public GatheredBase {
 public:
  Gathered(TaskContext* parent, Task<T> task, Gathering* gathering, size_t index)
      : Spawned<T>(parent->scheduler(), parent, std::move(task)), gathering_(gathering), index_(index) {}

  std::coroutine_handle<> OnRootDone() noexcept override {
    this->KeepResult();
    if (!gathering_->Ended(index_, Failed())) this->DropResult();
    this->MarkCompleted();
    const std::coroutine_handle<> next = gathering_->Leave();  // the gathering may be gone
    this->Unref();                                             // and so may this
    return next;
  }

  TaskContext* context() override { return this; }
  std::exception_ptr exception() const override { return this->error(); }

  ValueOf<T> Take() {
    if constexpr (std::is_void_v<T>) {
      this->TakeResult();
      return {};
    } else {
      return this->TakeResult();
    }
  }

 private:
  bool Failed() {
    auto* value = this->kept();
    if (value == nullptr) return true;
    if constexpr (std::is_same_v<T, absl::Status>) {
      return !value->ok();
    } else if constexpr (!std::is_void_v<T>) {
      if constexpr (RunResult<T>::kIsStatus) return !value->ok();
    }
    return false;
  }

  Gathering* const gathering_;
  const size_t index_;
};

// Children of as many types as there are.
template <class... Ts>
class TupleGathering : public Gathering {
 public:
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> waiting) {
    TaskContext* outer = waiting.promise().context();
    Reserve(sizeof...(Ts));
    std::apply([&](Task<Ts>&... task) { (Add(new Gathered<Ts>(outer, std::move(task), this, size())), ...); }, tasks_);
    return Start(outer, waiting);
  }

 protected:
  explicit TupleGathering(Decisive kind, Task<Ts>... tasks) : Gathering(kind), tasks_(std::move(tasks)...) {}

  template <size_t kIndex>
  auto Take() {
    using T = std::tuple_element_t<kIndex, std::tuple<Ts...>>;
    return static_cast<Gathered<T>*>(child(kIndex))->Take();
  }

 private:
  std::tuple<Task<Ts>...> tasks_;
};

// As many children as there are, of one type.
template <class T>
class VectorGathering : public Gathering {
 public:
  bool await_ready() const noexcept { return tasks_.empty(); }
  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> waiting) {
    TaskContext* outer = waiting.promise().context();
    Reserve(tasks_.size());
    for (Task<T>& task : tasks_) Add(new Gathered<T>(outer, std::move(task), this, size()));
    return Start(outer, waiting);
  }

 protected:
  VectorGathering(Decisive kind, std::vector<Task<T>> tasks) : Gathering(kind), tasks_(std::move(tasks)) {}

  ValueOf<T> Take(size_t index) { return static_cast<Gathered<T>*>(child(index))->Take(); }

 private:
  std::vector<Task<T>> tasks_;
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_GATHER_H_
