// The primitives of runtime/sync: what an operation costs, alone and contended, on one worker and on two.
//
// `real` is wall time per operation, `cpu` processor time of the whole process per operation, both in nanoseconds: with
// two workers they differ by what the second one does. An operation is a lock with its unlock, a message (one Send and
// one Receive), a round trip (two Set, two Wait), an arrival at a barrier. The workers exist before the clock starts.

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
#include "runtime/sync/barrier.h"
#include "runtime/sync/broadcast.h"
#include "runtime/sync/channel.h"
#include "runtime/sync/cond_var.h"
#include "runtime/sync/event.h"
#include "runtime/sync/mutex.h"
#include "runtime/sync/oneshot.h"
#include "runtime/sync/semaphore.h"
#include "runtime/sync/shared_mutex.h"
#include "runtime/sync/unbounded_channel.h"
#include "runtime/sync/watch.h"
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

template <class AnyChannel>
Task<void> ReceiveAll(AnyChannel* channel, int64_t n) {
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

// --- SharedMutex
// -------------------------------------------------------------------------------------------------------

// Every `writes`-th operation writes; 0: none.
Task<void> ReadAndWrite(SharedMutex* mutex, int64_t* guarded, int64_t n, int64_t writes) {
  for (int64_t i = 1; i <= n; ++i) {
    if (writes != 0 && i % writes == 0) {
      auto guard = co_await mutex->Lock();
      EVRING_CHECK(guard.ok(), "nobody stops it");
      ++*guarded;
    } else {
      auto guard = co_await mutex->LockShared();
      EVRING_CHECK(guard.ok(), "nobody stops it");
      benchmark::DoNotOptimize(*guarded);
    }
  }
}

void BM_SharedMutexUncontended(benchmark::State& state) {
  constexpr int64_t kLocks = 100'000;
  SharedMutex mutex;
  int64_t guarded = 0;
  Measure(state, 1, kLocks, [&] { return ReadAndWrite(&mutex, &guarded, kLocks, state.range(0)); });
}
BENCHMARK(BM_SharedMutexUncontended)->ArgName("writes")->Arg(0)->Arg(1)->UseRealTime();

void BM_SharedMutexContended(benchmark::State& state) {
  constexpr int64_t kLocks = 100;
  constexpr int kTasks = 1000;
  SharedMutex mutex;
  int64_t guarded = 0;
  Measure(state, state.range(0), kTasks * kLocks,
          [&] { return All(kTasks, [&] { return ReadAndWrite(&mutex, &guarded, kLocks, state.range(1)); }); });
}
BENCHMARK(BM_SharedMutexContended)->ArgNames({"workers", "writes"})->ArgsProduct({{1, 2}, {1, 10}})->UseRealTime();

// --- CondVar
// -----------------------------------------------------------------------------------------------------------

// Two take turns: each waits for its own.
Task<void> TakeTurns(Mutex* mutex, CondVar* cond_var, int64_t* turn, int64_t mine, int64_t rounds) {
  auto guard = co_await mutex->Lock();
  EVRING_CHECK(guard.ok(), "nobody stops it");
  for (int64_t i = 0; i < rounds; ++i) {
    while (*turn != mine) {
      EVRING_CHECK((co_await cond_var->Wait(&*guard)).ok(), "nobody stops it");
    }
    *turn = 1 - mine;
    cond_var->NotifyOne();
  }
}

void BM_CondVarPingPong(benchmark::State& state) {
  constexpr int64_t kRounds = 100'000;
  Mutex mutex;
  CondVar cond_var;
  int64_t turn = 0;
  Measure(state, state.range(0), kRounds, [&] {
    return All(2, [&, mine = int64_t{0}]() mutable { return TakeTurns(&mutex, &cond_var, &turn, mine++, kRounds); });
  });
}
BENCHMARK(BM_CondVarPingPong)->ArgName("workers")->Arg(1)->Arg(2)->UseRealTime();

// --- Barrier
// -----------------------------------------------------------------------------------------------------------

Task<void> ArriveOften(Barrier<>* barrier, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    EVRING_CHECK((co_await barrier->ArriveAndWait()).ok(), "nobody stops it");
  }
}

void BM_Barrier(benchmark::State& state) {
  constexpr int64_t kPhases = 10'000;
  const int tasks = static_cast<int>(state.range(1));
  Barrier<> barrier(static_cast<uint64_t>(tasks));
  Measure(state, state.range(0), tasks * kPhases,
          [&] { return All(tasks, [&] { return ArriveOften(&barrier, kPhases); }); });
}
BENCHMARK(BM_Barrier)->ArgNames({"workers", "tasks"})->ArgsProduct({{1, 2}, {2, 16}})->UseRealTime();

// --- UnboundedChannel
// --------------------------------------------------------------------------------------------------

// Gives way every so many, as a sender that nothing holds back must.
Task<void> SendUnbounded(UnboundedChannel<int64_t>* channel, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    EVRING_CHECK(channel->Send(i).ok(), "it is open");
    if (i % 64 == 63) co_await Yield();
  }
}

void BM_UnboundedChannel(benchmark::State& state) {
  constexpr int64_t kMessages = 400'000;
  const int pairs = static_cast<int>(state.range(1));
  UnboundedChannel<int64_t> channel;
  Measure(state, state.range(0), kMessages, [&] {
    return All(2 * pairs, [&channel, n = kMessages / pairs, i = 0]() mutable {
      return ++i % 2 == 0 ? SendUnbounded(&channel, n) : ReceiveAll(&channel, n);
    });
  });
}
BENCHMARK(BM_UnboundedChannel)->ArgNames({"workers", "pairs"})->ArgsProduct({{1, 2}, {1, 4}})->UseRealTime();

// --- Oneshot
// -----------------------------------------------------------------------------------------------------------

// Made, sent and received: what an answer to a request costs beside the request.
Task<void> SendToItself(int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    Oneshot<int64_t> ends;
    EVRING_CHECK(ends.sender.Send(i).ok(), "the receiver is there");
    EVRING_CHECK((co_await ends.receiver.Receive()).ok(), "it was sent");
  }
}

void BM_Oneshot(benchmark::State& state) {
  constexpr int64_t kValues = 100'000;
  Measure(state, 1, kValues, [] { return SendToItself(kValues); });
}
BENCHMARK(BM_Oneshot)->UseRealTime();

// --- Watch and Broadcast
// -----------------------------------------------------------------------------------------------

void BM_WatchSetAndGet(benchmark::State& state) {
  Watch<int64_t> watch(0);
  for (auto _ : state) {
    EVRING_CHECK(watch.Set(1).ok(), "it is open");
    benchmark::DoNotOptimize(watch.Get());
  }
}
BENCHMARK(BM_WatchSetAndGet);

Task<void> ReceiveBroadcast(BroadcastReceiver<int64_t> receiver) {
  for (;;) {
    auto value = co_await receiver.Receive();
    if (!value.ok()) break;
  }
}

Task<void> SendBroadcast(int receivers, int64_t n) {
  Broadcast<int64_t> broadcast(128);
  std::vector<JoinHandle<void>> handles;
  for (int i = 0; i < receivers; ++i) handles.push_back(co_await Spawn(ReceiveBroadcast(broadcast.Subscribe())));
  for (int64_t i = 0; i < n; ++i) {
    EVRING_CHECK(broadcast.Send(i).ok(), "it is open");
    if (i % 64 == 63) co_await Yield();
  }
  broadcast.Close();
  for (JoinHandle<void>& handle : handles) co_await std::move(handle);
}

// An operation is a value that was sent, to all.
void BM_Broadcast(benchmark::State& state) {
  constexpr int64_t kValues = 100'000;
  const int receivers = static_cast<int>(state.range(1));
  Measure(state, state.range(0), kValues, [=] { return SendBroadcast(receivers, kValues); });
}
BENCHMARK(BM_Broadcast)->ArgNames({"workers", "receivers"})->ArgsProduct({{1, 2}, {1, 8}})->UseRealTime();

}  // namespace
}  // namespace evring
