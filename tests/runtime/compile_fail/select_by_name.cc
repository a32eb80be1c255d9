// The cases of a select are temporaries of the expression that awaits it.
// gcc: no member named 'await_ready'
// clang: no member named 'await_ready'
#include "runtime/sync/select.h"
#include "runtime/task.h"

evring::Task<> Waits() {
#ifdef WRONG
  auto select = evring::Select(evring::Sleep(absl::Seconds(1)));
  static_cast<void>(co_await select);
#else
  static_cast<void>(co_await evring::Select(evring::Sleep(absl::Seconds(1))));
#endif
}
