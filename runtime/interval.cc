#include "runtime/interval.h"

#include "absl/strings/str_cat.h"

namespace evring {

absl::StatusOr<Interval> Interval::Create(absl::Duration period, IntervalOptions options) {
  if (period <= absl::ZeroDuration() || period == absl::InfiniteDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("Interval: the period is ", absl::FormatDuration(period), ", not positive and finite"));
  }
  if (options.first < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("Interval: the first tick is ", absl::FormatDuration(options.first),
                                                   " from now, which has passed"));
  }
  const int64_t period_ns = std::max<int64_t>(internal::ToNs(period), 1);
  const int64_t first_ns = options.first == absl::InfiniteDuration() ? period_ns : internal::ToNs(options.first);
  return Interval(period_ns, internal::AddNs(NowNs(), first_ns), options.missed);
}

}  // namespace evring
