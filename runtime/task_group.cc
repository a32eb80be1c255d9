#include "runtime/task_group.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace evring {
namespace {

absl::Status StatusOfException(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& error) {
    return absl::UnknownError(absl::StrCat("exception: ", error.what()));
  } catch (...) {
    return absl::UnknownError("exception of a type that has no what()");
  }
}

}  // namespace

TaskGroup::~TaskGroup() {
  EVRING_CHECK(running() == 0, "a group is joined before it is destroyed");
  if (scope_) scope_->MarkCompleted();
  // There are some only if there was no memory to answer JoinAll() with.
  for (KeptChild* child = kept_.load(std::memory_order_relaxed); child != nullptr;) {
    KeptChild* before = child->next_;
    static_cast<void>(child->Release());
    child = before;
  }
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

void TaskGroup::Keep(KeptChild* child) noexcept {
  // Relaxed: what is linked is published to the joining task by each child's Leave().
  child->next_ = kept_.load(std::memory_order_relaxed);
  while (!kept_.compare_exchange_weak(child->next_, child, std::memory_order_relaxed, std::memory_order_relaxed)) {
  }
}

void TaskGroup::Renew() {
  if (scope_) {
    scope_->MarkCompleted();
    scope_ = ContextRef<TaskContext>();
  }
  stop_early_ = false;
  counter_.Reset();
  failed_.store(false, std::memory_order_relaxed);  // no child is left
}

absl::Status TaskGroup::TakeFirst() {
  if (on_error_ == OnError::kCollect) {
    std::vector<Failure> failures = TakeAll();
    if (failures.empty()) return absl::OkStatus();
    exception_ = std::move(failures.front().exception);
    error_ = std::move(failures.front().status);
  }
  Renew();
  absl::Status status = std::exchange(error_, absl::OkStatus());
  if (std::exception_ptr exception = std::exchange(exception_, nullptr); exception != nullptr) {
    std::rethrow_exception(std::move(exception));
  }
  return status;
}

std::vector<TaskGroup::Failure> TaskGroup::TakeAll() {
  std::vector<Failure> failures;
  const bool failed = failed_.load(std::memory_order_relaxed);
  Renew();  // before anything throws
  if (failed) failures.push_back({std::exchange(error_, absl::OkStatus()), std::exchange(exception_, nullptr)});
  size_t kept = 0;
  for (KeptChild* child = kept_.load(std::memory_order_relaxed); child != nullptr; child = child->next_) ++kept;
  if (kept != 0) failures.reserve(kept);  // if there is no memory for them, they stay with the group
  for (KeptChild* child = kept_.exchange(nullptr, std::memory_order_relaxed); child != nullptr;) {
    KeptChild* before = child->next_;
    failures.push_back(child->Release());
    child = before;
  }
  std::reverse(failures.begin(), failures.end());
  return failures;
}

std::vector<TaskGroup::Failure> TaskGroup::JoinAllAwaiter::await_resume() {
  std::vector<Failure> failures = group()->TakeAll();
  for (Failure& failure : failures) {
    if (failure.exception != nullptr) failure.status = StatusOfException(failure.exception);
  }
  return failures;
}

}  // namespace evring
