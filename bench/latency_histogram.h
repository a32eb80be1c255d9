// latency_histogram.h: counts of durations, within 1/32 of their value, for quantiles over many slices.
//
// Used by the load client on its one thread. A value falls into the bucket of its highest set bit and the five bits
// below it; values under 64 ns have a bucket each.    Checked by: tests/bench/statistics_test.cc.

#ifndef EVRING_BENCH_LATENCY_HISTOGRAM_H_
#define EVRING_BENCH_LATENCY_HISTOGRAM_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace evring::bench {

class LatencyHistogram {
 public:
  void Add(uint64_t nanoseconds) {
    ++counts_[BucketOf(nanoseconds)];
    ++total_;
  }

  void Merge(const LatencyHistogram& other) {
    for (size_t i = 0; i < counts_.size(); ++i) {
      counts_[i] += other.counts_[i];
    }
    total_ += other.total_;
  }

  // The smallest value (rounded up to its bucket's end) that at least `q` of all values do not exceed; 0 if there are
  // none. `q` in [0, 1].
  uint64_t Quantile(double q) const {
    const double wanted = q * static_cast<double>(total_);
    uint64_t seen = 0;
    for (size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen > 0 && static_cast<double>(seen) >= wanted) {
        return LastOf(i);
      }
    }
    return 0;
  }

  uint64_t total() const { return total_; }

 private:
  static constexpr int kSubBits = 5;
  static constexpr size_t kBuckets = static_cast<size_t>(64 - kSubBits + 1) << kSubBits;

  static size_t BucketOf(uint64_t value) {
    const int shift = std::bit_width(value) - (kSubBits + 1);
    if (shift <= 0) {
      return value;
    }
    return (static_cast<size_t>(shift) << kSubBits) + (value >> shift);
  }
  static uint64_t LastOf(size_t bucket) {
    const size_t shift = bucket >> kSubBits;
    if (shift <= 1) {
      return bucket;
    }
    const uint64_t mantissa = bucket - ((shift - 1) << kSubBits);
    return ((mantissa + 1) << (shift - 1)) - 1;
  }

  std::array<uint64_t, kBuckets> counts_ = {};
  uint64_t total_ = 0;
};

}  // namespace evring::bench

#endif  // EVRING_BENCH_LATENCY_HISTOGRAM_H_
