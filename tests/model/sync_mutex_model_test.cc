// The algorithm of Mutex in all interleavings of a few tasks, a stop among them: at most one has the mutex, it sees
// what the one before did, nobody waits for ever, and in the end it is free. Then the same with every access broken in
// turn.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "runtime/sync/internal/mutex_core.h"
#include "tests/model/explorer.h"
#include "tests/model/model_atomics.h"
#include "tests/model/model_test.h"
#include "tests/model/sync_host.h"

namespace evring {
namespace {

using model::Check;
using model::Execution;

using Core = internal::MutexCore<model::SyncHost>;
using Node = internal::Suspension<Core, Core::Node>;

struct State {
  Core mutex;
  model::SyncTask tasks[3];
  model::Plain<int> sections;  // guarded by the mutex: who enters without having seen the last is a race
  int granted = 0;
  int refused = 0;

  void Section() {
    sections.Set(sections.Get() + 1);
    ++granted;
    mutex.Unlock();
  }
  void LockAndUnlock(int task) {
    Node node(&mutex);
    if (model::Await(&tasks[task], &mutex, &node) == Node::State::kCancelled) {
      ++refused;
    } else {
      Section();
    }
  }
  void TryOnce() {
    if (mutex.TryLock()) {
      Section();
    } else {
      ++refused;
    }
  }
};

State* Make(Execution& run, int attempts, int refused_max) {
  auto* s = run.Make<State>();
  run.Name(&s->mutex, "mutex");
  for (int i = 0; i < 3; ++i) run.Name(&s->tasks[i], "task " + std::to_string(i));
  run.Finally([=] {
    Check(s->granted + s->refused == attempts, "each attempt has ended");
    Check(s->refused <= refused_max, "only who was stopped, or did not want to wait, was refused");
    Check(s->sections.Get() == s->granted, "sections exclude each other");
    Check(s->mutex.idle(), "free, and nobody waits");
  });
  return s;
}

void TwoTasks(Execution& run) {
  State* s = Make(run, 3, 0);
  run.Thread("task 0", [=] {
    s->LockAndUnlock(0);
    s->LockAndUnlock(0);
  });
  run.Thread("task 1", [=] { s->LockAndUnlock(1); });
}

void ThreeTasks(Execution& run) {
  State* s = Make(run, 3, 0);
  for (int i = 0; i < 3; ++i) run.Thread("task " + std::to_string(i), [=] { s->LockAndUnlock(i); });
}

void StopAgainstHandOver(Execution& run) {
  State* s = Make(run, 2, 1);
  run.Thread("task 0", [=] { s->LockAndUnlock(0); });
  run.Thread("task 1", [=] { s->LockAndUnlock(1); });
  run.Thread("stop of 1", [=] { s->tasks[1].RequestStop(); });
}

// The mutex is never unlocked: the stop is what ends the wait, at whatever moment it comes.
void StopWhileHeld(Execution& run) {
  State* s = run.Make<State>();
  const bool taken = s->mutex.TryLock();
  run.Thread("task 0", [=] { s->LockAndUnlock(0); });
  run.Thread("stop of 0", [=] { s->tasks[0].RequestStop(); });
  run.Finally([=] {
    Check(taken && s->refused == 1, "refused");
    s->mutex.Unlock();
    Check(s->mutex.idle(), "free, and nobody waits");
  });
}

// Somebody stands behind the task that is stopped.
void StopInTheMiddle(Execution& run) {
  State* s = Make(run, 3, 1);
  for (int i = 0; i < 3; ++i) run.Thread("task " + std::to_string(i), [=] { s->LockAndUnlock(i); });
  run.Thread("stop of 1", [=] { s->tasks[1].RequestStop(); });
}

void TryAgainstStop(Execution& run) {
  State* s = Make(run, 3, 2);
  run.Thread("task 0", [=] { s->LockAndUnlock(0); });
  run.Thread("task 1", [=] { s->LockAndUnlock(1); });
  run.Thread("stop of 1, then try", [=] {
    s->tasks[1].RequestStop();
    s->TryOnce();
  });
}

std::vector<model::Scenario> Scenarios() {
  return {{"TwoTasks", {}, TwoTasks},
          {"StopWhileHeld", {}, StopWhileHeld},
          {"StopAgainstHandOver", {}, StopAgainstHandOver},
          {"TryAgainstStop", {.preemptions = 3, .stale_reads = 1}, TryAgainstStop},
          {"ThreeTasks", {.preemptions = 2, .stale_reads = 1}, ThreeTasks},
          {"StopInTheMiddle", {.preemptions = 2, .stale_reads = 0}, StopInTheMiddle}};
}

class SyncMutexModel : public testing::TestWithParam<model::Scenario> {};

TEST_P(SyncMutexModel, OneAtATimeAndNobodyIsForgotten) { model::ExpectHolds(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Scenarios, SyncMutexModel, testing::ValuesIn(Scenarios()), model::NameOfScenario);

TEST(SyncMutexMutants, EachIsFound) { model::ExpectMutantsFound(Scenarios(), "sync/internal/state_word.h", 14); }

}  // namespace
}  // namespace evring
