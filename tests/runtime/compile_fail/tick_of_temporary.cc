// A tick is waited for on an interval that stays: it is not taken from a temporary.
// gcc: use of deleted function
// clang: call to deleted member function
#include "runtime/interval.h"
#include "runtime/task.h"

evring::Task<absl::Status> OneTick() {
#ifdef WRONG
  const absl::StatusOr<evring::IntervalTick> tick = co_await evring::Interval::Create(absl::Seconds(1)).value().Tick();
#else
  evring::Interval interval = evring::Interval::Create(absl::Seconds(1)).value();
  const absl::StatusOr<evring::IntervalTick> tick = co_await interval.Tick();
#endif
  co_return tick.status();
}
