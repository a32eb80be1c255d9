// clock.h: the clocks that the microbenchmarks read themselves.

#ifndef EVRING_BENCH_MICRO_CLOCK_H_
#define EVRING_BENCH_MICRO_CLOCK_H_

#include <time.h>

#include <cstdint>

#include "kevent/check.h"

namespace evring {

// CLOCK_MONOTONIC, or CLOCK_PROCESS_CPUTIME_ID for the processor time of all threads.
inline int64_t ClockNs(clockid_t clock) {
  timespec t;
  EVRING_CHECK(clock_gettime(clock, &t) == 0, "the clock exists");
  return t.tv_sec * int64_t{1'000'000'000} + t.tv_nsec;
}

}  // namespace evring

#endif  // EVRING_BENCH_MICRO_CLOCK_H_
