// report.h: the table that `compare` prints for one scenario, in Markdown, so that it can go into a README as it is.

#ifndef EVRING_BENCH_REPORT_H_
#define EVRING_BENCH_REPORT_H_

#include <string>

#include "bench/measure.h"

namespace evring::bench {

// Ratios are medians over the rounds with their quartiles in brackets: of CPU time and of requests per second to the
// first server, and of CPU time to the raw server (name "raw...") with the lowest median, where there is one.
std::string FormatReport(const Scenario& scenario, const MeasureOptions& options, const Measurement& measurement);

}  // namespace evring::bench

#endif  // EVRING_BENCH_REPORT_H_
