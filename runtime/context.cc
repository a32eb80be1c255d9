#include "runtime/context.h"

#include <mutex>

#include "absl/container/inlined_vector.h"
#include "kevent/check.h"
#include "runtime/scheduler.h"

namespace evring {

TaskContext::TaskContext(Scheduler* scheduler, TaskContext* parent) : scheduler_(scheduler), parent_(parent) {
  if (parent_ != nullptr) parent_->Ref();
}

TaskContext::~TaskContext() {
  EVRING_CHECK(first_child_ == nullptr, "a context outlives its children");
  if (parent_ != nullptr) parent_->Unref();
}

void TaskContext::Schedule() { scheduler_->Schedule(this); }

void TaskContext::RequestStop() {
  Wait* wait = nullptr;
  if (!word_.Stop(&wait)) return;
  Ref();  // the task may end while we are at it
  if (wait != nullptr) {
    wait->OnStop();
    if (word_.Unpin()) Schedule();
  }
  StopChildren();
  Unref();
}

void TaskContext::StopChildren() {
  // Outside the lock, since a child's OnStop may do anything. Depth first by an explicit list: the tree may be deep.
  absl::InlinedVector<TaskContext*, 8> pending;
  const auto collect = [&pending](TaskContext* parent) {
    std::lock_guard lock(parent->children_lock_);
    for (TaskContext* child = parent->first_child_; child != nullptr; child = child->next_sibling_) {
      child->Ref();
      pending.push_back(child);
    }
  };
  collect(this);
  while (!pending.empty()) {
    TaskContext* child = pending.back();
    pending.pop_back();
    Wait* wait = nullptr;
    if (child->word_.Stop(&wait)) {
      if (wait != nullptr) {
        wait->OnStop();
        if (child->word_.Unpin()) child->Schedule();
      }
      collect(child);
    }
    child->Unref();
  }
}

void TaskContext::LinkToParent() {
  if (parent_ == nullptr) return;
  {
    std::lock_guard lock(parent_->children_lock_);
    EVRING_CHECK(!parent_->completed_, "a task that has ended has no new children");
    parent_->had_children_ = true;
    next_sibling_ = parent_->first_child_;
    if (next_sibling_ != nullptr) next_sibling_->previous_sibling_ = this;
    parent_->first_child_ = this;
    Ref();  // the list's
  }
  if (parent_->stop_requested()) RequestStop();
}

void TaskContext::MarkCompleted() {
  if (had_children_) {
    // Children that were let go may still run; they then take us out of the tree as the last of them leaves.
    std::lock_guard lock(children_lock_);
    completed_ = true;
    if (first_child_ != nullptr) return;
  } else {
    completed_ = true;
  }
  LeaveParent();
}

void TaskContext::LeaveParent() {
  TaskContext* context = this;
  while (TaskContext* parent = context->parent_) {
    bool last = false;
    bool parent_completed = false;
    {
      std::lock_guard lock(parent->children_lock_);
      (context->previous_sibling_ != nullptr ? context->previous_sibling_->next_sibling_ : parent->first_child_) =
          context->next_sibling_;
      if (context->next_sibling_ != nullptr) context->next_sibling_->previous_sibling_ = context->previous_sibling_;
      last = parent->first_child_ == nullptr;
      parent_completed = parent->completed_;
    }
    parent->Ref();  // `context` may hold the last reference to it
    context->Unref();
    if (last && parent->parent_ == nullptr) parent->OnLastChildLeft();
    if (!last || !parent_completed) {
      parent->Unref();
      return;
    }
    // The parent had ended and waited for us only: it leaves in turn. Its list's reference keeps it for the next round.
    parent->Unref();
    context = parent;
  }
}

bool TaskContext::has_children() {
  std::lock_guard lock(children_lock_);
  return first_child_ != nullptr;
}

}  // namespace evring
