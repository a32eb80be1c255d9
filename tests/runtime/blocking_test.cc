// RunBlocking: results, cancellation before and after the start, limits of the pool.

#include "runtime/blocking.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/cancellation.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

class BlockingTest : public EveryWorkerCount {};
INSTANTIATE_TEST_SUITE_P(Workers, BlockingTest, WorkerCounts());

// --- Results
// -----------------------------------------------------------------------------------------------------------

Task<> Results() {
  EXPECT_EQ(*co_await RunBlocking([] { return 7; }), 7);
  int ran = 0;
  CO_ASSERT_OK(co_await RunBlocking([&ran] { ran = 1; }));
  EXPECT_EQ(ran, 1);
  EXPECT_EQ(co_await RunBlocking([] { return absl::NotFoundError("gone"); }), absl::NotFoundError("gone"));
  EXPECT_EQ(*co_await RunBlocking([] { return absl::StatusOr<std::string>("text"); }), "text");
  EXPECT_TRUE(
      absl::IsNotFound((co_await RunBlocking([] { return absl::StatusOr<int>(absl::NotFoundError("")); })).status()));
  auto move_only = [text = std::make_unique<std::string>("moved")]() mutable { return std::move(text); };
  EXPECT_EQ(**co_await RunBlocking(std::move(move_only)), "moved");

  std::string what;
  try {
    static_cast<void>(co_await RunBlocking([]() -> int { throw std::runtime_error("job"); }));
  } catch (const std::runtime_error& error) {
    what = error.what();
  }
  EXPECT_EQ(what, "job");
}

TEST_P(BlockingTest, ResultsAndExceptionsComeBack) { RunOk(Results(), options()); }

Task<> OnAnotherThread() {
  const std::thread::id worker = std::this_thread::get_id();
  bool elsewhere = false, is_worker = true, blocked = false;
  auto look = [&] {
    elsewhere = std::this_thread::get_id() != worker;
    is_worker = Worker::Current() != nullptr;
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGUSR1) == 1;
  };
  CO_ASSERT_OK(co_await RunBlocking(look));
  EXPECT_TRUE(elsewhere);
  EXPECT_FALSE(is_worker);
  EXPECT_TRUE(blocked);
  EXPECT_NE(Worker::Current(), nullptr);  // and back
}

TEST(Blocking, RunsOnAThreadOfThePoolWithSignalsBlocked) { RunOk(OnAnotherThread(), WithWorkers(1)); }

Task<int> Add(std::atomic<int>* sum, int n) {
  for (int i = 0; i < n; ++i) {
    auto job = [sum] { sum->fetch_add(1); };
    EXPECT_TRUE((co_await RunBlocking(job)).ok());
  }
  co_return n;
}

Task<> Many(int tasks, int n) {
  std::atomic<int> sum{0};
  std::vector<JoinHandle<int>> handles;
  for (int i = 0; i < tasks; ++i) handles.push_back(co_await Spawn(Add(&sum, n)));
  for (auto& handle : handles) co_await std::move(handle);
  EXPECT_EQ(sum, tasks * n);
}

TEST_P(BlockingTest, ManyJobsAtOnce) { RunOk(Many(50, Scaled(100)), options()); }

// --- Limits
// ------------------------------------------------------------------------------------------------------------

// A job that holds its thread until it is let go.
struct Plug {
  std::atomic<int> inside{0};
  std::atomic<bool> released{false};
  void Block() {
    ++inside;
    while (!released) std::this_thread::yield();
  }
};

Task<absl::Status> RunPlug(Plug* plug) {
  auto job = [plug] { plug->Block(); };
  co_return co_await RunBlocking(job);
}
Task<absl::Status> RunCount(std::atomic<int>* count) {
  auto job = [count] { ++*count; };
  co_return co_await RunBlocking(job);
}

Task<absl::Status> Nap() { co_return co_await Sleep(absl::Milliseconds(1)); }

TEST(Blocking, JobsBeyondTheMaximumQueueAndNoMoreThreadsAreMade) {
  RuntimeOptions options = WithWorkers(1);
  options.blocking_threads_max = 2;
  auto runtime = Runtime::Create(options);
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  Plug plug;
  std::atomic<int> count{0};
  std::vector<JoinHandle<absl::Status>> handles;
  for (int i = 0; i < 2; ++i) handles.push_back(*(*runtime)->Spawn(RunPlug(&plug)));
  ASSERT_TRUE(Eventually([&] { return plug.inside == 2; }));
  const int threads = CountIn("task");
  for (int i = 0; i < 20; ++i) handles.push_back(*(*runtime)->Spawn(RunCount(&count)));
  EXPECT_TRUE((*runtime)->Spawn(Nap())->Wait().ok());  // the worker has submitted them by then
  EXPECT_EQ(count, 0);
  EXPECT_EQ(CountIn("task"), threads);
  plug.released = true;
  for (auto& handle : handles) EXPECT_TRUE(handle.Wait().ok());
  EXPECT_EQ(count, 20);
}

TEST(Blocking, IdleThreadsEnd) {
  RuntimeOptions options = WithWorkers(1);
  options.blocking_idle = absl::Milliseconds(1);
  auto runtime = Runtime::Create(options);
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  const int before = CountIn("task");
  std::atomic<int> count{0};
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE((*runtime)->Spawn(RunCount(&count))->Wait().ok());
    EXPECT_TRUE(Eventually([&] { return CountIn("task") == before; }));
  }
}

// --- Cancellation
// ------------------------------------------------------------------------------------------------------

TEST(Blocking, AJobThatHasNotStartedIsRevoked) {
  RuntimeOptions options = WithWorkers(2);
  options.blocking_threads_max = 1;
  auto runtime = Runtime::Create(options);
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  Plug plug;
  std::atomic<int> count{0};
  auto running = (*runtime)->Spawn(RunPlug(&plug));
  ASSERT_TRUE(Eventually([&] { return plug.inside == 1; }));
  std::vector<JoinHandle<absl::Status>> queued;
  for (int i = 0; i < 10; ++i) queued.push_back(*(*runtime)->Spawn(RunCount(&count)));
  for (size_t i = 0; i < 10; i += 2) queued[i].RequestStop();
  for (size_t i = 0; i < 10; i += 2) EXPECT_TRUE(absl::IsCancelled(queued[i].Wait()));
  EXPECT_EQ(count, 0);  // the plug is still in
  plug.released = true;
  for (size_t i = 1; i < 10; i += 2) EXPECT_TRUE(queued[i].Wait().ok());
  EXPECT_TRUE(running->Wait().ok());
  EXPECT_EQ(count, 5);
}

Task<absl::StatusOr<bool>> RunUntilToken(std::atomic<bool>* inside) {
  const CancelToken token = co_await CurrentToken();
  auto job = [inside, token] {
    *inside = true;
    while (!token.stop_requested()) std::this_thread::yield();
    return true;
  };
  co_return co_await RunBlocking(std::move(job));
}

TEST_P(BlockingTest, AJobThatRunsIsWaitedOutAndMayLookAtTheToken) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  std::atomic<bool> inside{false};
  auto handle = (*runtime)->Spawn(RunUntilToken(&inside));
  ASSERT_TRUE(Eventually([&] { return inside.load(); }));
  handle->RequestStop();
  EXPECT_EQ(*handle->Wait(), true);  // its result, in spite of the stop
}

Task<> StoppedBefore(std::atomic<int>* count) {
  (co_await internal::CurrentContextAwaiter())->RequestStop();
  EXPECT_TRUE(absl::IsCancelled(co_await RunCount(count)));
  EXPECT_EQ(*count, 0);
}

TEST_P(BlockingTest, AfterAStopNoJobIsStarted) {
  std::atomic<int> count{0};
  RunOk(StoppedBefore(&count), options());
}

TEST_P(BlockingTest, AStopRacesWithTheJob) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  std::atomic<int> ran{0};
  int ok = 0;
  for (int i = 0; i < Scaled(1000); ++i) {
    auto handle = (*runtime)->Spawn(RunCount(&ran));
    for (int k = 0; k < i % 20; ++k) std::this_thread::yield();
    handle->RequestStop();
    const absl::Status status = handle->Wait();
    ok += status.ok() ? 1 : 0;
    EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
  }
  EXPECT_EQ(ran, ok);  // cancelled means that it did not run
}

// --- No thread can be made
// ---------------------------------------------------------------------------------------------

// A stack that no address space has room for.
class NoThreads {
 public:
  NoThreads() {
    pthread_getattr_default_np(&attributes_);
    pthread_attr_t huge;
    pthread_attr_init(&huge);
    EXPECT_EQ(pthread_attr_setstacksize(&huge, size_t{1} << 48), 0);
    EXPECT_EQ(pthread_setattr_default_np(&huge), 0);
    pthread_attr_destroy(&huge);
  }
  ~NoThreads() {
    EXPECT_EQ(pthread_setattr_default_np(&attributes_), 0);
    pthread_attr_destroy(&attributes_);
  }

 private:
  pthread_attr_t attributes_;
};

TEST(Blocking, WithoutAThreadTheJobIsRefusedAndTheNextOneIsNot) {
  auto runtime = Runtime::Create(WithWorkers(1));
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  std::atomic<int> count{0};
  {
    NoThreads none;
    EXPECT_TRUE(absl::IsResourceExhausted((*runtime)->Spawn(RunCount(&count))->Wait()));
  }
  EXPECT_TRUE((*runtime)->Spawn(RunCount(&count))->Wait().ok());
  EXPECT_EQ(count, 1);
}

// --- Shutdown
// ----------------------------------------------------------------------------------------------------------

TEST_P(BlockingTest, ShutdownRevokesWhatIsQueuedAndWaitsForWhatRuns) {
  RuntimeOptions with_one = options();
  with_one.blocking_threads_max = 1;
  for (int i = 0; i < 20; ++i) {
    auto runtime = Runtime::Create(with_one);
    ASSERT_TRUE(runtime.ok()) << runtime.status();
    std::atomic<bool> inside{false};
    std::atomic<int> count{0};
    auto running = (*runtime)->Spawn(RunUntilToken(&inside));
    ASSERT_TRUE(Eventually([&] { return inside.load(); }));
    auto queued = (*runtime)->Spawn(RunCount(&count));
    runtime->reset();
    EXPECT_EQ(*running->Wait(), true);
    EXPECT_TRUE(absl::IsCancelled(queued->Wait()));
    EXPECT_EQ(count, 0);
  }
}

}  // namespace
}  // namespace evring
