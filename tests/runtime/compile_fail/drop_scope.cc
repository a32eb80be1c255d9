// The scope of a task-local value is a variable: as a temporary it would end at once.
// clang: 'nodiscard' attribute
#include "runtime/task_local.h"

inline const evring::TaskLocal<int> number;
evring::Task<> Sets() {
#ifdef WRONG
  co_await number.Set(1);
#else
  const auto scope = co_await number.Set(1);
#endif
}
