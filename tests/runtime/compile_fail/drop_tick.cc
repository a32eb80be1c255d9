// A tick comes to who awaits it: called and dropped it does nothing.
// gcc: ignoring return
// clang: 'nodiscard' attribute
#include "runtime/interval.h"
#include "runtime/task.h"

evring::Task<absl::Status> OneTick(evring::Interval* interval) {
#ifdef WRONG
  interval->Tick();
  co_return absl::OkStatus();
#else
  const absl::StatusOr<evring::IntervalTick> tick = co_await interval->Tick();
  co_return tick.status();
#endif
}
