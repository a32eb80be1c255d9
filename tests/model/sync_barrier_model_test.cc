// The algorithm of Barrier in all interleavings of tasks that arrive, are stopped, come again and leave: nobody goes on
// before all were there, nobody waits for ever, the completion runs once a phase and alone. Then with rules left out.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "runtime/sync/internal/barrier_core.h"
#include "tests/model/explorer.h"
#include "tests/model/model_atomics.h"
#include "tests/model/model_test.h"
#include "tests/model/sync_host.h"

namespace evring {
namespace {

using model::Check;
using model::Execution;

// Written by the completion, which nobody runs beside, and read by all that pass.
struct Complete {
  explicit Complete(model::Plain<int>* phases) : phases(phases) {}
  void operator()() const noexcept { phases->Set(phases->Get() + 1); }
  model::Plain<int>* phases;
};

using RealCore = internal::BarrierCore<Complete, model::SyncHost>;

// A stop that leaves the arrival in place, and one that does not see that the phase has passed.
struct CountsTheStopped : RealCore {
  using RealCore::RealCore;
  bool Cancel(Node*) { return false; }
};
struct CompletesTwice : RealCore {
  using RealCore::RealCore;
  bool Cancel(Node* node) {
    node->phase = ~uint64_t{0};
    RealCore::Cancel(node);
    return node->state != Node::State::kGranted;
  }
};

template <class Core>
struct State {
  using Node = internal::Suspension<Core, typename Core::Node>;

  explicit State(uint64_t expected) : barrier(expected, Complete(&phases)) {}

  model::Plain<int> phases;
  Core barrier;
  model::SyncTask tasks[3];
  model::Plain<int> work[3][3];  // of a task in a phase: written before arriving, read by all that pass
  int passed = 0;
  int cancelled = 0;

  // False: stopped.
  bool Arrive(int task, int phase) {
    work[task][phase].Set(1);
    Node node(&barrier);
    if (model::Await(&tasks[task], &barrier, &node) == Node::State::kCancelled) {
      ++cancelled;
      return false;
    }
    Check(phases.Get() == phase, "the completion has run");
    ++passed;
    return true;
  }
};

template <class Core>
State<Core>* Make(Execution& run, uint64_t expected, int phases, int passed_min, int cancelled_max) {
  auto* s = run.Make<State<Core>>(expected);
  run.Name(&s->barrier, "barrier");
  for (int i = 0; i < 3; ++i) run.Name(&s->tasks[i], "task " + std::to_string(i));
  run.Finally([=] {
    Check(s->phases.Get() == phases, "each phase was completed once");
    Check(s->passed >= passed_min, "nobody is left behind");
    Check(s->cancelled <= cancelled_max, "only who was stopped was cancelled");
    Check(s->barrier.idle(), "nobody waits");
  });
  return s;
}

template <class Core>
void TwoInTwoPhases(Execution& run) {
  auto* s = Make<Core>(run, 2, 2, 4, 0);
  for (int i = 0; i < 2; ++i) {
    run.Thread("task " + std::to_string(i), [=] {
      s->Arrive(i, 1);
      Check(s->work[1 - i][1].Get() == 1, "the other was there");
      s->Arrive(i, 2);
    });
  }
}

template <class Core>
void ThreeOnce(Execution& run) {
  auto* s = Make<Core>(run, 3, 1, 3, 0);
  for (int i = 0; i < 3; ++i) run.Thread("task " + std::to_string(i), [=] { s->Arrive(i, 1); });
}

template <class Core>
void DropInsteadOfTheSecond(Execution& run) {
  auto* s = Make<Core>(run, 2, 1, 1, 0);
  run.Thread("task 0", [=] { s->Arrive(0, 1); });
  run.Thread("leaves", [=] { s->barrier.Drop(); });
}

// The one who is stopped was there, and all have passed; or it was not, and another comes in its place.
template <class Core>
void StopAgainstTheLast(Execution& run) {
  auto* s = Make<Core>(run, 2, 1, 2, 1);
  run.Thread("task 0", [=] {
    if (!s->Arrive(0, 1)) s->Arrive(2, 1);
  });
  run.Thread("task 1", [=] { s->Arrive(1, 1); });
  run.Thread("stop of 0", [=] { s->tasks[0].RequestStop(); });
}

template <class Core>
void StopThenDrop(Execution& run) {
  auto* s = Make<Core>(run, 2, 1, 1, 1);
  run.Thread("task 0", [=] {
    if (!s->Arrive(0, 1)) s->barrier.Drop();
  });
  run.Thread("task 1", [=] { s->Arrive(1, 1); });
  run.Thread("stop of 0", [=] { s->tasks[0].RequestStop(); });
}

template <class Core>
std::vector<model::Scenario> Scenarios() {
  const model::Options bounded = {.preemptions = 3, .stale_reads = 0};
  return {{"TwoInTwoPhases", bounded, TwoInTwoPhases<Core>},
          {"ThreeOnce", bounded, ThreeOnce<Core>},
          {"DropInsteadOfTheSecond", {}, DropInsteadOfTheSecond<Core>},
          {"StopAgainstTheLast", bounded, StopAgainstTheLast<Core>},
          {"StopThenDrop", bounded, StopThenDrop<Core>}};
}

class SyncBarrierModel : public testing::TestWithParam<model::Scenario> {};

TEST_P(SyncBarrierModel, AllOrNobodyGoOn) { model::ExpectHolds(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Scenarios, SyncBarrierModel, testing::ValuesIn(Scenarios<RealCore>()), model::NameOfScenario);

// Of the first, that somebody who is only stopped would wait for ever.
template <class Core>
void StopAlone(Execution& run) {
  auto* s = Make<Core>(run, 2, 0, 0, 1);
  run.Thread("task 0", [=] { s->Arrive(0, 1); });
  run.Thread("stop of 0", [=] { s->tasks[0].RequestStop(); });
}

TEST(SyncBarrierModel, AStopEndsTheWait) { model::ExpectHolds({"StopAlone", {}, StopAlone<RealCore>}); }

TEST(SyncBarrierCanaries, EachIsFound) {
  model::ExpectCanariesFound("A stop", {{"leaves the task waiting", {{"StopAlone", {}, StopAlone<CountsTheStopped>}}},
                                        {"does not see that the phase is over", Scenarios<CompletesTwice>()}});
}

}  // namespace
}  // namespace evring
