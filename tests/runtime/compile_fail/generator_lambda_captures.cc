// Nor has one that takes parameters of any type, and yields values.
// gcc: a coroutine lambda has no captures
// clang: a coroutine lambda has no captures
#include "runtime/generator.h"

evring::Task<int> Sum(int n) {
  int sum = 0;
#ifdef WRONG
  auto numbers = [&sum](auto last) -> evring::AsyncGenerator<int> {
    for (int i = 0; i < last; ++i) co_yield sum + i;
  };
#else
  auto numbers = [](auto last) -> evring::AsyncGenerator<int> {
    for (int i = 0; i < last; ++i) co_yield i;
  };
#endif
  auto generated = numbers(n);
  while (const int* number = co_await generated.Next()) sum += *number;
  co_return sum;
}
