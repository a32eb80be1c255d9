// generator.h: AsyncGenerator<T>, a coroutine that gives values one by one and may wait in between.
//
//   AsyncGenerator<std::string> Lines(net::Stream* stream) {
//     … co_await stream->Read(…) …
//     co_yield std::move(line);
//   }
//
//   AsyncGenerator<std::string> lines = Lines(&stream);
//   while (std::string* line = co_await lines.Next()) …
//
// A generator is a part of the task that asks it for the next value: it runs when Next() is awaited, on that task's
// worker, and what it waits for is a wait of that task. So a stop of the task ends the generator's waits with
// kCancelled, a deadline around the loop bounds them, and the generator has no stop of its own. From one value to the
// next it may go from task to task. Both directions are symmetric transfers: a loop over it does not grow the stack.
//
// How it ends. nullptr stands for the end. An exception that leaves the generator is rethrown by the Next() that asked,
// after which it has ended. A generator that can fail with a Status says so:
//
//   AsyncGenerator<Row, absl::Status> Rows(Query* query) { …  co_return absl::OkStatus(); }
//   while (Row* row = co_await rows.Next()) …
//   if (!rows.status().ok()) …
//
// Given up early, it is destroyed where it stands, at a co_yield: its locals go in reverse order, as if by an exception
// that nobody sees. What must be awaited to be cleaned up (a TaskGroup to be joined, a stream to be flushed) therefore
// does not belong across a co_yield: who uses the generator should own it. Nor does the scope of a task-local value: it
// would be seen by the asking task (checked).

#ifndef EVRING_RUNTIME_GENERATOR_H_
#define EVRING_RUNTIME_GENERATOR_H_

#include <concepts>
#include <coroutine>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "kevent/check.h"
#include "runtime/context.h"
#include "runtime/coroutine_lambda.h"
#include "runtime/local_binding.h"
#include "runtime/task.h"
#include "runtime/transfer.h"

namespace evring {

template <class T, class End = void>
class AsyncGenerator;

namespace internal {

template <class T>
class GeneratorPromiseBase : public PromiseBase {
 public:
  // Suspends the generator and goes on in the task that asked.
  class YieldAwaiter {
   public:
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> generator) noexcept {
      EVRING_CHECK(generator.promise().context()->locals() == generator.promise().locals_,
                   "the scope of a task-local value does not span a co_yield");
      EVRING_CHECK(generator.promise().context()->pinned_to() == generator.promise().pinned_to_,
                   "a pin does not span a co_yield");
      return Transfer(generator.promise().continuation());
    }
    void await_resume() const noexcept {}
  };
  // The same for a value that the generator keeps: the asker gets a copy, which lives in this awaiter.
  class CopyAwaiter : public YieldAwaiter {
   public:
    explicit CopyAwaiter(const T& value) : copy_(value) {}
    CopyAwaiter(const CopyAwaiter&) = delete;
    CopyAwaiter& operator=(const CopyAwaiter&) = delete;

    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> generator) noexcept {
      generator.promise().value_ = std::addressof(copy_);
      return YieldAwaiter::await_suspend(generator);
    }

   private:
    T copy_;
  };

  // What is yielded stays where it is, in the generator's frame, until the generator goes on.
  YieldAwaiter yield_value(T&& value) noexcept {
    value_ = std::addressof(value);
    return {};
  }
  CopyAwaiter yield_value(const T& value)
    requires std::copy_constructible<T>
  {
    return CopyAwaiter(value);
  }

  void unhandled_exception() noexcept { error_ = std::current_exception(); }

  // By Next(): the generator runs from here on, for the task of `context`.
  void Start(std::coroutine_handle<> waiting, TaskContext* context) {
    EVRING_CHECK(!running_, "one task at a time asks a generator, and waits for the answer");
    Attach(waiting, context);
    value_ = nullptr;
    locals_ = context->locals();
    pinned_to_ = context->pinned_to();
    running_ = true;
  }
  // By Next(): it has yielded, or has ended. Throws what it has thrown.
  T* Answer() {
    running_ = false;
    if (error_) [[unlikely]]
      std::rethrow_exception(std::exchange(error_, nullptr));
    return value_;
  }
  bool running() const { return running_; }

 private:
  T* value_ = nullptr;                    // in the generator's frame; nullptr: it has ended
  const LocalBinding* locals_ = nullptr;  // what the asking task sees
  int pinned_to_ = -1;                    // and where it is pinned
  std::exception_ptr error_;
  bool running_ = false;
};

template <class T, class End>
class GeneratorPromise;

template <class T>
class GeneratorPromise<T, void> final : public GeneratorPromiseBase<T> {
 public:
  AsyncGenerator<T, void> get_return_object() noexcept;
  void return_void() noexcept {}
};

template <class T>
class GeneratorPromise<T, absl::Status> final : public GeneratorPromiseBase<T> {
 public:
  AsyncGenerator<T, absl::Status> get_return_object() noexcept;
  void return_value(absl::Status status) noexcept { status_ = std::move(status); }
  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_;
};

}  // namespace internal

// T: an object type. End: void, or absl::Status for a generator that ends with one.
//
// Movable and destructible by one thread at a time, anywhere, but not while a Next() is awaited (checked). One that was
// never asked has not run.
template <class T, class End>
class [[nodiscard]] AsyncGenerator {
  static_assert(std::is_object_v<T> && !std::is_const_v<T>,
                "a generator gives objects, which are the asker's to change");
  static_assert(std::is_void_v<End> || std::is_same_v<End, absl::Status>, "a generator ends with nothing or a Status");

 public:
  using value_type = T;
  using promise_type = internal::GeneratorPromise<T, End>;
  using Handle = std::coroutine_handle<promise_type>;

  AsyncGenerator(AsyncGenerator&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  AsyncGenerator& operator=(AsyncGenerator&& other) noexcept {
    AsyncGenerator moved(std::move(other));
    std::swap(handle_, moved.handle_);
    return *this;
  }
  ~AsyncGenerator() {
    if (!handle_) return;
    EVRING_CHECK(!handle_.promise().running(), "a generator is destroyed while a task waits for its next value");
    handle_.destroy();
  }

  class [[nodiscard]] NextAwaiter {
   public:
    explicit NextAwaiter(Handle handle) : handle_(handle) {}
    bool await_ready() const noexcept { return handle_.done(); }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
      handle_.promise().Start(waiting, waiting.promise().context());
      return Transfer(handle_);
    }
    T* await_resume() { return handle_.promise().running() ? handle_.promise().Answer() : nullptr; }

   private:
    Handle handle_;
  };

  // Lets the generator run to its next co_yield: the value, which stays valid until Next() is awaited again or the
  // generator goes, and may be moved from; or nullptr at the end, then and ever after. A value that is yielded as an
  // lvalue is a copy. Await in a task, one at a time. Rethrows what left the generator, once. Not by itself a point of
  // cancellation: the waits inside of the generator are.
  NextAwaiter Next() & {
    EVRING_CHECK(handle_, "a generator that was moved from has no values");
    return NextAwaiter(handle_);
  }
  NextAwaiter Next() && = delete;  // the value would go with the generator

  // What it ended with; OK as long as it has not, or after an exception.
  [[nodiscard]] const absl::Status& status() const&
    requires(!std::is_void_v<End>)
  {
    EVRING_CHECK(handle_, "a generator that was moved from has no status");
    return handle_.promise().status();
  }

  bool valid() const { return static_cast<bool>(handle_); }

 private:
  friend promise_type;
  explicit AsyncGenerator(Handle handle) noexcept : handle_(handle) {}

  Handle handle_;
};

namespace internal {

template <class T>
AsyncGenerator<T, void> GeneratorPromise<T, void>::get_return_object() noexcept {
  const auto handle = std::coroutine_handle<GeneratorPromise>::from_promise(*this);
  this->CheckFrame(handle);
  return AsyncGenerator<T, void>(handle);
}

template <class T>
AsyncGenerator<T, absl::Status> GeneratorPromise<T, absl::Status>::get_return_object() noexcept {
  const auto handle = std::coroutine_handle<GeneratorPromise>::from_promise(*this);
  this->CheckFrame(handle);
  return AsyncGenerator<T, absl::Status>(handle);
}

}  // namespace internal
}  // namespace evring

template <class T, class End, class C, class... Args>
  requires std::is_class_v<C>
struct std::coroutine_traits<evring::AsyncGenerator<T, End>, C&, Args...>
    : evring::internal::LambdaCheckedTraits<evring::AsyncGenerator<T, End>, C> {};

#endif  // EVRING_RUNTIME_GENERATOR_H_
