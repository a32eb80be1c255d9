// Runtime: making one, errors of that, options, counters, wakes, and kernels without the newest features. What it does
// for tasks runs on simulated machines too; making one, its threads, and what is sent between them is this machine's.

#include "runtime/runtime.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/features.h"
#include "runtime/blocking.h"
#include "runtime/placement.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/timeout.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"
#include "tests/runtime/test_io.h"
#include "tests/runtime/test_kernel.h"

namespace evring {
namespace {

using namespace evring::testing;

Task<int> Value(int value) { co_return value; }
Task<> Nothing() { co_return; }

// --- Making one
// --------------------------------------------------------------------------------------------------------

TEST(Runtime, OptionsOutOfRangeAreRefused) {
  const int threads = CountIn("task");
  for (const int workers : {-1, 65, 1 << 30}) {
    const auto runtime = Runtime::Create(WithWorkers(workers));
    EXPECT_TRUE(absl::IsInvalidArgument(runtime.status())) << runtime.status();
  }
  RuntimeOptions options = WithWorkers(1);
  options.kernel = nullptr;
  EXPECT_TRUE(absl::IsInvalidArgument(Runtime::Create(options).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(evring::Run(Value(1), options).status()));
  EXPECT_EQ(CountIn("task"), threads);
}

TEST(Runtime, TheDefaultIsAtLeastOneWorkerAndNoMoreThanCpus) {
  auto runtime = Runtime::Create();
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  EXPECT_EQ((*runtime)->workers(), DefaultWorkerCount());
  EXPECT_GE(DefaultWorkerCount(), 1);
  cpu_set_t all, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
  EXPECT_LE(DefaultWorkerCount(), CPU_COUNT(&all));
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &all)) {
      CPU_SET(cpu, &one);
      break;
    }
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(DefaultWorkerCount(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof(all), &all), 0);
}

// One of several rings cannot be made: the others are closed again, nothing runs.
TEST(Runtime, AnErrorOfAnyRingIsTheAnswer) {
  for (int workers : {1, 2, 4}) {
    for (int failing = 0; failing < workers; ++failing) {
      const int threads = CountIn("task");
      const int descriptors = CountIn("fd");
      TestKernel kernel;
      kernel.on_setup = [&](int n) { return n == failing ? absl::PermissionDeniedError("test") : absl::OkStatus(); };
      RuntimeOptions options = WithWorkers(workers);
      options.kernel = &kernel;
      EXPECT_EQ(Runtime::Create(options).status(), absl::PermissionDeniedError("test"));
      EXPECT_EQ(kernel.setups, workers);
      EXPECT_EQ(CountIn("fd"), descriptors);
      EXPECT_TRUE(Eventually([&] { return CountIn("task") == threads; }));
    }
  }
}

TEST(Runtime, AThreadThatCannotBeMadeIsAnError) {
  const int descriptors = CountIn("fd");
  {
    SmallStacks huge(size_t{1} << 48);  // that no address space has room for
    EXPECT_TRUE(absl::IsResourceExhausted(Runtime::Create(WithWorkers(2)).status()));
  }
  EXPECT_EQ(CountIn("fd"), descriptors);
  RunOk(Nothing(), WithWorkers(2));
}

// --- Run
// ---------------------------------------------------------------------------------------------------------------

Task<absl::Status> AStatus(absl::Status status) { co_return status; }
Task<absl::StatusOr<std::string>> AText() { co_return "text"; }
Task<> Throw() {
  throw std::runtime_error("main");
  co_return;
}

TEST(Run, HandsOnWhatTheTaskEndsWith) {
  EXPECT_EQ(*evring::Run(Value(3), WithWorkers(1)), 3);
  EXPECT_TRUE(evring::Run(Nothing(), WithWorkers(1)).ok());
  EXPECT_EQ(evring::Run(AStatus(absl::NotFoundError("x")), WithWorkers(1)), absl::NotFoundError("x"));
  EXPECT_EQ(*evring::Run(AText(), WithWorkers(1)), "text");
  EXPECT_THROW(static_cast<void>(evring::Run(Throw(), WithWorkers(1))), std::runtime_error);
}

Task<int> RunInside() {
  int value = 0;
  // A runtime inside of a runtime, on a thread that may block.
  auto job = [] { return *evring::Run(Value(4), WithWorkers(1)); };
  value = *co_await RunBlocking(job);
  co_return value;
}

TEST(Run, MayBeNestedOnAThreadOfItsOwn) { EXPECT_EQ(*evring::Run(RunInside(), WithWorkers(2)), 4); }

Task<> ShutdownInside(Runtime* runtime) {
  runtime->Shutdown();
  co_return;
}

TEST(RuntimeDeathTest, AWorkerDoesNotShutItselfDown) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        auto runtime = Runtime::Create(WithWorkers(1));
        (*runtime)->Spawn(ShutdownInside(runtime->get()))->Wait();
      },
      "cannot shut down its own runtime");
}

// --- Workers
// -----------------------------------------------------------------------------------------------------------

struct PerWorker {
  static inline std::atomic<int> alive{0};
  PerWorker() { ++alive; }
  ~PerWorker() { --alive; }
  int uses = 0;
};

Task<> UseLocal() {
  ++Worker::Current()->Local<PerWorker>().uses;
  EXPECT_EQ(&Worker::Current()->Local<PerWorker>(), &Worker::Current()->Local<PerWorker>());
  co_return;
}

Task<> UseLocals() {
  for (int i = 0; i < 100; ++i) {
    JoinHandle<> use = co_await Spawn(UseLocal());
    co_await std::move(use);
  }
  EXPECT_GE(PerWorker::alive, 1);
  EXPECT_LE(PerWorker::alive, WorkerCount());
}

class WorkerTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, WorkerTest, Machines(), MachineName);

TEST_P(WorkerTest, LocalsThatTasksUseLiveUntilTheWorkerEnds) {
  RunOk(UseLocals());
  EXPECT_EQ(PerWorker::alive, 0);
}

TEST(Worker, LocalsLiveUntilTheWorkerEnds) {
  {
    auto runtime = Runtime::Create(WithWorkers(4));
    ASSERT_TRUE(runtime.ok()) << runtime.status();
    for (int i = 0; i < 100; ++i) (*runtime)->Spawn(UseLocal())->Wait();
    EXPECT_GE(PerWorker::alive, 1);
    EXPECT_LE(PerWorker::alive, 4);
  }
  EXPECT_EQ(PerWorker::alive, 0);
}

Task<> Meet(std::atomic<int>* arrived, int n, std::mutex* mutex, std::set<int>* workers) {
  {
    std::lock_guard lock(*mutex);
    workers->insert(Worker::Current()->index());
  }
  ++*arrived;
  while (*arrived < n) std::this_thread::yield();
  co_return;
}

// Tasks that each need a worker of their own until all are there: no task is stuck behind another, none runs twice.
TEST(Worker, AllOfThemTakePart) {
  for (int workers : {2, 4, 8}) {
    auto runtime = Runtime::Create(WithWorkers(workers));
    ASSERT_TRUE(runtime.ok()) << runtime.status();
    for (int i = 0; i < 50; ++i) {
      std::atomic<int> arrived{0};
      std::mutex mutex;
      std::set<int> seen;
      std::vector<JoinHandle<>> handles;
      for (int k = 0; k < workers; ++k) handles.push_back(*(*runtime)->Spawn(Meet(&arrived, workers, &mutex, &seen)));
      for (auto& handle : handles) handle.Wait();
      EXPECT_EQ(seen.size(), static_cast<size_t>(workers));
    }
  }
}

Task<> ComputeUntil(const bool* done, int* computations) {
  while (!*done) {
    Compute(absl::Milliseconds(1));
    ++*computations;
    co_await Yield();
  }
}

Task<> ReadThenSay(const Pipe* pipe, bool* done) {
  std::array<std::byte, 1> byte;
  const absl::StatusOr<size_t> n = co_await ReadOnce(pipe->out(), byte);
  EXPECT_TRUE(n.ok()) << n.status();
  *done = true;
}

// Four tasks that always have something long to compute share a worker with one that reads what is there already.
Task<int> ComputationsBeforeARead() {
  const Pipe pipe;
  pipe.Write("x");
  bool done = false;
  int computations = 0;
  std::vector<JoinHandle<>> handles;
  handles.push_back(co_await Spawn(ReadThenSay(&pipe, &done)));
  for (int i = 0; i < 4; ++i) handles.push_back(co_await Spawn(ComputeUntil(&done, &computations)));
  for (auto& handle : handles) co_await std::move(handle);
  co_return computations;
}

TEST(Worker, LooksAtItsRingEveryFewLongTasks) {
  // Eight tasks at most until the ring is looked at, four in the queue before the reader, and one round to notice.
  EXPECT_LE(RunValue(ComputationsBeforeARead(), WithWorkers(1)), 16);
}

Task<> YieldUntil(const std::atomic<bool>* over, std::atomic<int>* turns) {
  while (!*over) {
    ++*turns;
    co_await Yield();
  }
}

Task<absl::Status> SleepLong() { co_return co_await Sleep(absl::Hours(1)); }

// Made ready by a timer, so that it runs next, and computes until the other task has had a turn. False: it has none.
Task<bool> ComputeUntilTurn(const std::atomic<int>* turns) {
  const absl::Status status = co_await WithTimeout(absl::Milliseconds(1), SleepLong());
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  const int before = *turns;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (*turns == before) {
    if (std::chrono::steady_clock::now() > end) co_return false;
  }
  co_return true;
}

Task<> ATaskBehindALongOne() {
  std::atomic<bool> over{false};
  std::atomic<int> turns{0};
  JoinHandle<> other = co_await Spawn(YieldUntil(&over, &turns));
  for (int i = 0; i < 20; ++i) {
    const bool had_a_turn = co_await ComputeUntilTurn(&turns);
    EXPECT_TRUE(had_a_turn) << "round " << i;
    if (!had_a_turn) break;
  }
  over = true;
  co_await std::move(other);
}

// The only ready task of a worker needs no other worker, until something is ready before it.
TEST(Worker, ALoneTaskThatIsOvertakenIsTakenElsewhere) {
  RuntimeOptions options = WithWorkers(2);
  options.rescue_threshold = absl::InfiniteDuration();
  RunOk(ATaskBehindALongOne(), options);
}

// --- Wakes
// -------------------------------------------------------------------------------------------------------------

// proc_pid_stat(5): "PID (NAME) STATE …". A worker that the system has taken off its CPU does not sleep, however long
// it does nothing.
bool WorkersSleep() {
  std::error_code gone;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task", gone)) {
    std::string stat;
    std::getline(std::ifstream(thread.path() / "stat"), stat);
    const size_t name_end = stat.rfind(") ");
    if (name_end == std::string::npos || stat.find("(evring-") == std::string::npos) continue;
    if (stat[name_end + 2] != 'S') return false;
  }
  return true;
}

class QuietRuntime {
 public:
  explicit QuietRuntime(int workers) {
    RuntimeOptions options = WithWorkers(workers);
    options.kernel = &kernel_;
    options.rescue_threshold = absl::InfiniteDuration();  // no watchdog that wakes anybody
    auto runtime = Runtime::Create(options);
    EXPECT_TRUE(runtime.ok()) << runtime.status();
    runtime_ = *std::move(runtime);
    BeQuiet();
  }

  // Until no worker has done anything for a while, nor is about to.
  void BeQuiet() {
    uint64_t before = ~uint64_t{0};
    int same = 0;
    EXPECT_TRUE(Eventually([&] {
      const WorkerCounters now = runtime_->counters();
      const uint64_t sum =
          now.parks + now.polls + now.searches + now.tasks_run + static_cast<uint64_t>(kernel_.messages);
      same = sum == before && WorkersSleep() ? same + 1 : 0;
      before = sum;
      return same == 10;
    }));
  }

  Runtime* operator->() { return runtime_.get(); }
  int messages() const { return kernel_.messages; }

 private:
  TestKernel kernel_;
  std::unique_ptr<Runtime> runtime_;
};

TEST(Wakes, ATaskFromOutsideWakesOneWorker) {
  QuietRuntime runtime(4);
  for (int i = 0; i < 50; ++i) {
    const int before = runtime.messages();
    const uint64_t parks = runtime->counters().parks;
    runtime->Spawn(Value(1))->Wait();
    runtime.BeQuiet();
    EXPECT_LE(runtime.messages() - before, 1);
    EXPECT_EQ(runtime->counters().parks - parks, 1u);
  }
  EXPECT_EQ(runtime->counters().spurious_wakes, 0u);
}

Task<> SpawnAndJoin(int n) {
  for (int i = 0; i < n; ++i) {
    auto child = co_await Spawn(Value(i));
    EXPECT_EQ(co_await std::move(child), i);
  }
}

TEST(Wakes, SpawningAndJoiningOneByOneWakesNobodyElse) {
  QuietRuntime runtime(4);
  const int before = runtime.messages();
  runtime->Spawn(SpawnAndJoin(1000))->Wait();
  runtime.BeQuiet();
  EXPECT_LE(runtime.messages() - before, 1);  // the one for the task from outside, if its worker slept by then
}

Task<> SleepOften(int n) {
  for (int i = 0; i < n; ++i) CO_ASSERT_OK(co_await Sleep(absl::Microseconds(50)));
}

TEST(Wakes, ATimerOrACompletionWakesItsOwnWorkerOnly) {
  QuietRuntime runtime(4);
  int before = runtime.messages();
  runtime->Spawn(SleepOften(100))->Wait();
  runtime.BeQuiet();
  EXPECT_LE(runtime.messages() - before, 1);

  Pipe pipe;
  before = runtime.messages();
  auto reader = runtime->Spawn([](const Pipe* from, int n) -> Task<> {
    char byte;
    for (int i = 0; i < n; ++i) {
      const auto size = co_await ReadOnce(from->out(), std::as_writable_bytes(std::span(&byte, 1)));
      EXPECT_EQ(size.value_or(0), 1u);
    }
  }(&pipe, 20));
  for (int i = 0; i < 20; ++i) {
    runtime.BeQuiet();
    pipe.Write("x");
  }
  reader->Wait();
  runtime.BeQuiet();
  EXPECT_LE(runtime.messages() - before, 1);
}

// --- Kernels without the newest features
// -------------------------------------------------------------------------------

Task<> PingPong(const Pipe* from, const Pipe* to, int n, bool first) {
  char byte = 'a';
  for (int i = 0; i < n; ++i) {
    if (first) co_await WriteText(to, "x");
    const auto size = co_await ReadOnce(from->out(), std::as_writable_bytes(std::span(&byte, 1)));
    EXPECT_EQ(size.value_or(0), 1u);
    if (!first) co_await WriteText(to, "y");
  }
}

Task<absl::Status> ReadForever(const Pipe* from) {
  char byte;
  const auto size = co_await ReadOnce(from->out(), std::as_writable_bytes(std::span(&byte, 1)));
  co_return size.status();
}

Task<> SomeOfEverything() {
  Pipe ping, pong, silent;
  auto a = co_await Spawn(PingPong(&ping, &pong, 200, true));
  auto b = co_await Spawn(PingPong(&pong, &ping, 200, false));
  auto reader = co_await Spawn(ReadForever(&silent));
  CO_ASSERT_OK(co_await Sleep(absl::Milliseconds(2)));
  EXPECT_TRUE(absl::IsDeadlineExceeded(co_await WithTimeout(absl::Milliseconds(2), ReadForever(&silent))));
  reader.RequestStop();
  EXPECT_TRUE(absl::IsCancelled(co_await std::move(reader)));
  co_await std::move(a);
  co_await std::move(b);
  std::vector<JoinHandle<int>> handles;
  for (int i = 0; i < 1000; ++i) handles.push_back(co_await Spawn(Value(1)));
  int sum = 0;
  for (auto& handle : handles) sum += co_await std::move(handle);
  EXPECT_EQ(sum, 1000);
}

std::vector<kevent::Features> FeatureMasks() {
  return {
      kevent::Features::All(),
      kevent::Features::All().Without(kevent::Feature::kSyncMessage),
      kevent::Features::All().Without(kevent::Feature::kAbsoluteTimer),
      kevent::Features::All().Without(kevent::Feature::kRegisteredRing),
      kevent::Features::All().Without(kevent::Feature::kNoIowait),
      kevent::Features(),
  };
}

// A simulated kernel sends messages in any case: an eventfd in their place would be a real one.
class SimulatedFeatureTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, SimulatedFeatureTest,
                         MachinesWith({}, Simulated(/*errors=*/true, /*workers=*/0, /*seeds=*/36)), MachineName);

TEST_P(SimulatedFeatureTest, EveryFallbackWorks) {
  for (const kevent::Features& mask : FeatureMasks()) {
    RuntimeOptions options;
    options.ring.allowed = mask;
    RunOk(SomeOfEverything(), options);
  }
}

class FeatureTest : public ::testing::TestWithParam<std::tuple<int, int>> {};
INSTANTIATE_TEST_SUITE_P(WorkersAndMasks, FeatureTest, ::testing::Combine(WorkerCounts(), ::testing::Range(0, 6)));

TEST_P(FeatureTest, EveryFallbackWorks) {
  const auto [workers, mask] = GetParam();
  RuntimeOptions options = WithWorkers(workers);
  options.ring.allowed = FeatureMasks()[static_cast<size_t>(mask)];
  const int descriptors = CountIn("fd");
  {
    auto runtime = Runtime::Create(options);
    ASSERT_TRUE(runtime.ok()) << runtime.status();
    (*runtime)->Spawn(SomeOfEverything())->Wait();
    for (int i = 0; i < 200; ++i) EXPECT_EQ((*runtime)->Spawn(Value(i))->Wait(), i);  // wakes of sleeping workers
  }
  EXPECT_EQ(CountIn("fd"), descriptors);
}

}  // namespace
}  // namespace evring
