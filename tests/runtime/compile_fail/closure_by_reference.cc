// A coroutine has the closures that it is handed by value: a reference to one that captures is a pointer to captures.
// gcc: a coroutine lambda has no captures
// clang: a coroutine lambda has no captures
#include "runtime/task.h"

#ifdef WRONG
template <class F>
evring::Task<int> Call(const F& f) {
  co_return f();
}
#else
template <class F>
evring::Task<int> Call(F f) {
  co_return f();
}
#endif

evring::Task<int> Three() {
  int three = 3;
  co_return co_await Call([&three] { return three; });
}
