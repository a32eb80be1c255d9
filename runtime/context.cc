#include "runtime/context.h"

#include <algorithm>
#include <mutex>

#include "absl/container/inlined_vector.h"
#include "kevent/check.h"
#include "runtime/scheduler.h"
#include "runtime/worker.h"

namespace evring {

// The stops that a thread has begun and not carried out yet.
struct TaskContext::Stopping {
  struct Stop {
    TaskContext* context;  // counted
    Wait* wait;            // pinned, or nullptr
  };
  absl::InlinedVector<Stop, 8> stops;
};

constinit thread_local TaskContext::Stopping* TaskContext::stopping_ = nullptr;

TaskContext::TaskContext(Scheduler* scheduler, TaskContext* parent)
    // A parent stands where it spawns.
    : site_(parent == nullptr ? std::source_location() : parent->site_.where()),
      scheduler_(scheduler),
      parent_(parent),
      locals_(parent == nullptr ? nullptr : internal::LocalBinding::Share(parent->locals_)),
      is_root_(parent == nullptr),
      watched_(parent != nullptr && parent->watched_) {
  if (parent_ != nullptr) parent_->Ref();
}

TaskContext::~TaskContext() {
  EVRING_CHECK(first_child_ == nullptr, "a context outlives its children");
  EVRING_CHECK(observers_ == nullptr, "an observer has a reference to what it observes");
  internal::LocalBinding::Release(locals_);
  if (parent_ != nullptr) parent_->Unref();
}

void TaskContext::Schedule() { scheduler_->Schedule(this); }

std::coroutine_handle<> TaskContext::ResumeHere() {
  if (pinned_to_ >= 0) [[unlikely]] {
    Worker* const worker = scheduler_->worker(pinned_to_);
    if (worker != Worker::Current()) {
      worker->PostPinned(this);
      return std::noop_coroutine();
    }
  }
  internal::NoteResumption(this);
  return resume_;
}

void TaskContext::RequestStop() {
  Wait* wait = nullptr;
  if (!word_.Stop(&wait)) return;
  Ref();  // the task may end while we are at it
  if (stopping_ != nullptr) {
    stopping_->stops.push_back({this, wait});
    return;
  }
  Stopping stopping;
  stopping.stops.push_back({this, wait});
  stopping_ = &stopping;
  while (!stopping.stops.empty()) {
    const Stopping::Stop stop = stopping.stops.back();
    stopping.stops.pop_back();
    stop.context->CarryOutStop(stop.wait);
    stop.context->Unref();
  }
  stopping_ = nullptr;
}

void TaskContext::CarryOutStop(Wait* wait) {
  // Observers first: those in frames of the waiting task are there as long as the wait is pinned, so none is missed.
  std::unique_lock lock(children_lock_);
  while (StopObserver* observer = observers_) {
    observers_ = observer->next_;
    if (observers_ != nullptr) observers_->previous_ = nullptr;
    observer->linked_ = false;
    observer->caller_ = std::this_thread::get_id();
    lock.unlock();
    observer->OnStopRequested();  // it may be gone afterwards
    lock.lock();
  }
  if (wait != nullptr) {
    lock.unlock();
    wait->OnStop();
    if (word_.Unpin()) Schedule();
    lock.lock();
  }
  for (TaskContext* child = first_child_; child != nullptr; child = child->next_sibling_) {
    Wait* child_wait = nullptr;
    if (child->shielded_) continue;
    if (!child->word_.Stop(&child_wait)) continue;
    child->Ref();
    stopping_->stops.push_back({child, child_wait});
  }
}

bool TaskContext::AddObserver(StopObserver* observer) {
  std::lock_guard lock(children_lock_);
  if (stop_requested()) return false;
  observer->previous_ = nullptr;
  observer->next_ = observers_;
  if (observers_ != nullptr) observers_->previous_ = observer;
  observers_ = observer;
  observer->linked_ = true;
  return true;
}

bool TaskContext::RemoveObserver(StopObserver* observer) {
  std::lock_guard lock(children_lock_);
  if (!observer->linked_) return false;
  (observer->previous_ != nullptr ? observer->previous_->next_ : observers_) = observer->next_;
  if (observer->next_ != nullptr) observer->next_->previous_ = observer->previous_;
  observer->linked_ = false;
  return true;
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
  if (parent_->stop_requested() && !shielded_) RequestStop();
}

void TaskContext::MarkCompleted() {
  if (locals_ != nullptr) SetLocals(nullptr);  // a handle that is kept keeps none of them
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
    // Out of the tree `context` has no need of its parent: a handle that is kept would keep all its ancestors.
    context->parent_ = nullptr;
    context->Unref();  // the list's
    if (last && parent->is_root_) parent->OnLastChildLeft();
    // The parent had ended and waited for us only: it leaves in turn. Its list's reference keeps it for the next round.
    const bool leaves = last && parent_completed;
    parent->Unref();  // `context` had it
    if (!leaves) return;
    context = parent;
  }
}

std::pair<std::vector<ContextRef<TaskContext>>, bool> TaskContext::Children() {
  std::vector<ContextRef<TaskContext>> children;
  for (;;) {
    size_t count = 0;
    {
      std::lock_guard lock(children_lock_);
      for (TaskContext* child = first_child_; child != nullptr; child = child->next_sibling_) {
        if (++count <= children.capacity()) children.push_back(ContextRef<>::Share(child));
      }
      if (count <= children.capacity()) {
        std::reverse(children.begin(), children.end());
        return {std::move(children), count != 0 && completed_};
      }
    }
    children.clear();
    children.reserve(count + count / 8);  // with no lock held
  }
}

bool TaskContext::has_children() {
  std::lock_guard lock(children_lock_);
  return first_child_ != nullptr;
}

}  // namespace evring
