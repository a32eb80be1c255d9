#include "runtime/thread_bound.h"

#ifndef NDEBUG

#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kevent/check.h"

namespace evring {
namespace internal {

// The marks of suspended tasks.
class MarkTable {
 public:
  static MarkTable& Get() {
    static auto* table = new MarkTable;
    return *table;
  }

  void Suspend(TaskContext* context, ThreadBound* top) {
    std::lock_guard lock(mutex_);
    marks_[context] = top;
    tasks_with_marks.fetch_add(1, std::memory_order_relaxed);  // the wake of the task publishes it
  }

  void Resume(TaskContext* context) {
    std::unique_lock lock(mutex_);
    const auto found = marks_.find(context);
    if (found == marks_.end()) return;
    ThreadBound* const top = found->second;
    marks_.erase(found);
    tasks_with_marks.fetch_sub(1, std::memory_order_relaxed);
    lock.unlock();
    if (top->thread_ != std::this_thread::get_id()) Moved(*top);
    EVRING_CHECK(top_mark == nullptr, "a mark ends before its task suspends, or stays with it");
    top_mark = top;
  }

  [[noreturn]] static void Moved(const ThreadBound& mark) {
    const std::string text =
        absl::StrCat("a task stays on its thread while it holds ", mark.what_, ", and it has moved to another");
    kevent::CheckFailed(mark.where_.file_name(), static_cast<int>(mark.where_.line()), "ThreadBound", text.c_str());
  }

 private:
  std::mutex mutex_;
  std::unordered_map<TaskContext*, ThreadBound*> marks_;  // the last that each has made
};

void SuspendMarks(TaskContext* context) { MarkTable::Get().Suspend(context, std::exchange(top_mark, nullptr)); }
void ResumeMarks(TaskContext* context) { MarkTable::Get().Resume(context); }

}  // namespace internal

ThreadBound::ThreadBound(const char* what, std::source_location where)
    : what_(what),
      where_(where),
      thread_(std::this_thread::get_id()),
      below_(std::exchange(internal::top_mark, this)) {}

ThreadBound::~ThreadBound() {
  if (thread_ != std::this_thread::get_id()) internal::MarkTable::Moved(*this);
  EVRING_CHECK(internal::top_mark == this, "marks end in the order of scopes");
  internal::top_mark = below_;
}

}  // namespace evring

#endif  // NDEBUG
