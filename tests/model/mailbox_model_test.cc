// The rescue of completions in all interleavings of a worker that goes in and out of tasks, its signal handler, other
// workers that take its mailbox, and the watchdog that wakes them: each completion is delivered once, those of one
// request in order, the ends of requests are counted once, and the worker consumes nothing of its ring while copied
// completions are undelivered. Then the same with every access of mailbox.h broken in turn, and with a worker that
// breaks the rules.
//
// The worker is the runtime's loop reduced to its ring (Worker::Reap, Settle, Help), over the real mailbox. The ring is
// a list of completions, of which the kernel shows more and more. The handler runs on the worker's own thread; where in
// a task it comes makes no difference, for a task touches neither the ring nor the mailbox.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "runtime/mailbox.h"
#include "tests/model/explorer.h"
#include "tests/model/model_atomics.h"
#include "tests/model/model_test.h"

namespace evring {
namespace {

using model::Check;
using model::Execution;

// What the worker owes to the protocol; a canary leaves one out.
struct Rules {
  bool settles_before_it_consumes = true;
  bool handler_acts_in_tasks_only = true;
  bool takes_back_what_nobody_took = true;  // R5: delivers what is in the mailbox, when it is back in its loop
  bool counts_what_others_ended = true;
};

// A completion as it stands in the mailbox: written by the handler, read by whoever delivers.
struct Copy {
  model::Plain<int> number;
};

// Two requests; the second ends with its first completion, the other is a multishot.
struct Completion {
  int request;
  int of_request;  // which of its completions
  bool last;
};
constexpr Completion kCompletions[] = {{0, 0, false}, {1, 0, true}, {0, 1, false}, {0, 2, true}};
constexpr int kRequests = 2;
constexpr int kCount = 4;

struct Machine {
  explicit Machine(Rules r) : rules(r) {}

  const Rules rules;
  BasicMailbox<Copy, 2, model::ModelAtomics> mailbox;
  model::ModelAtomic<int> shown{0};      // by the kernel, so far
  model::Plain<int> next_of[kRequests];  // which completion of the request comes next, as its handler knows
  model::Event wake;                     // for a parked worker
  int times_delivered[kCount] = {};
  int rescued = 0;
  int consumed = 0;  // these three the owner's: the read index of the ring,
  int in_flight = kRequests;
  bool in_task = false;

  int Deliver(int number) {
    Check(++times_delivered[number] == 1, "a completion is delivered once");
    const Completion& completion = kCompletions[number];
    Check(next_of[completion.request].Get() == completion.of_request, "the completions of a request come in order");
    next_of[completion.request].Set(completion.of_request + 1);
    return completion.last ? 1 : 0;
  }
  int DeliverCopied(const Copy& copy) { return Deliver(copy.number.Get()); }

  // --- The owner
  // -------------------------------------------------------------------------------------------------------

  void OnSignal() {
    if (!in_task && rules.handler_acts_in_tasks_only) return;
    int n = -1;
    mailbox.TryFill([this, &n](Copy* out, unsigned max) {
      n = std::min(shown.load(std::memory_order_acquire) - consumed, static_cast<int>(max));
      for (int i = 0; i < n; ++i) out[i].number.Set(consumed + i);
      consumed += n;
      return static_cast<unsigned>(n);
    });
    if (n == 0) Check(!mailbox.full(), "nobody is woken for an empty mailbox");
  }
  void Task(bool signalled) {
    in_task = true;
    if (signalled) OnSignal();
    in_task = false;
  }

  // As Worker::Settle.
  bool Settle() {
    if (rules.takes_back_what_nobody_took) mailbox.TryTake([this](const Copy& copy) { return DeliverCopied(copy); });
    int64_t ended = 0;
    if (!mailbox.TrySettle(&ended)) return false;
    if (rules.counts_what_others_ended) in_flight -= static_cast<int>(ended);
    return true;
  }
  // As Worker::Reap. `signalled`: in the middle of it, where the handler keeps still.
  void Visit(bool signalled = false) {
    if (!mailbox.empty() && !Settle() && rules.settles_before_it_consumes) return;
    const int tail = shown.load(std::memory_order_acquire);
    const int head = consumed;
    if (signalled) OnSignal();
    int ended = 0;
    for (int i = head; i < tail; ++i) ended += Deliver(i);
    consumed = std::max(tail, head);
    in_flight -= ended;
  }

  // --- Others
  // ----------------------------------------------------------------------------------------------------------

  void Show(int n) {
    for (int i = 0; i < n; ++i) shown.fetch_add(1, std::memory_order_release);
  }
  void Take() {
    if (!mailbox.full()) return;
    rescued += static_cast<int>(mailbox.TryTake([this](const Copy& copy) { return DeliverCopied(copy); }));
  }
};

Machine* Make(Execution& run, Rules rules) {
  auto* m = run.Make<Machine>(rules);
  run.Name(&m->mailbox, "mailbox");
  run.Name(&m->shown, "shown");
  run.Finally([m] {
    m->Visit();  // the owner goes round once more
    for (int i = 0; i < m->shown.load(std::memory_order_relaxed); ++i) {
      Check(m->times_delivered[i] == 1, "no completion is lost");
    }
    int ended = 0;
    for (int i = 0; i < kCount; ++i) ended += kCompletions[i].last ? m->times_delivered[i] : 0;
    Check(m->in_flight == kRequests - ended, "each end of a request is counted once");
    Check(m->mailbox.empty(), "a worker that has settled is done with its mailbox");
  });
  return m;
}

using Setup = void (*)(Execution&, Rules);

// A task during which completions come and another worker takes them; then the owner visits its ring.
void OneTaker(Execution& run, Rules rules) {
  Machine* m = Make(run, rules);
  run.Thread("owner", [m] {
    m->Task(true);
    m->Visit();
    m->Visit();
  });
  run.Thread("kernel", [m] { m->Show(3); });
  run.Thread("taker", [m] { m->Take(); });
}

// Two signals in one task: the mailbox is filled again as soon as the first load was delivered, and the second taker,
// or the owner, goes on where the first has stopped.
void FilledTwice(Execution& run, Rules rules) {
  Machine* m = Make(run, rules);
  m->Show(kCount);
  run.Thread("owner", [m] {
    m->in_task = true;
    m->OnSignal();
    m->OnSignal();
    m->in_task = false;
    m->Visit();
  });
  run.Thread("taker 1", [m] { m->Take(); });
  run.Thread("taker 2", [m] { m->Take(); });
}

// A load in each of two tasks, with a request that ends in both.
void FilledInTwoTasks(Execution& run, Rules rules) {
  Machine* m = Make(run, rules);
  run.Thread("owner", [m] {
    m->Task(true);
    m->Visit();
    m->Task(true);
    m->Visit();
  });
  run.Thread("kernel", [m] { m->Show(kCount); });
}

// The signal is late: it finds the owner in its loop, or in its next task.
void LateSignal(Execution& run, Rules rules) {
  Machine* m = Make(run, rules);
  run.Thread("owner", [m] {
    m->Task(false);
    m->Visit(true);
    m->Task(true);
    m->Visit(true);
  });
  run.Thread("kernel", [m] { m->Show(3); });
  run.Thread("taker", [m] { m->Take(); });
}

// The watchdog wakes a parked worker if it sees the mailbox full; whoever is woken finds something, or somebody was
// faster.
void Watchdog(Execution& run, Rules rules) {
  Machine* m = Make(run, rules);
  m->Show(3);
  run.Thread("owner", [m] {
    m->Task(true);
    m->Visit();
  });
  run.Thread("watchdog", [m] {
    if (m->mailbox.full()) m->wake.Post();
  });
  run.Thread("parked", [m] {
    if (!m->wake.Wait()) return;
    m->Take();
    Check(m->rescued != 0 || !m->mailbox.empty() || m->times_delivered[0] == 1,
          "who is woken sees what the watchdog saw");
  });
  run.WhenAllBlocked([] { return true; });  // the watchdog has looked too early, or too late
}

std::vector<model::Scenario> Scenarios(Rules rules) {
  const auto scenario = [&](const char* name, Setup setup, model::Options options) {
    return model::Scenario{name, options, [=](Execution& run) { setup(run, rules); }};
  };
  return {scenario("OneTaker", OneTaker, {}), scenario("FilledTwice", FilledTwice, {}),
          scenario("FilledInTwoTasks", FilledInTwoTasks, {}), scenario("LateSignal", LateSignal, {}),
          scenario("Watchdog", Watchdog, {})};
}

class MailboxModel : public testing::TestWithParam<model::Scenario> {};

TEST_P(MailboxModel, EachCompletionIsDeliveredOnce) { model::ExpectHolds(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Scenarios, MailboxModel, testing::ValuesIn(Scenarios({})), model::NameOfScenario);

TEST(MailboxMutants, EachIsFound) { model::ExpectMutantsFound(Scenarios({}), "runtime/mailbox.h", 11); }

// Each rule of the worker, left out, loses, repeats or reorders completions.
TEST(MailboxCanaries, EachIsFound) {
  Rules consumes_first, acts_in_loop, leaves_it, forgets_ends;
  consumes_first.settles_before_it_consumes = false;
  acts_in_loop.handler_acts_in_tasks_only = false;
  leaves_it.takes_back_what_nobody_took = false;
  forgets_ends.counts_what_others_ended = false;
  model::ExpectCanariesFound("A worker", {{"consumes while copies are undelivered", Scenarios(consumes_first)},
                                          {"lets its handler act in the loop", Scenarios(acts_in_loop)},
                                          {"leaves its mailbox to others", Scenarios(leaves_it)},
                                          {"does not count what others ended", Scenarios(forgets_ends)}});
}

}  // namespace
}  // namespace evring
