// The algorithm of CondVar, over that of Mutex, in all interleavings of consumers, producers and stops: nobody waits
// for ever while there is an item, a stop that meets a notification passes it on, the mutex excludes and is free in the
// end. Then the same with rules left out.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "runtime/sync/internal/cond_var_core.h"
#include "tests/model/explorer.h"
#include "tests/model/model_atomics.h"
#include "tests/model/model_test.h"
#include "tests/model/sync_host.h"

namespace evring {
namespace {

using model::Check;
using model::Execution;

using Mutex = internal::MutexCore<model::SyncHost>;
using MutexNode = internal::Suspension<Mutex, Mutex::Node>;
using RealCore = internal::CondVarCore<model::SyncHost>;

// A stop that keeps the notification which it met, and one that does not look at the mutex's queue.
struct KeepsNotification : RealCore {
  bool Cancel(Node* node) { return node->moved ? node->mutex->Cancel(node) : RealCore::Cancel(node); }
};
struct ForgetsTheMove : RealCore {
  bool Cancel(Node* node) { return !node->moved && RealCore::Cancel(node); }
};
template <class Core>
struct State {
  using Node = internal::Suspension<Core, typename Core::Node>;

  Mutex mutex;
  Core cond_var;
  model::SyncTask tasks[4];
  model::Plain<int> items;  // guarded by the mutex
  int taken = 0;            // these as well
  int brought = 0;

  bool Lock(int task) {
    MutexNode node(&mutex);
    return model::Await(&tasks[task], &mutex, &node) != MutexNode::State::kCancelled;
  }
  bool Wait(int task) {
    Node node(&cond_var, &mutex);
    if (node.Suspend(&tasks[task], std::noop_coroutine())) tasks[task].Suspended();
    if (node.state != Node::State::kCancelled) return true;
    if (!node.released) mutex.Unlock();
    return false;
  }
  // False: stopped.
  bool Take(int task) {
    if (!Lock(task)) return false;
    while (items.Get() == 0) {
      if (!Wait(task)) return false;
    }
    items.Set(items.Get() - 1);
    ++taken;
    mutex.Unlock();
    return true;
  }
  void Bring(int task, int n, bool inside) {
    Check(Lock(task), "nobody stops it");
    items.Set(items.Get() + n);
    brought += n;
    if (inside) Notify(n);
    mutex.Unlock();
    if (!inside) Notify(n);
  }
  void Notify(int n) {
    if (n == 1) {
      cond_var.NotifyOne();
    } else {
      cond_var.NotifyAll();
    }
  }
};

template <class Core>
State<Core>* Make(Execution& run) {
  auto* s = run.Make<State<Core>>();
  run.Name(&s->mutex, "mutex");
  run.Name(&s->cond_var, "condition variable");
  for (int i = 0; i < 4; ++i) run.Name(&s->tasks[i], "task " + std::to_string(i));
  run.Finally([=] {
    Check(s->items.Get() == s->brought - s->taken, "the mutex excludes");
    Check(s->mutex.idle(), "free, and nobody waits for it");
    Check(s->cond_var.idle(), "nobody waits");
  });
  return s;
}

template <class Core, bool kInside>
void OneToOne(Execution& run) {
  auto* s = Make<Core>(run);
  run.Thread("consumer", [=] { Check(s->Take(0), "nobody stops it"); });
  run.Thread("producer", [=] { s->Bring(1, 1, kInside); });
}

template <class Core, bool kInside>
void OneToAll(Execution& run) {
  auto* s = Make<Core>(run);
  run.Thread("consumer 0", [=] { Check(s->Take(0), "nobody stops it"); });
  run.Thread("consumer 1", [=] { Check(s->Take(1), "nobody stops it"); });
  run.Thread("producer", [=] { s->Bring(2, 2, kInside); });
}

// It is never notified: the stop is what ends the wait, at whatever moment it comes.
template <class Core>
void StopAlone(Execution& run) {
  auto* s = Make<Core>(run);
  run.Thread("consumer", [=] { Check(!s->Take(0), "there is nothing to take"); });
  run.Thread("stop", [=] { s->tasks[0].RequestStop(); });
}

// The mutex is held by one who notifies and lets go of it only when the consumer has ended: a stop of one that has been
// moved to the mutex's queue ends its wait.
template <class Core>
void StopInTheQueueOfTheMutex(Execution& run) {
  auto* s = Make<Core>(run);
  auto* ended = run.Make<model::Event>();
  run.Thread("consumer", [=] {
    s->Take(0);
    ended->Post();
  });
  run.Thread("notifier and stop", [=] {
    Check(s->Lock(1), "nobody stops it");
    s->cond_var.NotifyOne();
    s->tasks[0].RequestStop();
    Check(ended->Wait(), "the stop has ended it");
    s->mutex.Unlock();
  });
}

// One item, one notification, two consumers of which the first is stopped. If it has taken the item all the same, it
// brings another one. So the second gets one in any case.
template <class Core, bool kInside>
void StopAgainstNotify(Execution& run) {
  auto* s = Make<Core>(run);
  run.Thread("consumer 0", [=] {
    if (s->Take(0)) s->Bring(3, 1, kInside);
  });
  run.Thread("consumer 1", [=] { Check(s->Take(1), "nobody stops it"); });
  run.Thread("producer", [=] { s->Bring(2, 1, kInside); });
  run.Thread("stop of 0", [=] { s->tasks[0].RequestStop(); });
}

template <class Core>
std::vector<model::Scenario> Scenarios() {
  const model::Options bounded = {.preemptions = 2, .stale_reads = 0};
  return {{"OneToOne", {}, OneToOne<Core, false>},
          {"OneToOneInside", {}, OneToOne<Core, true>},
          {"StopAlone", {}, StopAlone<Core>},
          {"StopInTheQueueOfTheMutex", {.preemptions = 3, .stale_reads = 0}, StopInTheQueueOfTheMutex<Core>},
          {"OneToAll", bounded, OneToAll<Core, false>},
          {"OneToAllInside", bounded, OneToAll<Core, true>},
          {"StopAgainstNotify", bounded, StopAgainstNotify<Core, false>},
          {"StopAgainstNotifyInside", bounded, StopAgainstNotify<Core, true>}};
}

class SyncCondVarModel : public testing::TestWithParam<model::Scenario> {};

TEST_P(SyncCondVarModel, NobodyIsForgotten) { model::ExpectHolds(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Scenarios, SyncCondVarModel, testing::ValuesIn(Scenarios<RealCore>()), model::NameOfScenario);

TEST(SyncCondVarCanaries, EachIsFound) {
  model::ExpectCanariesFound("A stop",
                             {{"keeps the notification of the task that it ends", Scenarios<KeepsNotification>()},
                              {"does not look for the task in the queue of the mutex", Scenarios<ForgetsTheMove>()}});
}

}  // namespace
}  // namespace evring
