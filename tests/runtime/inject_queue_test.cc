// InjectQueue: order, batches, what is left in a task that was popped, and many producers against many consumers.

#include "runtime/inject_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace evring {
namespace {

struct Task {
  Task* queue_next = nullptr;
  uint64_t content = 0;
  int taken = 0;
};

TEST(InjectQueue, FirstInFirstOut) {
  Task tasks[5];
  InjectQueue<Task> queue;
  EXPECT_TRUE(queue.EmptyApprox());
  EXPECT_EQ(queue.Pop(), nullptr);
  queue.Push(&tasks[0]);
  Task* batch[] = {&tasks[1], &tasks[2], &tasks[3]};
  queue.PushBatch(batch, 3);
  queue.PushBatch(batch, 0);
  queue.Push(&tasks[4]);
  EXPECT_EQ(queue.SizeApprox(), 5u);
  for (Task& task : tasks) {
    EXPECT_EQ(queue.Pop(), &task);
    EXPECT_EQ(task.queue_next, nullptr) << "a task that is out points nowhere";
  }
  EXPECT_EQ(queue.Pop(), nullptr);
  EXPECT_TRUE(queue.EmptyApprox());
}

TEST(InjectQueue, PopBatchTakesWhatIsThereUpToTheLimit) {
  Task tasks[5];
  InjectQueue<Task> queue;
  Task* out[8] = {};
  EXPECT_EQ(queue.PopBatch(out, 8), 0u);
  for (Task& task : tasks) queue.Push(&task);
  EXPECT_EQ(queue.PopBatch(out, 0), 0u);
  ASSERT_EQ(queue.PopBatch(out, 3), 3u);
  EXPECT_EQ(queue.SizeApprox(), 2u);
  ASSERT_EQ(queue.PopBatch(out + 3, 5), 2u);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(out[i], &tasks[i]);
  // Empty again, in every part.
  queue.Push(&tasks[0]);
  EXPECT_EQ(queue.Pop(), &tasks[0]);
  EXPECT_EQ(queue.Pop(), nullptr);
}

TEST(InjectQueueStress, EachTaskComesOutOnceInTheOrderOfItsProducer) {
  constexpr int kProducers = 4, kConsumers = 4, kEach = 20'000;
  std::vector<Task> tasks(kProducers * kEach);
  InjectQueue<Task> queue;
  std::atomic<int> taken{0}, out_of_order{0};
  std::vector<std::thread> threads;
  for (int p = 0; p < kProducers; ++p) {
    threads.emplace_back([&, p] {
      Task* mine = &tasks[p * kEach];
      for (int i = 0; i < kEach;) {
        if (i % 3 == 0 && i + 3 <= kEach) {
          Task* batch[3];
          for (int j = 0; j < 3; ++j, ++i) {
            mine[i].content = i + 1;
            batch[j] = &mine[i];
          }
          queue.PushBatch(batch, 3);
        } else {
          mine[i].content = i + 1;
          queue.Push(&mine[i]);
          ++i;
        }
      }
    });
  }
  for (int c = 0; c < kConsumers; ++c) {
    threads.emplace_back([&, c] {
      uint64_t last[kProducers] = {};
      while (taken.load(std::memory_order_relaxed) < kProducers * kEach) {
        Task* batch[5];
        const size_t n = queue.PopBatch(batch, 1 + c);
        for (size_t i = 0; i < n; ++i) {
          const auto producer = (batch[i] - tasks.data()) / kEach;
          if (batch[i]->content <= last[producer]) out_of_order.fetch_add(1, std::memory_order_relaxed);
          last[producer] = batch[i]->content;
          ++batch[i]->taken;
        }
        taken.fetch_add(static_cast<int>(n), std::memory_order_relaxed);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(out_of_order.load(), 0);
  for (const Task& task : tasks) ASSERT_EQ(task.taken, 1);
  EXPECT_TRUE(queue.EmptyApprox());
}

}  // namespace
}  // namespace evring
