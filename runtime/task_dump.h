// task_dump.h: a look inside: every task that lives, whose child it is, where it waits and for what.
//
//   fputs(DumpTasks().c_str(), stderr);
//
//   Main.cc:52 waits: JoinHandle<int>, in Task<> Main()
//     server.cc:17 (group)
//       server.cc:40 waits: receive 9, in Task<Status> Serve(Stream)
//       server.cc:33 stopping, waits: Sleep, in Task<> Retry(int)
//     main.cc:50 has not waited, spawned in Task<> Main()
//
// The line is that of the innermost co_await; after it what is awaited: an event's type and descriptor where it is a
// request to the kernel, else the awaited type. A task that does not wait runs, or is ready to; its line is that of the
// last co_await that it waited at. A task that has ended is there as long as one of its children lives.
//
// Always on: it costs three stores a wait that suspends (bench/README.md). Tasks go on while they are listed: each line
// was true at some time meanwhile, but they need not have been true together, and a task that ends or begins meanwhile
// may be missing. What a task that has just ended leaves behind may be destroyed on the calling thread.
//
// Threads: any. Checked by: tests/runtime/task_dump_test.cc.

#ifndef EVRING_RUNTIME_TASK_DUMP_H_
#define EVRING_RUNTIME_TASK_DUMP_H_

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "kevent/event.h"

namespace evring {

class TaskContext;

struct TaskInfo {
  enum class State {
    kHasNotWaited,  // has not begun, or all that it has awaited was ready
    kReady,         // runs, or is ready to
    kWaiting,
    kGroup,  // no task: the scope of a TaskGroup, whose tasks are its children
    kEnded,  // its children go on
  };

  int depth = 0;  // 0: spawned from outside, or detached. The children of a task stand behind it, one deeper
  State state = State::kReady;
  bool stop_requested = false;
  // Of the co_await; of a task that has not waited, of what spawned it; of a group, of the first spawn into it.
  std::source_location where;
  // kWaiting: the type that is awaited, without evring's namespaces.
  std::string awaited;
  // kWaiting for a request to the kernel, or an event: its type, else kNone, and its descriptor, if it has one, or -1.
  kevent::EventType event = kevent::EventType::kNone;
  int descriptor = -1;
};

namespace internal {
// The tasks below `root`, which is not among them.
std::vector<TaskInfo> ListTasks(TaskContext* root);
}  // namespace internal

// One line a task, as above; "no tasks\n" if there are none.
std::string ToString(absl::Span<const TaskInfo> tasks);

// Of the runtime whose worker calls; from other threads: Runtime::DumpTasks.
std::string DumpTasks();

}  // namespace evring

#endif  // EVRING_RUNTIME_TASK_DUMP_H_
