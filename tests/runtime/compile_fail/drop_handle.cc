// A handle that is dropped asks its task to stop: letting a task run on its own is said by name.
// clang: 'nodiscard' attribute
#include "runtime/spawn.h"

evring::Task<> Work() { co_return; }
evring::Task<> Forgets() {
#ifdef WRONG
  co_await evring::Spawn(Work());
#else
  evring::SpawnDetached(Work());
#endif
  co_return;
}
