// A value lives in its generator: it is not taken from a temporary.
// gcc: use of deleted function
// clang: call to deleted member function
#include "runtime/generator.h"

evring::AsyncGenerator<int> Numbers() { co_yield 1; }
evring::Task<int> First() {
#ifdef WRONG
  const int* number = co_await Numbers().Next();
#else
  evring::AsyncGenerator<int> numbers = Numbers();
  const int* number = co_await numbers.Next();
#endif
  co_return *number;
}
