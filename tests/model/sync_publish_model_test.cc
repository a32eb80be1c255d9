// The algorithm of Broadcast and Watch in all interleavings of publishers, readers, stops and a close: each reader gets
// each value in order or is told that it missed it, with what was done before; nobody waits for ever.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "runtime/sync/internal/publish_core.h"
#include "tests/model/explorer.h"
#include "tests/model/model_atomics.h"
#include "tests/model/model_test.h"
#include "tests/model/sync_host.h"

namespace evring {
namespace {

using model::Check;
using model::Execution;

// What it points to was written by the publisher, without a lock. A pointer that nobody owns: what the ring forgets is
// there to the end, as the reader's own copy would be.
using Value = model::Plain<int>*;
using RealCore = internal::PublishCore<Value, model::SyncHost>;

// A stop that does not see that the node has been taken off.
struct StopsTheServed : RealCore {
  using RealCore::RealCore;
  bool Cancel(Node* node) {
    RealCore::Cancel(node);
    node->state = Node::State::kCancelled;
    return true;
  }
};
// One that leaves a node in the queue.
struct LeavesItQueued : RealCore {
  using RealCore::RealCore;
  bool Cancel(Node*) { return false; }
};

template <class Core>
struct State {
  using Node = internal::Suspension<Core, typename Core::Node>;

  explicit State(size_t capacity) : core(capacity) {}

  Core core;
  model::SyncTask tasks[2];
  model::Plain<int> values[3];
  int published = 0;
  int cancelled = 0;
  int closed = 0;
  int read_to = 0;  // by the last who read

  void Publish(int i) {
    values[i].Set(i);
    if (core.Publish(&values[i])) ++published;
  }
  // Reads on from value number *next, and counts what it got and what it missed. False: stopped or closed.
  bool Read(int task, uint64_t* next) {
    Node node(&core, *next);
    if (model::Await(&tasks[task], &core, &node) == Node::State::kCancelled) {
      ++cancelled;
      return false;
    }
    typename Core::Taken taken;
    switch (core.Take(*next, &taken)) {
      case Core::Answer::kWait:
        Check(false, "it has waited");
        return false;
      case Core::Answer::kClosed:
        ++closed;
        return false;
      case Core::Answer::kThere:
        break;
    }
    Check(taken.next == *next + taken.missed + 1, "counted");
    Check(taken.value->Get() == static_cast<int>(taken.next) - 1, "in order");
    *next = taken.next;
    read_to = static_cast<int>(taken.next);
    return true;
  }
};

template <class Core>
State<Core>* Make(Execution& run, size_t capacity, int cancelled_max, int closed_max) {
  auto* s = run.Make<State<Core>>(capacity);
  run.Name(&s->core, "ring");
  for (int i = 0; i < 2; ++i) run.Name(&s->tasks[i], "task " + std::to_string(i));
  run.Finally([=] {
    Check(s->core.idle(), "nobody waits");
    Check(s->cancelled <= cancelled_max && s->closed <= closed_max, "only who was stopped, or told");
    Check(s->closed == 0 || s->read_to == s->published, "told when it had read all");
  });
  return s;
}

// The reader sees the last value in any case, and all of them if the ring has room.
template <class Core, size_t kCapacity>
void OneReads(Execution& run) {
  auto* s = Make<Core>(run, kCapacity, 0, 0);
  run.Thread("publisher", [=] {
    for (int i = 0; i < 2; ++i) s->Publish(i);
  });
  run.Thread("reader", [=] {
    int reads = 0;
    for (uint64_t next = 0; next < 2; ++reads) Check(s->Read(0, &next), "nobody stops it");
    Check(reads == 2 || kCapacity < 2, "all of them");
  });
}

template <class Core>
void TwoRead(Execution& run) {
  auto* s = Make<Core>(run, 1, 0, 0);
  run.Thread("publisher", [=] { s->Publish(0); });
  for (int i = 0; i < 2; ++i) {
    run.Thread("reader " + std::to_string(i), [=] {
      uint64_t next = 0;
      Check(s->Read(i, &next) && next == 1, "nobody stops it");
    });
  }
}

// It is stopped, or it has read the value; what it did not read it can read afterwards.
template <class Core>
void StopAgainstPublish(Execution& run) {
  auto* s = Make<Core>(run, 1, 1, 0);
  run.Thread("publisher", [=] { s->Publish(0); });
  run.Thread("reader", [=] {
    uint64_t next = 0;
    if (!s->Read(0, &next)) Check(s->Read(1, &next), "nobody stops the other");
  });
  run.Thread("stop", [=] { s->tasks[0].RequestStop(); });
}

template <class Core>
void StopAlone(Execution& run) {
  auto* s = Make<Core>(run, 1, 1, 0);
  run.Thread("reader", [=] {
    uint64_t next = 0;
    Check(!s->Read(0, &next), "there is nothing");
  });
  run.Thread("stop", [=] { s->tasks[0].RequestStop(); });
}

// What was published before the close is read first.
template <class Core>
void CloseAgainstPublishAndRead(Execution& run) {
  auto* s = Make<Core>(run, 2, 0, 1);
  run.Thread("publisher", [=] {
    s->Publish(0);
    s->Publish(1);
  });
  run.Thread("closer", [=] { s->core.Close(); });
  run.Thread("reader", [=] {
    uint64_t next = 0;
    while (next < 2 && s->Read(0, &next)) {
    }
  });
}

template <class Core>
std::vector<model::Scenario> Scenarios() {
  const model::Options bounded = {.preemptions = 3, .stale_reads = 0};
  return {{"OneReadsWith1", {}, OneReads<Core, 1>},
          {"OneReadsWith2", {}, OneReads<Core, 2>},
          {"StopAlone", {}, StopAlone<Core>},
          {"TwoRead", bounded, TwoRead<Core>},
          {"StopAgainstPublish", bounded, StopAgainstPublish<Core>},
          {"CloseAgainstPublishAndRead", bounded, CloseAgainstPublishAndRead<Core>}};
}

class SyncPublishModel : public testing::TestWithParam<model::Scenario> {};

TEST_P(SyncPublishModel, EachValueIsReadOrMissedByCount) { model::ExpectHolds(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Scenarios, SyncPublishModel, testing::ValuesIn(Scenarios<RealCore>()), model::NameOfScenario);

TEST(SyncPublishCanaries, EachIsFound) {
  model::ExpectCanariesFound("A stop", {{"ends a wait that is over", Scenarios<StopsTheServed>()},
                                        {"leaves the task waiting", Scenarios<LeavesItQueued>()}});
}

}  // namespace
}  // namespace evring
