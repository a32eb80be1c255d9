// The algorithm of Semaphore in all interleavings of a few tasks, a stop among them: there are never more permits out
// than there are, none is lost, nobody waits while there is enough for him. Then the same with every access broken in
// turn.

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/sync/internal/semaphore_core.h"
#include "tests/model/explorer.h"
#include "tests/model/model_atomics.h"
#include "tests/model/model_test.h"
#include "tests/model/sync_host.h"

namespace evring {
namespace {

using model::Check;
using model::Execution;

using Core = internal::SemaphoreCore<model::SyncHost>;
using Node = internal::Suspension<Core, Core::Node>;

struct State {
  explicit State(uint64_t permits) : semaphore(permits) {}

  Core semaphore;
  model::SyncTask tasks[3];
  model::Plain<int> guarded;  // by one who has all permits
  model::ModelAtomic<int> out{0};
  uint64_t all = 0;
  int acquired = 0;
  int refused = 0;

  // `mark` by those who have all of them: what the last one did is visible.
  void Section(int n) {
    ++acquired;
    if (static_cast<uint64_t>(n) == all) {
      guarded.Set(guarded.Get() + 1);
    } else {
      Check(out.fetch_add(n, std::memory_order_relaxed) + n <= static_cast<int>(all), "not more than there are");
      out.fetch_sub(n, std::memory_order_relaxed);
    }
  }
  bool Acquire(int task, int n) {
    Node node(&semaphore, static_cast<uint64_t>(n));
    if (model::Await(&tasks[task], &semaphore, &node) == Node::State::kCancelled) {
      ++refused;
      return false;
    }
    Section(n);
    return true;
  }
  void AcquireAndRelease(int task, int n) {
    if (Acquire(task, n)) semaphore.Release(static_cast<uint64_t>(n));
  }
  void TryOnce(int n) {
    if (!semaphore.TryAcquire(static_cast<uint64_t>(n))) {
      ++refused;
      return;
    }
    Section(n);
    semaphore.Release(static_cast<uint64_t>(n));
  }
};

State* Make(Execution& run, uint64_t at_first, uint64_t at_last, int attempts, int refused_max) {
  auto* s = run.Make<State>(at_first);
  s->all = at_last;
  run.Name(&s->semaphore, "semaphore");
  for (int i = 0; i < 3; ++i) run.Name(&s->tasks[i], "task " + std::to_string(i));
  run.Finally([=] {
    Check(s->acquired + s->refused == attempts, "each attempt has ended");
    Check(s->refused <= refused_max, "only who was stopped, or did not want to wait, was refused");
    Check(s->semaphore.idle(), "nobody waits");
    Check(s->semaphore.permits() == at_last, "none is lost, none is made up");
  });
  return s;
}

void OnePermitTwoTasks(Execution& run) {
  State* s = Make(run, 1, 1, 3, 0);
  run.Thread("task 0", [=] {
    s->AcquireAndRelease(0, 1);
    s->AcquireAndRelease(0, 1);
  });
  run.Thread("task 1", [=] { s->AcquireAndRelease(1, 1); });
}

void OneOrAll(Execution& run) {
  State* s = Make(run, 2, 2, 3, 0);
  run.Thread("task 0", [=] { s->AcquireAndRelease(0, 1); });
  run.Thread("task 1", [=] { s->AcquireAndRelease(1, 2); });
  run.Thread("task 2", [=] { s->AcquireAndRelease(2, 1); });
}

// Two release what one waits for.
void TwoRelease(Execution& run) {
  State* s = Make(run, 0, 2, 1, 0);
  run.Thread("task 0", [=] { s->AcquireAndRelease(0, 2); });
  run.Thread("releaser 1", [=] { s->semaphore.Release(1); });
  run.Thread("releaser 2", [=] { s->semaphore.Release(1); });
}

// The one that is stopped demands what never comes; there is enough for the one behind it.
void StopAtTheHead(Execution& run) {
  State* s = Make(run, 1, 1, 2, 1);
  run.Thread("task 0", [=] { s->AcquireAndRelease(0, 2); });
  run.Thread("task 1", [=] { s->AcquireAndRelease(1, 1); });
  run.Thread("stop of 0", [=] { s->tasks[0].RequestStop(); });
}

// Nothing is released: the stop is what ends the wait, at whatever moment it comes.
void StopWithoutPermits(Execution& run) {
  State* s = Make(run, 0, 0, 1, 1);
  run.Thread("task 0", [=] { s->AcquireAndRelease(0, 1); });
  run.Thread("stop of 0", [=] { s->tasks[0].RequestStop(); });
}

void StopAgainstRelease(Execution& run) {
  State* s = Make(run, 0, 1, 1, 1);
  run.Thread("task 0", [=] { s->AcquireAndRelease(0, 1); });
  run.Thread("releaser", [=] { s->semaphore.Release(1); });
  run.Thread("stop of 0", [=] { s->tasks[0].RequestStop(); });
}

void TryAgainstRelease(Execution& run) {
  State* s = Make(run, 0, 1, 2, 1);
  run.Thread("task 0", [=] { s->AcquireAndRelease(0, 1); });
  run.Thread("releaser", [=] { s->semaphore.Release(1); });
  run.Thread("tries", [=] { s->TryOnce(1); });
}

// The release comes while the stop has the queue locked, and goes to one who does not lock it.
void TryAgainstStop(Execution& run) {
  State* s = Make(run, 1, 1, 3, 2);
  run.Thread("task 0", [=] { s->AcquireAndRelease(0, 1); });
  run.Thread("task 1", [=] { s->AcquireAndRelease(1, 2); });
  run.Thread("stop of 1, then try", [=] {
    s->tasks[1].RequestStop();
    s->TryOnce(1);
  });
}

std::vector<model::Scenario> Scenarios() {
  return {{"OnePermitTwoTasks", {.preemptions = 3, .stale_reads = 1}, OnePermitTwoTasks},
          {"TwoRelease", {}, TwoRelease},
          {"StopWithoutPermits", {}, StopWithoutPermits},
          {"StopAgainstRelease", {}, StopAgainstRelease},
          {"TryAgainstRelease", {.preemptions = 3, .stale_reads = 1}, TryAgainstRelease},
          {"TryAgainstStop", {.preemptions = 3, .stale_reads = 1}, TryAgainstStop},
          {"StopAtTheHead", {.preemptions = 3, .stale_reads = 1}, StopAtTheHead},
          {"OneOrAll", {.preemptions = 2, .stale_reads = 1}, OneOrAll}};
}

class SyncSemaphoreModel : public testing::TestWithParam<model::Scenario> {};

TEST_P(SyncSemaphoreModel, NoPermitIsLostAndNobodyIsForgotten) { model::ExpectHolds(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Scenarios, SyncSemaphoreModel, testing::ValuesIn(Scenarios()), model::NameOfScenario);

TEST(SyncSemaphoreMutants, EachIsFound) { model::ExpectMutantsFound(Scenarios(), "sync/internal/state_word.h", 14); }

}  // namespace
}  // namespace evring
