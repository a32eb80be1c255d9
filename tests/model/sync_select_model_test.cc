// The choice of a select in all interleavings of those who serve its cases, its timer, a stop and a close: exactly one
// thing happens; each value that was sent comes out once; what was not chosen is as if it had never waited; nobody
// waits for ever.
//
// The wait and the choice, the channels and their queues are the real code. S1 and S4 of select.h are written once more
// here, for two cases: there they are spread over the cases' types.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/sync/internal/channel_core.h"
#include "runtime/sync/internal/select_wait.h"
#include "runtime/timer_wheel.h"
#include "tests/model/explorer.h"
#include "tests/model/model_atomics.h"
#include "tests/model/model_test.h"
#include "tests/model/sync_host.h"

namespace evring {
namespace {

using model::Check;
using model::Execution;
using model::SyncTask;
using model::SyncTimers;

// Where a value has been moved from there is a null pointer. What it points to was written by the sender, without a
// lock.
using Value = std::unique_ptr<model::Plain<int>>;
using Core = internal::ChannelCore<Value, model::SyncHost>;
using SendNode = internal::Suspension<Core, Core::SendNode>;
using ReceiveNode = internal::Suspension<Core, Core::ReceiveNode>;

Value MakeValue(int n) {
  auto value = std::make_unique<model::Plain<int>>();
  value->Set(n);
  return value;
}

// Which rule of select.h it breaks.
enum class Broken {
  kNothing,
  kUnlocksBetween,   // the channels are not locked from S1 to S2
  kLocksAsCasesAre,  // not in one order for all selects
  kWithdrawsNone,    // S4 is left out
};

enum class Chosen { kFirst, kSecond, kTimer, kStop };

// Of one await of two cases. Made before the threads, as it has atomics.
template <class NodeA, class NodeB>
class Select {
 public:
  Select(Core* core_a, NodeA* a, Core* core_b, NodeB* b, Broken broken)
      : core_a_(core_a), a_(a), core_b_(core_b), b_(b), broken_(broken) {}

  // `timers`: or nullptr.
  Chosen Await(SyncTask* task, SyncTimers* timers) {
    if (task->stop_requested()) return Chosen::kStop;
    Core::Rest rest_a, rest_b;
    Lock();
    const bool first = core_a_->TryLocked(a_, &rest_a);
    const bool second = !first && core_b_->TryLocked(b_, &rest_b);
    if (broken_ == Broken::kUnlocksBetween) {
      Unlock();
      Lock();
    }
    const int64_t deadline_ns = timers == nullptr ? TimerWheel::kNever : 1;
    const bool begun = !first && !second && wait_.Begin(task, std::noop_coroutine(), timers, deadline_ns);
    if (begun) {
      a_->choice = b_->choice = wait_.choice();
      core_a_->QueueLocked(a_);
      core_b_->QueueLocked(b_);
    }
    Unlock();
    if (!begun) {
      if (rest_a.partner != nullptr) rest_a.partner->Complete();
      if (rest_b.partner != nullptr) rest_b.partner->Complete();
      return first ? Chosen::kFirst : second ? Chosen::kSecond : Chosen::kStop;
    }
    if (wait_.Suspend()) task->Suspended();
    const Chosen chosen = wait_.ClaimedBy(Mark(a_))   ? Chosen::kFirst
                          : wait_.ClaimedBy(Mark(b_)) ? Chosen::kSecond
                          : wait_.timed_out()         ? Chosen::kTimer
                                                      : Chosen::kStop;
    if (broken_ != Broken::kWithdrawsNone) {
      if (chosen != Chosen::kFirst) static_cast<void>(core_a_->Cancel(a_));
      if (chosen != Chosen::kSecond) static_cast<void>(core_b_->Cancel(b_));
    }
    return chosen;
  }

 private:
  static const void* Mark(const internal::Waiter<model::SyncHost>* node) { return node; }

  std::array<Core*, 2> Order() const {
    if (broken_ != Broken::kLocksAsCasesAre && std::less<>()(core_b_, core_a_)) return {core_b_, core_a_};
    return {core_a_, core_b_};
  }
  void Lock() {
    for (Core* core : Order()) core->lock()->lock();
  }
  void Unlock() {
    for (Core* core : Order()) core->lock()->unlock();
  }

  Core* const core_a_;
  NodeA* const a_;
  Core* const core_b_;
  NodeB* const b_;
  const Broken broken_;
  internal::SelectWait<model::SyncHost> wait_;
};

// Task 0 selects, the others are on the other side.
struct State {
  explicit State(size_t capacity) : a(capacity), b(capacity) {}

  Core a, b;
  SyncTask tasks[3];
  SyncTimers timers;
  std::vector<int> sent;
  std::vector<int> received;
  int not_sent = 0;
  int not_received = 0;

  void Send(int task, Core* channel, int n) {
    Value value = MakeValue(n);
    SendNode node(channel, &value);
    const bool ok = model::Await(&tasks[task], channel, &node) == SendNode::State::kGranted;
    Sent(ok, value, n);
  }
  void Receive(int task, Core* channel) {
    ReceiveNode node(channel);
    static_cast<void>(model::Await(&tasks[task], channel, &node));
    Received(node);
  }
  void Sent(bool ok, const Value& value, int n) {
    Check((value == nullptr) == ok, "taken if it was sent, else still there");
    if (ok) sent.push_back(n);
    not_sent += ok ? 0 : 1;
  }
  bool Received(const ReceiveNode& node) {
    const bool ok = node.state == ReceiveNode::State::kGranted;
    if (ok) received.push_back(node.value->Get());
    not_received += ok ? 0 : 1;
    return ok;
  }
  void Finish() {
    Check(a.idle() && b.idle(), "nobody waits");
    for (Core* const channel : {&a, &b}) {
      for (;;) {
        Core::Room room;
        if (channel->TryReceive(&room) != Core::Answer::kDone) break;
        received.push_back(room.value->Get());
      }
    }
    std::sort(sent.begin(), sent.end());
    std::sort(received.begin(), received.end());
    Check(sent == received, "each that was sent came out once");
  }
};

// A select of two receives.
struct Receives : State {
  Receives(size_t capacity, Broken broken)
      : State(capacity), from_a(&a), from_b(&b), select(&a, &from_a, &b, &from_b, broken) {}

  ReceiveNode from_a, from_b;
  Select<ReceiveNode, ReceiveNode> select;
  Chosen chosen = Chosen::kStop;

  void Run(SyncTimers* with) {
    chosen = select.Await(&tasks[0], with);
    const bool first = Received(from_a);
    const bool second = Received(from_b);
    Check(!(first && chosen != Chosen::kFirst) && !(second && chosen != Chosen::kSecond), "only what was chosen");
  }
  // And closes both channels on who is left.
  void RunAndClose(SyncTimers* with) {
    Run(with);
    a.Close();
    b.Close();
  }
  // Of both channels.
  int got() const { return 2 - not_received; }
};

Receives* MakeReceives(Execution& run, size_t capacity, Broken broken, std::function<bool(const Receives&)> holds) {
  auto* s = run.Make<Receives>(capacity, broken);
  run.Name(&s->a, "channel a");
  run.Name(&s->b, "channel b");
  run.Name(&s->select, "select");
  run.Name(&s->timers, "timers");
  run.Finally([=] {
    Check(holds(*s), "what was chosen has happened");
    s->Finish();
  });
  return s;
}

template <size_t kCapacity, Broken kBroken = Broken::kNothing>
void TwoSenders(Execution& run) {
  Receives* s = MakeReceives(run, kCapacity, kBroken, [](const Receives& r) { return r.got() == 1; });
  run.Thread("select", [=] { s->RunAndClose(nullptr); });
  run.Thread("sender of a", [=] { s->Send(1, &s->a, 1); });
  run.Thread("sender of b", [=] { s->Send(2, &s->b, 2); });
}

// Nobody sends.
template <Broken kBroken = Broken::kNothing>
void StopAlone(Execution& run) {
  Receives* s = MakeReceives(run, 0, kBroken, [](const Receives& r) { return r.chosen == Chosen::kStop; });
  run.Thread("select", [=] { s->Run(nullptr); });
  run.Thread("stop", [=] { s->tasks[0].RequestStop(); });
}
void TimerAlone(Execution& run) {
  Receives* s = MakeReceives(run, 0, Broken::kNothing, [](const Receives& r) { return r.chosen == Chosen::kTimer; });
  run.Thread("select", [=] { s->Run(&s->timers); });
  run.Thread("time", [=] {
    s->timers.UntilArmed();
    s->timers.Pass();
  });
}
void StopAgainstTimer(Execution& run) {
  Receives* s = MakeReceives(run, 0, Broken::kNothing,
                             [](const Receives& r) { return r.chosen == Chosen::kStop || r.chosen == Chosen::kTimer; });
  run.Thread("select", [=] { s->RunAndClose(&s->timers); });
  run.Thread("time", [=] { s->timers.Pass(); });
  run.Thread("stop", [=] { s->tasks[0].RequestStop(); });
}

// It got the value, or it did not and the sender has it, or the channel.
bool GotWhatWasChosen(const Receives& r) { return r.got() == (r.chosen == Chosen::kSecond ? 1 : 0); }

template <size_t kCapacity>
void StopAgainstSender(Execution& run) {
  Receives* s = MakeReceives(run, kCapacity, Broken::kNothing, GotWhatWasChosen);
  run.Thread("select", [=] { s->RunAndClose(nullptr); });
  run.Thread("sender of b", [=] { s->Send(2, &s->b, 2); });
  run.Thread("stop", [=] { s->tasks[0].RequestStop(); });
}
template <size_t kCapacity>
void TimerAgainstSender(Execution& run) {
  Receives* s = MakeReceives(run, kCapacity, Broken::kNothing, GotWhatWasChosen);
  run.Thread("select", [=] { s->RunAndClose(&s->timers); });
  run.Thread("sender of b", [=] { s->Send(2, &s->b, 2); });
  run.Thread("time", [=] { s->timers.Pass(); });
}
template <size_t kCapacity>
void Everybody(Execution& run) {
  Receives* s = MakeReceives(run, kCapacity, Broken::kNothing, [](const Receives& r) {
    return r.got() == (r.chosen == Chosen::kFirst || r.chosen == Chosen::kSecond ? 1 : 0);
  });
  run.Thread("select", [=] { s->RunAndClose(&s->timers); });
  run.Thread("sender of a", [=] { s->Send(1, &s->a, 1); });
  run.Thread("sender of b", [=] { s->Send(2, &s->b, 2); });
  run.Thread("time", [=] { s->timers.Pass(); });
  run.Thread("stop", [=] { s->tasks[0].RequestStop(); });
}

// A channel that is closed is ready.
void CloseAgainstSender(Execution& run) {
  Receives* s = MakeReceives(run, 0, Broken::kNothing, [](const Receives& r) {
    return r.got() == (r.chosen == Chosen::kSecond ? 1 : 0) &&
           (r.chosen == Chosen::kFirst || r.chosen == Chosen::kSecond);
  });
  run.Thread("select", [=] { s->RunAndClose(nullptr); });
  run.Thread("closer of a", [=] { s->a.Close(); });
  run.Thread("sender of b", [=] { s->Send(2, &s->b, 2); });
}

// Two that meet: one receives from a or sends to b, the other the other way round, its cases in the other order.
struct Meeting : State {
  explicit Meeting(Broken broken)
      : State(0),
        from_a(&a),
        from_b(&b),
        to_a(&a, &for_a),
        to_b(&b, &for_b),
        one(&a, &from_a, &b, &to_b, broken),
        other(&b, &from_b, &a, &to_a, broken) {}

  Value for_a = MakeValue(1), for_b = MakeValue(2);
  ReceiveNode from_a, from_b;
  SendNode to_a, to_b;
  Select<ReceiveNode, SendNode> one, other;
};

template <Broken kBroken = Broken::kNothing>
void TwoSelects(Execution& run) {
  auto* s = run.Make<Meeting>(kBroken);
  run.Name(&s->a, "channel a");
  run.Name(&s->b, "channel b");
  run.Name(&s->one, "one");
  run.Name(&s->other, "other");
  run.Thread("one", [=] {
    const Chosen chosen = s->one.Await(&s->tasks[0], nullptr);
    Check(s->Received(s->from_a) == (chosen == Chosen::kFirst), "received if that was chosen");
    s->Sent(chosen == Chosen::kSecond, s->for_b, 2);
  });
  run.Thread("other", [=] {
    const Chosen chosen = s->other.Await(&s->tasks[1], nullptr);
    Check(s->Received(s->from_b) == (chosen == Chosen::kFirst), "received if that was chosen");
    s->Sent(chosen == Chosen::kSecond, s->for_a, 1);
  });
  run.Finally([=] {
    Check(s->sent.size() == 1, "one of the two channels was used");
    s->Finish();
  });
}

std::vector<model::Scenario> Scenarios() {
  return {
      {"StopAlone", {}, StopAlone<>},
      {"TimerAlone", {}, TimerAlone},
      {"StopAgainstTimer", {}, StopAgainstTimer},
      {"TwoSelects", {}, TwoSelects<>},
      {"CloseAgainstSender", {}, CloseAgainstSender},
      {"TwoSendersWith0", {}, TwoSenders<0>},
      {"TwoSendersWith1", {}, TwoSenders<1>},
      {"StopAgainstSenderWith0", {}, StopAgainstSender<0>},
      {"StopAgainstSenderWith1", {}, StopAgainstSender<1>},
      {"TimerAgainstSenderWith0", {}, TimerAgainstSender<0>},
      {"TimerAgainstSenderWith1", {}, TimerAgainstSender<1>},
      {"EverybodyWith0", {}, Everybody<0>},
      {"EverybodyWith1", {}, Everybody<1>},
  };
}

class SyncSelectModel : public testing::TestWithParam<model::Scenario> {};

TEST_P(SyncSelectModel, OneThingHappens) { model::ExpectHolds(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Scenarios, SyncSelectModel, testing::ValuesIn(Scenarios()), model::NameOfScenario);

TEST(SyncSelectCanaries, EachIsFound) {
  model::ExpectCanariesFound(
      "A select", {{"unlocks before it queues", {{"TwoSendersWith1", {}, TwoSenders<1, Broken::kUnlocksBetween>}}},
                   {"locks in the order of its cases", {{"TwoSelects", {}, TwoSelects<Broken::kLocksAsCasesAre>}}},
                   {"leaves its nodes", {{"StopAlone", {}, StopAlone<Broken::kWithdrawsNone>}}}});
}

TEST(SyncSelectMutants, EachIsFound) {
  model::ExpectMutantsFound(Scenarios(), "runtime/sync/internal/select_wait.h", 4);
  model::ExpectMutantsFound(Scenarios(), "runtime/sync/internal/waiter.h", 2);
}

}  // namespace
}  // namespace evring
