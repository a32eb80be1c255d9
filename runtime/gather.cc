#include "runtime/gather.h"

#include <exception>
#include <utility>

#include "kevent/check.h"
#include "runtime/transfer.h"

namespace evring::internal {

Gathering::~Gathering() {
  for (GatheredBase* child : children_) child->context()->Unref();
}

bool Gathering::Ended(size_t index, bool failed) noexcept {
  if (kind_ == Decisive::kFirstFailure && !failed) return true;
  size_t none = kNone;
  // Relaxed: the waiting task sees the index by way of the counter.
  if (decisive_.compare_exchange_strong(none, index, std::memory_order_relaxed, std::memory_order_relaxed)) {
    for (GatheredBase* child : children_) child->context()->RequestStop();
    return true;
  }
  return kind_ == Decisive::kFirstFailure;
}

void Gathering::RethrowDecisive() const {
  if (decisive() == kNone) return;
  if (std::exception_ptr exception = child(decisive())->exception()) std::rethrow_exception(std::move(exception));
}

std::coroutine_handle<> Gathering::Start(TaskContext* outer, std::coroutine_handle<> waiting) noexcept {
  EVRING_CHECK(!children_.empty(), "who waits for nothing does not suspend");
  counter_.Add(children_.size());
  for (GatheredBase* child : children_) {
    child->context()->Ref();  // the running task's, besides ours
    child->context()->LinkToParent();
  }
  outer->BeginJoin(this, waiting);  // a stop that was requested before came along with the links
  EVRING_CHECK(!counter_.Arrive(outer, this), "none has started");
  TaskContext* first = children_[0]->context();
  // Until `first` runs, one child has not left, so that all of this stays.
  for (size_t i = 1; i < children_.size(); ++i) children_[i]->context()->Schedule();
  return Transfer(first->resume());
}

}  // namespace evring::internal
