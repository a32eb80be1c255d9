// A coroutine lambda has no captures: they die with the lambda, parameters live in the coroutine's frame.
// gcc: a coroutine lambda has no captures
// clang: a coroutine lambda has no captures
#include "runtime/spawn.h"

struct Adder {
  int base;
  evring::Task<int> operator()(int n) { co_return base + n; }  // a class with a name is its user's to keep
};
template <class F>
evring::Task<int> Call(F f) {
  co_return f();
}

evring::Task<int> Sum(int n) {
  Adder adder{1};
  const int called = co_await Call([n] { return n; });  // by value: the frame has the closure
#ifdef WRONG
  auto child = co_await evring::Spawn([n]() -> evring::Task<int> { co_return n; }());
#else
  auto child = co_await evring::Spawn([](int m) -> evring::Task<int> { co_return m; }(n));
#endif
  co_return called + co_await adder(1) + co_await std::move(child);
}
