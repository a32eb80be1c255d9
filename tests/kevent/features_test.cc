// features_test.cc: the mask.

#include "kevent/features.h"

#include "gtest/gtest.h"

namespace evring::kevent {
namespace {

constexpr Feature kEach[] = {Feature::kRegisteredRing, Feature::kAbsoluteTimer, Feature::kSyncMessage,
                             Feature::kNoIowait, Feature::kMultishotReceive};

TEST(Features, NoneAtFirstAndAllOfThemInAll) {
  Features all;
  for (const Feature feature : kEach) {
    EXPECT_FALSE(Features().has(feature));
    EXPECT_TRUE(Features::All().has(feature));
    all = all.With(feature);
  }
  EXPECT_EQ(all, Features::All());
}

TEST(Features, WithAndWithoutChangeOneOnly) {
  for (const Feature one : kEach) {
    for (const Feature other : kEach) {
      EXPECT_EQ(Features().With(one).has(other), one == other);
      EXPECT_EQ(Features::All().Without(one).has(other), one != other);
    }
    EXPECT_EQ(Features::All().Without(one).With(one), Features::All());
    EXPECT_EQ(Features().Without(one), Features());
  }
}

TEST(Features, AMaskLeavesWhatBothHave) {
  const Features found = Features().With(Feature::kAbsoluteTimer).With(Feature::kSyncMessage);
  const Features allowed = Features::All().Without(Feature::kSyncMessage);
  EXPECT_EQ(found & allowed, Features().With(Feature::kAbsoluteTimer));
}

TEST(Features, ArePrintedByName) {
  EXPECT_EQ(Features().ToString(), "none");
  EXPECT_EQ(Features::All().ToString(), "registered-ring absolute-timer sync-message no-iowait multishot-receive");
  EXPECT_EQ(Features().With(Feature::kNoIowait).ToString(), "no-iowait");
}

}  // namespace
}  // namespace evring::kevent
