// A task has one owner.
// gcc: use of deleted function
// clang: implicitly-deleted copy constructor
#include "runtime/task.h"

evring::Task<int> One() { co_return 1; }
evring::Task<int> Copied() {
  evring::Task<int> task = One();
#ifdef WRONG
  evring::Task<int> other = task;
#else
  evring::Task<int> other = std::move(task);
#endif
  co_return co_await std::move(other);
}
