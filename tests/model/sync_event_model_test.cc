// The algorithm of Event in all interleavings of setters, waiters and stops: nobody waits for ever, nobody goes on
// before the event is set, what was done before Set is visible, and who resets, looks and waits misses nothing. Then
// the same with every access broken in turn.

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <vector>

#include "runtime/sync/internal/event_core.h"
#include "tests/model/explorer.h"
#include "tests/model/model_atomics.h"
#include "tests/model/model_test.h"
#include "tests/model/sync_host.h"

namespace evring {
namespace {

using model::Check;
using model::Execution;

using Core = internal::EventCore<model::SyncHost>;
using Node = internal::Suspension<Core, Core::Node>;

struct State {
  Core event{false};
  model::SyncTask tasks[2];
  model::Plain<int> result;            // written before Set, read after Wait
  model::ModelAtomic<int> brought{0};  // work, by whoever sets
  int woken = 0;
  int cancelled = 0;

  void SetWithResult() {
    result.Set(1);
    event.Set();
  }
  void Wait(int task) {
    Node node(&event);
    if (model::Await(&tasks[task], &event, &node) == Node::State::kCancelled) {
      ++cancelled;
    } else if (!tasks[task].left_waiting()) {
      Check(result.Get() == 1, "set before");
      ++woken;
    }
  }
  // Until `n` have brought something. `n` or more turns of the loop would be a busy loop.
  void ResetLookAndWait(int n) {
    for (int turn = 0; brought.load(std::memory_order_relaxed) < n; ++turn) {
      Check(turn <= n, "it waits");
      Node node(&event);
      model::Await(&tasks[0], &event, &node);
      event.Reset();
    }
  }
  void Bring() {
    brought.fetch_add(1, std::memory_order_relaxed);
    event.Set();
  }
};

State* Make(Execution& run, int woken_min, int cancelled_max) {
  auto* s = run.Make<State>();
  run.Name(&s->event, "event");
  for (int i = 0; i < 2; ++i) run.Name(&s->tasks[i], "task " + std::to_string(i));
  run.Finally([=] {
    Check(s->woken >= woken_min, "a task that was not stopped was woken");
    Check(s->cancelled <= cancelled_max, "only a task that was stopped was cancelled");
    Check(s->event.idle() != s->tasks[0].left_waiting(), "nobody waits");
  });
  return s;
}

void OneWaits(Execution& run) {
  State* s = Make(run, 1, 0);
  run.Thread("setter", [=] { s->SetWithResult(); });
  run.Thread("task 0", [=] { s->Wait(0); });
}

void TwoWait(Execution& run) {
  State* s = Make(run, 2, 0);
  run.Thread("setter", [=] { s->SetWithResult(); });
  for (int i = 0; i < 2; ++i) run.Thread("task " + std::to_string(i), [=] { s->Wait(i); });
}

void StopAgainstSet(Execution& run) {
  State* s = Make(run, 0, 1);
  run.Thread("setter", [=] { s->SetWithResult(); });
  run.Thread("task 0", [=] { s->Wait(0); });
  run.Thread("stop of 0", [=] { s->tasks[0].RequestStop(); });
}

// It is never set: the stop is what ends the wait, at whatever moment it comes.
void StopWhileNotSet(Execution& run) {
  State* s = Make(run, 0, 1);
  run.Thread("task 0", [=] { s->Wait(0); });
  run.Thread("stop of 0", [=] { s->tasks[0].RequestStop(); });
}

// The stop comes to a node that the setter has taken off, while another queues in the next round.
void StopAgainstSetAndReset(Execution& run) {
  State* s = Make(run, 1, 1);
  run.Thread("setter", [=] {
    s->SetWithResult();
    s->event.Reset();
    s->event.Set();
  });
  for (int i = 0; i < 2; ++i) run.Thread("task " + std::to_string(i), [=] { s->Wait(i); });
  run.Thread("stop of 0", [=] { s->tasks[0].RequestStop(); });
}

// Somebody sets an event that is set: the one who resets sees what was done before.
void ResetLookWait(Execution& run) {
  State* s = Make(run, 0, 0);
  run.Thread("setter 1", [=] { s->Bring(); });
  run.Thread("setter 2", [=] { s->Bring(); });
  run.Thread("task 0", [=] { s->ResetLookAndWait(2); });
}

// Two clear the event at the same time, and one of them finds that the task has queued meanwhile. If the other comes
// last, the task waits on, in the queue.
void TwoReset(Execution& run) {
  State* s = Make(run, 0, 0);
  s->SetWithResult();
  run.Thread("resetter", [=] { s->event.Reset(); });
  run.Thread("resetter and setter", [=] {
    s->event.Reset();
    s->event.Set();
  });
  run.Thread("task 0", [=] { s->Wait(0); });
  run.WhenAllBlocked([=] { return !s->event.idle(); });
}

std::vector<model::Scenario> Scenarios() {
  return {{"OneWaits", {}, OneWaits},
          {"TwoWait", {}, TwoWait},
          {"StopWhileNotSet", {}, StopWhileNotSet},
          {"StopAgainstSet", {}, StopAgainstSet},
          {"TwoReset", {}, TwoReset},
          {"ResetLookWait", {.preemptions = 3, .stale_reads = 1}, ResetLookWait},
          {"StopAgainstSetAndReset", {.preemptions = 2, .stale_reads = 0}, StopAgainstSetAndReset}};
}

class SyncEventModel : public testing::TestWithParam<model::Scenario> {};

TEST_P(SyncEventModel, NobodyIsForgotten) { model::ExpectHolds(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Scenarios, SyncEventModel, testing::ValuesIn(Scenarios()), model::NameOfScenario);

TEST(SyncEventMutants, EachIsFound) { model::ExpectMutantsFound(Scenarios(), "sync/internal/state_word.h", 14); }

}  // namespace
}  // namespace evring
