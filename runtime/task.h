// task.h: Task<T>, a lazy coroutine that ends with a T or an exception.
//
// A Task does nothing until it is awaited, once, by another Task, or handed to Spawn or Run. The awaiting coroutine
// goes on as soon as the Task ends, on the worker where it ended, by symmetric transfer: loops of awaits do not grow
// the stack. A Task is move-only and owns its frame: destroying one that did not start, or that has ended, frees it;
// one that waits is never destroyed, its task is stopped and ends first (structured concurrency).
//
// Frames come from a per-thread pool (frame_pool.h) and are freed on whatever thread the task ends.
//
// An exception that leaves the coroutine is rethrown to whoever awaits it.

#ifndef EVRING_RUNTIME_TASK_H_
#define EVRING_RUNTIME_TASK_H_

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <new>
#include <source_location>
#include <type_traits>
#include <utility>

#include "kevent/check.h"
#include "runtime/context.h"
#include "runtime/coroutine_lambda.h"
#include "runtime/frame_pool.h"
#include "runtime/transfer.h"

#if defined(__clang__) && __has_cpp_attribute(clang::coro_await_elidable)
#define EVRING_AWAIT_ELIDABLE [[clang::coro_await_elidable]]
#else
#define EVRING_AWAIT_ELIDABLE
#endif

namespace evring {

template <class T>
class Task;

namespace internal {

// gcc 12 misplaces the frame of a coroutine that has a co_await in the condition of an if or a loop and no local
// variable: the handle is off by 8, and resuming it runs anywhere. Such a frame is found when it is made, in builds
// with debug checks. The remedy is a name: `const bool done = co_await …; if (done) …`.
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ == 12 && !defined(NDEBUG)
#define EVRING_CHECK_FRAMES 1
inline constinit thread_local char* last_frame = nullptr;
#else
#define EVRING_CHECK_FRAMES 0
#endif

// An A gives its awaiter by `operator co_await`, a member or not; it is none itself.
template <class A>
concept HasAwaiter = requires(A&& a) { static_cast<A&&>(a).operator co_await(); };
template <class A>
concept HasAwaiterByName = requires(A&& a) { operator co_await(static_cast<A&&>(a)); };

template <class A>
concept IsAwaiter = requires(A& a) {
  a.await_ready();
  a.await_resume();
};

// An awaiter that stays where it is (gcc 12 copies one that is handed on by reference), and notes that it is awaited
// before it suspends. One that finds out in await_suspend whether it does is given the note to take.
template <class A>
class AwaiterThere {
 public:
  AwaiterThere(A& awaiter, std::source_location where) : awaiter_(awaiter), where_(where) {}
  decltype(auto) await_ready() noexcept(noexcept(std::declval<A&>().await_ready())) { return awaiter_.await_ready(); }
  template <class Promise>
  auto await_suspend(std::coroutine_handle<Promise> handle) {
    AwaitSite& site = handle.promise().context()->site();
    const auto note = [&site, this] { site.Await<A>(where_); };
    if constexpr (requires { awaiter_.await_suspend(handle, note); }) {
      return awaiter_.await_suspend(handle, note);
    } else {
      note();
      return awaiter_.await_suspend(handle);
    }
  }
  decltype(auto) await_resume() noexcept(noexcept(std::declval<A&>().await_resume())) {
    return awaiter_.await_resume();
  }
  // An awaiter whose result is not to be dropped says so.
  [[nodiscard]] decltype(auto) await_resume() noexcept(noexcept(std::declval<A&>().await_resume()))
    requires(A::kResultIsTaken)
  {
    return awaiter_.await_resume();
  }

 private:
  A& awaiter_;
  const std::source_location where_;
};

// What every promise has: who goes on when it ends, and which task it belongs to.
class PromiseBase {
 public:
#if EVRING_CHECK_FRAMES
  static void* operator new(size_t size) { return last_frame = static_cast<char*>(AllocateFrame(size)); }
  static void CheckFrame(std::coroutine_handle<> handle) {
    EVRING_CHECK(handle.address() != last_frame + sizeof(void*),
                 "gcc 12: name the result of a co_await in a condition");
  }
#else
  static void* operator new(size_t size) { return AllocateFrame(size); }
  static void CheckFrame(std::coroutine_handle<>) {}
#endif
  static void operator delete(void* frame, size_t size) { FreeFrame(frame, size); }

  std::suspend_always initial_suspend() noexcept { return {}; }

  struct FinalAwaiter {
    bool await_ready() noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> ended) noexcept {
      PromiseBase& promise = ended.promise();
      if (promise.continuation_) [[likely]]
        return Transfer(promise.continuation_);
      return Transfer(promise.context_->OnRootDone());  // the frame may be gone now
    }
    void await_resume() noexcept {}
  };
  FinalAwaiter final_suspend() noexcept { return {}; }

  // Notes what the task awaits, for who looks at it; else as if these were not here. An await of another task is no
  // suspension by itself and is not noted.
  template <class A>
  auto await_transform(A&& awaited, std::source_location where = std::source_location::current()) {
    EVRING_CHECK(context_ != nullptr, "a task is awaited on a worker: by a task, Spawn or Run");
    if constexpr (HasAwaiter<A>) {
      context_->site().template Await<A>(where);
      return static_cast<A&&>(awaited).operator co_await();
    } else if constexpr (HasAwaiterByName<A>) {
      context_->site().template Await<A>(where);
      return operator co_await(static_cast<A&&>(awaited));
    } else {
      static_assert(IsAwaiter<A>,
                    "this cannot be awaited; what an await uses up is awaited where it is made, or by std::move()");
      return AwaiterThere<std::remove_reference_t<A>>(awaited, where);
    }
  }
  template <class T>
  auto await_transform(Task<T>&& task) {
    return static_cast<Task<T>&&>(task).operator co_await();
  }

  TaskContext* context() const { return context_; }
  std::coroutine_handle<> continuation() const { return continuation_; }

  void Attach(std::coroutine_handle<> continuation, TaskContext* context) {
    continuation_ = continuation;
    context_ = context;
  }

 private:
  std::coroutine_handle<> continuation_;
  TaskContext* context_ = nullptr;
};

template <class T>
class Promise final : public PromiseBase {
 public:
  Promise() {}
  ~Promise() {
    if (state_ == State::kValue) value_.~T();
    if (state_ == State::kError) error_.~exception_ptr();
  }

  Task<T> get_return_object() noexcept;
  void unhandled_exception() noexcept {
    new (&error_) std::exception_ptr(std::current_exception());
    state_ = State::kError;
  }
  template <class U>
    requires std::constructible_from<T, U&&>
  void return_value(U&& value) {
    new (&value_) T(std::forward<U>(value));
    state_ = State::kValue;
  }

  T Result() {
    if (state_ == State::kError) [[unlikely]]
      std::rethrow_exception(error_);
    EVRING_DCHECK(state_ == State::kValue, "the result of a task that has not ended");
    return std::move(value_);
  }

 private:
  enum class State : unsigned char { kNone, kValue, kError };
  union {
    T value_;
    std::exception_ptr error_;
  };
  State state_ = State::kNone;
};

template <>
class Promise<void> final : public PromiseBase {
 public:
  Task<void> get_return_object() noexcept;
  void unhandled_exception() noexcept { error_ = std::current_exception(); }
  void return_void() noexcept {}
  void Result() {
    if (error_) [[unlikely]]
      std::rethrow_exception(error_);
  }

 private:
  std::exception_ptr error_;
};

}  // namespace internal

template <class T = void>
class [[nodiscard]] EVRING_AWAIT_ELIDABLE Task {
 public:
  using value_type = T;
  using promise_type = internal::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    Task moved(std::move(other));
    std::swap(handle_, moved.handle_);
    return *this;
  }
  ~Task() {
    if (handle_) handle_.destroy();
  }

  class Awaiter {
   public:
    explicit Awaiter(Handle handle) : handle_(handle) {}
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> parent) noexcept {
      handle_.promise().Attach(parent, parent.promise().context());
      return Transfer(handle_);
    }
    T await_resume() { return handle_.promise().Result(); }

   private:
    Handle handle_;
  };

  // Starts the task; once.
  Awaiter operator co_await() && {
    EVRING_CHECK(handle_, "a task that was moved from cannot be awaited");
    return Awaiter(handle_);
  }

  bool valid() const { return static_cast<bool>(handle_); }

  // For those who run a task as something of its own (spawn.h, timeout.h): the caller owns the frame now.
  Handle Release() { return std::exchange(handle_, nullptr); }

 private:
  friend promise_type;
  explicit Task(Handle handle) noexcept : handle_(handle) {}

  Handle handle_;
};

namespace internal {

template <class T>
Task<T> Promise<T>::get_return_object() noexcept {
  const auto handle = std::coroutine_handle<Promise>::from_promise(*this);
  CheckFrame(handle);
  return Task<T>(handle);
}

inline Task<void> Promise<void>::get_return_object() noexcept {
  const auto handle = std::coroutine_handle<Promise>::from_promise(*this);
  CheckFrame(handle);
  return Task<void>(handle);
}

}  // namespace internal
}  // namespace evring

#endif  // EVRING_RUNTIME_TASK_H_
