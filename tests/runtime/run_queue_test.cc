// RunQueue and LifoSlot on one thread: order, what overflows, what a thief gets, batches, many laps. What threads do to
// each other is the matter of tests/model and of run_queue_stress_test.cc.

#include "runtime/run_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "runtime/lifo_slot.h"

namespace evring {
namespace {

struct Task {
  int number = 0;
};

struct Tasks {
  explicit Tasks(int n) : all(n) {
    for (int i = 0; i < n; ++i) all[i].number = i;
  }
  Task* operator[](int i) { return &all[i]; }
  std::vector<Task> all;
};

struct Overflow {
  std::vector<int> numbers;
  void operator()(Task** items, size_t n) {
    for (size_t i = 0; i < n; ++i) numbers.push_back(items[i]->number);
  }
};

void NoOverflow(Task**, size_t) { FAIL() << "there is room"; }

template <class Queue>
std::vector<int> PopAll(Queue* queue) {
  std::vector<int> numbers;
  while (Task* task = queue->Pop()) numbers.push_back(task->number);
  return numbers;
}

std::vector<int> Range(int from, int to) {
  std::vector<int> numbers(to - from);
  std::iota(numbers.begin(), numbers.end(), from);
  return numbers;
}

TEST(RunQueue, OldestComesFirst) {
  Tasks tasks(3);
  RunQueue<Task, 4> queue;
  EXPECT_EQ(queue.Pop(), nullptr);
  EXPECT_TRUE(queue.EmptyApprox());
  for (int i = 0; i < 3; ++i) queue.Push(tasks[i], NoOverflow);
  EXPECT_EQ(queue.SizeApprox(), 3u);
  EXPECT_EQ(PopAll(&queue), Range(0, 3));
  EXPECT_TRUE(queue.EmptyApprox());
}

TEST(RunQueue, PopUnsharedIsPopWithoutThieves) {
  Tasks tasks(1000);
  RunQueue<Task, 4> queue;
  EXPECT_EQ(queue.PopUnshared(), nullptr);
  for (int i = 0; i < 1000; ++i) {
    queue.Push(tasks[i], NoOverflow);
    if (i >= 2) {
      EXPECT_EQ(queue.PopUnshared(), tasks[i - 2]);
    }
  }
  EXPECT_EQ(queue.SizeApprox(), 2u);
  EXPECT_EQ(queue.Pop(), tasks[998]);
  EXPECT_EQ(queue.PopUnshared(), tasks[999]);
  EXPECT_EQ(queue.PopUnshared(), nullptr);
}

TEST(RunQueue, AFullQueueGivesItsOlderHalfAndTheTaskThatFoundNoRoom) {
  Tasks tasks(257);
  RunQueue<Task> queue;
  Overflow overflow;
  for (int i = 0; i < 256; ++i) queue.Push(tasks[i], NoOverflow);
  EXPECT_EQ(queue.SizeApprox(), 256u);
  queue.Push(tasks[256], overflow);
  std::vector<int> expected = Range(0, 128);
  expected.push_back(256);
  EXPECT_EQ(overflow.numbers, expected);
  EXPECT_EQ(PopAll(&queue), Range(128, 256));
}

TEST(RunQueue, OverflowGoesOnForLaps) {
  constexpr int kTasks = 10000;
  Tasks tasks(kTasks);
  RunQueue<Task, 8> queue;
  Overflow overflow;
  for (int i = 0; i < kTasks; ++i) {
    queue.Push(tasks[i], overflow);
    if (i % 7 == 0) overflow.numbers.push_back(queue.Pop()->number);
  }
  for (int number : PopAll(&queue)) overflow.numbers.push_back(number);
  std::sort(overflow.numbers.begin(), overflow.numbers.end());
  EXPECT_EQ(overflow.numbers, Range(0, kTasks));
}

TEST(RunQueue, ABatchIsSeenWhenItIsPublished) {
  Tasks tasks(3);
  RunQueue<Task, 4> queue, thief;
  for (int i = 0; i < 3; ++i) queue.PushUnpublished(tasks[i], NoOverflow);
  EXPECT_TRUE(queue.EmptyApprox());
  EXPECT_EQ(queue.StealInto(thief), nullptr);
  EXPECT_EQ(queue.Pop(), nullptr);
  queue.Publish();
  EXPECT_EQ(queue.SizeApprox(), 3u);
  EXPECT_EQ(PopAll(&queue), Range(0, 3));
}

TEST(RunQueue, ABatchLargerThanTheQueueOverflowsInOrder) {
  Tasks tasks(12);
  RunQueue<Task, 4> queue;
  Overflow overflow;
  for (int i = 0; i < 12; ++i) {
    queue.PushUnpublished(tasks[i], [&](Task** items, size_t n) {
      EXPECT_EQ(queue.SizeApprox(), 2u) << "what stays is there for thieves";
      overflow(items, n);
    });
  }
  queue.Publish();
  EXPECT_EQ(overflow.numbers, (std::vector<int>{0, 1, 4, 2, 3, 7, 5, 6, 10}));
  EXPECT_EQ(PopAll(&queue), (std::vector<int>{8, 9, 11}));
}

TEST(RunQueue, AThiefTakesHalfRoundedUpAndGetsTheOldestToRun) {
  for (int n = 0; n <= 8; ++n) {
    SCOPED_TRACE(n);
    Tasks tasks(n);
    RunQueue<Task, 8> queue, thief;
    for (int i = 0; i < n; ++i) queue.Push(tasks[i], NoOverflow);
    const int half = (n + 1) / 2;
    EXPECT_EQ(queue.StealInto(thief), n == 0 ? nullptr : tasks[0]);
    EXPECT_EQ(PopAll(&thief), n == 0 ? std::vector<int>() : Range(1, half));
    EXPECT_EQ(PopAll(&queue), Range(half, n));
  }
}

TEST(RunQueue, AThiefTakesNoMoreThanItHasRoomFor) {
  Tasks tasks(20);
  RunQueue<Task, 8> queue, thief;
  for (int i = 0; i < 8; ++i) queue.Push(tasks[i], NoOverflow);
  for (int i = 10; i < 17; ++i) thief.Push(tasks[i], NoOverflow);
  EXPECT_EQ(queue.StealInto(thief), tasks[0]) << "to run at once; one more fills the last free slot";
  EXPECT_EQ(PopAll(&queue), Range(2, 8));
  std::vector<int> expected = Range(10, 17);
  expected.push_back(1);
  EXPECT_EQ(PopAll(&thief), expected);
}

TEST(RunQueueDeathTest, AWorkerDoesNotStealFromItself) {
  RunQueue<Task, 4> queue;
  EXPECT_DEATH(queue.StealInto(queue), "a worker steals from others");
}

TEST(LifoSlot, HoldsOneAndGivesBackWhatItDisplaces) {
  Tasks tasks(2);
  LifoSlot<Task> slot;
  EXPECT_TRUE(slot.EmptyApprox());
  EXPECT_EQ(slot.Pop(), nullptr);
  EXPECT_EQ(slot.Steal(), nullptr);
  EXPECT_EQ(slot.Push(tasks[0]), nullptr);
  EXPECT_FALSE(slot.EmptyApprox());
  EXPECT_EQ(slot.Push(tasks[1]), tasks[0]);
  EXPECT_EQ(slot.Pop(), tasks[1]);
  EXPECT_TRUE(slot.EmptyApprox());
  EXPECT_EQ(slot.Push(tasks[0]), nullptr);
  EXPECT_EQ(slot.Steal(), tasks[0]);
  EXPECT_EQ(slot.Pop(), nullptr);
}

}  // namespace
}  // namespace evring
