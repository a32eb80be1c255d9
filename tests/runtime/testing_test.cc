// The helpers of runtime/testing.h: that each suspension is found once, and what they answer. What they are for stands
// in stop_everywhere_test.cc.

#include "runtime/testing.h"

#include <atomic>
#include <stdexcept>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/shield.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

constexpr absl::Duration kMoment = absl::Microseconds(200);

// How many scenarios run.
std::atomic<int> alive{0};

class TestingTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, TestingTest, MachinesWithoutErrors({1, 2, 4}), MachineName);

Task<absl::Status> Sleeps(int n) {
  const Counted counted(&alive);
  for (int i = 0; i < n; ++i) {
    absl::Status status = co_await Sleep(kMoment);
    if (!status.ok()) co_return status;
  }
  co_return absl::OkStatus();
}

struct Log {
  int runs = 0;
  std::vector<int> slept;
};
Task<absl::Status> LoggedSleeps(Log* log) {
  const int run = log->runs++;
  log->slept.push_back(0);
  for (int i = 0; i < 5; ++i) {
    absl::Status status = co_await Sleep(absl::Hours(1));
    if (!status.ok()) co_return status;
    ++log->slept[run];
  }
  co_return absl::OkStatus();
}

Task<> EachPointOnce() {
  // Hours: the stop comes long before the wait's own end. Simulated, hours pass in no time.
  Log log;
  const absl::StatusOr<int> points = co_await CancelAtEverySuspension([&log] { return LoggedSleeps(&log); });
  CO_ASSERT_OK(points);
  EXPECT_EQ(*points, 5);
  EXPECT_EQ(log.slept, (std::vector<int>{0, 1, 2, 3, 4, 5}));
}

class TestingOnVirtualTime : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, TestingOnVirtualTime, MachinesWith({}, Simulated(true, 0, 12)), MachineName);

TEST_P(TestingOnVirtualTime, EverySuspensionIsCancelledOnce) { RunOk(EachPointOnce()); }

Task<absl::Status> IgnoreStops() { co_return co_await Shielded(Sleeps(100)); }
Task<absl::Status> FailAtOnce() { co_return absl::DataLossError("mine"); }
Task<absl::Status> ThrowAtOnce() {
  throw std::runtime_error("mine");
  co_return absl::OkStatus();
}

Task<> Answers() {
  CancelOptions options;
  options.limit = absl::Milliseconds(1);
  EXPECT_TRUE(absl::IsDeadlineExceeded((co_await CancelAtEverySuspension(&IgnoreStops, options)).status()));
  options = CancelOptions();
  options.suspensions_max = 3;
  const auto five = [] { return Sleeps(5); };
  EXPECT_TRUE(absl::IsResourceExhausted((co_await CancelAtEverySuspension(five, options)).status()));
  options.suspensions_max = 6;
  EXPECT_EQ(*co_await CancelAtEverySuspension(five, options), 5);
  EXPECT_TRUE(absl::IsDataLoss((co_await CancelAtEverySuspension(&FailAtOnce)).status()));
  bool caught = false;
  try {
    static_cast<void>(co_await CancelAtEverySuspension(&ThrowAtOnce));
  } catch (const std::runtime_error&) {
    caught = true;
  }
  EXPECT_TRUE(caught);
  const auto ever = [] { return Sleeps(1'000'000); };
  JoinHandle<absl::StatusOr<int>> helper = co_await Spawn(CancelAtEverySuspension(ever));
  CO_ASSERT_OK(co_await Sleep(kMoment));
  helper.RequestStop();
  EXPECT_TRUE(absl::IsCancelled((co_await std::move(helper)).status()));
  const bool none = co_await EventuallyInTask([] { return alive == 0; });
  EXPECT_TRUE(none);
}

TEST_P(TestingTest, TheHelperTellsWhatBecameOfIt) { RunOk(Answers()); }

Task<> Cancelled() {
  EXPECT_TRUE(absl::IsCancelled(co_await StartCancelled(Sleeps(1))));
  EXPECT_TRUE(absl::IsCancelled(co_await StartCancelled(UntilStopped())));
  EXPECT_TRUE((co_await StartCancelled(Sleeps(0))).ok()) << "a stop is a request";
}

TEST_P(TestingTest, WhatStartsCancelledHasNoWaits) { RunOk(Cancelled()); }

}  // namespace
}  // namespace evring
