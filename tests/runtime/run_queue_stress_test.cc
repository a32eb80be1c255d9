// RunQueue, LifoSlot and InjectQueue under real threads, for ThreadSanitizer and for processors that reorder: an owner
// that pushes, in batches and one by one, pops and overflows, and one to eight thieves. Each task comes out exactly
// once, with its content, which is plain memory: a hand-over without an edge is a race.

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "runtime/inject_queue.h"
#include "runtime/lifo_slot.h"
#include "runtime/run_queue.h"

namespace evring {
namespace {

struct Task {
  Task* queue_next = nullptr;
  uint64_t content = 0;
  int taken = 0;
};

uint64_t ContentOf(size_t i) { return i * 0x9e3779b97f4a7c15 + 1; }

template <uint32_t kCapacity>
class Contest {
 public:
  Contest(int thieves, size_t tasks) : tasks_(tasks), queues_(new RunQueue<Task, kCapacity>[thieves + 1]) {
    std::vector<std::thread> threads;
    threads.reserve(thieves);
    for (int i = 1; i <= thieves; ++i) threads.emplace_back([this, i, thieves] { Steal(i, thieves); });
    Own();
    for (std::thread& thread : threads) thread.join();
  }

  void CheckAll() const {
    EXPECT_EQ(taken_.load(), tasks_.size());
    EXPECT_EQ(wrong_.load(), 0u);
    for (size_t i = 0; i < tasks_.size(); ++i) ASSERT_EQ(tasks_[i].taken, 1) << "task " << i;
  }

 private:
  void Own() {
    const auto overflow = [this](Task** items, size_t n) { inject_.PushBatch(items, n); };
    uint32_t random = 1;
    for (size_t i = 0; i < tasks_.size();) {
      random = random * 1664525 + 1013904223;
      size_t batch = (random >> 24) % (2 * kCapacity);
      for (; batch != 0 && i + 1 < tasks_.size(); --batch, ++i) {
        tasks_[i].content = ContentOf(i);
        queues_[0].PushUnpublished(&tasks_[i], overflow);
      }
      queues_[0].Publish();
      tasks_[i].content = ContentOf(i);
      if (Task* displaced = lifo_.Push(&tasks_[i]); displaced != nullptr) queues_[0].Push(displaced, overflow);
      ++i;
      for (uint32_t pops = (random >> 16) % (2 * kCapacity); pops != 0; --pops) Take(queues_[0].Pop());
      if ((random >> 13) % 2 == 0) Take(lifo_.Pop());
    }
    do {
      Take(lifo_.Pop());
      Take(inject_.Pop());
      while (Task* task = queues_[0].Pop()) Take(task);
    } while (taken_.load(std::memory_order_relaxed) < tasks_.size());
  }

  void Steal(int self, int thieves) {
    uint32_t random = self;
    while (taken_.load(std::memory_order_relaxed) < tasks_.size()) {
      random = random * 1664525 + 1013904223;
      const int victim = static_cast<int>((random >> 16) % (thieves + 1));
      if (victim != self) Take(queues_[victim].StealInto(queues_[self]));
      if (victim == 0) Take(lifo_.Steal());
      Task* batch[4];
      const size_t n = inject_.PopBatch(batch, 4);
      for (size_t i = 0; i < n; ++i) Take(batch[i]);
      // Not all of what came in: others steal from here too.
      for (uint32_t pops = (random >> 8) % kCapacity + 1; pops != 0; --pops) Take(queues_[self].Pop());
    }
  }

  void Take(Task* task) {
    if (task == nullptr) return;
    if (task->content != ContentOf(task - tasks_.data())) wrong_.fetch_add(1, std::memory_order_relaxed);
    ++task->taken;
    taken_.fetch_add(1, std::memory_order_relaxed);
  }

  std::vector<Task> tasks_;
  std::unique_ptr<RunQueue<Task, kCapacity>[]> queues_;
  LifoSlot<Task> lifo_;
  InjectQueue<Task> inject_;
  std::atomic<size_t> taken_{0};
  std::atomic<size_t> wrong_{0};
};

class RunQueueStress : public testing::TestWithParam<int> {};

TEST_P(RunQueueStress, EachTaskComesOutOnceOfALargeQueue) {
  Contest<256> contest(GetParam(), 200'000);
  contest.CheckAll();
}

// Two slots: every steal meets the owner.
TEST_P(RunQueueStress, EachTaskComesOutOnceOfATinyQueue) {
  Contest<2> contest(GetParam(), 50'000);
  contest.CheckAll();
}

INSTANTIATE_TEST_SUITE_P(Thieves, RunQueueStress, testing::Values(1, 2, 4, 8));

}  // namespace
}  // namespace evring
