// The algorithm of Latch in all interleavings of a few that count down, who waits, and a stop: nobody waits for ever or
// goes on early, and what was done before each of the counts is visible. Then the same with the counter broken.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "runtime/sync/internal/latch_core.h"
#include "tests/model/explorer.h"
#include "tests/model/model_atomics.h"
#include "tests/model/model_test.h"
#include "tests/model/sync_host.h"

namespace evring {
namespace {

using model::Check;
using model::Execution;

using Core = internal::LatchCore<model::SyncHost>;
using Node = internal::Suspension<Core::Event, Core::Event::Node>;

struct State {
  explicit State(uint64_t count) : latch(count) {}

  Core latch;
  model::SyncTask tasks[2];
  model::Plain<int> results[2];  // each written before a count
  int woken = 0;
  int cancelled = 0;

  void Count(int i) {
    results[i].Set(1);
    latch.CountDown(1);
  }
  void Wait(int task, int counts) {
    Node node(latch.zero());
    if (model::Await(&tasks[task], latch.zero(), &node) == Node::State::kCancelled) {
      ++cancelled;
      return;
    }
    for (int i = 0; i < counts; ++i) Check(results[i].Get() == 1, "done before");
    ++woken;
  }
};

State* Make(Execution& run, uint64_t count, int waits, int cancelled_max) {
  auto* s = run.Make<State>(count);
  run.Name(&s->latch, "latch");
  for (int i = 0; i < 2; ++i) run.Name(&s->tasks[i], "task " + std::to_string(i));
  run.Finally([=] {
    Check(s->woken + s->cancelled == waits, "nobody waits");
    Check(s->cancelled <= cancelled_max, "only who was stopped was cancelled");
    Check(s->latch.zero()->IsSet() && s->latch.zero()->idle(), "open");
  });
  return s;
}

void TwoCount(Execution& run) {
  State* s = Make(run, 2, 1, 0);
  for (int i = 0; i < 2; ++i) run.Thread("count " + std::to_string(i), [=] { s->Count(i); });
  run.Thread("task", [=] { s->Wait(0, 2); });
}

void TwoArriveAndWait(Execution& run) {
  State* s = Make(run, 2, 2, 0);
  for (int i = 0; i < 2; ++i) {
    run.Thread("task " + std::to_string(i), [=] {
      s->Count(i);
      s->Wait(i, 2);
    });
  }
}

void StopAgainstTheLast(Execution& run) {
  State* s = Make(run, 1, 1, 1);
  run.Thread("count", [=] { s->Count(0); });
  run.Thread("task", [=] { s->Wait(0, 1); });
  run.Thread("stop", [=] { s->tasks[0].RequestStop(); });
}

std::vector<model::Scenario> Scenarios() {
  return {{"TwoCount", {}, TwoCount},
          {"TwoArriveAndWait", {}, TwoArriveAndWait},
          {"StopAgainstTheLast", {}, StopAgainstTheLast}};
}

class SyncLatchModel : public testing::TestWithParam<model::Scenario> {};

TEST_P(SyncLatchModel, NobodyIsForgottenOrEarly) { model::ExpectHolds(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Scenarios, SyncLatchModel, testing::ValuesIn(Scenarios()), model::NameOfScenario);

TEST(SyncLatchMutants, EachIsFound) { model::ExpectMutantsFound(Scenarios(), "sync/internal/latch_core.h", 3); }

}  // namespace
}  // namespace evring
