// Idle on one thread: who is chosen, who is counted, the ends of the range; and a stress test in which real threads
// sleep and wake each other. That nothing is lost in any interleaving is the matter of tests/model/idle_model_test.cc.

#include "runtime/idle.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "runtime/inject_queue.h"
#include "runtime/run_queue.h"

namespace evring {
namespace {

TEST(Idle, NobodyIsWokenIfNobodyIsParked) {
  Idle<> idle(4);
  EXPECT_EQ(idle.NotifyOne(), -1);
  EXPECT_EQ(idle.NotifyOneFrom(2), -1);
  EXPECT_EQ(idle.counters().notifies, 2u);
  EXPECT_EQ(idle.counters().wakes, 0u);
}

TEST(Idle, OneIsWokenAndNoSecondBeforeItHasFound) {
  Idle<> idle(4);
  EXPECT_TRUE(idle.Park(1, false)) << "nobody searches: look again";
  EXPECT_TRUE(idle.Park(3, false));
  EXPECT_EQ(idle.counters().looks, 2u);
  EXPECT_EQ(idle.NotifyOneFrom(0), 1);
  EXPECT_EQ(idle.SearchingApprox(), 1);
  EXPECT_EQ(idle.NotifyOneFrom(0), -1) << "the first is on its way";
  EXPECT_FALSE(idle.Unpark(1)) << "chosen";
  EXPECT_TRUE(idle.EndSearchFound()) << "the last searcher, and 3 is parked";
  EXPECT_EQ(idle.NotifyOneFrom(1), 3);
  EXPECT_FALSE(idle.Unpark(3));
  EXPECT_FALSE(idle.EndSearchFound()) << "nobody is left to be woken";
  EXPECT_EQ(idle.SearchingApprox(), 0);
  EXPECT_EQ(idle.counters().wakes, 2u);
  EXPECT_EQ(idle.counters().hand_ons, 1u);
}

TEST(Idle, AWorkerThatLeavesByItselfIsNotChosen) {
  Idle<> idle(2);
  EXPECT_TRUE(idle.Park(1, false));
  EXPECT_TRUE(idle.Unpark(1));
  EXPECT_EQ(idle.NotifyOneFrom(0), -1);
  EXPECT_EQ(idle.SearchingApprox(), 0);
}

TEST(Idle, HalfOfTheWorkersSearch) {
  for (const int workers : {1, 2, 3, 4, 7, 8, 1024}) {
    Idle<> idle(workers);
    int searching = 0;
    while (idle.TryBeginSearch()) ++searching;
    EXPECT_EQ(searching, (workers + 1) / 2) << workers;
    for (; searching > 1; --searching) EXPECT_FALSE(idle.EndSearchFound());
    EXPECT_TRUE(idle.Park(0, true)) << "the last one looks";
  }
}

TEST(Idle, OnlyTheLastSearcherThatParksLooks) {
  Idle<> idle(4);
  ASSERT_TRUE(idle.TryBeginSearch());
  ASSERT_TRUE(idle.TryBeginSearch());
  EXPECT_FALSE(idle.Park(0, true));
  EXPECT_FALSE(idle.Park(2, false)) << "1 searches still";
  EXPECT_TRUE(idle.Park(1, true));
}

TEST(Idle, SearchOnIsNotRefusedAndCountsOnce) {
  Idle<> idle(2);
  EXPECT_TRUE(idle.Park(0, false));
  idle.SearchOn(0);
  EXPECT_EQ(idle.SearchingApprox(), 1);
  EXPECT_EQ(idle.NotifyOneFrom(1), -1);
  EXPECT_FALSE(idle.EndSearchFound());
  // Chosen in between.
  EXPECT_TRUE(idle.Park(0, false));
  EXPECT_EQ(idle.NotifyOneFrom(1), 0);
  idle.SearchOn(0);
  EXPECT_EQ(idle.SearchingApprox(), 1);
}

TEST(Idle, IsParkedLeavesTheWorkerParked) {
  Idle<> idle(2);
  EXPECT_FALSE(idle.IsParked(1));
  EXPECT_TRUE(idle.Park(1, false));
  EXPECT_TRUE(idle.IsParked(1));
  EXPECT_TRUE(idle.IsParked(1));
  EXPECT_FALSE(idle.IsParked(0));
  EXPECT_TRUE(idle.Unpark(1));
  EXPECT_FALSE(idle.IsParked(1));
}

TEST(Idle, EveryWorkerOfTheLargestRuntimeCanBeChosen) {
  constexpr int kWorkers = Idle<>::kWorkersMax;
  Idle<> idle(kWorkers);
  for (int i = 0; i < kWorkers; ++i) EXPECT_TRUE(idle.Park(i, false));
  for (int i = 0; i < kWorkers; ++i) {
    EXPECT_EQ(idle.NotifyOne(), i) << "the lowest that is parked";
    EXPECT_FALSE(idle.Unpark(i));
    EXPECT_EQ(idle.EndSearchFound(), i + 1 < kWorkers);
  }
}

TEST(Idle, WakeAllWakesWhoIsParked) {
  Idle<> idle(200);
  const std::vector<int> parked = {0, 63, 64, 130, 199};
  for (int worker : parked) EXPECT_TRUE(idle.Park(worker, false));
  std::vector<int> woken;
  idle.WakeAll([&](int worker) { woken.push_back(worker); });
  EXPECT_EQ(woken, parked);
  EXPECT_EQ(idle.SearchingApprox(), 5);
  for (int worker : parked) EXPECT_FALSE(idle.Unpark(worker));
  idle.WakeAll([&](int) { ADD_FAILURE() << "nobody is parked"; });
}

TEST(IdleDeathTest, MisuseEndsTheProcess) {
  EXPECT_DEATH(Idle<>(0), "1 to 1024 workers");
  EXPECT_DEATH(Idle<>(1025), "1 to 1024 workers");
  EXPECT_DEATH(static_cast<void>(Idle<>(2).Park(2, false)), "no such worker");
  EXPECT_DEATH(static_cast<void>(Idle<>(2).Park(-1, false)), "no such worker");
  EXPECT_DEATH(static_cast<void>(Idle<>(2).NotifyOneFrom(2)), "no such worker");
  EXPECT_DEATH(static_cast<void>(Idle<>(2).NotifyOneFrom(-1)), "no such worker");
  EXPECT_DEATH(static_cast<void>(Idle<>(2).IsParked(2)), "no such worker");
  EXPECT_DEATH(static_cast<void>(Idle<>(2).Unpark(2)), "no such worker");
  EXPECT_DEATH(Idle<>(2).SearchOn(2), "no such worker");
  EXPECT_DEATH(static_cast<void>(Idle<>(2).Park(0, true)), "only a searcher stops searching");
  EXPECT_DEATH(static_cast<void>(Idle<>(2).EndSearchFound()), "only a searcher stops searching");
  EXPECT_DEATH(
      {
        Idle<> idle(2);
        static_cast<void>(idle.Park(0, false));
        static_cast<void>(idle.Park(0, false));
      },
      "a worker parks after it was unparked");
}

// A worker's ring, as far as sleeping goes: a message that is kept until it is waited for.
class Ring {
 public:
  void Post() {
    {
      std::lock_guard lock(mutex_);
      posted_ = true;
    }
    changed_.notify_one();
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return posted_; });
    posted_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool posted_ = false;
};

// A task pushes another and computes until that has run: on another worker, which has to be woken for it.
class Pairs {
 public:
  struct Task {
    Task* queue_next = nullptr;
    Task* partner = nullptr;
    std::atomic<bool> done{false};
  };

  explicit Pairs(int workers) : idle_(workers), queues_(new RunQueue<Task>[workers]), rings_(new Ring[workers]) {
    for (int i = 0; i < workers; ++i) threads_.emplace_back([this, i, workers] { Loop(i, workers); });
  }

  // False: the second of a pair was not run in a minute.
  bool RunOne() {
    Task first, second;
    first.partner = &second;
    inject_.Push(&first);
    Wake(idle_.NotifyOne());
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (!first.done.load(std::memory_order_acquire)) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }

  IdleCounters Stop() {
    stop_.store(true, std::memory_order_relaxed);
    idle_.WakeAll([this](int worker) { rings_[worker].Post(); });
    for (std::thread& thread : threads_) thread.join();
    return idle_.counters();
  }

 private:
  void Wake(int worker) {
    if (worker >= 0) rings_[worker].Post();
  }

  void Loop(int self, int workers) {
    bool searching = false;
    while (!stop_.load(std::memory_order_relaxed)) {
      if (Task* task = Next(self, workers, &searching); task != nullptr) {
        if (searching && idle_.EndSearchFound() && AnyWork(workers)) Wake(idle_.NotifyOneFrom(self));
        searching = false;
        RunTask(self, task);
        continue;
      }
      const bool last = idle_.Park(self, searching);
      if (last && !stop_.load(std::memory_order_relaxed) && AnyWork(workers)) {
        idle_.SearchOn(self);
        searching = true;
        continue;
      }
      if (!stop_.load(std::memory_order_relaxed)) rings_[self].Wait();
      searching = !idle_.Unpark(self);
    }
  }

  Task* Next(int self, int workers, bool* searching) {
    if (Task* task = queues_[self].Pop(); task != nullptr) return task;
    if (!*searching) *searching = idle_.TryBeginSearch();
    if (!*searching) return nullptr;
    if (Task* task = inject_.Pop(); task != nullptr) return task;
    for (int i = 1; i < workers; ++i) {
      if (Task* task = queues_[(self + i) % workers].StealInto(queues_[self]); task != nullptr) return task;
    }
    return nullptr;
  }

  void RunTask(int self, Task* task) {
    if (task->partner != nullptr) {
      Task* partner = task->partner;
      queues_[self].Push(partner, [](Task**, size_t) { ADD_FAILURE() << "two tasks overflow nothing"; });
      Wake(idle_.NotifyOneFrom(self));
      while (!partner->done.load(std::memory_order_acquire) && !stop_.load(std::memory_order_relaxed)) {
        std::this_thread::yield();
      }
    }
    task->done.store(true, std::memory_order_release);  // last: the task's owner destroys it
  }

  bool AnyWork(int workers) const {
    for (int i = 0; i < workers; ++i) {
      if (!queues_[i].EmptyApprox()) return true;
    }
    return !inject_.EmptyApprox();
  }

  Idle<> idle_;
  std::unique_ptr<RunQueue<Task>[]> queues_;
  InjectQueue<Task> inject_;
  std::unique_ptr<Ring[]> rings_;
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

class IdleStress : public testing::TestWithParam<int> {};

TEST_P(IdleStress, TheSecondOfAPairIsAlwaysRunElsewhere) {
  constexpr int kPairs = 2000;
  Pairs pairs(GetParam());
  for (int i = 0; i < kPairs; ++i) ASSERT_TRUE(pairs.RunOne()) << "a wake-up was lost in pair " << i;
  const IdleCounters counters = pairs.Stop();
  EXPECT_GE(counters.notifies, 2u * kPairs);
  EXPECT_LE(counters.wakes, counters.notifies + counters.hand_ons + GetParam());
}

INSTANTIATE_TEST_SUITE_P(Workers, IdleStress, testing::Values(2, 4, 8));

}  // namespace
}  // namespace evring
