// The frame pool beside malloc: one frame over and over (an await in a loop), a burst (a fan-out and its join), and
// frames that are allocated on one thread and freed on another (tasks that are stolen). Argument: bytes of the frame.

#include <benchmark/benchmark.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <thread>
#include <vector>

#include "runtime/frame_pool.h"

namespace evring {
namespace {

struct Pool {
  static void* Allocate(size_t size) { return AllocateFrame(size); }
  static void Free(void* frame, size_t size) { FreeFrame(frame, size); }
};

struct Malloc {
  static void* Allocate(size_t size) { return std::malloc(size); }
  static void Free(void* frame, size_t) { std::free(frame); }
};

// What the loop itself costs: always the same memory.
struct NoAllocation {
  static void* Allocate(size_t) { return memory; }
  static void Free(void*, size_t) {}
  alignas(16) static inline std::byte memory[1024];
};

// The size is a constant, as in the ramp of a coroutine.
template <class From, size_t kSize>
void OneFrame(benchmark::State& state) {
  for (auto _ : state) {
    void* frame = From::Allocate(kSize);
    benchmark::DoNotOptimize(frame);
    *static_cast<void* volatile*>(frame) = nullptr;  // the coroutine writes its resume function there
    From::Free(frame, kSize);
    benchmark::ClobberMemory();
  }
}
BENCHMARK_TEMPLATE(OneFrame, NoAllocation, 120);
BENCHMARK_TEMPLATE(OneFrame, Pool, 120);
BENCHMARK_TEMPLATE(OneFrame, Malloc, 120);
BENCHMARK_TEMPLATE(OneFrame, Pool, 1000);
BENCHMARK_TEMPLATE(OneFrame, Malloc, 1000);

// 1000 frames, all alive at once. Items are frames.
template <class From>
void Burst(benchmark::State& state) {
  const size_t size = static_cast<size_t>(state.range(0));
  std::vector<void*> frames(1000);
  for (auto _ : state) {
    for (void*& frame : frames) {
      frame = From::Allocate(size);
      *static_cast<void* volatile*>(frame) = nullptr;
    }
    for (void* frame : frames) From::Free(frame, size);
  }
  state.SetItemsProcessed(static_cast<int64_t>(frames.size()) * state.iterations());
}
BENCHMARK_TEMPLATE(Burst, Pool)->Arg(120)->Arg(250)->Arg(1000);
BENCHMARK_TEMPLATE(Burst, Malloc)->Arg(120)->Arg(250)->Arg(1000);

// A second thread frees what this one allocates, 256 at a time. Items are frames; CPU time is that of both threads.
template <class From>
void HandedOver(benchmark::State& state) {
  constexpr size_t kBatch = 256;
  const size_t size = static_cast<size_t>(state.range(0));
  struct Batch {
    std::vector<void*> frames = std::vector<void*>(kBatch);
    std::atomic<bool> full{false};
  };
  Batch batches[8];
  std::atomic<bool> stop{false};
  std::thread consumer([&] {
    for (size_t next = 0;; next = (next + 1) % 8) {
      Batch& batch = batches[next];
      while (!batch.full.load(std::memory_order_acquire)) {  // pairs with the producer's release
        if (stop.load(std::memory_order_relaxed)) return;    // nothing is handed over after it
        std::this_thread::yield();
      }
      for (void* frame : batch.frames) From::Free(frame, size);
      batch.full.store(false, std::memory_order_release);  // pairs with the producer's acquire
    }
  });
  size_t next = 0;
  for (auto _ : state) {
    Batch& batch = batches[next];
    next = (next + 1) % 8;
    while (batch.full.load(std::memory_order_acquire)) std::this_thread::yield();
    for (void*& frame : batch.frames) {
      frame = From::Allocate(size);
      *static_cast<void* volatile*>(frame) = nullptr;
    }
    batch.full.store(true, std::memory_order_release);
  }
  for (Batch& batch : batches) {
    while (batch.full.load(std::memory_order_acquire)) std::this_thread::yield();
  }
  stop.store(true, std::memory_order_relaxed);
  consumer.join();
  state.SetItemsProcessed(static_cast<int64_t>(kBatch) * state.iterations());
}
BENCHMARK_TEMPLATE(HandedOver, Pool)->Arg(120)->Arg(1000)->MeasureProcessCPUTime()->UseRealTime();
BENCHMARK_TEMPLATE(HandedOver, Malloc)->Arg(120)->Arg(1000)->MeasureProcessCPUTime()->UseRealTime();

}  // namespace
}  // namespace evring
