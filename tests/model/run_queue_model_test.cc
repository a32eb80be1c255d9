// RunQueue in all interleavings of an owner and one or two thieves, on queues of two and four slots, under the C++
// memory model: each task comes out exactly once, with its content, and none stays behind. Then the same with every
// access of run_queue.h broken in turn.

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "runtime/run_queue.h"
#include "tests/model/explorer.h"
#include "tests/model/model_atomics.h"
#include "tests/model/model_test.h"

namespace evring {
namespace {

using model::Check;
using model::Execution;

// A task. Its content is written by whoever makes it, and read by whoever gets it.
struct Task {
  model::Plain<int> content;
  int taken = 0;
};

template <uint32_t kCapacity>
struct Workers {
  static constexpr int kTasks = 8;
  using Queue = RunQueue<Task, kCapacity, model::ModelAtomics>;

  Queue queues[3];  // the owner's, and one for each thief
  Task tasks[kTasks];
  int pushed = 0;
  std::vector<Task*> overflow;

  Task* Make() {
    Task* task = &tasks[pushed++];
    task->content.Set(pushed);
    return task;
  }
  void Overflow(Task** items, size_t n) {
    Check(n == kCapacity / 2 + 1, "half of the queue and the task that found no room");
    for (size_t i = 1; i < n; ++i) Check(items[i - 1] < items[i], "the oldest first");
    overflow.insert(overflow.end(), items, items + n);
  }
  void Push() {
    queues[0].Push(Make(), [this](Task** items, size_t n) { Overflow(items, n); });
  }
  void PushBatch(int n) {
    for (int i = 0; i < n; ++i) {
      queues[0].PushUnpublished(Make(), [this](Task** items, size_t m) { Overflow(items, m); });
    }
    queues[0].Publish();
  }
  void Take(Task* task) {
    if (task == nullptr) return;
    Check(task >= tasks && task < tasks + pushed, "a task that was pushed");
    Check(task->content.Get() == task - tasks + 1, "its content came along");
    Check(++task->taken == 1, "a task comes out once");
  }
  bool Pop(int worker) {
    Task* task = queues[worker].Pop();
    Take(task);
    return task != nullptr;
  }
  // Runs what it gets, and then what came into its own queue.
  void Steal(int victim, int thief) {
    Take(queues[victim].StealInto(queues[thief]));
    while (Pop(thief)) {
    }
  }
  void CheckAll() {
    for (Task* task : overflow) Take(task);
    for (int i = 0; i < 3; ++i) {
      while (Pop(i)) {
      }
      Check(queues[i].EmptyApprox(), "a queue without tasks is empty");
    }
    for (int i = 0; i < pushed; ++i) Check(tasks[i].taken == 1, "no task is lost");
  }
};

template <uint32_t kCapacity>
Workers<kCapacity>* Make(Execution& run) {
  auto* w = run.Make<Workers<kCapacity>>();
  for (int i = 0; i < 3; ++i) run.Name(&w->queues[i], "queue " + std::to_string(i));
  for (int i = 0; i < w->kTasks; ++i) run.Name(&w->tasks[i], "task " + std::to_string(i + 1));
  run.Finally([w] { w->CheckAll(); });
  return w;
}

// The owner pops what it has pushed, the thief steals.
void PopAgainstSteal(Execution& run) {
  auto* w = Make<4>(run);
  run.Thread("owner", [w] {
    w->Push();
    w->Push();
    w->Push();
    while (w->Pop(0)) {
    }
  });
  run.Thread("thief", [w] { w->Steal(0, 1); });
}

void TwoThieves(Execution& run) {
  auto* w = Make<4>(run);
  run.Thread("owner", [w] {
    w->PushBatch(3);
    w->Pop(0);
  });
  run.Thread("thief 1", [w] { w->Steal(0, 1); });
  run.Thread("thief 2", [w] { w->Steal(0, 2); });
}

// The second thief takes from the first what that took from the owner: the content goes through two hand-overs.
void StealFromThief(Execution& run) {
  auto* w = Make<4>(run);
  run.Thread("owner", [w] { w->PushBatch(4); });
  run.Thread("thief 1", [w] { w->Take(w->queues[0].StealInto(w->queues[1])); });
  run.Thread("thief 2", [w] { w->Steal(1, 2); });
}

// The owner overflows a queue from which a thief takes half.
void StealDuringOverflow(Execution& run) {
  auto* w = Make<4>(run);
  run.Thread("owner", [w] {
    w->PushBatch(6);
    w->Pop(0);
  });
  run.Thread("thief", [w] { w->Steal(0, 1); });
}

// Two slots and five tasks: the slot that the thief reads is written again, and once more.
void StealAcrossLaps(Execution& run) {
  auto* w = Make<2>(run);
  run.Thread("owner", [w] {
    w->Push();
    w->Push();
    w->Pop(0);
    w->Push();
    w->Pop(0);
    w->Push();
  });
  run.Thread("thief", [w] {
    w->Steal(0, 1);
    w->Steal(0, 1);
  });
}

// A full queue, thieves, and a push that finds room only because of them.
void PushIntoRoomMadeByThieves(Execution& run) {
  auto* w = Make<2>(run);
  run.Thread("owner", [w] {
    w->PushBatch(2);
    w->Push();
  });
  run.Thread("thief 1", [w] { w->Steal(0, 1); });
  run.Thread("thief 2", [w] { w->Steal(0, 2); });
}

std::vector<model::Scenario> Scenarios() {
  return {{"PopAgainstSteal", {}, PopAgainstSteal},
          {"StealDuringOverflow", {}, StealDuringOverflow},
          {"StealAcrossLaps", {}, StealAcrossLaps},
          {"StealFromThief", {}, StealFromThief},
          {"PushIntoRoomMadeByThieves", {}, PushIntoRoomMadeByThieves},
          {"TwoThieves", {}, TwoThieves}};
}

class RunQueueModel : public testing::TestWithParam<model::Scenario> {};

TEST_P(RunQueueModel, EachTaskComesOutOnce) { model::ExpectHolds(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Scenarios, RunQueueModel, testing::ValuesIn(Scenarios()), model::NameOfScenario);

TEST(RunQueueMutants, EachIsFound) {
  const char* const kLoadBuffering =
      "keeps a thief's read of a slot from seeing what its own claim makes room for: a load that sees the future, "
      "which "
      "the model does not know";
  model::ExpectMutantsFound(Scenarios(), "runtime/run_queue.h", 14,
                            {{"StealInto: compare_exchange(release) without release", kLoadBuffering},
                             {"Room: load(acquire) without acquire", kLoadBuffering}});
}

}  // namespace
}  // namespace evring
