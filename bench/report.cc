#include "bench/report.h"

#include <cstddef>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/statistics.h"

namespace evring::bench {
namespace {

const ServerSamples* BetterRaw(const std::vector<ServerSamples>& servers) {
  const ServerSamples* better = nullptr;
  for (const ServerSamples& server : servers) {
    if (absl::StartsWith(server.name, "raw") &&
        (better == nullptr ||
         QuartilesOf(server.cpu_ns_per_request).median < QuartilesOf(better->cpu_ns_per_request).median)) {
      better = &server;
    }
  }
  return better;
}

std::string Ratio(const std::vector<double>& a, const std::vector<double>& b) {
  const Quartiles ratio = RatioQuartiles(a, b);
  return absl::StrFormat("%.3f [%.3f–%.3f]", ratio.median, ratio.low, ratio.high);
}

// More than this share of overdue requests is no accident of a busy machine.
constexpr double kOverdueMax = 0.01;

double Microseconds(uint64_t nanoseconds) { return static_cast<double>(nanoseconds) * 1e-3; }

}  // namespace

std::string FormatReport(const Scenario& scenario, const MeasureOptions& options, const Measurement& measurement) {
  const std::vector<ServerSamples>& servers = measurement.servers;
  const ServerSamples& first = servers[0];
  const ServerSamples* const raw = BetterRaw(servers);
  std::string text =
      absl::StrFormat("\n%s: %d connections, depth %d, %s; %d rounds of %s, servers started %d times\n\n",
                      scenario.name, scenario.shape.connections, scenario.shape.depth,
                      scenario.paced ? absl::StrFormat("%.0f requests/s", measurement.rate) : "saturated",
                      options.rounds, absl::FormatDuration(options.slice), options.generations);
  absl::StrAppend(&text,
                  "| server | CPU ns/request | CPU to first | CPU to better raw | requests/s | to first | busy | "
                  "calls/request | p50 us | p99 us |\n|---|---|---|---|---|---|---|---|---|---|\n");
  for (const ServerSamples& server : servers) {
    absl::StrAppendFormat(
        &text, "| %s | %.0f | %s | %s | %.0f | %s | %.0f%% | %s | %.0f | %.0f |\n", server.name,
        QuartilesOf(server.cpu_ns_per_request).median, Ratio(server.cpu_ns_per_request, first.cpu_ns_per_request),
        raw == nullptr ? "–" : Ratio(server.cpu_ns_per_request, raw->cpu_ns_per_request),
        QuartilesOf(server.requests_per_second).median, Ratio(server.requests_per_second, first.requests_per_second),
        100 * QuartilesOf(server.busy).median,
        server.syscalls_per_request.ok() ? absl::StrFormat("%.3f", *server.syscalls_per_request) : "–",
        Microseconds(server.latency.Quantile(0.5)), Microseconds(server.latency.Quantile(0.99)));
  }
  for (const ServerSamples& server : servers) {
    if (options.count_syscalls && !server.syscalls_per_request.ok()) {
      absl::StrAppend(&text, "\n", server.name, ": calls not counted: ", server.syscalls_per_request.status().message(),
                      "\n");
    }
    const double overdue = static_cast<double>(server.overdue) / static_cast<double>(server.latency.total());
    if (overdue > kOverdueMax) {
      absl::StrAppendFormat(&text, "\n%s: does not keep this pace: %.1f%% of the requests were overdue\n", server.name,
                            100 * overdue);
    }
  }
  return text;
}

}  // namespace evring::bench
