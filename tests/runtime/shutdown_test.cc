// Shutdown: with tasks in every kind of wait, with other threads that still wake tasks, a hundred times over; and that
// of a simulated machine, which begins when its first task ends.

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/blocking.h"
#include "runtime/cancellation.h"
#include "runtime/os/signals.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/task_group.h"
#include "runtime/timeout.h"
#include "runtime/when_all.h"
#include "runtime/when_any.h"
#include "sim/simulation.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"
#include "tests/runtime/test_io.h"
#include "tests/runtime/test_kernel.h"

namespace evring {
namespace {

using namespace evring::testing;

class ShutdownTest : public EveryWorkerCount {};
INSTANTIATE_TEST_SUITE_P(Workers, ShutdownTest, WorkerCounts());

// --- Every kind of wait
// ------------------------------------------------------------------------------------------------

// What the tasks of one round share.
struct World {
  explicit World(SignalSet* signals) : signals(signals) {}

  SignalSet* const signals;
  Pipe pipe;
  Gate gate, other_gate;
  std::atomic<bool> blocking{false};
  std::atomic<int> waiting{0};
  std::atomic<int> ended{0};
};

Task<absl::Status> Sleeps() { co_return co_await UntilStopped(); }
Task<absl::Status> Reads(World* world) {
  char byte = 0;
  const absl::StatusOr<size_t> n = co_await ReadOnce(world->pipe.out(), std::as_writable_bytes(std::span(&byte, 1)));
  co_return n.status();
}
Task<absl::Status> WaitsAtAGate(Gate* gate) {
  const bool opened = co_await *gate;
  co_return opened ? absl::OkStatus() : absl::CancelledError("gate");
}
Task<absl::Status> Blocks(World* world) {
  const CancelToken token = co_await CurrentToken();
  auto job = [world, token] {
    world->blocking = true;
    while (!token.stop_requested()) std::this_thread::yield();
    return absl::CancelledError("job");
  };
  co_return co_await RunBlocking(std::move(job));
}
Task<absl::Status> Signalled(World* world) {
  const absl::StatusOr<int> signal = co_await world->signals->Next();
  co_return signal.status();
}
Task<absl::Status> Joins() {
  auto child = co_await Spawn(Sleeps());
  co_return co_await std::move(child);
}
Task<absl::Status> JoinsAGroup() {
  TaskGroup group;
  for (int i = 0; i < 3; ++i) co_await group.Spawn(Sleeps());
  co_return co_await group.Join();
}
Task<absl::Status> WaitsForAll(World* world) {
  auto [a, b] = co_await WhenAll(Sleeps(), Reads(world));
  EXPECT_TRUE(absl::IsCancelled(b)) << b;
  co_return a;
}
Task<absl::Status> WaitsForAny(World* world) {
  auto first = co_await WhenAny(Sleeps(), Reads(world));
  co_return std::visit([](absl::Status& status) { return status; }, first);
}
Task<absl::Status> HasATimeout() { co_return co_await WithTimeout(absl::Hours(1), Sleeps()); }
Task<absl::Status> HasADeadline() {
  Deadline deadline(absl::Hours(1), absl::Milliseconds(1));
  co_return co_await WithDeadline(&deadline, Sleeps());
}
Task<absl::Status> HasASource() {
  CancelSource source;
  co_return co_await WithCancellation(source.token(), Sleeps());
}
Task<absl::Status> Yields() {
  for (bool stopped = false; !stopped; stopped = co_await StopRequested()) co_await Yield();
  co_return absl::CancelledError("yield");
}

Task<> Waits(World* world, int kind) {
  ++world->waiting;
  absl::Status status;
  switch (kind) {
    case 0:
      status = co_await Sleeps();
      break;
    case 1:
      status = co_await Reads(world);
      break;
    case 2:
      status = co_await WaitsAtAGate(&world->gate);
      break;
    case 3:
      status = co_await Blocks(world);
      break;
    case 4:
      status = co_await Signalled(world);
      break;
    case 5:
      status = co_await Joins();
      break;
    case 6:
      status = co_await JoinsAGroup();
      break;
    case 7:
      status = co_await WaitsForAll(world);
      break;
    case 8:
      status = co_await WaitsForAny(world);
      break;
    case 9:
      status = co_await HasATimeout();
      break;
    case 10:
      status = co_await HasADeadline();
      break;
    case 11:
      status = co_await HasASource();
      break;
    default:
      status = co_await Yields();
      break;
  }
  EXPECT_TRUE(absl::IsCancelled(status)) << kind << ": " << status;
  ++world->ended;
}
constexpr int kKinds = 13;
bool IsSimulated(int kind) { return kind != 3 && kind != 4; }  // the others need threads, or signals, of this machine

TEST_P(ShutdownTest, EndsTasksInEveryKindOfWait) {
  auto signals = SignalSet::Block({SIGUSR2});
  ASSERT_TRUE(signals.ok()) << signals.status();
  for (int round = 0; round < Scaled(40); ++round) {
    World world(&*signals);
    std::vector<JoinHandle<>> handles;
    auto runtime = Runtime::Create(options());
    ASSERT_TRUE(runtime.ok()) << runtime.status();
    for (int kind = 0; kind < kKinds; ++kind) handles.push_back(*(*runtime)->Spawn(Waits(&world, kind)));
    if (round % 4 != 0) {
      ASSERT_TRUE(Eventually([&] { return world.waiting == kKinds; }));
    }
    if (round % 4 == 2) {
      ASSERT_TRUE(Eventually([&] { return world.blocking.load(); }));
    }
    if (round % 4 == 3) (*runtime)->RequestStop();
    runtime->reset();
    EXPECT_EQ(world.ended, kKinds);
    for (auto& handle : handles) handle.Wait();
  }
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

class SimulatedShutdownTest : public EveryMachine {
 protected:
  // What it runs leaves tasks behind, which are to end with the machine.
  static void RunAndLeave(Task<> first) {
    sim::SimulationOptions options;
    options.seed = machine().seed;
    options.workers = workers();
    options.faults = machine().faults;
    sim::Simulation simulation(options);
    simulation.Run(std::move(first));
  }
};
INSTANTIATE_TEST_SUITE_P(Machines, SimulatedShutdownTest,
                         MachinesWith({}, Simulated(/*errors=*/true, /*workers=*/0, /*seeds=*/72)), MachineName);

Task<> WaitsInThe(std::shared_ptr<World> world, int kind, std::atomic<int>* ended) {
  co_await Waits(world.get(), kind);
  ++*ended;
}

// The last of them ends the world: its pipe is one of the machine's.
Task<int> LeaveThemWaiting(bool until_they_wait, std::atomic<int>* ended) {
  auto world = std::make_shared<World>(nullptr);
  int left = 0;
  for (int kind = 0; kind < kKinds; ++kind) {
    if (!IsSimulated(kind)) continue;
    SpawnDetached(WaitsInThe(world, kind, ended));
    ++left;
  }
  if (until_they_wait) {
    const bool wait = co_await EventuallyInTask([&] { return world->waiting == left; });
    EXPECT_TRUE(wait);
    const absl::Status slept = co_await Sleep(absl::Milliseconds(1));
    EXPECT_TRUE(slept.ok()) << slept;
  }
  EXPECT_EQ(*ended, 0);
  co_return left;
}

Task<> Leave(bool until_they_wait, std::atomic<int>* ended, int* left) {
  *left = co_await LeaveThemWaiting(until_they_wait, ended);
}

TEST_P(SimulatedShutdownTest, EndsTasksInEveryKindOfWait) {
  for (const bool until_they_wait : {false, true}) {
    std::atomic<int> ended{0};
    int left = 0;
    RunAndLeave(Leave(until_they_wait, &ended, &left));
    EXPECT_EQ(left, kKinds - 2);
    EXPECT_EQ(ended, left);
  }
}

// --- Intake
// ------------------------------------------------------------------------------------------------------------

Task<int> Value(int value) { co_return value; }

TEST_P(ShutdownTest, ASpawnAfterTheShutdownIsUnavailable) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  (*runtime)->Shutdown();
  (*runtime)->Shutdown();  // no effect
  std::atomic<int> alive{0};
  const auto handle = (*runtime)->Spawn([](Counted counted) -> Task<Counted> { co_return counted; }(Counted(&alive)));
  EXPECT_TRUE(absl::IsUnavailable(handle.status())) << handle.status();
  EXPECT_EQ(alive, 0);
}

TEST_P(ShutdownTest, SpawnsRaceWithTheShutdown) {
  for (int i = 0; i < Scaled(100); ++i) {
    auto runtime = Runtime::Create(options());
    ASSERT_TRUE(runtime.ok()) << runtime.status();
    std::atomic<bool> refused{false};
    std::atomic<int> spawned{0}, ran{0};
    std::thread spawner([&] {
      while (!refused) {
        auto handle = (*runtime)->Spawn([](std::atomic<int>* count) -> Task<> {
          ++*count;
          co_return;
        }(&ran));
        if (!handle.ok()) {
          EXPECT_TRUE(absl::IsUnavailable(handle.status()));
          refused = true;
          continue;
        }
        ++spawned;
        handle->Wait();
      }
    });
    while (spawned < i % 10) std::this_thread::yield();
    (*runtime)->Shutdown();
    spawner.join();
    EXPECT_EQ(ran, spawned);
  }
}

Task<> SpawnAfterStop(std::atomic<int>* ran) {
  static_cast<void>(co_await UntilStopped());
  auto child = co_await Spawn(Value(1));
  *ran += co_await std::move(child);
  SpawnDetached([](std::atomic<int>* count) -> Task<> {
    EXPECT_TRUE(co_await StopRequested());
    ++*count;
  }(ran));
}

TEST_P(ShutdownTest, TasksThatAreStoppingMaySpawn) {
  std::atomic<int> ran{0};
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  auto handle = (*runtime)->Spawn(SpawnAfterStop(&ran));
  runtime->reset();
  EXPECT_EQ(ran, 2);
}

TEST_P(SimulatedShutdownTest, TasksThatAreStoppingMaySpawn) {
  std::atomic<int> ran{0};
  RunAndLeave([](std::atomic<int>* count) -> Task<> {
    SpawnDetached(SpawnAfterStop(count));
    co_await Yield();
  }(&ran));
  EXPECT_EQ(ran, 2);
}

// --- Wakes from other threads
// ------------------------------------------------------------------------------------------

Task<bool> PassGate(Gate* gate) { co_return co_await *gate; }
Task<> YieldUntil(const std::atomic<bool>* done) {
  while (!*done) co_await Yield();
}

// A thread makes a task ready and is then slow to send the wake. The task ends, and the runtime with it, but not before
// the message has been sent to a ring that is still there.
TEST(Shutdown, WaitsForAThreadThatIsStillWaking) {
  for (int i = 0; i < 5; ++i) {
    TestKernel kernel;
    std::atomic<bool> slow{false}, in_message{false}, destroyed{false}, after{false};
    kernel.on_message = [&] {
      if (!slow || Worker::Current() != nullptr) return;
      in_message = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      after = destroyed.load();
    };
    RuntimeOptions options = WithWorkers(2);
    options.kernel = &kernel;
    auto runtime = Runtime::Create(options);
    ASSERT_TRUE(runtime.ok()) << runtime.status();
    std::atomic<bool> done{false};
    Gate gate;
    auto busy = (*runtime)->Spawn(YieldUntil(&done));  // one worker takes the task without being woken
    auto waiter = (*runtime)->Spawn(PassGate(&gate));
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    slow = true;
    std::thread opener([&] { gate.Open(); });
    EXPECT_TRUE(waiter->Wait());
    done = true;
    busy->Wait();
    runtime->reset();
    destroyed = true;
    opener.join();
    EXPECT_FALSE(after);
  }
}

TEST_P(ShutdownTest, ForeignWakesAndStopsRaceWithTheEnd) {
  for (int i = 0; i < Scaled(200); ++i) {
    auto runtime = Runtime::Create(options());
    ASSERT_TRUE(runtime.ok()) << runtime.status();
    Gate gate;
    CancelSource source;
    auto at_gate = (*runtime)->Spawn(PassGate(&gate));
    auto under_source = (*runtime)->Spawn([](CancelToken token) -> Task<absl::Status> {
      co_return co_await WithCancellation(std::move(token), UntilStopped());
    }(source.token()));
    std::thread opener([&] { gate.Open(); });
    std::thread firer([&] { source.RequestStop(); });
    if (i % 2 == 0) {
      at_gate->Wait();
      EXPECT_TRUE(absl::IsCancelled(under_source->Wait()));
    }
    runtime->reset();
    opener.join();
    firer.join();
  }
}

// --- Nothing is left
// ---------------------------------------------------------------------------------------------------

Task<> UseEverything(World* world, bool simulated) {
  std::vector<JoinHandle<>> handles;
  for (int kind = 0; kind < kKinds; ++kind) {
    if (IsSimulated(kind) || (kind == 3 && !simulated)) handles.push_back(co_await Spawn(Waits(world, kind)));
  }
  CO_ASSERT_OK(co_await Sleep(absl::Microseconds(100)));
  for (auto& handle : handles) handle.RequestStop();
  for (auto& handle : handles) co_await std::move(handle);
}

Task<> UseEverythingThere(bool simulated) {
  World world(nullptr);
  co_await UseEverything(&world, simulated);
}

TEST_P(SimulatedShutdownTest, NothingIsLeftAfterEveryKindOfWait) { RunOk(UseEverythingThere(/*simulated=*/true)); }

TEST_P(ShutdownTest, DescriptorsAndThreadsAreAsBeforeAHundredTimes) {
  // The first use of the clock, the allocator and the like may open something for good.
  {
    World world(nullptr);
    RunOk(UseEverything(&world, /*simulated=*/false), options());
  }
  const int threads = CountIn("task");
  const int descriptors = CountIn("fd");
  for (int i = 0; i < 100; ++i) {
    World world(nullptr);
    RunOk(UseEverything(&world, /*simulated=*/false), options());
  }
  EXPECT_EQ(CountIn("fd"), descriptors);
  // A thread that was joined may be seen for another moment.
  EXPECT_TRUE(Eventually([&] { return CountIn("task") <= threads; })) << CountIn("task") << " not " << threads;
}

}  // namespace
}  // namespace evring
