// Marks of what must not move: a task that has moved to another worker with one is stopped with a message that names
// it; one that stays is not, however many marks it and others on its thread have.

#include "runtime/thread_bound.h"

#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/placement.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/task_group.h"
#include "runtime/timeout.h"
#include "runtime/worker.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

// Tasks of a thread that hold several of them at once: of real ones a sanitizer would say that they could dead-lock.
struct Lockable {
  void lock() {}
  void unlock() {}
};

// Holds marks over waits of several kinds while others on the same worker do the same.
Task<> Holds(int rounds) {
  const WorkerPin pin = co_await PinToWorker();
  for (int i = 0; i < rounds; ++i) {
    const ThreadBound outer("outer");
    co_await Yield();
    {
      Lockable lockable;
      const ThreadBoundLock lock(lockable);
      const absl::Status slept = co_await Sleep(absl::Microseconds(i % 10));
      EXPECT_TRUE(slept.ok());
      JoinHandle<> child = co_await Spawn([]() -> Task<> { co_await Yield(); }());
      co_await std::move(child);
    }
    const absl::Status timed = co_await WithTimeout(absl::Seconds(20), []() -> Task<> {
      const ThreadBound inner("inner");
      co_await Yield();
    }());
    EXPECT_TRUE(timed.ok());
  }
}
Task<> ManyHold(int rounds) {
  TaskGroup group;
  for (int i = 0; i < 8; ++i) co_await group.Spawn(Holds(rounds));
  const absl::Status joined = co_await group.Join();
  EXPECT_TRUE(joined.ok());
}

// Waits that do not come about, marks that go before others, and a generator that has one over a yield.
Task<> HoldsOverWaitsThatEndAtOnce() {
  const WorkerPin pin = co_await PinToWorker();
  TaskGroup group;
  co_await group.Spawn([]() -> Task<> {
    const WorkerPin inner_pin = co_await PinToWorker();
    for (int i = 0; i < 10; ++i) {
      const ThreadBound mark("stopped");
      const absl::Status slept = co_await Sleep(absl::Hours(1));
      EXPECT_EQ(slept.code(), absl::StatusCode::kCancelled);
      std::optional<ThreadBound> first(std::in_place, "first");
      const ThreadBound second("second");
      co_await Yield();
      first.reset();
      const absl::Status again = co_await Sleep(absl::Hours(1));
      EXPECT_EQ(again.code(), absl::StatusCode::kCancelled);
    }
  }());
  group.RequestStop();
  const absl::Status joined = co_await group.Join();
  EXPECT_TRUE(joined.ok());
}

class ThreadBoundTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, ThreadBoundTest, Machines(), MachineName);
TEST_P(ThreadBoundTest, WhoStaysMayHoldIt) { RunOk(ManyHold(Rounds(200))); }

TEST_P(ThreadBoundTest, AWaitThatEndsAtOnceChangesNothing) { RunOk(HoldsOverWaitsThatEndAtOnce()); }

TEST(ThreadBoundElsewhere, IsNothingOnThreadsThatAreNoWorkers) {
  std::mutex mutex;
  std::thread([&mutex] { const ThreadBoundLock lock(mutex); }).join();
  const ThreadBound mark("mark");
  const ThreadBoundLock lock(mutex);
}

#ifndef NDEBUG

Task<> MovesWith(const char* what) {
  const ThreadBound mark(what);
  for (;;) co_await ResumeOn(1 - Worker::Current()->index());
}
Task<> MovesWithLock() {
  static std::mutex mutex;
  const ThreadBoundLock lock(mutex);
  for (;;) co_await ResumeOn(1 - Worker::Current()->index());
}
Task<> Ending(int worker) { co_await ResumeOn(worker); }
Task<> MovesByAChild() {
  const ThreadBound mark("a child\'s parent");
  for (;;) {
    JoinHandle<> child = co_await Spawn(Ending(1 - Worker::Current()->index()));
    co_await std::move(child);
  }
}

void RunOnTwo(Task<> task) { RunOk(std::move(task), WithWorkers(2)); }

TEST(ThreadBoundDeathTest, NamesWhatHasMoved) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOnTwo(MovesWith("the cache")),
               "thread_bound_test.cc:[0-9]+: check failed: .*it holds the cache, and it has moved to another");
  EXPECT_DEATH(RunOnTwo(MovesWithLock()), "thread_bound_test.cc:[0-9]+: .*it holds a lock, and it has moved");
  EXPECT_DEATH(RunOnTwo(MovesByAChild()), "it holds a child's parent, and it has moved");
}

#endif

}  // namespace
}  // namespace evring
