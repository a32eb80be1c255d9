// statistics.h: the three numbers by which the benchmarks describe a sample.    Checked by:
// tests/bench/statistics_test.cc.

#ifndef EVRING_BENCH_STATISTICS_H_
#define EVRING_BENCH_STATISTICS_H_

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace evring::bench {

struct Quartiles {
  double low = 0;  // a quarter of the sample lies below
  double median = 0;
  double high = 0;
};

// Linear between neighbours (the definition that spreadsheets use); all 0 for an empty sample.
inline Quartiles QuartilesOf(std::vector<double> sample) {
  if (sample.empty()) {
    return {};
  }
  std::sort(sample.begin(), sample.end());
  const auto at = [&sample](double q) {
    const double position = q * static_cast<double>(sample.size() - 1);
    const size_t below = static_cast<size_t>(position);
    const size_t above = std::min(below + 1, sample.size() - 1);
    return sample[below] + (position - static_cast<double>(below)) * (sample[above] - sample[below]);
  };
  return {at(0.25), at(0.5), at(0.75)};
}

// Quartiles of a[i] / b[i]: samples taken in the same round share what the machine did in it, so the ratio is steadier
// than either. Both have the same size.
inline Quartiles RatioQuartiles(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> ratios;
  for (size_t i = 0; i < a.size(); ++i) {
    ratios.push_back(a[i] / b[i]);
  }
  return QuartilesOf(std::move(ratios));
}

}  // namespace evring::bench

#endif  // EVRING_BENCH_STATISTICS_H_
