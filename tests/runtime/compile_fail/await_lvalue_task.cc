// A task is awaited once, and says so: by std::move().
// gcc: what an await uses up is awaited where it is made, or by std::move()
// clang: what an await uses up is awaited where it is made, or by std::move()
#include "runtime/task.h"

evring::Task<int> One() { co_return 1; }
evring::Task<int> Twice() {
  evring::Task<int> task = One();
#ifdef WRONG
  const int value = co_await task;
#else
  const int value = co_await std::move(task);
#endif
  co_return value;
}
