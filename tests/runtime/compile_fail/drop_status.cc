// How a wait ended is looked at.
// clang: 'nodiscard' attribute
#include "runtime/sleep.h"
#include "runtime/task.h"

evring::Task<> Forgets() {
#ifdef WRONG
  co_await evring::Sleep(absl::Seconds(1));
#else
  static_cast<void>(co_await evring::Sleep(absl::Seconds(1)));
#endif
}
