// seeds.h: runs a scenario with many seeds, each in a process of its own (sim/explore.h), and speaks of what it does.
//
//   TEST(HttpStorm, NothingIsLost) {
//     RunSeeds(1000, [](const SimulationOptions& options) { … EXPECT_… });
//   }
//
// What can be set from outside, and what a failure says: sim/testing.h.

#ifndef EVRING_TESTS_SIM_SEEDS_H_
#define EVRING_TESTS_SIM_SEEDS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/placement.h"
#include "runtime/sleep.h"
#include "runtime/task.h"
#include "runtime/worker.h"
#include "sim/explore.h"
#include "sim/random.h"
#include "sim/simulation.h"
#include "sim/testing.h"

namespace evring::sim {

// Runs `scenario` with `seeds` seeds, or as the environment says (RunSeeds, sim/testing.h).
inline void RunSeeds(uint64_t seeds, const std::function<void(const SimulationOptions&)>& scenario) {
  const Exploration exploration = RunSeeds(TestOptions().Seeds(seeds).Machine(SimulationOptions()), scenario);
  if (exploration.seeds > 1) {
    EXPECT_GT(exploration.injected, 0u) << "nothing has gone wrong in any run";
  }
}

// --- A machine that is too small for what runs on it, in ways that the seed says

// What storms differ in. Each is so in one run of two.
struct MachineSizes {
  size_t socket_buffer_bytes;  // or 4096
  uint32_t buffer_bytes;       // or 64
  uint32_t buffers_max;        // of a worker, or 64
};

// Up to four workers, few buffers, and in one run of two a ring of 16 completions.
inline void DrawMachine(Random* random, const MachineSizes& sizes, SimulationOptions* options) {
  options->workers = 1 + static_cast<int>(random->Below(4));
  options->socket_buffer_bytes = random->OneIn(2) ? 4096 : sizes.socket_buffer_bytes;
  options->runtime.buffers.buffer_bytes = random->OneIn(2) ? 64 : sizes.buffer_bytes;
  options->runtime.buffers.initial = 2;
  options->runtime.buffers.max = random->OneIn(2) ? sizes.buffers_max : 64;
  if (random->OneIn(2)) {
    options->runtime.ring.sq_entries = 8;
    options->runtime.ring.cq_entries = 16;
  }
  options->calls_max = 5'000'000;
}

// --- What must be as before when a scenario has ended

// How many buffers each worker has ever lent to its ring.
using BuffersLent = std::vector<uint32_t>;

// Last in a scenario, when its tasks have ended: waits until requests that were let go have come to their end, and
// every worker has lent again what others had returned.
inline Task<BuffersLent> Settle() {
  for (int i = 0; i < 10; ++i) static_cast<void>(co_await Sleep(absl::Seconds(1)));
  BuffersLent lent;
  for (int i = 0; i < WorkerCount(); ++i) {
    do {
      co_await ResumeOn(i);
    } while (Worker::Current()->index() != i);  // stolen in between
    Worker::Current()->buffers()->Reclaim();
    lent.push_back(Worker::Current()->buffers()->lent_max());
  }
  co_return lent;
}

inline void ExpectAllBack(const SimulationReport& report, const BuffersLent& lent) {
  EXPECT_EQ(report.open_descriptors, 0);
  ASSERT_EQ(report.buffers_held.size(), lent.size());
  for (size_t worker = 0; worker < lent.size(); ++worker) {
    const std::multiset<uint16_t>& held = report.buffers_held[worker];
    EXPECT_EQ(held.size(), lent[worker]) << "buffers of worker " << worker << " are missing, or are there twice";
    EXPECT_EQ(std::set<uint16_t>(held.begin(), held.end()).size(), held.size()) << "returned twice";
  }
}

// How many there are of what holds one of these. For tasks: one worker runs at a time.
class Alive {
 public:
  explicit Alive(int* count) : count_(count) { ++*count_; }
  Alive(const Alive&) = delete;
  Alive& operator=(const Alive&) = delete;
  ~Alive() { --*count_; }

 private:
  int* const count_;
};

// Virtual time. On a worker.
inline absl::Duration Now() { return absl::Nanoseconds(Worker::Current()->NowNs()); }

}  // namespace evring::sim

#endif  // EVRING_TESTS_SIM_SEEDS_H_
