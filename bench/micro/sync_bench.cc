// The primitives of runtime/sync: what an operation costs, alone and contended, on one worker and on two.
//
// `real` is wall time per operation, `cpu` processor time of the whole process per operation, both in nanoseconds: with
// two workers they differ by what the second one does. An operation is a lock with its unlock, a message (one Send and
// one Receive), a round trip (two Set, two Wait). The workers exist before the clock starts.

#include <benchmark/benchmark.h>
#include <sys/resource.h>
#include <time.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "bench/micro/clock.h"
#include "kevent/check.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/channel.h"
#include "runtime/sync/event.h"
#include "runtime/sync/mutex.h"
#include "runtime/sync/semaphore.h"
#include "runtime/task.h"

namespace evring {
namespace {

std::unique_ptr<Runtime> MakeRuntime(int64_t workers) {
  RuntimeOptions options;
  options.workers = static_cast<int>(workers);
  auto runtime = Runtime::Create(options);
  EVRING_CHECK(runtime.ok(), "no runtime");
  return *std::move(runtime);
}

// Runs what `make()` gives once per iteration, each of `operations`.
template <class Make>
void Measure(benchmark::State& state, int64_t workers, int64_t operations, Make make) {
  const std::unique_ptr<Runtime> runtime = MakeRuntime(workers);
  const int64_t real = ClockNs(CLOCK_MONOTONIC);
  const int64_t cpu = ClockNs(CLOCK_PROCESS_CPUTIME_ID);
  for (auto _ : state) {
    auto handle = runtime->Spawn(make());
    EVRING_CHECK(handle.ok(), "the runtime is there");
    handle->Wait();
  }
  const auto done = static_cast<double>(state.iterations() * operations);
  state.counters["real"] = static_cast<double>(ClockNs(CLOCK_MONOTONIC) - real) / done;
  state.counters["cpu"] = static_cast<double>(ClockNs(CLOCK_PROCESS_CPUTIME_ID) - cpu) / done;
  state.SetItemsProcessed(static_cast<int64_t>(done));
}

// `n` children made by `make()`, and all awaited.
template <class Make>
Task<void> All(int n, Make make) {
  std::vector<JoinHandle<void>> handles;
  for (int i = 0; i < n; ++i) handles.push_back(co_await Spawn(make()));
  for (JoinHandle<void>& handle : handles) co_await std::move(handle);
}

// --- Mutex
// -------------------------------------------------------------------------------------------------------------

Task<void> LockAndUnlock(Mutex* mutex, int64_t* guarded, int64_t n, bool yield) {
  for (int64_t i = 0; i < n; ++i) {
    auto guard = co_await mutex->Lock();
    EVRING_CHECK(guard.ok(), "nobody stops it");
    ++*guarded;
    if (yield) co_await Yield();
  }
}

void BM_MutexUncontended(benchmark::State& state) {
  constexpr int64_t kLocks = 100'000;
  Mutex mutex;
  int64_t guarded = 0;
  Measure(state, state.range(0), kLocks, [&] { return LockAndUnlock(&mutex, &guarded, kLocks, false); });
}
BENCHMARK(BM_MutexUncontended)->ArgName("workers")->Arg(1)->Arg(2)->UseRealTime();

void Contended(benchmark::State& state, bool yield) {
  constexpr int64_t kLocks = 100;
  const int tasks = static_cast<int>(state.range(1));
  Mutex mutex;
  int64_t guarded = 0;
  Measure(state, state.range(0), tasks * kLocks,
          [&] { return All(tasks, [&] { return LockAndUnlock(&mutex, &guarded, kLocks, yield); }); });
}

// Held only as long as it takes to count.
void BM_MutexContended(benchmark::State& state) { Contended(state, false); }
BENCHMARK(BM_MutexContended)->ArgNames({"workers", "tasks"})->Args({1, 1000})->Args({2, 1000})->UseRealTime();

// Held across a yield: all other tasks wait meanwhile.
void BM_MutexHeldAcrossYield(benchmark::State& state) { Contended(state, true); }
BENCHMARK(BM_MutexHeldAcrossYield)->ArgNames({"workers", "tasks"})->Args({1, 1000})->Args({2, 1000})->UseRealTime();

// --- Semaphore
// ---------------------------------------------------------------------------------------------------------

Task<void> AcquireAndRelease(Semaphore* semaphore, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    EVRING_CHECK((co_await semaphore->Acquire()).ok(), "nobody stops it");
    semaphore->Release();
  }
}

void BM_SemaphoreUncontended(benchmark::State& state) {
  constexpr int64_t kAcquires = 100'000;
  Semaphore semaphore(4);
  Measure(state, state.range(0), kAcquires, [&] { return AcquireAndRelease(&semaphore, kAcquires); });
}
BENCHMARK(BM_SemaphoreUncontended)->ArgName("workers")->Arg(1)->UseRealTime();

// --- Channel
// -----------------------------------------------------------------------------------------------------------

Task<void> SendAll(Channel<int64_t>* channel, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    EVRING_CHECK((co_await channel->Send(i)).ok(), "it is open");
  }
}

Task<void> ReceiveAll(Channel<int64_t>* channel, int64_t n) {
  int64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    auto value = co_await channel->Receive();
    EVRING_CHECK(value.ok(), "it is open");
    sum += *value;
  }
  benchmark::DoNotOptimize(sum);
}

// As many senders as receivers, each of its share of the messages.
Task<void> Exchange(Channel<int64_t>* channel, int pairs, int64_t messages) {
  co_await All(2 * pairs, [channel, n = messages / pairs, i = 0]() mutable {
    return ++i % 2 == 0 ? SendAll(channel, n) : ReceiveAll(channel, n);
  });
}

void BM_Channel(benchmark::State& state) {
  constexpr int64_t kMessages = 400'000;
  Channel<int64_t> channel(static_cast<size_t>(state.range(2)));
  Measure(state, state.range(0), kMessages,
          [&] { return Exchange(&channel, static_cast<int>(state.range(1)), kMessages); });
}
BENCHMARK(BM_Channel)
    ->ArgNames({"workers", "pairs", "capacity"})
    ->ArgsProduct({{1, 2}, {1, 4}, {1, 64, 1024}})
    ->UseRealTime();

// --- Event
// -------------------------------------------------------------------------------------------------------------

Task<void> Answer(Event* mine, Event* other, int64_t rounds) {
  for (int64_t i = 0; i < rounds; ++i) {
    EVRING_CHECK((co_await mine->Wait()).ok(), "nobody stops it");
    mine->Reset();
    other->Set();
  }
}

Task<void> PingPong(Event* a, Event* b, int64_t rounds) {
  auto answering = co_await Spawn(Answer(a, b, rounds));
  for (int64_t i = 0; i < rounds; ++i) {
    a->Set();
    EVRING_CHECK((co_await b->Wait()).ok(), "nobody stops it");
    b->Reset();
  }
  co_await std::move(answering);
}

void BM_EventPingPong(benchmark::State& state) {
  constexpr int64_t kRounds = 100'000;
  Event a, b;
  Measure(state, state.range(0), kRounds, [&] { return PingPong(&a, &b, kRounds); });
}
BENCHMARK(BM_EventPingPong)->ArgName("workers")->Arg(1)->Arg(2)->UseRealTime();

}  // namespace
}  // namespace evring
