// Waiting for a time allocates nothing: blocks are counted while a task ticks, sleeps, selects and asks for the time
// that it has left a thousand times.

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/current_deadline.h"
#include "runtime/interval.h"
#include "runtime/sleep.h"
#include "runtime/sync/channel.h"
#include "runtime/sync/select.h"
#include "runtime/timeout.h"
#include "tests/runtime/counted_new.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

constexpr int kRounds = 1000;

int64_t Blocks() { return counted_news.load(std::memory_order_relaxed); }

Task<absl::Status> WaitInAllWays(int64_t* blocks) {
  const absl::Duration moment = absl::Microseconds(5);
  absl::StatusOr<Interval> interval = Interval::Create(moment);
  if (!interval.ok()) co_return interval.status();
  Channel<int> never(1);
  for (int i = 0; i < kRounds; ++i) {
    if (i == 10) *blocks = -Blocks();  // by then everything that is made once is there
    const absl::StatusOr<IntervalTick> tick = co_await interval->Tick();
    EXPECT_TRUE(tick.ok());
    const absl::Status slept = co_await Sleep(moment, moment);
    EXPECT_TRUE(slept.ok());
    auto chosen = co_await Select(never.Receive(), interval->Tick());
    EXPECT_EQ(chosen.index(), 1u);
    const absl::Duration left = co_await RemainingTime();
    EXPECT_LE(left, absl::Hours(1));
    const absl::Status cause = co_await StopCause();
    EXPECT_TRUE(cause.ok());
  }
  *blocks += Blocks();
  co_return absl::OkStatus();
}

Task<> WaitWithinAnHour(int64_t* blocks) { CO_ASSERT_OK(co_await WithTimeout(absl::Hours(1), WaitInAllWays(blocks))); }

TEST(TimerAllocation, WaitsForATimeAllocateNothing) {
  if (!kBlocksCounted) GTEST_SKIP() << "ThreadSanitizer's operator new cannot be counted";
  int64_t blocks = -1;
  RunOk(WaitWithinAnHour(&blocks), WithWorkers(1));
  EXPECT_EQ(blocks, 0) << "in " << kRounds << " rounds";
}

}  // namespace
}  // namespace evring
