// The cases of a select are temporaries of the expression that awaits it.
// gcc: what an await uses up is awaited where it is made, or by std::move()
// clang: what an await uses up is awaited where it is made, or by std::move()
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
