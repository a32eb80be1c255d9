// The wake protocol in all interleavings of two or three workers, the threads that push tasks, and the completions that
// wake a worker by themselves: idle_machine.h runs them over the real Idle, RunQueue and InjectQueue.
//
// The tasks are such that a wake that is late is a wake that is lost: a task that pushes another then computes until
// that one has run, so that somebody else has to. Then all threads are blocked with work queued, and the explorer says
// so.

#include <gtest/gtest.h>

#include <vector>

#include "runtime/idle.h"
#include "tests/model/explorer.h"
#include "tests/model/idle_machine.h"
#include "tests/model/model_atomics.h"
#include "tests/model/model_test.h"

namespace evring {
namespace {

using model::Check;
using model::Execution;
using model::IdleMachine;
using Rules = IdleMachine::Rules;
using Task = IdleMachine::Task;

using Setup = void (*)(Execution&, Rules);

// A task pushes another and goes on computing; the second worker is on its way to sleep, at any point of it.
void BusyPusher(Execution& run, Rules rules) {
  auto* m = run.Make<IdleMachine>(&run, 2, rules);
  Task* pushed = m->Make("pushed");
  m->Give(0, m->Make("pusher", [=](int self) {
    m->Push(self, pushed);
    m->ComputeUntil(pushed);
  }));
  m->StartWorker(0);
  m->StartWorker(1);
}

// The same with two on their way to sleep, who may refuse each other the search.
void BusyPusherOfThree(Execution& run, Rules rules) {
  auto* m = run.Make<IdleMachine>(&run, 3, rules);
  Task* pushed = m->Make("pushed");
  m->Give(0, m->Make("pusher", [=](int self) {
    m->Push(self, pushed);
    m->ComputeUntil(pushed);
  }));
  for (int i = 0; i < 3; ++i) m->StartWorker(i);
}

// A task pushes two, the first of which computes until the second has run: it takes two sleepers, and one wake leads to
// the other.
void OneWakeLeadsToAnother(Execution& run, Rules rules) {
  auto* m = run.Make<IdleMachine>(&run, 3, rules);
  Task* second = m->Make("second");
  Task* first = m->Make("first", [=](int) { m->ComputeUntil(second); });
  m->Give(0, m->Make("pusher", [=](int self) {
    m->Push(self, first);
    m->Push(self, second);
    m->ComputeUntil(second);
  }));
  m->StartWorker(0);
  m->StartParkedWorker(1);
  m->StartParkedWorker(2);
}

// A worker leaves its ring for a completion, whose task computes until another has run, while the push of that other
// chooses this worker.
void CompletionAgainstWake(Execution& run, Rules rules) {
  auto* m = run.Make<IdleMachine>(&run, 3, rules);
  Task* pushed = m->Make("pushed");
  pushed->last = false;  // the completion may come later
  Task* completed = m->Make("completed", [=](int) { m->ComputeUntil(pushed); });
  m->Give(0, m->Make("pusher", [=](int self) {
    m->Push(self, pushed);
    m->ComputeUntil(pushed);
  }));
  m->StartWorker(0);
  m->StartParkedWorker(1);
  m->StartParkedWorker(2);
  run.Thread("kernel", [=] { m->Complete(1, completed); });
}

// A foreign thread pushes to the only worker.
void ForeignPusher(Execution& run, Rules rules) {
  auto* m = run.Make<IdleMachine>(&run, 1, rules);
  Task* pushed = m->Make("pushed");
  m->UseInjectQueue();
  m->StartWorker(0);
  run.Thread("foreign", [=] { m->PushForeign(pushed); });
}

// A foreign thread pushes while both workers are on their way to sleep.
void ForeignPusherOfTwo(Execution& run, Rules rules) {
  auto* m = run.Make<IdleMachine>(&run, 2, rules);
  Task* pushed = m->Make("pushed");
  m->UseInjectQueue();
  m->StartWorker(0);
  m->StartWorker(1);
  run.Thread("foreign", [=] { m->PushForeign(pushed); });
}

// The worker that a foreign push is about to choose leaves its ring for a completion, and stays busy until the pushed
// task has run; the other is on its way to sleep, and relies on the search that the push announces and has to withdraw.
void CompletionAgainstWakeAndPark(Execution& run, Rules rules) {
  auto* m = run.Make<IdleMachine>(&run, 2, rules);
  Task* pushed = m->Make("pushed");
  pushed->last = false;  // the completion may come later
  Task* completed = m->Make("completed", [=](int) { m->ComputeUntil(pushed); });
  m->UseInjectQueue();
  m->StartParkedWorker(0);
  m->StartWorker(1);
  run.Thread("kernel", [=] { m->Complete(0, completed); });
  run.Thread("foreign", [=] { m->PushForeign(pushed); });
}

// One worker sleeps, one is on its way to sleep.
void ShutdownAgainstPark(Execution& run, Rules rules) {
  auto* m = run.Make<IdleMachine>(&run, 2, rules);
  m->StartWorker(0);
  m->StartParkedWorker(1);
  run.Thread("stopper", [=] { m->Stop(); });
}

// The workers sleep, and one of them leaves its ring for a completion.
void ShutdownAgainstCompletion(Execution& run, Rules rules) {
  auto* m = run.Make<IdleMachine>(&run, 2, rules);
  m->StartParkedWorker(0);
  m->StartParkedWorker(1);
  run.Thread("stopper", [=] { m->Stop(); });
  run.Thread("kernel", [=] { m->Complete(1, nullptr); });
}

// The one number that all depend on, without a worker loop around it: a worker that parked sees a task and searches on
// while it is chosen, and a third begins and ends a search.
void SearchOnAgainstWake(Execution& run, Rules) {
  auto* idle = run.Make<Idle<model::ModelAtomics>>(4);
  auto* searching = run.Make<int>(0);
  run.Thread("parks", [=] {
    if (idle->Park(0, false)) {
      idle->SearchOn(0);
      ++*searching;
    }
  });
  run.Thread("notifies", [=] {
    if (const int chosen = idle->NotifyOne(); chosen >= 0) Check(chosen == 0, "the only one that was parked");
  });
  run.Thread("searches", [=] {
    if (idle->TryBeginSearch()) static_cast<void>(idle->EndSearchFound());
  });
  run.Finally([=] {
    const bool asleep_and_chosen = *searching == 0 && idle->counters().wakes == 1;
    Check(idle->SearchingApprox() == *searching + (asleep_and_chosen ? 1 : 0), "the count is right");
  });
}

// Of two searchers the first to leave is parked, the last one looks, finds nothing, and leaves its ring again for work
// of its own. A push that this look has missed has to find the first.
void ParkedBeforeTheLast(Execution& run, Rules) {
  struct State {
    Idle<model::ModelAtomics, 1> idle{4};
    model::ModelAtomic<int> task{0};
    bool seen = false;
    int chosen = -1;
  };
  auto* s = run.Make<State>();
  Check(s->idle.TryBeginSearch() && s->idle.TryBeginSearch(), "two of four may");
  run.Thread("pushes", [=] {
    s->task.store(1, std::memory_order_relaxed);
    s->chosen = s->idle.NotifyOneFrom(0);
  });
  const auto park = [=](int worker) {
    if (s->idle.Park(worker, true) && s->task.load(std::memory_order_relaxed) == 1) s->seen = true;
  };
  run.Thread("parks", [=] { park(2); });
  run.Thread("parks and leaves", [=] {
    park(1);
    static_cast<void>(s->idle.Unpark(1));
  });
  run.Finally([=] { Check(s->seen || s->chosen >= 0, "somebody sees the task or is woken"); });
}

// The parked worker that a push is about to choose leaves its ring and is busy; meanwhile another parks, and relies on
// the search that the push announced and has to withdraw.
void WithdrawnSearch(Execution& run, Rules) {
  struct State {
    Idle<model::ModelAtomics, 1> idle{3};
    model::ModelAtomic<int> task{0};
    bool seen = false;
    int chosen = -1;
  };
  auto* s = run.Make<State>();
  Check(s->idle.Park(0, false), "nobody searches");
  run.Thread("pushes", [=] {
    s->task.store(1, std::memory_order_relaxed);
    s->chosen = s->idle.NotifyOne();
  });
  run.Thread("leaves", [=] { static_cast<void>(s->idle.Unpark(0)); });
  run.Thread("parks", [=] {
    if (s->idle.Park(1, false) && s->task.load(std::memory_order_relaxed) == 1) s->seen = true;
  });
  run.Finally([=] {
    Check(s->seen || s->chosen >= 0, "somebody sees the task or is woken");
    Check(s->idle.SearchingApprox() == (s->chosen >= 0 ? 1 : 0), "the count is right");
  });
}

// A searcher that has found its task ends its search while another, which was searching beside it, parks: a push that
// relied on either wakes that other, by itself or through the one that found.
void FoundAgainstPark(Execution& run, Rules) {
  struct State {
    Idle<model::ModelAtomics, 1> idle{4};
    model::ModelAtomic<int> task{0};
    bool seen = false;
    int chosen[2] = {-1, -1};
    bool Look() const { return task.load(std::memory_order_relaxed) == 1; }
  };
  auto* s = run.Make<State>();
  Check(s->idle.TryBeginSearch() && s->idle.TryBeginSearch(), "two of four may");
  run.Thread("pushes", [=] {
    s->task.store(1, std::memory_order_relaxed);
    s->chosen[0] = s->idle.NotifyOneFrom(0);
  });
  run.Thread("has found", [=] {
    if (s->idle.EndSearchFound() && s->Look()) s->chosen[1] = s->idle.NotifyOneFrom(1);
  });
  run.Thread("parks", [=] { s->seen = s->idle.Park(2, true) && s->Look(); });
  run.Finally([=] {
    Check(s->seen || s->chosen[0] >= 0 || s->chosen[1] >= 0, "somebody sees the task or is woken");
    Check(s->chosen[0] < 0 || s->chosen[1] < 0, "one is woken");
  });
}

// Something is put into the inbox of a worker that is on its way to sleep and looks there.
void MessageAgainstPark(Execution& run, Rules) {
  struct State {
    Idle<model::ModelAtomics> idle{2};
    model::ModelAtomic<int> inbox{0};
    model::Event ring;
  };
  auto* s = run.Make<State>();
  run.Thread("puts", [=] {
    s->inbox.store(1, std::memory_order_relaxed);
    if (s->idle.IsParked(1)) s->ring.Post();
  });
  run.Thread("parks", [=] {
    static_cast<void>(s->idle.Park(1, false));
    if (s->inbox.load(std::memory_order_relaxed) == 0) {
      if (!s->ring.Wait()) return;
      Check(s->inbox.load(std::memory_order_relaxed) == 1, "the message came for it");
    }
    Check(s->idle.Unpark(1), "nobody has chosen it");
  });
}

model::Scenario Make(const char* name, Setup setup, Rules rules, model::Options options = {}) {
  return {name, options, [=](Execution& run) { setup(run, rules); }};
}

// In these every mutant is found.
std::vector<model::Scenario> SmallScenarios(Rules rules) {
  return {
      Make("ForeignPusher", ForeignPusher, rules),
      Make("ParkedBeforeTheLast", ParkedBeforeTheLast, rules),
      Make("WithdrawnSearch", WithdrawnSearch, rules),
      Make("FoundAgainstPark", FoundAgainstPark, rules),
      Make("MessageAgainstPark", MessageAgainstPark, rules),
      Make("CompletionAgainstWake", CompletionAgainstWake, rules, {.preemptions = 1, .stale_reads = 1}),
      Make("ShutdownAgainstPark", ShutdownAgainstPark, rules),
      Make("ShutdownAgainstCompletion", ShutdownAgainstCompletion, rules),
      Make("SearchOnAgainstWake", SearchOnAgainstWake, rules, {.stale_reads = 1}),
  };
}

std::vector<model::Scenario> Scenarios() {
  std::vector<model::Scenario> scenarios = SmallScenarios({});
  scenarios.push_back(Make("OneWakeLeadsToAnother", OneWakeLeadsToAnother, {}));
  scenarios.push_back(Make("BusyPusher", BusyPusher, {}));
  scenarios.push_back(Make("BusyPusherOfThree", BusyPusherOfThree, {}, {.preemptions = 1, .stale_reads = 1}));
  const model::Options bounded = {.preemptions = 2, .stale_reads = 1};
  scenarios.push_back(
      Make("CompletionAgainstWakeAndPark", CompletionAgainstWakeAndPark, {}, {.preemptions = 2, .stale_reads = 0}));
  scenarios.push_back(Make("ForeignPusherOfTwo", ForeignPusherOfTwo, {}, bounded));
  return scenarios;
}

class IdleModel : public testing::TestWithParam<model::Scenario> {};

TEST_P(IdleModel, NoTaskIsLeftBehind) { model::ExpectHolds(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Scenarios, IdleModel, testing::ValuesIn(Scenarios()), model::NameOfScenario);

TEST(IdleMutants, EachIsFound) {
  const char* const kOrderOfChanges =
      "has the chosen worker's change of searching_ come after the one that chose it; in the model changes come in the "
      "order in which they are made";
  model::ExpectMutantsFound(SmallScenarios({}), "runtime/idle.h", 44,
                            {{"Unpark: read_modify_write(acquire) without acquire", kOrderOfChanges},
                             {"TakeBit: read_modify_write(release) without release", kOrderOfChanges}});
}

// Each rule of the worker loop, left out, loses a wake.
TEST(IdleCanaries, EachIsFound) {
  Rules notify_first, no_look, no_hand_on, no_stop;
  notify_first.publish_before_notify = false;
  no_look.look_after_park = false;
  no_hand_on.hand_on = false;
  no_stop.look_at_stop_after_park = false;
  model::ExpectCanariesFound("A worker", {{"notifies before it publishes", SmallScenarios(notify_first)},
                                          {"sleeps without a last look", SmallScenarios(no_look)},
                                          {"does not hand on", SmallScenarios(no_hand_on)},
                                          {"does not look at the shutdown flag", SmallScenarios(no_stop)}});
}

}  // namespace
}  // namespace evring
