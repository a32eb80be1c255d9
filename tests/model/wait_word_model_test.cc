// The wait word in all interleavings of a waiting task, whoever completes its waits, and two that ask it to stop: each
// wait that was begun is resumed exactly once, its memory is not touched by anybody after that, and it is not resumed
// while a stop has it pinned. Then the same with every access of wait_word.h broken in turn, and with a TaskContext
// that does not keep to the protocol.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "runtime/wait_word.h"
#include "tests/model/explorer.h"
#include "tests/model/model_atomics.h"
#include "tests/model/model_test.h"

namespace evring {
namespace {

using model::Check;
using model::Execution;

// What TaskContext, and whoever completes, owe to the word; a canary leaves one out.
struct Rules {
  bool leaves_pinned_to_stopper = true;  // Finish() was false: somebody else makes the task ready
  bool resumes_deferred = true;          // Unpin() was true: we do
  bool unpins_after_on_stop = true;
  bool forwards_earlier_stop = true;  // BeginJoin() was true: the wait passes the stop on itself
};

// A wait, in a frame that is gone once the task goes on.
struct ModelWait {
  alignas(8) model::Plain<int> alive;
  model::Plain<int> result;
  model::ModelAtomic<int> completer{0};  // who completes it: the first to ask, 1
  model::Event begun;                    // the request is on its way
  model::Event cancelled;                // its cancel is
  int times_resumed = 0;
  int times_told = 0;
  bool was_begun = false;
};

struct Machine {
  explicit Machine(Rules r) : rules(r) {}

  const Rules rules;
  WaitWord<ModelWait, model::ModelAtomics> word;
  ModelWait waits[2];
  model::Event ready;
  ModelWait* current = nullptr;  // what the task waits for, as the one that resumes it knows
  model::Plain<int> reason;      // of the stop: written before it, unless there are two who ask
  bool two_stoppers = false;
  bool stop_completes = false;  // OnStop() completes the wait, as a sleep's; else the completer does, as for a request
  int stops_carried_out = 0;

  // --- The task
  // --------------------------------------------------------------------------------------------------------

  // Waits, unless it was asked to stop. True: it has waited.
  bool Await(ModelWait* wait) {
    wait->alive.Set(1);
    current = wait;
    if (!word.Begin(wait)) {
      CheckReason();
      return false;
    }
    Suspended(wait);
    return true;
  }

  // Waits in any case. A stop is passed on, once, by the task or by OnStop().
  void AwaitJoin(ModelWait* wait) {
    wait->alive.Set(1);
    current = wait;
    if (word.BeginJoin(wait) && rules.forwards_earlier_stop) {
      CheckReason();
      ++wait->times_told;
    }
    Suspended(wait);
  }

  void Suspended(ModelWait* wait) {
    wait->was_begun = true;
    wait->begun.Post();
    if (!ready.Wait()) return;
    Check(wait->result.Get() == 1, "the result is in place");
    wait->alive.Set(0);  // and the frame is gone
  }

  // For who knows of the stop.
  void CheckReason() const { Check(two_stoppers || reason.Get() == 1, "what came before the stop is visible"); }

  void MakeReady() {
    ++current->times_resumed;
    ready.Post();
  }

  // --- Others
  // ----------------------------------------------------------------------------------------------------------

  void Complete(ModelWait* wait) {
    wait->result.Set(1);
    Check(wait->alive.Get() == 1, "completes a wait that is there");
    if (word.Finish(wait) || !rules.leaves_pinned_to_stopper) MakeReady();
  }

  // The wait is not touched by one who comes too late to complete it.
  void Completer(ModelWait* wait) {
    if (!wait->begun.Wait()) return;
    if (stop_completes && wait->completer.exchange(1, std::memory_order_acq_rel) != 0) return;
    Complete(wait);
  }

  void OnStop(ModelWait* wait) {
    Check(wait->alive.Get() == 1, "tells a wait that is there");
    ++wait->times_told;
    wait->cancelled.Post();
    if (stop_completes && wait->completer.exchange(1, std::memory_order_acq_rel) == 0) Complete(wait);
    Check(wait->alive.Get() == 1, "as long as it is being told, a wait stays");
  }

  // As TaskContext::RequestStop.
  void RequestStop() {
    if (!two_stoppers) reason.Set(1);
    ModelWait* wait = nullptr;
    if (!word.Stop(&wait)) return;
    ++stops_carried_out;
    if (wait == nullptr) return;
    if (rules.unpins_after_on_stop) OnStop(wait);
    if (word.Unpin() && rules.resumes_deferred) MakeReady();
    if (!rules.unpins_after_on_stop) OnStop(wait);
  }
};

Machine* Make(Execution& run, Rules rules) {
  auto* m = run.Make<Machine>(rules);
  run.Name(&m->word, "word");
  for (int i = 0; i < 2; ++i) run.Name(&m->waits[i], "wait " + std::to_string(i));
  run.Finally([m] {
    Check(m->stops_carried_out <= 1, "a stop is carried out once");
    Check(m->word.stop_requested() == (m->stops_carried_out == 1), "a stop is never taken back");
    for (const ModelWait& wait : m->waits) {
      Check(wait.times_resumed == (wait.was_begun ? 1 : 0), "each wait that was begun is resumed exactly once");
      Check(wait.times_told <= 1, "a wait is told of a stop at most once");
    }
  });
  return m;
}

using Setup = void (*)(Execution&, Rules);

// The task waits twice, as for a request to the kernel: the first time it may be stopped, the second time as well, and
// if the stop came before, it does not wait.
void RequestTwice(Execution& run, Rules rules) {
  Machine* m = Make(run, rules);
  run.Thread("task", [m] {
    if (m->Await(&m->waits[0])) static_cast<void>(m->Await(&m->waits[1]));
  });
  run.Thread("completer", [m] {
    m->Completer(&m->waits[0]);
    m->Completer(&m->waits[1]);
  });
  run.Thread("stopper", [m] { m->RequestStop(); });
  // The second wait may never have begun: its completer waits then.
  run.WhenAllBlocked(
      [m] { return m->waits[0].times_resumed == (m->waits[0].was_begun ? 1 : 0) && !m->waits[1].was_begun; });
}

// Whoever comes first completes, as for a sleep: the timer, or the stop itself.
void Sleep(Execution& run, Rules rules) {
  Machine* m = Make(run, rules);
  m->stop_completes = true;
  run.Thread("task", [m] { static_cast<void>(m->Await(&m->waits[0])); });
  run.Thread("timer", [m] { m->Completer(&m->waits[0]); });
  run.Thread("stopper", [m] { m->RequestStop(); });
  run.WhenAllBlocked([m] { return !m->waits[0].was_begun; });
}

void TwoStoppers(Execution& run, Rules rules) {
  Machine* m = Make(run, rules);
  m->two_stoppers = true;
  run.Thread("task", [m] { static_cast<void>(m->Await(&m->waits[0])); });
  run.Thread("completer", [m] { m->Completer(&m->waits[0]); });
  run.Thread("stopper 1", [m] { m->RequestStop(); });
  run.Thread("stopper 2", [m] { m->RequestStop(); });
  run.WhenAllBlocked([m] { return !m->waits[0].was_begun; });
}

// Of the completion nothing comes but by the stop: who is told of it, or passes it on, brings it about.
void JoinNeedsTheStop(Execution& run, Rules rules) {
  Machine* m = Make(run, rules);
  run.Thread("task", [m] {
    ModelWait* wait = &m->waits[0];
    wait->alive.Set(1);
    m->current = wait;
    const bool stopped = m->word.BeginJoin(wait);
    if (stopped) m->CheckReason();
    if (stopped && m->rules.forwards_earlier_stop) {
      ++wait->times_told;
      wait->cancelled.Post();
    }
    m->Suspended(wait);
  });
  run.Thread("child", [m] {
    if (m->waits[0].cancelled.Wait()) m->Complete(&m->waits[0]);
  });
  run.Thread("stopper", [m] { m->RequestStop(); });
}

// The first wait ends with or without the stop; the join after it begins while the stop is still being carried out for
// the first, perhaps, and takes nothing of that for its own.
void JoinAfterRequest(Execution& run, Rules rules) {
  Machine* m = Make(run, rules);
  run.Thread("task", [m] {
    static_cast<void>(m->Await(&m->waits[0]));
    m->AwaitJoin(&m->waits[1]);
  });
  run.Thread("completer", [m] {
    if (!m->waits[0].begun.Wait()) return;
    m->Complete(&m->waits[0]);
  });
  run.Thread("child", [m] { m->Completer(&m->waits[1]); });
  run.Thread("stopper", [m] { m->RequestStop(); });
  run.WhenAllBlocked([m] { return !m->waits[0].was_begun && m->waits[1].times_resumed == 1; });
}

// A task that computes and never waits.
void Looks(Execution& run, Rules rules) {
  Machine* m = Make(run, rules);
  run.Thread("task", [m] {
    if (m->word.stop_requested()) m->CheckReason();
  });
  run.Thread("stopper", [m] { m->RequestStop(); });
}

std::vector<model::Scenario> Scenarios(Rules rules) {
  const auto scenario = [&](const char* name, Setup setup, model::Options options) {
    return model::Scenario{name, options, [=](Execution& run) { setup(run, rules); }};
  };
  return {scenario("Looks", Looks, {}),
          scenario("JoinNeedsTheStop", JoinNeedsTheStop, {.spurious_failures = 1}),
          scenario("Sleep", Sleep, {.spurious_failures = 1}),
          scenario("RequestTwice", RequestTwice, {.spurious_failures = 1}),
          scenario("JoinAfterRequest", JoinAfterRequest, {}),
          scenario("TwoStoppers", TwoStoppers, {})};
}

class WaitWordModel : public testing::TestWithParam<model::Scenario> {};

TEST_P(WaitWordModel, EachWaitIsResumedOnce) { model::ExpectHolds(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Scenarios, WaitWordModel, testing::ValuesIn(Scenarios({})), model::NameOfScenario);

TEST(WaitWordMutants, EachIsFound) { model::ExpectMutantsFound(Scenarios({}), "runtime/wait_word.h", 29); }

// Each rule of the context, left out, resumes a wait twice, never, or while it is pinned.
TEST(WaitWordCanaries, EachIsFound) {
  Rules resumes_pinned, forgets_deferred, unpins_early, forgets_to_forward;
  resumes_pinned.leaves_pinned_to_stopper = false;
  forgets_deferred.resumes_deferred = false;
  unpins_early.unpins_after_on_stop = false;
  forgets_to_forward.forwards_earlier_stop = false;
  model::ExpectCanariesFound("A context",
                             {{"resumes a pinned task", Scenarios(resumes_pinned)},
                              {"leaves a deferred resumption to nobody", Scenarios(forgets_deferred)},
                              {"unpins before it tells the wait", Scenarios(unpins_early)},
                              {"does not pass on a stop that came before a join", Scenarios(forgets_to_forward)}});
}

}  // namespace
}  // namespace evring
