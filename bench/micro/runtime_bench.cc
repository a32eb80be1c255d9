// What the runtime itself costs: awaiting a child, spawning, giving way, timers, waking another thread, a mutex that
// eight tasks fight for; on one worker and on two.
//
// `real` is wall time, `cpu` processor time of the whole process, both in nanoseconds per operation and the median of
// the iterations. An iteration is many operations in a task that the benchmark's thread spawns and waits for, so the
// wake that this takes is a small part of it. The workers exist before the clock starts. With repetitions there is also
// `_min`, the best of them: on a machine that others use, that is the figure to look at.
//
// Each worker is bound to a CPU of its own. Left to itself a busy machine's scheduler puts both on one, where they take
// turns and never get in each other's way; that looks cheaper than two workers are.
//
// BM_TwoToOne runs the same work on one worker and on two in turn. `ratio` is the wall time with two divided by that
// with one, `cpu_ratio` the same of processor time, each taken in every iteration, and the median of those: what
// disturbs the machine for longer than an iteration disturbs both. `searches`, `steals` and `parks` are those of the
// two workers, per operation: they say why it costs what it costs. BM_RescueOnToOff does so for two workers with and
// without rescue, and a thread that looks after workers that never stand still.

#include <benchmark/benchmark.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/micro/clock.h"
#include "kevent/check.h"
#include "runtime/placement.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/event.h"
#include "runtime/sync/mutex.h"
#include "runtime/task.h"
#include "runtime/timeout.h"
#include "runtime/worker.h"

namespace evring {
namespace {

// --- Measuring
// ---------------------------------------------------------------------------------------------------------

// The CPUs that the process was started with.
const cpu_set_t& AllowedCpus() {
  static const cpu_set_t allowed = [] {
    cpu_set_t set;
    EVRING_CHECK(sched_getaffinity(0, sizeof(set), &set) == 0, "more CPUs than a cpu_set_t holds");
    return set;
  }();
  return allowed;
}

// Binds the calling thread to the allowed CPU number `n`, counted from 0 and around.
void BindThread(int64_t n) {
  const cpu_set_t& allowed = AllowedCpus();
  n %= CPU_COUNT(&allowed);
  size_t cpu = 0;
  for (; !CPU_ISSET(cpu, &allowed) || n-- > 0; ++cpu) continue;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  EVRING_CHECK(sched_setaffinity(0, sizeof(one), &one) == 0, "the CPU is allowed");
}

void UnbindThread() {
  EVRING_CHECK(sched_setaffinity(0, sizeof(cpu_set_t), &AllowedCpus()) == 0, "it was allowed at the start");
}

Task<void> BindWorkers(int workers) {
  for (int i = 0; i < workers; ++i) {
    do {
      co_await ResumeOn(i);
    } while (Worker::Current()->index() != i);  // an idle worker took the task on its arrival
    BindThread(i);
  }
}

// Worker i runs on CPU i.
std::unique_ptr<Runtime> MakeRuntime(int64_t workers, RuntimeOptions options = RuntimeOptions()) {
  AllowedCpus();  // before any thread is bound
  options.workers = static_cast<int>(workers);
  auto runtime = Runtime::Create(options);
  EVRING_CHECK(runtime.ok(), "no runtime");
  auto bound = (*runtime)->Spawn(BindWorkers(options.workers));
  EVRING_CHECK(bound.ok(), "the runtime is there");
  bound->Wait();
  return *std::move(runtime);
}

// `part` of the values lie below the result, which is one of them.
double Quantile(std::vector<double> values, double part) {
  EVRING_CHECK(!values.empty(), "there was an iteration");
  const auto at = values.begin() + static_cast<ptrdiff_t>(part * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

double Median(const std::vector<double>& values) { return Quantile(values, 0.5); }
double Min(const std::vector<double>& values) { return *std::min_element(values.begin(), values.end()); }

struct Cost {
  double real = 0;  // ns
  double cpu = 0;
};

// Of running `task` to its end.
Cost CostOf(Runtime* runtime, Task<void> task) {
  const int64_t real = ClockNs(CLOCK_MONOTONIC);
  const int64_t cpu = ClockNs(CLOCK_PROCESS_CPUTIME_ID);
  auto handle = runtime->Spawn(std::move(task));
  EVRING_CHECK(handle.ok(), "the runtime is there");
  handle->Wait();
  return {static_cast<double>(ClockNs(CLOCK_MONOTONIC) - real),
          static_cast<double>(ClockNs(CLOCK_PROCESS_CPUTIME_ID) - cpu)};
}

// Runs what `make()` gives, `operations` each time, once per iteration.
template <class Make>
void Measure(benchmark::State& state, int64_t workers, int64_t operations, Make make) {
  const std::unique_ptr<Runtime> runtime = MakeRuntime(workers);
  std::vector<double> real, cpu;
  for (auto _ : state) {
    const Cost cost = CostOf(runtime.get(), make());
    real.push_back(cost.real / static_cast<double>(operations));
    cpu.push_back(cost.cpu / static_cast<double>(operations));
  }
  state.counters["real"] = Median(real);
  state.counters["cpu"] = Median(cpu);
  state.SetItemsProcessed(state.iterations() * operations);
}

// The same work on both runtimes in turn; `first` and `second` name their counters. Ratios are of the second to the
// first.
template <class Make>
void Compare(benchmark::State& state, const char* first_name, Runtime* first, const char* second_name, Runtime* second,
             int64_t operations, Make make) {
  std::vector<double> firsts, seconds, ratios, cpu_ratios;
  const WorkerCounters before = second->counters();
  for (auto _ : state) {
    const Cost of_first = CostOf(first, make());
    const Cost of_second = CostOf(second, make());
    firsts.push_back(of_first.real / static_cast<double>(operations));
    seconds.push_back(of_second.real / static_cast<double>(operations));
    ratios.push_back(of_second.real / of_first.real);
    cpu_ratios.push_back(of_second.cpu / of_first.cpu);
  }
  state.counters[first_name] = Median(firsts);
  state.counters[second_name] = Median(seconds);
  state.counters["ratio"] = Median(ratios);
  state.counters["cpu_ratio"] = Median(cpu_ratios);
  const WorkerCounters after = second->counters();
  const auto all = static_cast<double>(state.iterations() * operations);
  state.counters["searches"] = static_cast<double>(after.searches - before.searches) / all;
  state.counters["steals"] = static_cast<double>(after.steals - before.steals) / all;
  state.counters["parks"] = static_cast<double>(after.parks - before.parks) / all;
}

template <class Make>
void BM_TwoToOne(benchmark::State& state, int64_t operations, Make make) {
  const std::unique_ptr<Runtime> one = MakeRuntime(1);
  const std::unique_ptr<Runtime> two = MakeRuntime(2);
  Compare(state, "one", one.get(), "two", two.get(), operations, make);
}

template <class Make>
void BM_RescueOnToOff(benchmark::State& state, int64_t operations, Make make) {
  RuntimeOptions off;
  off.rescue_threshold = absl::InfiniteDuration();
  const std::unique_ptr<Runtime> without = MakeRuntime(2, off);
  const std::unique_ptr<Runtime> with = MakeRuntime(2);
  Compare(state, "without", without.get(), "with", with.get(), operations, make);
}

void Settings(benchmark::internal::Benchmark* b) {
  b->UseRealTime()->Unit(benchmark::kMillisecond)->ComputeStatistics("min", Min);
}
void OneWorker(benchmark::internal::Benchmark* b) { Settings(b->ArgName("workers")->Arg(1)); }
void OneAndTwoWorkers(benchmark::internal::Benchmark* b) { Settings(b->ArgName("workers")->Arg(1)->Arg(2)); }
void TwoWorkers(benchmark::internal::Benchmark* b) { Settings(b->ArgName("workers")->Arg(2)); }

// --- Awaiting
// ----------------------------------------------------------------------------------------------------------

[[gnu::noinline]] Task<int> Ready(int value) { co_return value; }

Task<void> AwaitChildren(int64_t n) {
  int64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += co_await Ready(1);
  benchmark::DoNotOptimize(sum);
}

// A loop that awaits a child which returns at once: frame, start, end, result. The second worker has nothing to do.
void BM_AwaitChild(benchmark::State& state) {
  constexpr int64_t kAwaits = 1'000'000;
  Measure(state, state.range(0), kAwaits, [] { return AwaitChildren(kAwaits); });
}
BENCHMARK(BM_AwaitChild)->Apply(OneAndTwoWorkers);

[[gnu::noinline]] Task<int64_t> Fib(int n) {
  if (n < 2) co_return n;
  const int64_t a = co_await Fib(n - 1);
  const int64_t b = co_await Fib(n - 2);
  co_return a + b;
}

Task<void> FibOnce(int n, int64_t expected) {
  const int64_t result = co_await Fib(n);
  EVRING_CHECK(result == expected, "fib");
}

// Children that await children, up to 24 deep. An operation is one of the 150,049 calls of fib(24).
void BM_AwaitFib(benchmark::State& state) {
  constexpr int64_t kCalls = 150'049;
  Measure(state, state.range(0), kCalls, [] { return FibOnce(24, 46'368); });
}
BENCHMARK(BM_AwaitFib)->Apply(OneWorker);

Task<void> AwaitSet(Event* event, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const absl::Status status = co_await event->Wait();
    EVRING_CHECK(status.ok(), "nobody stops it");
  }
}

// A loop that awaits what is ready already, an event that is set. It gives way once in 128 times.
void BM_AwaitSetEvent(benchmark::State& state) {
  constexpr int64_t kAwaits = 1'000'000;
  Event event(true);
  Measure(state, state.range(0), kAwaits, [&] { return AwaitSet(&event, kAwaits); });
}
BENCHMARK(BM_AwaitSetEvent)->Apply(OneWorker);

// --- Spawning
// ----------------------------------------------------------------------------------------------------------

[[gnu::noinline]] Task<void> Empty() { co_return; }

Task<void> SpawnAndAwait(int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    JoinHandle<void> child = co_await Spawn(Empty());
    co_await std::move(child);
  }
}

constexpr int64_t kSpawns = 200'000;

// An empty child, spawned and awaited.
void BM_SpawnAndAwait(benchmark::State& state) {
  Measure(state, state.range(0), kSpawns, [] { return SpawnAndAwait(kSpawns); });
}
BENCHMARK(BM_SpawnAndAwait)->Apply(OneAndTwoWorkers);
BENCHMARK_CAPTURE(BM_TwoToOne, spawn_and_await, kSpawns, [] { return SpawnAndAwait(kSpawns); })->Apply(Settings);
BENCHMARK_CAPTURE(BM_RescueOnToOff, spawn_and_await, kSpawns, [] { return SpawnAndAwait(kSpawns); })->Apply(Settings);

constexpr int kChildren = 1000;

// `rounds` times: children made by `make()`, and all awaited.
template <class Make>
Task<void> All(int children, int rounds, Make make) {
  std::vector<JoinHandle<void>> handles;
  handles.reserve(static_cast<size_t>(children));
  for (int round = 0; round < rounds; ++round) {
    for (int i = 0; i < children; ++i) {
      JoinHandle<void> child = co_await Spawn(make());
      handles.push_back(std::move(child));
    }
    for (JoinHandle<void>& handle : handles) co_await std::move(handle);
    handles.clear();
  }
}

constexpr int kSpawnRounds = 100;

// 1000 empty children, all alive before the first is awaited. An operation is a child.
void BM_Spawn1000(benchmark::State& state) {
  Measure(state, state.range(0), kSpawnRounds * kChildren, [] { return All(kChildren, kSpawnRounds, Empty); });
}
BENCHMARK(BM_Spawn1000)->Apply(OneAndTwoWorkers);
BENCHMARK_CAPTURE(BM_TwoToOne, spawn_1000, kSpawnRounds* kChildren, [] {
  return All(kChildren, kSpawnRounds, Empty);
})->Apply(Settings);

// --- Giving way
// --------------------------------------------------------------------------------------------------------

Task<void> Yields(int64_t n) {
  for (int64_t i = 0; i < n; ++i) co_await Yield();
}

constexpr int64_t kYields = 1'000'000;

// One task with nobody to give way to.
void BM_YieldAlone(benchmark::State& state) {
  Measure(state, state.range(0), kYields, [] { return Yields(kYields); });
}
BENCHMARK(BM_YieldAlone)->Apply(OneAndTwoWorkers);
BENCHMARK_CAPTURE(BM_TwoToOne, yield_alone, kYields, [] { return Yields(kYields); })->Apply(Settings);

Task<void> YieldsOf1000() {
  return All(kChildren, 1, [] { return Yields(kYields / kChildren); });
}

// 1000 tasks in turn.
void BM_Yield1000(benchmark::State& state) { Measure(state, state.range(0), kYields, YieldsOf1000); }
BENCHMARK(BM_Yield1000)->Apply(OneAndTwoWorkers);
BENCHMARK_CAPTURE(BM_TwoToOne, yield_1000, kYields, YieldsOf1000)->Apply(Settings);
BENCHMARK_CAPTURE(BM_RescueOnToOff, yield_1000, kYields, YieldsOf1000)->Apply(Settings);

// --- Timers
// ------------------------------------------------------------------------------------------------------------

Task<void> Sleeps(int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const absl::Status status = co_await Sleep(absl::ZeroDuration());
    EVRING_CHECK(status.ok(), "nobody stops it");
  }
}

// A timer that is armed and fires when the worker next looks at its wheel, of one task: each sleep goes through a
// parking of the worker.
void BM_SleepAlone(benchmark::State& state) {
  constexpr int64_t kSleeps = 2'000;
  Measure(state, state.range(0), kSleeps, [] { return Sleeps(kSleeps); });
}
BENCHMARK(BM_SleepAlone)->Apply(OneAndTwoWorkers);

// The same of 1000 tasks: many fire together.
void BM_Sleep1000(benchmark::State& state) {
  constexpr int64_t kSleeps = 200'000;
  Measure(state, state.range(0), kSleeps, [] { return All(kChildren, 1, [] { return Sleeps(kSleeps / kChildren); }); });
}
BENCHMARK(BM_Sleep1000)->Apply(OneAndTwoWorkers);

Task<void> Timeouts(int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const absl::StatusOr<int> result = co_await WithTimeout(absl::Hours(1), Ready(1));
    EVRING_CHECK(result.ok(), "an hour is long");
  }
}

Task<void> SleepSpread(int task, absl::Duration slack) {
  const absl::Status status = co_await Sleep(absl::Milliseconds(2) + task * absl::Microseconds(20), slack);
  EVRING_CHECK(status.ok(), "nobody stops it");
}

// 1000 tasks whose sleeps end 20 us apart, with as much slack as the argument says (us): `parks` are the wake-ups for
// each sleep. Processor time is what a slack saves.
void BM_SleepWithSlack(benchmark::State& state) {
  const std::unique_ptr<Runtime> runtime = MakeRuntime(1);
  const absl::Duration slack = absl::Microseconds(state.range(0));
  std::vector<double> cpu;
  const WorkerCounters before = runtime->counters();
  for (auto _ : state) {
    int task = 0;
    const Cost cost = CostOf(runtime.get(), All(kChildren, 1, [&] { return SleepSpread(task++, slack); }));
    cpu.push_back(cost.cpu / kChildren);
  }
  const WorkerCounters after = runtime->counters();
  state.counters["cpu"] = Median(cpu);
  state.counters["parks"] =
      static_cast<double>(after.parks - before.parks) / static_cast<double>(state.iterations() * kChildren);
}
BENCHMARK(BM_SleepWithSlack)->Apply([](benchmark::internal::Benchmark* b) {
  Settings(b->ArgName("slack_us")->Arg(0)->Arg(100)->Arg(1000)->Arg(10'000));
});

// A timer that is armed and cancelled: a child under a timeout that does not pass.
void BM_TimeoutNotReached(benchmark::State& state) {
  constexpr int64_t kTimeouts = 200'000;
  Measure(state, state.range(0), kTimeouts, [] { return Timeouts(kTimeouts); });
}
BENCHMARK(BM_TimeoutNotReached)->Apply(OneAndTwoWorkers);

// --- Waking another thread
// ---------------------------------------------------------------------------------------------

// Times `round_trip()` once per iteration, with the calling thread on CPU `state.range(1)`. A single waking goes to
// worker 0, on CPU 0. The counters are in microseconds.
template <class RoundTrip>
void MeasureRoundTrips(benchmark::State& state, RoundTrip round_trip) {
  BindThread(state.range(1));
  std::vector<double> us;
  for (auto _ : state) {
    const int64_t start = ClockNs(CLOCK_MONOTONIC);
    round_trip();
    us.push_back(static_cast<double>(ClockNs(CLOCK_MONOTONIC) - start) / 1000);
  }
  UnbindThread();
  state.counters["p50_us"] = Median(us);
  state.counters["p99_us"] = Quantile(us, 0.99);
}

void RoundTripSettings(benchmark::internal::Benchmark* b) {
  Settings(b->ArgNames({"workers", "cpu"})->ArgsProduct({{1, 2}, {0, 1}}));
  b->Unit(benchmark::kMicrosecond);
}

// A thread that is no worker spawns an empty task and blocks until it has ended: it wakes a parked worker, which wakes
// it.
void BM_ForeignSpawn(benchmark::State& state) {
  const std::unique_ptr<Runtime> runtime = MakeRuntime(state.range(0));
  MeasureRoundTrips(state, [&runtime] {
    auto handle = runtime->Spawn(Empty());
    EVRING_CHECK(handle.ok(), "the runtime is there");
    handle->Wait();
  });
}
BENCHMARK(BM_ForeignSpawn)->Apply(RoundTripSettings);

Task<void> SpawnAndAwaitUntil(const std::atomic<bool>* over) {
  while (!over->load(std::memory_order_relaxed)) {
    JoinHandle<void> child = co_await Spawn(Empty());
    co_await std::move(child);
  }
}

Task<void> StoreTime(int64_t* ns) {
  *ns = ClockNs(CLOCK_MONOTONIC);
  co_return;
}

// The same while every worker has something to run all the time: how long until the posted task runs. (That it does at
// all, and among the next few tasks, is tested: tests/runtime/posted_task_test.cc.) `max_us` is the longest of all.
void BM_ForeignSpawnBusy(benchmark::State& state) {
  const std::unique_ptr<Runtime> runtime = MakeRuntime(state.range(0));
  std::atomic<bool> over{false};
  std::vector<JoinHandle<void>> loops;
  for (int64_t i = 0; i < state.range(0); ++i) {
    auto loop = runtime->Spawn(SpawnAndAwaitUntil(&over));
    EVRING_CHECK(loop.ok(), "the runtime is there");
    loops.push_back(*std::move(loop));
  }
  std::vector<double> us;
  for (auto _ : state) {
    int64_t ran = 0;
    const int64_t start = ClockNs(CLOCK_MONOTONIC);
    auto handle = runtime->Spawn(StoreTime(&ran));
    EVRING_CHECK(handle.ok(), "the runtime is there");
    handle->Wait();
    us.push_back(static_cast<double>(ran - start) / 1000);
  }
  over.store(true, std::memory_order_relaxed);
  for (JoinHandle<void>& loop : loops) loop.Wait();
  state.counters["p50_us"] = Median(us);
  state.counters["p99_us"] = Quantile(us, 0.99);
  state.counters["max_us"] = *std::max_element(us.begin(), us.end());
}
BENCHMARK(BM_ForeignSpawnBusy)->Apply([](benchmark::internal::Benchmark* b) {
  Settings(b->ArgName("workers")->Arg(1)->Arg(2)->Arg(4)->Arg(8));
  b->Unit(benchmark::kMicrosecond);
});

struct Bell {
  Event rung;
  std::atomic<bool> over{false};
  std::atomic<int64_t> answers{0};
};

Task<void> Answer(Bell* bell) {
  for (;;) {
    const absl::Status status = co_await bell->rung.Wait();
    EVRING_CHECK(status.ok(), "nobody stops it");
    bell->rung.Reset();
    if (bell->over.load(std::memory_order_relaxed)) co_return;  // Set() and Wait() order it
    bell->answers.fetch_add(1, std::memory_order_release);      // pairs with the thread's wait
    bell->answers.notify_one();
  }
}

// A thread that is no worker sets an event that a task waits for, and blocks until that has answered.
void BM_ForeignEvent(benchmark::State& state) {
  const std::unique_ptr<Runtime> runtime = MakeRuntime(state.range(0));
  Bell bell;
  auto task = runtime->Spawn(Answer(&bell));
  EVRING_CHECK(task.ok(), "the runtime is there");
  int64_t asked = 0;
  MeasureRoundTrips(state, [&] {
    bell.rung.Set();
    bell.answers.wait(asked++, std::memory_order_acquire);  // pairs with the task's add
  });
  bell.over.store(true, std::memory_order_relaxed);  // published by Set()
  bell.rung.Set();
  task->Wait();
}
BENCHMARK(BM_ForeignEvent)->Apply(RoundTripSettings);

Task<void> ThereAndBack(int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    co_await ResumeOn(1);
    co_await ResumeOn(0);
  }
}

// A task goes from one worker to the other and back. The one it leaves has nothing to do and parks, so each way is a
// wake. (Two tasks that wake each other by events stay on one worker: BM_EventPingPong of sync_bench.)
void BM_WorkerToWorker(benchmark::State& state) {
  constexpr int64_t kRoundTrips = 1'000;
  Measure(state, state.range(0), kRoundTrips, [] { return ThereAndBack(kRoundTrips); });
}
BENCHMARK(BM_WorkerToWorker)->Apply(TwoWorkers);

// --- A mutex that eight tasks fight for
// --------------------------------------------------------------------------------

Task<void> Locks(Mutex* mutex, int64_t* guarded, int64_t n, bool yield) {
  for (int64_t i = 0; i < n; ++i) {
    auto guard = co_await mutex->Lock();
    EVRING_CHECK(guard.ok(), "nobody stops it");
    ++*guarded;
    if (yield) co_await Yield();
  }
}

constexpr int kContenders = 8;
constexpr int64_t kLocks = 160'000;

// Borrows what it is given until the task has ended.
Task<void> Contend(Mutex* mutex, int64_t* guarded, bool yield) {
  return All(kContenders, 1, [=] { return Locks(mutex, guarded, kLocks / kContenders, yield); });
}

// Held only as long as it takes to count.
void BM_Mutex8(benchmark::State& state) {
  Mutex mutex;
  int64_t guarded = 0;
  Measure(state, state.range(0), kLocks, [&] { return Contend(&mutex, &guarded, false); });
  EVRING_CHECK(guarded == state.iterations() * kLocks, "each lock counted");
}
BENCHMARK(BM_Mutex8)->Apply(OneAndTwoWorkers);

// Held across a yield: the other seven wait meanwhile.
void BM_Mutex8AcrossYield(benchmark::State& state) {
  Mutex mutex;
  int64_t guarded = 0;
  Measure(state, state.range(0), kLocks, [&] { return Contend(&mutex, &guarded, true); });
  EVRING_CHECK(guarded == state.iterations() * kLocks, "each lock counted");
}
BENCHMARK(BM_Mutex8AcrossYield)->Apply(OneAndTwoWorkers);

void BM_TwoToOneMutex8(benchmark::State& state, bool yield) {
  Mutex mutex;
  int64_t guarded = 0;
  BM_TwoToOne(state, kLocks, [&] { return Contend(&mutex, &guarded, yield); });
}
BENCHMARK_CAPTURE(BM_TwoToOneMutex8, held_briefly, false)->Apply(Settings);
BENCHMARK_CAPTURE(BM_TwoToOneMutex8, across_yield, true)->Apply(Settings);

}  // namespace
}  // namespace evring
