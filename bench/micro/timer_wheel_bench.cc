// The timing wheel beside a std::multimap and a binary heap that deletes lazily: what a timeout costs that is armed and
// cancelled, what a timer costs that fires, and what a turn of the worker's loop costs with nothing due.
// Arguments: how many other timers are armed.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <future>
#include <map>
#include <mutex>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/spin_lock.h"
#include "runtime/timer_wheel.h"

namespace evring {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kTimeout = 30 * kSecond;

// The three under one interface: Arm(i, deadline), Cancel(i), Fire(now) of timers numbered from 0.
class Wheel {
 public:
  explicit Wheel(size_t timers) : nodes_(timers) {}
  ~Wheel() {
    for (TimerNode& n : nodes_) wheel_.Cancel(&n);
  }
  void Arm(size_t i, int64_t deadline) { wheel_.Arm(&nodes_[i], deadline); }
  void Cancel(size_t i) { wheel_.Cancel(&nodes_[i]); }
  size_t Fire(int64_t now) {
    size_t fired = 0;
    while (wheel_.NextDeadline() <= now) {
      fired += wheel_.Advance(now, [](TimerNode* n) { benchmark::DoNotOptimize(n); }, 256);
    }
    return fired;
  }

 private:
  TimerWheel wheel_{0};
  std::deque<TimerNode> nodes_;
};

class Multimap {
 public:
  explicit Multimap(size_t timers) : where_(timers) {}
  void Arm(size_t i, int64_t deadline) { where_[i] = map_.emplace(deadline, i); }
  void Cancel(size_t i) { map_.erase(where_[i]); }
  size_t Fire(int64_t now) {
    size_t fired = 0;
    for (; !map_.empty() && map_.begin()->first <= now; ++fired) {
      benchmark::DoNotOptimize(map_.begin()->second);
      map_.erase(map_.begin());
    }
    return fired;
  }

 private:
  std::multimap<int64_t, size_t> map_;
  std::vector<std::multimap<int64_t, size_t>::iterator> where_;
};

// A cancelled entry stays in the heap until it is due: cheap to cancel, but the heap grows with the timeouts.
class LazyHeap {
 public:
  explicit LazyHeap(size_t timers) : deadline_(timers) {}
  void Arm(size_t i, int64_t deadline) {
    deadline_[i] = deadline;
    heap_.emplace_back(-deadline, i);
    std::push_heap(heap_.begin(), heap_.end());
  }
  void Cancel(size_t i) { deadline_[i] = 0; }
  size_t Fire(int64_t now) {
    size_t fired = 0;
    while (!heap_.empty() && -heap_.front().first <= now) {
      const auto [negative, i] = heap_.front();
      std::pop_heap(heap_.begin(), heap_.end());
      heap_.pop_back();
      if (deadline_[i] == -negative) ++fired;
    }
    return fired;
  }

 private:
  std::vector<std::pair<int64_t, size_t>> heap_;
  std::vector<int64_t> deadline_;
};

// One timeout, armed and cancelled at once.
template <class Timers>
void ArmAndCancel(benchmark::State& state) {
  const size_t others = static_cast<size_t>(state.range(0));
  std::mt19937_64 random(1);
  Timers timers(others + 1);
  for (size_t i = 0; i < others; ++i) timers.Arm(i, kTimeout + static_cast<int64_t>(random() % kTimeout));
  int64_t now = 0;
  for (auto _ : state) {
    timers.Arm(others, now + kTimeout);
    timers.Cancel(others);
    now += 100;
  }
}
BENCHMARK_TEMPLATE(ArmAndCancel, Wheel)->Arg(0)->Arg(1000)->Arg(1'000'000);
BENCHMARK_TEMPLATE(ArmAndCancel, Multimap)->Arg(0)->Arg(1000)->Arg(1'000'000);

// Connections that renew their timeout in random order, as a busy server's do: cancel, arm, and the worker looks at the
// time after each. (The heap grows all the while by what was cancelled.)
template <class Timers>
void RenewTimeouts(benchmark::State& state) {
  const size_t connections = static_cast<size_t>(state.range(0));
  std::mt19937_64 random(2);
  std::vector<uint32_t> order(1 << 20);
  for (uint32_t& i : order) i = static_cast<uint32_t>(random() % connections);
  Timers timers(connections);
  int64_t now = 0;
  // A microsecond each: only of a million connections some stay unrenewed for 30 s, and are armed anew after they
  // fired.
  std::vector<int64_t> armed(connections, 0);
  for (size_t i = 0; i < connections; ++i) timers.Arm(i, now + kTimeout);
  size_t next = 0;
  size_t fired = 0;
  for (auto _ : state) {
    now += 1000;
    const size_t i = order[next++ & (order.size() - 1)];
    if (now - armed[i] < kTimeout) timers.Cancel(i);
    armed[i] = now;
    timers.Arm(i, now + kTimeout);
    fired += timers.Fire(now);
  }
  benchmark::DoNotOptimize(fired);
}
BENCHMARK_TEMPLATE(RenewTimeouts, Wheel)->Arg(64)->Arg(10'000)->Arg(1'000'000);
BENCHMARK_TEMPLATE(RenewTimeouts, Multimap)->Arg(64)->Arg(10'000)->Arg(1'000'000);
BENCHMARK_TEMPLATE(RenewTimeouts, LazyHeap)->Arg(64)->Arg(10'000)->Arg(1'000'000);

// Timers that all fire: armed over ten seconds in random order, then time passes in steps of 50 us.
template <class Timers>
void ArmAndFire(benchmark::State& state) {
  const size_t count = static_cast<size_t>(state.range(0));
  std::mt19937_64 random(3);
  std::vector<int64_t> after(count);
  for (int64_t& ns : after) ns = static_cast<int64_t>(random() % (10 * kSecond));
  Timers timers(count);
  int64_t now = 0;
  for (auto _ : state) {
    for (size_t i = 0; i < count; ++i) timers.Arm(i, now + after[i]);
    for (size_t fired = 0; fired < count; now += 50'000) fired += timers.Fire(now);
  }
  state.SetItemsProcessed(static_cast<int64_t>(count) * state.iterations());
}
BENCHMARK_TEMPLATE(ArmAndFire, Wheel)->Arg(1'000'000)->Unit(benchmark::kMillisecond);
BENCHMARK_TEMPLATE(ArmAndFire, Multimap)->Arg(1'000'000)->Unit(benchmark::kMillisecond);
BENCHMARK_TEMPLATE(ArmAndFire, LazyHeap)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

// What every turn of the worker's loop pays: is anything due, and until when may it sleep.
void IdleTurn(benchmark::State& state) {
  const size_t others = static_cast<size_t>(state.range(0));
  std::mt19937_64 random(4);
  TimerWheel wheel(0);
  std::deque<TimerNode> nodes(others);
  for (TimerNode& n : nodes) wheel.Arm(&n, int64_t{1} << 60 | static_cast<int64_t>(random() % kTimeout));
  int64_t now = 0;
  for (auto _ : state) {
    now += 100;
    wheel.Advance(now, [](TimerNode*) {}, 256);
    benchmark::DoNotOptimize(wheel.NextDeadline());
  }
  for (TimerNode& n : nodes) wheel.Cancel(&n);
}
BENCHMARK(IdleTurn)->Arg(0)->Arg(1)->Arg(100'000);

// A timeout as a task pays for it: the wheel's lock around each of the two. A second thread exists, as in every
// runtime: without one a std::mutex does without atomic instructions.
template <class Mutex>
void ArmAndCancelLocked(benchmark::State& state) {
  std::promise<void> done;
  std::thread other([&] { done.get_future().wait(); });
  Mutex mutex;
  TimerWheel wheel(0);
  TimerNode n;
  int64_t now = 0;
  for (auto _ : state) {
    {
      const std::lock_guard<Mutex> hold(mutex);
      wheel.Arm(&n, now + kTimeout);
    }
    {
      const std::lock_guard<Mutex> hold(mutex);
      wheel.Cancel(&n);
    }
    now += 100;
  }
  done.set_value();
  other.join();
}
BENCHMARK_TEMPLATE(ArmAndCancelLocked, SpinLock);
BENCHMARK_TEMPLATE(ArmAndCancelLocked, std::mutex);

}  // namespace
}  // namespace evring
