// canary_test.cc: bugs that are planted in the runtime, one at a time (kevent/canary.h), are found by the simulated
// kernel within a number of seeds; with none of them the same seeds are clean.
//
// Seeds begin at 1. How many each bug took is recorded as the property `seeds`, and printed.

#include "kevent/canary.h"

#include <cstdint>
#include <cstdio>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "sim/explore.h"
#include "tests/sim/small_machine.h"

namespace evring::sim {
namespace {

using kevent::Canary;

// Of eight scenarios, each with both kinds of faults and one to four workers: the bug that needs several workers and a
// moment is found in four of five such runs, of which there are 15 among these.
constexpr uint64_t kSeeds = 160;
constexpr uint64_t kCleanSeeds = 4 * kSeeds;

Exploration Look(Canary canary, uint64_t seeds, uint64_t shrink_runs_max) {
  ExploreOptions options;
  options.seeds = seeds;
  options.shrink_runs_max = shrink_runs_max;
  return Explore(options, [canary](const SimulationOptions& simulation) {
    kevent::SetCanary(canary);
    return small_machine::Run(simulation);
  });
}

TEST(Canary, WithoutOneTheSeedsAreClean) {
  const Exploration found = Look(Canary::kNone, kCleanSeeds, 200);
  EXPECT_FALSE(found.failure.has_value()) << found.failure->ToString();
  EXPECT_EQ(found.seeds, kCleanSeeds);
  EXPECT_GT(found.injected, 10 * kCleanSeeds);
  std::printf("%s\n", found.Progress().c_str());
}

struct Planted {
  const char* name;
  Canary canary;
};

class CanaryTest : public testing::TestWithParam<Planted> {};

TEST_P(CanaryTest, IsFound) {
  const Exploration found = Look(GetParam().canary, kSeeds, /*shrink_runs_max=*/0);
  ASSERT_TRUE(found.failure.has_value()) << "not within " << kSeeds << " seeds";
  RecordProperty("seeds", static_cast<int>(found.seeds));
  std::printf("%s: found by seed %llu, %s\n", GetParam().name, static_cast<unsigned long long>(found.seeds),
              found.failure->run.what.c_str());
}

#define PLANTED(name) \
  Planted { #name, Canary::k##name }

INSTANTIATE_TEST_SUITE_P(Each, CanaryTest,
                         testing::Values(PLANTED(WakeNotSent), PLANTED(InboxNotLookedAt), PLANTED(BufferReturnedEarly),
                                         PLANTED(CancelForgotten), PLANTED(ShortWriteTakenForWhole),
                                         PLANTED(MultishotNotRearmed), PLANTED(OverflowNotFlushed),
                                         PLANTED(StolenTwice), PLANTED(TimerNotRearmed), PLANTED(LateAcceptKept),
                                         PLANTED(NoSyncBeforeRename)),
                         [](const testing::TestParamInfo<Planted>& info) { return info.param.name; });

}  // namespace
}  // namespace evring::sim
