// io.h: awaiting one request to the kernel.
//
// An operation derives from IoOperation<Self>, says how its submission entry is filled and what its result means:
//
//   class ReadOperation : public IoOperation<ReadOperation> {
//     void Prepare(io_uring_sqe* sqe) { io_uring_prep_read(sqe, fd(), buffer_.data(), buffer_.size(), -1); }
//     absl::StatusOr<size_t> Result(int32_t result, uint32_t flags) { … }
//   };
//
// It lives in the awaiting coroutine's frame, which does not resume before the last completion: what it lends to the
// kernel stays valid by construction, also when it is cancelled. A stop is turned into a cancel request on the ring the
// operation is in; the completion then says who won, and a success that comes in spite of the stop is a success. Where
// a thread of the kernel's carries the request out (a file, a name), the cancel interrupts it: -EINTR after a stop is
// taken for -ECANCELED.

#ifndef EVRING_RUNTIME_IO_H_
#define EVRING_RUNTIME_IO_H_

#include <errno.h>
#include <liburing.h>

#include <coroutine>
#include <cstdint>
#include <tuple>
#include <utility>

#include "kevent/check.h"
#include "kevent/handle.h"
#include "runtime/context.h"
#include "runtime/worker.h"

namespace evring {
namespace internal {

// The part that does not depend on the operation.
class IoWait : private Wait, private kevent::Kevent {
 public:
  IoWait(kevent::EventType type, int fd) : Kevent(type, fd, 0, &OnCompletion) {}

  int fd() const { return descriptor(); }

 protected:
  bool stopped() const { return context_->stop_requested(); }

  // False: a stop was requested, nothing is submitted, and the result is -ECANCELED.
  bool Begin(TaskContext* context, std::coroutine_handle<> handle) {
    context_ = context;
    worker_ = Worker::Current();
    EVRING_CHECK(worker_ != nullptr, "an operation is awaited on a worker");
    context->site().SetSubject(type(), fd());
    if (context->BeginWait(this, handle)) return true;
    result_ = -ECANCELED;
    return false;
  }
  io_uring_sqe* Sqe() { return worker_->PrepareSqe(); }
  void Submit(io_uring_sqe* sqe) { worker_->StartRequest(this, sqe); }

  int32_t result_ = 0;
  uint32_t flags_ = 0;

 private:
  static void OnCompletion(Kevent* kevent, const kevent::Event& event) {
    auto* self = static_cast<IoWait*>(kevent);
    TaskContext* context = self->context_;
    self->result_ = event.result == -EINTR && self->stopped() ? -ECANCELED : event.result;
    self->flags_ = event.flags;
    if (context->FinishWait(self)) Worker::Current()->PushReaped(context);
  }

  void OnStop() noexcept override;

  TaskContext* context_ = nullptr;
  Worker* worker_ = nullptr;  // whose ring the request is in
};

}  // namespace internal

template <class Operation>
class [[nodiscard]] IoOperation : public internal::IoWait {
 public:
  using IoWait::IoWait;

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
    if (!Begin(handle.promise().context(), handle)) return false;
    io_uring_sqe* sqe = Sqe();
    static_cast<Operation*>(this)->Prepare(sqe);
    Submit(sqe);
    return true;
  }
  auto await_resume() { return static_cast<Operation*>(this)->Result(result_, flags_); }
};

// What a function hands out to be awaited: an Operation's arguments. Movable until it is awaited, which makes the
// operation in the awaiting coroutine's frame.
template <class Operation, class... Args>
class [[nodiscard]] Awaitable {
 public:
  using AwaitedAs = Operation;

  explicit Awaitable(Args... args) : args_(std::move(args)...) {}
  Operation operator co_await() && { return std::make_from_tuple<Operation>(std::move(args_)); }

 private:
  std::tuple<Args...> args_;
};

}  // namespace evring

#endif  // EVRING_RUNTIME_IO_H_
