// A handle is awaited once, and says so: by std::move().
// gcc: what an await uses up is awaited where it is made, or by std::move()
// clang: what an await uses up is awaited where it is made, or by std::move()
#include "runtime/spawn.h"

evring::Task<int> One() { co_return 1; }
evring::Task<int> Joins() {
  evring::JoinHandle<int> handle = co_await evring::Spawn(One());
#ifdef WRONG
  co_return co_await handle;
#else
  co_return co_await std::move(handle);
#endif
}
