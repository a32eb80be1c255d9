// Spawn, JoinHandle and SpawnDetached, on this machine's kernel and on simulated ones; spawning from other threads;
// also when there is no memory for it: this program's operator new fails where a test asks it to. (ThreadSanitizer's
// cannot be replaced: there those cases are skipped.)

#include "runtime/spawn.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/sanitizer.h"
#include "runtime/cancellation.h"
#include "runtime/frame_pool.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

// Blocks of this size or more cannot be had by this thread.
constinit thread_local size_t refused_bytes_min = SIZE_MAX;

#ifdef EVRING_TSAN
constexpr bool kNewCanFail = false;
#else
constexpr bool kNewCanFail = true;
#endif

[[maybe_unused]] void* NewOrThrow(size_t size) {
  void* const block = size >= refused_bytes_min ? nullptr : std::malloc(size);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

}  // namespace
}  // namespace evring

#ifndef EVRING_TSAN
void* operator new(size_t size) { return evring::NewOrThrow(size); }
void operator delete(void* block) noexcept { std::free(block); }
void operator delete(void* block, size_t) noexcept { std::free(block); }
#endif

namespace evring {
namespace {

using namespace evring::testing;

class SpawnTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, SpawnTest, Machines(), MachineName);

// With threads that are no workers, a second runtime, or a look at the runtime when its tasks have ended.
class SpawnFromOutsideTest : public EveryWorkerCount {};
INSTANTIATE_TEST_SUITE_P(Workers, SpawnFromOutsideTest, WorkerCounts());

Task<int> Value(int value) { co_return value; }
Task<int> ValueLater(int value) {
  co_await Yield();
  static_cast<void>(co_await Sleep(absl::Microseconds(value % 100)));
  co_return value;
}
Task<std::unique_ptr<std::string>> Text() { co_return std::make_unique<std::string>("text"); }
Task<int> Throw() {
  throw std::runtime_error("child");
  co_return 0;
}

// --- Joining
// -----------------------------------------------------------------------------------------------------------

Task<> JoinMany(int n) {
  std::vector<JoinHandle<int>> handles;
  for (int i = 0; i < n; ++i) {
    Task<int> task = i % 3 == 0 ? Value(i) : ValueLater(i);  // gcc 12 destroys both branches inside of a co_await
    handles.push_back(co_await Spawn(std::move(task)));
  }
  int64_t sum = 0;
  for (auto& handle : handles) sum += co_await std::move(handle);
  EXPECT_EQ(sum, int64_t{n} * (n - 1) / 2);
}

TEST_P(SpawnTest, EveryChildRunsOnceAndGivesItsResult) { RunOk(JoinMany(Rounds(20'000))); }

Task<> JoinKinds() {
  auto text = co_await Spawn(Text());
  EXPECT_EQ(*co_await std::move(text), "text");
  EXPECT_FALSE(text.valid());

  auto failing = co_await Spawn(Throw());
  bool caught = false;
  try {
    co_await std::move(failing);
  } catch (const std::runtime_error&) {
    caught = true;
  }
  EXPECT_TRUE(caught);

  auto ended = co_await Spawn(Value(3));
  CO_ASSERT_TRUE(co_await EventuallyInTask([&] { return ended.done(); }));
  EXPECT_EQ(co_await std::move(ended), 3);
}

TEST_P(SpawnTest, ResultsExceptionsAndFinishedChildren) { RunOk(JoinKinds()); }

Task<int> IgnoreStops(Gate* started, std::atomic<bool>* ended) {
  started->Open();
  int waited = 0;
  while (waited < 20) {
    co_await Yield();
    ++waited;
  }
  *ended = true;
  co_return waited;
}

Task<> JoinAfterStop(std::atomic<bool>* ended) {
  Gate started;
  auto child = co_await Spawn(IgnoreStops(&started, ended));
  co_await started;
  (co_await internal::CurrentContextAwaiter())->RequestStop();
  EXPECT_EQ(co_await std::move(child), 20);
  EXPECT_TRUE(*ended);
}

TEST_P(SpawnTest, AJoinWaitsForTheEndAfterAStopToo) {
  std::atomic<bool> ended{false};
  RunOk(JoinAfterStop(&ended));
}

// A handle that is awaited by another task than the parent: that one's stop is passed on.
Task<absl::Status> JoinHere(JoinHandle<absl::Status> handle) { co_return co_await std::move(handle); }

Task<> JoinElsewhere() {
  auto child = co_await Spawn(UntilStopped());
  auto joiner = co_await Spawn(JoinHere(std::move(child)));
  for (int i = 0; i < 5; ++i) co_await Yield();
  joiner.RequestStop();
  EXPECT_TRUE(absl::IsCancelled(co_await std::move(joiner)));
}

Task<> JoinElsewhereStoppedBefore() {
  auto child = co_await Spawn(UntilStopped());
  auto joiner = co_await Spawn(JoinHere(std::move(child)));
  joiner.RequestStop();  // with one worker, before it has started
  EXPECT_TRUE(absl::IsCancelled(co_await std::move(joiner)));
}

TEST_P(SpawnTest, TheStopOfWhoeverJoinsIsPassedOn) {
  RunOk(JoinElsewhere());
  RunOk(JoinElsewhereStoppedBefore());
}

// --- Letting go
// --------------------------------------------------------------------------------------------------------

Task<> CountUntilStopped(std::atomic<int>* started, std::atomic<int>* stopped) {
  ++*started;
  const absl::Status status = co_await UntilStopped();
  if (absl::IsCancelled(status)) ++*stopped;
}

Task<> DropHandles(std::atomic<int>* started, std::atomic<int>* stopped) {
  {
    auto dropped = co_await Spawn(CountUntilStopped(started, stopped));
    CO_ASSERT_TRUE(co_await EventuallyInTask([&] { return *started == 1; }));
  }
  CO_ASSERT_TRUE(co_await EventuallyInTask([&] { return *stopped == 1; }));

  auto replaced = co_await Spawn(CountUntilStopped(started, stopped));
  replaced = co_await Spawn(CountUntilStopped(started, stopped));
  CO_ASSERT_TRUE(co_await EventuallyInTask([&] { return *stopped == 2; }));
  JoinHandle<> moved = std::move(replaced);
  EXPECT_FALSE(replaced.valid());
  co_await Yield();
  EXPECT_EQ(*stopped, 2);
  moved.RequestStop();
  co_await std::move(moved);
  EXPECT_EQ(*stopped, 3);
}

TEST_P(SpawnTest, AHandleThatIsDroppedStopsItsChild) {
  std::atomic<int> started{0}, stopped{0};
  RunOk(DropHandles(&started, &stopped));
}

Task<> SetFlag(std::atomic<int>* count) {
  co_await Yield();
  ++*count;
}

Task<> Detach(int n, std::atomic<int>* count) {
  for (int i = 0; i < n; ++i) SpawnDetached(SetFlag(count));
  co_return;
}

TEST_P(SpawnFromOutsideTest, DetachedTasksOutliveTheirMaker) {
  std::atomic<int> count{0};
  {
    auto runtime = Runtime::Create(options());
    ASSERT_TRUE(runtime.ok()) << runtime.status();
    (*runtime)->Spawn(Detach(1000, &count))->Wait();
  }  // the shutdown waits for them
  EXPECT_EQ(count, 1000);
}

// --- Other threads
// -----------------------------------------------------------------------------------------------------

TEST_P(SpawnFromOutsideTest, ForeignThreadsSpawnAndWait) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  std::vector<std::thread> threads;
  std::atomic<int64_t> sum{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < Scaled(2000); ++i) {
        auto handle = (*runtime)->Spawn(i % 2 == 0 ? Value(t) : ValueLater(t));
        ASSERT_TRUE(handle.ok());
        sum += handle->Wait();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum, 6 * Scaled(2000));
}

TEST_P(SpawnFromOutsideTest, WaitRethrowsAndFindsFinishedTasks) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  auto failing = (*runtime)->Spawn(Throw());
  EXPECT_THROW(failing->Wait(), std::runtime_error);
  auto ended = (*runtime)->Spawn(Value(4));
  ASSERT_TRUE(Eventually([&] { return ended->done(); }));
  EXPECT_EQ(ended->Wait(), 4);
}

// A result too large for the frame pool, so that room for the spawned task comes from operator new.
using Large = std::array<char, 2 * kFrameSizeMax>;
Task<Large> MakeLarge(Counted counted) {
  static_cast<void>(counted);
  co_return Large{'x'};
}

// The shutdown waits for those who are in the middle of a spawn: one that has failed is not.
TEST_P(SpawnFromOutsideTest, ASpawnWithoutMemoryThrowsAndTheRuntimeGoesOnAndEnds) {
  if (!kNewCanFail) GTEST_SKIP() << "ThreadSanitizer's operator new cannot be made to fail";
  std::atomic<int> alive{0};
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  {
    Task<Large> task = MakeLarge(Counted(&alive));
    ASSERT_EQ(alive, 1);
    refused_bytes_min = sizeof(Large);
    EXPECT_THROW(static_cast<void>((*runtime)->Spawn(std::move(task))), std::bad_alloc);
    refused_bytes_min = SIZE_MAX;
    EXPECT_EQ(alive, 0) << "the task is destroyed";
  }
  auto handle = (*runtime)->Spawn(MakeLarge(Counted(&alive)));
  ASSERT_TRUE(handle.ok()) << handle.status();
  EXPECT_EQ(handle->Wait()[0], 'x');
  (*runtime)->Shutdown();
  EXPECT_TRUE(absl::IsUnavailable((*runtime)->Spawn(Value(1)).status()));
  EXPECT_EQ(alive, 0);
}

Task<> SpawnWithoutMemory(std::atomic<int>* alive) {
  Task<Large> task = MakeLarge(Counted(alive));
  bool caught = false;
  refused_bytes_min = sizeof(Large);  // this thread's, and nothing is awaited that moves the task to another
  try {
    JoinHandle<Large> handle = co_await Spawn(std::move(task));
  } catch (const std::bad_alloc&) {
    caught = true;
  }
  refused_bytes_min = SIZE_MAX;
  EXPECT_TRUE(caught);
  EXPECT_EQ(*alive, 0);
  JoinHandle<Large> handle = co_await Spawn(MakeLarge(Counted(alive)));
  EXPECT_EQ((co_await std::move(handle))[0], 'x');
}

TEST_P(SpawnTest, AChildWithoutMemoryIsAnExceptionOfItsParent) {
  if (!kNewCanFail) GTEST_SKIP() << "ThreadSanitizer's operator new cannot be made to fail";
  std::atomic<int> alive{0};
  RunOk(SpawnWithoutMemory(&alive));
  EXPECT_EQ(alive, 0);
}

Task<int> OnOther(Runtime* other) {
  auto handle = other->Spawn(Value(11));  // a worker of one runtime is a foreign thread to another
  CancelToken unused = co_await CurrentToken();
  while (!handle->done()) co_await Yield();
  co_return co_await *std::move(handle);
}

TEST_P(SpawnFromOutsideTest, OneRuntimeAwaitsATaskOfAnother) {
  auto other = Runtime::Create(options());
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(RunValue(OnOther(other->get()), options()), 11);
}

// --- Misuse
// ------------------------------------------------------------------------------------------------------------

Task<> JoinTwice() {
  auto handle = co_await Spawn(Value(1));
  co_await std::move(handle);
  co_await std::move(handle);
}

Task<> WaitOnWorker() {
  auto handle = co_await Spawn(Value(1));
  handle.Wait();
}

Task<> DetachedThrow() {
  throw std::runtime_error("nobody sees it");
  co_return;
}
Task<> DetachThrower() {
  SpawnDetached(DetachedThrow());
  co_return;
}

TEST(SpawnDeathTest, MisuseIsCaught) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOk(JoinTwice(), WithWorkers(1)), "a handle is awaited once");
  EXPECT_DEATH(RunOk(WaitOnWorker(), WithWorkers(1)), "a worker awaits, it does not block");
  EXPECT_DEATH(SpawnDetached(DetachedThrow()), "SpawnDetached is called on a worker");
  EXPECT_DEATH(RunOk(DetachThrower(), WithWorkers(1)), "terminate");
}

}  // namespace
}  // namespace evring
