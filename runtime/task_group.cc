#include "runtime/task_group.h"

namespace evring {

TaskGroup::~TaskGroup() {
  EVRING_CHECK(running() == 0, "a group is joined before it is destroyed");
  if (scope_) scope_->MarkCompleted();
}

TaskContext* TaskGroup::Scope(TaskContext* spawner) {
  if (!scope_) {
    scope_ = ContextRef<TaskContext>::Adopt(new TaskContext(spawner->scheduler(), spawner));
    scope_->LinkToParent();
    if (stop_early_) scope_->RequestStop();
  }
  return scope_.get();
}

void TaskGroup::RequestStop() {
  if (scope_) {
    scope_->RequestStop();
  } else {
    stop_early_ = true;
  }
}

void TaskGroup::Fail(absl::Status status, std::exception_ptr exception) noexcept {
  // Relaxed: what is written below is published to the joining task by this child's Leave().
  if (failed_.exchange(true, std::memory_order_relaxed)) return;
  error_ = std::move(status);
  exception_ = std::move(exception);
  if (on_error_ == OnError::kStopOthers) scope_->RequestStop();
}

absl::Status TaskGroup::JoinAwaiter::await_resume() {
  TaskGroup* group = group_;
  if (group->scope_) {
    group->scope_->MarkCompleted();
    group->scope_ = ContextRef<TaskContext>();
  }
  group->stop_early_ = false;
  group->counter_.Reset();
  group->failed_.store(false, std::memory_order_relaxed);  // no child is left
  absl::Status status = std::exchange(group->error_, absl::OkStatus());
  if (std::exception_ptr exception = std::exchange(group->exception_, nullptr); exception != nullptr) {
    std::rethrow_exception(std::move(exception));
  }
  return status;
}

}  // namespace evring
