// What a group has collected is looked at: co_await alone joins, and throws it away.
// clang: 'nodiscard' attribute
#include "runtime/task_group.h"

evring::Task<absl::Status> Forgets() {
  evring::TaskGroup group(evring::TaskGroup::OnError::kCollect);
#ifdef WRONG
  co_await group.JoinAll();
  co_return absl::OkStatus();
#else
  const std::vector<evring::TaskGroup::Failure> failures = co_await group.JoinAll();
  co_return failures.empty() ? absl::OkStatus() : failures.front().status;
#endif
}
