// thread_bound.h: marks for what must not move to another thread while a task holds it: a lock of the thread's, a
// pointer into a thread_local. In builds without NDEBUG a task that has moved is stopped before it goes on.
//
//   ThreadBoundLock lock(mutex);             a std::mutex: whoever locks it has to unlock it
//   const ThreadBound mark("tls cache");     anything else
//   co_await Sleep(d);                       fine as long as the task goes on where it was, else:
//
//     main.cc:17: check failed: a task stays on its thread while it holds "tls cache", and it has moved to another
//
// An await may go on on any worker, so what a mark finds is a bug that shows now and then: end the scope before the
// await, use runtime/sync, or pin the task to its worker (placement.h). With NDEBUG a mark is nothing.
//
// How. A mark is on a list of its thread until the task that runs there is about to wait, whose it is from then on: it
// moves to a table. Whoever resumes a task asks the table, if there is anything in it, whether its marks are of this
// thread. That the task did not wait after all makes no difference.
//
// Threads: marks on any; on those that are no workers they do nothing. Checked by: tests/runtime/thread_bound_test.cc.

#ifndef EVRING_RUNTIME_THREAD_BOUND_H_
#define EVRING_RUNTIME_THREAD_BOUND_H_

#include <atomic>
#include <mutex>
#include <source_location>
#include <thread>

namespace evring {

class TaskContext;

namespace internal {
class MarkTable;
}

#ifdef NDEBUG

class [[nodiscard]] ThreadBound {
 public:
  explicit ThreadBound(const char*, std::source_location = {}) {}
  ThreadBound(const ThreadBound&) = delete;
  ThreadBound& operator=(const ThreadBound&) = delete;
  ~ThreadBound() {}  // a mark that is not used is no mistake
};

namespace internal {
inline void NoteSuspension(TaskContext*) {}
inline void NoteResumption(TaskContext*) {}
}  // namespace internal

#else

// From here to the end of its scope the running task stays on this thread. `what` is said if it does not, and outlives
// the mark.
class [[nodiscard]] ThreadBound {
 public:
  explicit ThreadBound(const char* what, std::source_location where = std::source_location::current());
  ThreadBound(const ThreadBound&) = delete;
  ThreadBound& operator=(const ThreadBound&) = delete;
  ~ThreadBound();

 private:
  friend class internal::MarkTable;

  const char* const what_;
  const std::source_location where_;
  const std::thread::id thread_;
  TaskContext* owner_ = nullptr;  // in the table
  ThreadBound* next_;             // of the list that it is on
};

namespace internal {

inline constinit thread_local ThreadBound* new_marks = nullptr;
inline std::atomic<int> owned_marks{0};  // those in the table

void OwnMarks(TaskContext* context);
void CheckMarks(TaskContext* context);

// The task is about to suspend: before anybody can resume it.
inline void NoteSuspension(TaskContext* context) {
  if (new_marks != nullptr) [[unlikely]]
    OwnMarks(context);
}
// The task is about to go on, on this thread. Relaxed: whoever resumes it has seen its suspension.
inline void NoteResumption(TaskContext* context) {
  if (owned_marks.load(std::memory_order_relaxed) != 0) [[unlikely]]
    CheckMarks(context);
}

}  // namespace internal

#endif

// Locks `mutex`, which is let go of at the end of the scope, and marks that.
template <class Mutex>
class [[nodiscard]] ThreadBoundLock {
 public:
  explicit ThreadBoundLock(Mutex& mutex, std::source_location where = std::source_location::current())
      : lock_(mutex), mark_("a lock", where) {}
  ThreadBoundLock(const ThreadBoundLock&) = delete;
  ThreadBoundLock& operator=(const ThreadBoundLock&) = delete;

 private:
  const std::lock_guard<Mutex> lock_;
  const ThreadBound mark_;  // ends first
};

}  // namespace evring

#endif  // EVRING_RUNTIME_THREAD_BOUND_H_
