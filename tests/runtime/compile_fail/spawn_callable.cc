// What is spawned is a task, not something that would make one: nobody would keep it while the task runs.
// gcc: no matching function for call to
// clang: no matching function for call to 'Spawn'
#include "runtime/spawn.h"

evring::Task<> Work(int n) {
  const auto work = [](int m) -> evring::Task<> {
    static_cast<void>(m);
    co_return;
  };
#ifdef WRONG
  auto child = co_await evring::Spawn([&work, n] { return work(n); });
#else
  auto child = co_await evring::Spawn(work(n));
#endif
  co_await std::move(child);
}
