// A task that is called and not awaited does nothing: that is no statement.
// gcc: ignoring returned value
// clang: 'nodiscard' attribute
#include "runtime/task.h"

evring::Task<> Work() { co_return; }
evring::Task<> Forgets() {
#ifdef WRONG
  Work();
#else
  co_await Work();
#endif
  co_return;
}
