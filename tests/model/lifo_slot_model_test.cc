// LifoSlot in all interleavings of its owner and two thieves: each task comes out exactly once, with its content. Then
// the same with every access of lifo_slot.h broken in turn.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "runtime/lifo_slot.h"
#include "tests/model/explorer.h"
#include "tests/model/model_atomics.h"
#include "tests/model/model_test.h"

namespace evring {
namespace {

using model::Check;
using model::Execution;

struct Task {
  model::Plain<int> content;
  int taken = 0;
};

struct Workers {
  LifoSlot<Task, model::ModelAtomics> slot;
  Task tasks[4];
  int pushed = 0;

  Task* Push() {
    Task* task = &tasks[pushed++];
    task->content.Set(pushed);
    Task* displaced = slot.Push(task);
    Check(displaced != task, "what is displaced was there before");
    return displaced;
  }
  void Take(Task* task) {
    if (task == nullptr) return;
    Check(task->content.Get() == task - tasks + 1, "its content came along");
    Check(++task->taken == 1, "a task comes out once");
  }
  void CheckAll() {
    Take(slot.Pop());
    Check(slot.EmptyApprox(), "a slot without a task is empty");
    for (int i = 0; i < pushed; ++i) Check(tasks[i].taken == 1, "no task is lost");
  }
};

// The owner fills an empty slot, displaces what is in it, and takes it out, while others steal.
void PushAndPopAgainstSteal(Execution& run) {
  auto* w = run.Make<Workers>();
  run.Name(&w->slot, "slot");
  run.Thread("owner", [w] {
    w->Take(w->Push());
    w->Take(w->Push());
    w->Take(w->slot.Pop());
    w->Take(w->Push());
  });
  run.Thread("thief 1", [w] { w->Take(w->slot.Steal()); });
  run.Thread("thief 2", [w] {
    w->Take(w->slot.Steal());
    w->Take(w->slot.Steal());
  });
  run.Finally([w] { w->CheckAll(); });
}

const model::Scenario kPushAndPopAgainstSteal = {"PushAndPopAgainstSteal", {}, PushAndPopAgainstSteal};

TEST(LifoSlotModel, EachTaskComesOutOnce) { model::ExpectHolds(kPushAndPopAgainstSteal); }

TEST(LifoSlotMutants, EachIsFound) { model::ExpectMutantsFound({kPushAndPopAgainstSteal}, "runtime/lifo_slot.h", 10); }

}  // namespace
}  // namespace evring
