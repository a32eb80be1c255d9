// statistics_test: quantiles against a sorted sample, and the numbers that the tables are made of against known ones.

#include "bench/statistics.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "bench/latency_histogram.h"
#include "gtest/gtest.h"

namespace evring::bench {
namespace {

TEST(Quartiles, AreLinearBetweenNeighboursInAnyOrder) {
  const Quartiles q = QuartilesOf({40, 10, 30, 20});
  EXPECT_DOUBLE_EQ(q.low, 17.5);
  EXPECT_DOUBLE_EQ(q.median, 25);
  EXPECT_DOUBLE_EQ(q.high, 32.5);
}

TEST(Quartiles, OfOneValueAreThatValueAndOfNoneZero) {
  EXPECT_EQ(QuartilesOf({7}).low, 7);
  EXPECT_EQ(QuartilesOf({7}).high, 7);
  EXPECT_EQ(QuartilesOf({}).median, 0);
}

// The machine gets slower from round to round, the ratio does not: it must come out without spread.
TEST(Quartiles, RatiosAreTakenRoundByRound) {
  const Quartiles q = RatioQuartiles({2, 4, 8, 16}, {1, 2, 4, 8});
  EXPECT_EQ(q.low, 2);
  EXPECT_EQ(q.median, 2);
  EXPECT_EQ(q.high, 2);
}

// Values of every magnitude: each quantile lies at most 1/32 above the sample's own.
TEST(LatencyHistogram, QuantilesAreWithinABucketOfTheExactOnes) {
  std::mt19937_64 random(1);
  std::vector<uint64_t> sample;
  LatencyHistogram histogram;
  for (int i = 0; i < 20'000; ++i) {
    sample.push_back(random() >> (random() % 64));
    histogram.Add(sample.back());
  }
  std::sort(sample.begin(), sample.end());
  for (const double q : {0.0001, 0.01, 0.25, 0.5, 0.75, 0.99, 0.9999, 1.0}) {
    const uint64_t exact = sample[static_cast<size_t>(std::max(0.0, q * static_cast<double>(sample.size()) - 1))];
    EXPECT_GE(histogram.Quantile(q), exact) << q;
    EXPECT_LE(histogram.Quantile(q) - exact, exact / 32) << q;
  }
}

TEST(LatencyHistogram, TakesTheLargestAndTheSmallestValue) {
  LatencyHistogram histogram;
  histogram.Add(0);
  histogram.Add(std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(histogram.Quantile(0.5), 0u);
  EXPECT_EQ(histogram.Quantile(1), std::numeric_limits<uint64_t>::max());
}

TEST(LatencyHistogram, MergedIsAsIfAddedToOne) {
  LatencyHistogram one, other;
  for (uint64_t i = 0; i < 50; ++i) {
    one.Add(i);
    other.Add(i + 1000);
  }
  one.Merge(other);
  EXPECT_EQ(one.total(), 100u);
  EXPECT_EQ(one.Quantile(0.5), 49u);
  EXPECT_GE(one.Quantile(0.51), 1000u);
}

TEST(LatencyHistogram, OfNothingIsZero) { EXPECT_EQ(LatencyHistogram().Quantile(0.5), 0u); }

}  // namespace
}  // namespace evring::bench
