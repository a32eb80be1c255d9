// A group is joined by co_await, not by a call.
// gcc: ignoring return value
// clang: 'nodiscard' attribute
#include "runtime/task_group.h"

evring::Task<absl::Status> Forgets() {
  evring::TaskGroup group;
#ifdef WRONG
  group.Join();
  co_return absl::OkStatus();
#else
  co_return co_await group.Join();
#endif
}
