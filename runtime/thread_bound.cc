#include "runtime/thread_bound.h"

#ifndef NDEBUG

#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kevent/check.h"

namespace evring {
namespace internal {

// The marks of tasks that have waited since, or are about to.
class MarkTable {
 public:
  static MarkTable& Get() {
    static auto* table = new MarkTable;
    return *table;
  }

  // Takes over the marks of the calling thread.
  void Own(TaskContext* owner) {
    std::lock_guard lock(mutex_);
    while (ThreadBound* mark = new_marks) {
      new_marks = mark->next_;
      mark->owner_ = owner;
      mark->next_ = std::exchange(first_, mark);
      owned_marks.fetch_add(1, std::memory_order_relaxed);  // the wake of the task publishes it
    }
  }

  void Check(TaskContext* owner) {
    std::lock_guard lock(mutex_);
    for (const ThreadBound* mark = first_; mark != nullptr; mark = mark->next_) {
      if (mark->owner_ == owner && mark->thread_ != std::this_thread::get_id()) Moved(*mark);
    }
  }

  void Remove(ThreadBound* mark) {
    std::lock_guard lock(mutex_);
    Unlink(&first_, mark);
    owned_marks.fetch_sub(1, std::memory_order_relaxed);
  }

  static void Unlink(ThreadBound** list, ThreadBound* mark) {
    while (*list != mark) list = &(*list)->next_;
    *list = mark->next_;
  }

  [[noreturn]] static void Moved(const ThreadBound& mark) {
    const std::string text =
        absl::StrCat("a task stays on its thread while it holds ", mark.what_, ", and it has moved to another");
    kevent::CheckFailed(mark.where_.file_name(), static_cast<int>(mark.where_.line()), "ThreadBound", text.c_str());
  }

 private:
  std::mutex mutex_;
  ThreadBound* first_ = nullptr;
};

void OwnMarks(TaskContext* context) { MarkTable::Get().Own(context); }
void CheckMarks(TaskContext* context) { MarkTable::Get().Check(context); }

}  // namespace internal

ThreadBound::ThreadBound(const char* what, std::source_location where)
    : what_(what),
      where_(where),
      thread_(std::this_thread::get_id()),
      next_(std::exchange(internal::new_marks, this)) {}

ThreadBound::~ThreadBound() {
  if (thread_ != std::this_thread::get_id()) internal::MarkTable::Moved(*this);
  if (owner_ != nullptr) {
    internal::MarkTable::Get().Remove(this);
  } else {
    internal::MarkTable::Unlink(&internal::new_marks, this);
  }
}

}  // namespace evring

#endif  // NDEBUG
