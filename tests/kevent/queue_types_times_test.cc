// Timers and delays through a queue, by the real clocks. DESIGN.md row K5. That a record does not come before its time
// is checked; when it comes is the machine's affair.

#include <errno.h>
#include <time.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "kevent/kevent.h"
#include "kevent/queue.h"
#include "kevent/timespec.h"
#include "tests/kevent/queue_types.h"

namespace evring::kevent {
namespace {

int64_t NowNs(int clock) {
  timespec now;
  EXPECT_EQ(clock_gettime(clock, &now), 0);
  return ToNs(now);
}

kevent_timer Timer(int clock, bool absolute, int64_t first_ns, int64_t interval_ns = 0) {
  kevent_timer timer = {};
  timer.clock = clock;
  timer.absolute = absolute ? 1 : 0;
  timer.first = ToTimespec(first_ns);
  timer.interval = ToTimespec(interval_ns);
  return timer;
}

Event TimerRequest(const kevent_timer& timer) { return Request(EventType::kTimer, 0, 0, &timer); }

class QueueTypesTimer : public ::testing::TestWithParam<int> {
 protected:
  int clock() const { return GetParam(); }
};

std::string ClockName(const ::testing::TestParamInfo<int>& clock) {
  if (clock.param == CLOCK_MONOTONIC) return "Monotonic";
  return clock.param == CLOCK_REALTIME ? "Realtime" : "Boottime";
}

INSTANTIATE_TEST_SUITE_P(Clocks, QueueTypesTimer, ::testing::Values(CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME),
                         ClockName);

TEST_P(QueueTypesTimer, ExpiresOnce) {
  auto queue = MakeQueue();
  for (const bool absolute : {false, true}) {
    const int64_t due_ns = NowNs(clock()) + 20'000'000;
    const kevent_timer timer = Timer(clock(), absolute, absolute ? due_ns : 20'000'000);
    EXPECT_EQ(Outcome(queue.get(), TimerRequest(timer)), 1);
    EXPECT_GE(NowNs(clock()), due_ns);
  }
}

TEST_P(QueueTypesTimer, InThePastExpiresAtOnce) {
  auto queue = MakeQueue();
  EXPECT_EQ(Outcome(queue.get(), TimerRequest(Timer(clock(), true, NowNs(clock()) - kSecondNs))), 1);
  EXPECT_EQ(Outcome(queue.get(), TimerRequest(Timer(clock(), true, 0))), 1);
  EXPECT_EQ(Outcome(queue.get(), TimerRequest(Timer(clock(), false, 0))), 1);
}

TEST_P(QueueTypesTimer, WithAPeriodExpiresAgainAndAgain) {
  constexpr int64_t kPeriodNs = 2'000'000;
  auto queue = MakeQueue();
  const int64_t start_ns = NowNs(clock());
  const kevent_timer timer = Timer(clock(), false, 0, kPeriodNs);
  const Event request = TimerRequest(timer);
  const int64_t number = queue->Submit(request);
  int64_t expirations = 0;
  for (int i = 0; i < 5; ++i) {
    const Event record = NextRecord(queue.get());
    EXPECT_EQ(record.cookie, request.cookie);
    EXPECT_EQ(record.payload, static_cast<uint64_t>(number));
    EXPECT_FALSE(record.last());
    EXPECT_GE(record.result, 1);
    expirations += record.result;
    EXPECT_LE(expirations, 1 + (NowNs(clock()) - start_ns) / kPeriodNs) << "no expiration before its time";
  }
  EXPECT_EQ(queue->Cancel(number), 0);
  Event record = NextRecord(queue.get());
  if (!record.last()) record = LastRecord(queue.get(), request);  // one more came before the cancel
  EXPECT_EQ(record.result, -ECANCELED);
}

// Due three and a half periods ago: now, and three times meanwhile. The period is so long that there is not a fifth
// time before the record is taken.
TEST_P(QueueTypesTimer, TellsHowManyTimesWereMissed) {
  auto queue = MakeQueue();
  const int64_t now_ns = NowNs(clock());
  const int64_t period_ns = now_ns / 8;
  const kevent_timer timer = Timer(clock(), true, now_ns - 3 * period_ns - period_ns / 2, period_ns);
  const Event request = TimerRequest(timer);
  const int64_t number = queue->Submit(request);
  Event record = NextRecord(queue.get());
  EXPECT_EQ(record.cookie, request.cookie);
  EXPECT_EQ(record.result, 4);
  EXPECT_FALSE(record.last());
  EXPECT_FALSE(queue->TryNext(&record)) << "the next time is half a period from now";
  EXPECT_EQ(queue->Cancel(number), 0);
  EXPECT_EQ(LastRecord(queue.get(), request).result, -ECANCELED);
}

TEST_P(QueueTypesTimer, CountsMoreThanARecordHolds) {
  auto queue = MakeQueue();
  const kevent_timer timer = Timer(clock(), true, 0, 1);  // each nanosecond since the clock began
  ASSERT_GT(queue->Submit(TimerRequest(timer)), 0);
  EXPECT_EQ(NextRecord(queue.get()).result, std::numeric_limits<int32_t>::max());
}

TEST_P(QueueTypesTimer, IsCancelledAndTornDown) {
  kevent_timer timer = Timer(clock(), false, 1000 * kSecondNs);
  ExpectCancelAndTearDown(TimerRequest(timer));
  timer.interval = timer.first;
  ExpectCancelAndTearDown(TimerRequest(timer));
  timer = Timer(clock(), true, NowNs(clock()) + 1000 * kSecondNs);
  ExpectCancelAndTearDown(TimerRequest(timer));
}

// Further than nanoseconds count.
TEST_P(QueueTypesTimer, WaitsForTimesThatNeverCome) {
  kevent_timer timer = Timer(clock(), false, 0);
  timer.first.tv_sec = std::numeric_limits<time_t>::max();
  timer.first.tv_nsec = kSecondNs - 1;
  ExpectCancelAndTearDown(TimerRequest(timer));
  timer.absolute = 1;
  ExpectCancelAndTearDown(TimerRequest(timer));
  // Once, and then never again.
  timer.interval = timer.first;
  timer.first = {};
  auto queue = MakeQueue();
  const Event request = TimerRequest(timer);
  const int64_t number = queue->Submit(request);
  Event record = NextRecord(queue.get());
  EXPECT_EQ(record.result, 1);
  EXPECT_FALSE(queue->TryNext(&record));
  EXPECT_EQ(queue->Cancel(number), 0);
  EXPECT_EQ(LastRecord(queue.get(), request).result, -ECANCELED);
}

TEST(QueueTypesDelay, EndsInItsTime) {
  auto queue = MakeQueue();
  for (const int64_t ns : {0, 20'000'000}) {
    const int64_t start_ns = NowNs(CLOCK_MONOTONIC);
    const timespec delay = ToTimespec(ns);
    EXPECT_EQ(Outcome(queue.get(), Request(EventType::kTimeout, 0, 0, &delay)), 0);
    EXPECT_GE(NowNs(CLOCK_MONOTONIC), start_ns + ns);
  }
}

TEST(QueueTypesDelay, IsCancelledAndTornDown) {
  timespec delay = {.tv_sec = 1000, .tv_nsec = 0};
  ExpectCancelAndTearDown(Request(EventType::kTimeout, 0, 0, &delay));
  delay = {.tv_sec = std::numeric_limits<time_t>::max(), .tv_nsec = kSecondNs - 1};
  ExpectCancelAndTearDown(Request(EventType::kTimeout, 0, 0, &delay));
}

}  // namespace
}  // namespace evring::kevent
