#include "runtime/io.h"

namespace evring::internal {
namespace {

// Carries a cancel to the worker whose ring has the request. The request may end on the way: then the task's wait is
// another, and nothing is cancelled. (The number alone would not do: memory is used again, and a new request of that
// worker may have the same. The task's stop is set by now, so it begins no second wait at the same place.)
class RemoteCancel final : public RemoteRequest {
 public:
  RemoteCancel(TaskContext* context, const Wait* wait, uint64_t number)
      : RemoteRequest(&RunOn), context_(ContextRef<TaskContext>::Share(context)), wait_(wait), number_(number) {}

 private:
  static void RunOn(RemoteRequest* request, Worker* worker) {
    auto* self = static_cast<RemoteCancel*>(request);
    if (self->context_->StillStopping(self->wait_)) worker->CancelRequest(self->number_);
    delete self;
  }

  const ContextRef<TaskContext> context_;
  const Wait* const wait_;
  const uint64_t number_;
};

}  // namespace

void IoWait::OnStop() noexcept {
  if (worker_ == Worker::Current()) {
    worker_->CancelRequest(number());
  } else {
    worker_->Post(new RemoteCancel(context_, this, number()));
  }
}

}  // namespace evring::internal
