// SharedMutex is a semaphore of which a reader takes one permit and a writer all of them; the semaphore is explored by
// sync_semaphore_model_test.cc. Here: that readers and writers exclude each other then, see what the writers before
// them did, and that a writer who gives up lets those behind it through, in all interleavings of a few tasks.

#include <gtest/gtest.h>

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

constexpr uint64_t kReader = 1;
constexpr uint64_t kWriter = Core::kPermitsMax;

struct State {
  Core core{kWriter};
  model::SyncTask tasks[3];
  model::Plain<int> table;  // a reader beside a writer is a race
  int written = 0;
  int read = 0;
  int refused = 0;

  void Read(int task) {
    Node node(&core, kReader);
    if (model::Await(&tasks[task], &core, &node) == Node::State::kCancelled) {
      ++refused;
      return;
    }
    table.Get();
    ++read;
    core.Release(kReader);
  }
  void Write(int task) {
    Node node(&core, kWriter);
    if (model::Await(&tasks[task], &core, &node) == Node::State::kCancelled) {
      ++refused;
      return;
    }
    table.Set(table.Get() + 1);
    ++written;
    core.Release(kWriter);
  }
  // A writer that becomes a reader: what it wrote stays what it reads.
  void WriteThenRead(int task) {
    Node node(&core, kWriter);
    Check(model::Await(&tasks[task], &core, &node) != Node::State::kCancelled, "nobody stops it");
    const int mine = table.Get() + 1;
    table.Set(mine);
    ++written;
    core.Release(kWriter - kReader);
    Check(table.Get() == mine, "no writer came in between");
    core.Release(kReader);
  }
};

State* Make(Execution& run, int attempts, int refused_max) {
  auto* s = run.Make<State>();
  run.Name(&s->core, "shared mutex");
  for (int i = 0; i < 3; ++i) run.Name(&s->tasks[i], "task " + std::to_string(i));
  run.Finally([=] {
    Check(s->written + s->read + s->refused == attempts, "each attempt has ended");
    Check(s->refused <= refused_max, "only who was stopped was refused");
    Check(s->table.Get() == s->written, "writers exclude each other");
    Check(s->core.idle() && s->core.permits() == kWriter, "free, and nobody waits");
  });
  return s;
}

void ReaderAndWriter(Execution& run) {
  State* s = Make(run, 2, 0);
  run.Thread("reader", [=] { s->Read(0); });
  run.Thread("writer", [=] { s->Write(1); });
}

void ReadersAndWriter(Execution& run) {
  State* s = Make(run, 3, 0);
  run.Thread("reader 0", [=] { s->Read(0); });
  run.Thread("reader 1", [=] { s->Read(1); });
  run.Thread("writer", [=] { s->Write(2); });
}

void StopOfTheWriter(Execution& run) {
  State* s = Make(run, 3, 1);
  run.Thread("reader 0", [=] { s->Read(0); });
  run.Thread("reader 1", [=] { s->Read(1); });
  run.Thread("writer", [=] { s->Write(2); });
  run.Thread("stop of the writer", [=] { s->tasks[2].RequestStop(); });
}

void Downgrade(Execution& run) {
  State* s = Make(run, 3, 0);
  run.Thread("downgrader", [=] { s->WriteThenRead(0); });
  run.Thread("writer", [=] { s->Write(1); });
  run.Thread("reader", [=] { s->Read(2); });
}

std::vector<model::Scenario> Scenarios() {
  const model::Options bounded = {.preemptions = 2, .stale_reads = 0};
  return {{"ReaderAndWriter", {}, ReaderAndWriter},
          {"ReadersAndWriter", bounded, ReadersAndWriter},
          {"StopOfTheWriter", bounded, StopOfTheWriter},
          {"Downgrade", bounded, Downgrade}};
}

class SyncSharedMutexModel : public testing::TestWithParam<model::Scenario> {};

TEST_P(SyncSharedMutexModel, WritersExcludeAllAndNobodyIsForgotten) { model::ExpectHolds(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Scenarios, SyncSharedMutexModel, testing::ValuesIn(Scenarios()), model::NameOfScenario);

}  // namespace
}  // namespace evring
