// Sleep, SleepUntil and Yield, on this machine's kernel and on simulated ones: that nothing comes early is checked, not
// how late it comes.

#include "runtime/sleep.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/runtime.h"
#include "runtime/spawn.h"
#include "runtime/task_group.h"
#include "runtime/transfer.h"
#include "runtime/wall_clock.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

class SleepTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, SleepTest, Machines(), MachineName);

class SleepOrderTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, SleepOrderTest, MachinesOfOneWorker(), MachineName);

// With a thread that is no worker.
class SleepFromOutsideTest : public EveryWorkerCount {};
INSTANTIATE_TEST_SUITE_P(Workers, SleepFromOutsideTest, WorkerCounts());

// --- Time
// --------------------------------------------------------------------------------------------------------------

Task<> NeverEarly() {
  for (const absl::Duration d : {absl::Nanoseconds(1), absl::Microseconds(50), absl::Milliseconds(2)}) {
    const absl::Time start = TimerNow();
    CO_ASSERT_OK(co_await Sleep(d));
    EXPECT_GE(TimerNow() - start, d);
  }
  const absl::Time start = TimerNow();
  CO_ASSERT_OK(co_await SleepUntil(WallNow() + absl::Milliseconds(2)));
  EXPECT_LT(TimerNow() - start, absl::Hours(1)) << "it is a time of the machine's clock";
  CO_ASSERT_OK(co_await Sleep(absl::ZeroDuration()));
  CO_ASSERT_OK(co_await Sleep(-absl::Hours(1)));
  CO_ASSERT_OK(co_await Sleep(-absl::InfiniteDuration()));
  CO_ASSERT_OK(co_await SleepUntil(absl::InfinitePast()));
}

TEST_P(SleepTest, NeverEndsEarlyAndAtOnceIfTheTimeHasPassed) { RunOk(NeverEarly()); }

Task<> Append(int value, absl::Duration d, std::vector<int>* order) {
  CO_ASSERT_OK(co_await Sleep(d));
  order->push_back(value);
}

// One worker: sleeps that were begun one after the other, with deadlines far apart, end in the order of their
// deadlines.
Task<> Ordered(std::vector<int>* order) {
  std::vector<JoinHandle<>> handles;
  for (const int i : {7, 2, 9, 4, 0, 8, 1, 6, 3, 5}) {
    handles.push_back(co_await Spawn(Append(i, absl::Milliseconds(30 * (i + 1)), order)));
  }
  for (auto& handle : handles) co_await std::move(handle);
}

TEST_P(SleepOrderTest, EndsInTheOrderOfTheDeadlines) {
  std::vector<int> order;
  RunOk(Ordered(&order));
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

// A timer of a sleeping worker that is earlier than all others of it shortens its sleep.
Task<> ShorterAndShorter() {
  for (int ms = 8; ms > 0; ms /= 2) {
    auto longer = co_await Spawn(UntilStopped());
    co_await Yield();
    CO_ASSERT_OK(co_await Sleep(absl::Milliseconds(ms)));
    longer.RequestStop();
    EXPECT_TRUE(absl::IsCancelled(co_await std::move(longer)));
  }
}

TEST_P(SleepTest, AnInfiniteSleepHidesNoOther) { RunOk(ShorterAndShorter()); }

// --- Many
// --------------------------------------------------------------------------------------------------------------

Task<absl::Status> SleepFor(absl::Duration d, std::atomic<int>* asleep) {
  ++*asleep;
  co_return co_await Sleep(d);
}

Task<> Many(int n) {
  std::atomic<int> asleep{0};
  std::vector<JoinHandle<absl::Status>> handles;
  for (int i = 0; i < n; ++i) {
    const absl::Duration d = i % 3 == 0   ? absl::InfiniteDuration()
                             : i % 3 == 1 ? absl::Hours(1) + absl::Nanoseconds(i)
                                          : absl::Microseconds(i % 5000);
    handles.push_back(co_await Spawn(SleepFor(d, &asleep)));
  }
  CO_ASSERT_TRUE(co_await EventuallyInTask([&] { return asleep == n; }));
  for (int i = 0; i < n; ++i) {
    if (i % 3 != 2) handles[static_cast<size_t>(i)].RequestStop();
  }
  int ended = 0, cancelled = 0;
  for (auto& handle : handles) {
    const absl::Status status = co_await std::move(handle);
    ended += status.ok() ? 1 : 0;
    cancelled += absl::IsCancelled(status) ? 1 : 0;
  }
  EXPECT_EQ(ended, n / 3);
  EXPECT_EQ(cancelled, n - n / 3);
}

TEST_P(SleepTest, AHundredThousandSleepersEndOrAreCancelled) { RunOk(Many(Rounds(100'000))); }

// A million tasks, each with a timer of its own in the wheel of the worker that it has begun on.
class SleepMillionTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, SleepMillionTest, MachinesWith({2}, Simulated(false, 2, 1)), MachineName);

Task<absl::Status> SleepCounted(absl::Duration d, std::atomic<int>* asleep, std::atomic<int>* cancelled) {
  ++*asleep;
  const absl::Status status = co_await Sleep(d);
  if (absl::IsCancelled(status)) ++*cancelled;
  co_return status;
}

Task<> AMillion(int n) {
  std::atomic<int> asleep{0};
  std::atomic<int> cancelled{0};
  TaskGroup group;
  for (int i = 0; i < n; ++i) {
    // From an hour to a month, in no order.
    const int64_t seconds = 3600 + static_cast<int64_t>(i) * 48'271 % 2'592'000;
    co_await group.Spawn(SleepCounted(absl::Seconds(seconds), &asleep, &cancelled));
  }
  CO_ASSERT_TRUE(co_await EventuallyInTask([&] { return asleep == n; }));
  EXPECT_EQ(cancelled, 0);
  EXPECT_EQ(group.running(), static_cast<size_t>(n));
  group.RequestStop();
  EXPECT_TRUE(absl::IsCancelled(co_await group.Join()));
  EXPECT_EQ(cancelled, n);
}

TEST_P(SleepMillionTest, AMillionSleepersAreCancelled) { RunOk(AMillion(Scaled(1'000'000))); }

// --- Cancellation
// ------------------------------------------------------------------------------------------------------

Task<> CancelAtOnce() {
  auto before = co_await Spawn(UntilStopped());
  before.RequestStop();  // with one worker, before it has begun
  EXPECT_TRUE(absl::IsCancelled(co_await std::move(before)));
  (co_await internal::CurrentContextAwaiter())->RequestStop();
  EXPECT_TRUE(absl::IsCancelled(co_await Sleep(absl::Hours(1))));
  EXPECT_TRUE(absl::IsCancelled(co_await Sleep(absl::ZeroDuration())));
  co_await Yield();  // no point of cancellation
}

TEST_P(SleepTest, AfterAStopEverySleepEndsAtOnce) { RunOk(CancelAtOnce()); }

// Stops from another thread, at any point between the arming and the end.
TEST_P(SleepFromOutsideTest, AStopRacesWithTheDeadline) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  int ended = 0;
  const int rounds = Scaled(3000);
  for (int i = 0; i < rounds; ++i) {
    std::atomic<int> asleep{0};
    auto handle = (*runtime)->Spawn(SleepFor(absl::Microseconds(i % 100), &asleep));
    for (int k = 0; k < i % 40; ++k) std::this_thread::yield();
    handle->RequestStop();
    ended += handle->Wait().ok() ? 1 : 0;
  }
  EXPECT_LE(ended, rounds);
}

// The same among tasks.
Task<> StopNearTheDeadline(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    std::atomic<int> asleep{0};
    auto sleeper = co_await Spawn(SleepFor(absl::Microseconds(i % 100), &asleep));
    for (int k = 0; k < i % 40; ++k) co_await Yield();
    if (i % 3 == 0) CO_ASSERT_OK(co_await Sleep(absl::Microseconds(i % 100)));
    sleeper.RequestStop();
    const absl::Status status = co_await std::move(sleeper);
    EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
  }
}

TEST_P(SleepTest, AStopOfATaskRacesWithTheDeadline) { RunOk(StopNearTheDeadline(Rounds(3000))); }

// --- Yield
// -------------------------------------------------------------------------------------------------------------

Task<> CountTurns(int n, int* turns, const int* other, int* lead_max) {
  for (int i = 0; i < n; ++i) {
    ++*turns;
    *lead_max = std::max(*lead_max, *turns - *other);
    co_await Yield();
  }
}

Task<> TakeTurns(int* lead_max) {
  int a = 0, b = 0;
  auto first = co_await Spawn(CountTurns(1000, &a, &b, lead_max));
  auto second = co_await Spawn(CountTurns(1000, &b, &a, lead_max));
  co_await std::move(first);
  co_await std::move(second);
}

TEST_P(SleepOrderTest, TasksOfOneWorkerTakeTurns) {
  int lead_max = 0;
  RunOk(TakeTurns(&lead_max));
  EXPECT_LE(lead_max, 3);
}

Task<> YieldUntil(const std::atomic<bool>* done) {
  while (!*done) co_await Yield();
}

// A task that is always ready holds up neither timers nor tasks from outside.
TEST_P(SleepFromOutsideTest, YieldingTasksLetTimersAndOthersIn) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  std::atomic<bool> done{false};
  std::vector<JoinHandle<>> busy;
  for (int i = 0; i < 2 * GetParam(); ++i) busy.push_back(*(*runtime)->Spawn(YieldUntil(&done)));
  std::atomic<int> asleep{0};
  EXPECT_TRUE((*runtime)->Spawn(SleepFor(absl::Milliseconds(1), &asleep))->Wait().ok());
  done = true;
  for (auto& task : busy) task.Wait();
}

Task<> SleepAmongTheBusy(int n) {
  std::atomic<bool> done{false};
  std::vector<JoinHandle<>> busy;
  for (int i = 0; i < n; ++i) busy.push_back(co_await Spawn(YieldUntil(&done)));
  CO_ASSERT_OK(co_await Sleep(absl::Milliseconds(1)));
  done = true;
  for (auto& task : busy) co_await std::move(task);
}

TEST_P(SleepTest, YieldingTasksLetTimersIn) { RunOk(SleepAmongTheBusy(2 * workers())); }

// --- Misuse
// ------------------------------------------------------------------------------------------------------------

TEST(SleepDeathTest, OnAThreadThatIsNoWorker) {
  const auto sleeper = UntilStopped().Release();
  EXPECT_DEATH(ResumeAll(sleeper), "awaited on a worker");
  sleeper.destroy();
}

}  // namespace
}  // namespace evring
