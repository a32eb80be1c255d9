// The waiting at a queue in all interleavings of the threads that wait, of those that only take what is there, and of a
// kernel that shows events: each event is handed to exactly one thread, as the kernel has written it; no thread sleeps
// while there is an event and nobody leads awake; whoever is let go goes; and nothing that is to be armed again is left
// lying while the leader sleeps. Then the same with every access of read_index.h and return_stack.h broken in turn, and
// with threads that break the rules.
//
// What this covers: the code itself under weak memory; of three threads with three events the schedules with few
// preemptions. All interleavings of these, and threads that are cancelled, are searched in a model of the same
// protocol, queue.pml, whose steps are sequentially consistent; queue_spin_test.py compares them with the accesses of
// the code.
//
// The machine is kevent::Queue reduced to the three parts that are explored, over the real turnstile, read index and
// return stack. Its kernel has a ring of a few slots, in which it writes under a lock of its own; a thread that sleeps
// there does so if the ring is empty by what the kernel has been shown. Each event has a registration that reports a
// number of times, and is ready again as soon as it is armed. A wake that is lost leaves all threads blocked with
// events to come, which the explorer sees.

#include <gtest/gtest.h>

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "kevent/read_index.h"
#include "kevent/return_stack.h"
#include "kevent/turnstile.h"
#include "tests/model/explorer.h"
#include "tests/model/model_atomics.h"
#include "tests/model/model_test.h"

namespace evring::kevent {
namespace {

using model::Check;
using model::Execution;

// What the threads of a queue owe to the protocol; a canary leaves one out.
struct Rules {
  bool hands_on = true;
  bool looks_before_it_sleeps = true;
  bool comes_when_called = true;  // to arm what it has returned
  bool copies_before_it_claims = true;
  bool kicks_again = true;          // who takes a kick that was for the leader
  bool marks_with_the_lock = true;  // and leaves no room that the line waits for
  bool looks_at_the_line = true;    // who has made room
};

constexpr uint32_t kSlots = 4;
constexpr int kKick = -1;

struct Registration {
  Registration* next = nullptr;
  int number = 0;
  int times_max = 1;
  model::Plain<int> times;  // reported
};

struct Waiter : TurnstilePlace<Waiter> {
  model::Event woken;
  void Wake() { woken.Post(); }
};

class Machine {
 public:
  // `limit`: how many events may be in the ring when another is put there; what finds no room stands in line.
  Machine(Execution* run, Rules r, int registrations, uint32_t slots, uint32_t limit)
      : rules_(r), slots_(slots), limit_(limit) {
    for (int i = 0; i < registrations; ++i) {
      auto* registration = run->Make<Registration>();
      registration->number = i;
      registrations_.push_back(registration);
    }
    run->Name(&read_, "read index");
    run->Name(&returned_, "return stack");
    run->Name(&turnstile_, "turnstile");
    run->Name(&tail_, "write index");
    run->Name(&shown_, "shown read index");
    run->Finally([this] {
      Check(read_.taken() == shown_.load(std::memory_order_relaxed), "the kernel knows of all that has been taken");
    });
  }

  Registration* registration(int i) { return registrations_[i]; }

  // --- The kernel ----------------------------------------------------------------------------------------------------

  // False: no room.
  bool Show(int number) {
    const std::lock_guard<model::ModelMutex> lock(kernel_);
    const uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - shown_.load(std::memory_order_acquire) >= slots_) return false;
    // Relaxed: a thread may copy it meanwhile, and throws away what it has copied.
    slot_[tail % slots_].store(static_cast<int>(tail << 8) | (number & 0xff), std::memory_order_relaxed);
    tail_.store(tail + 1, std::memory_order_release);
    if (asleep_.Get()) {
      asleep_.Set(false);
      completion_.Post();
    }
    return true;
  }

  // --- Those who feed it ---------------------------------------------------------------------------------------------

  // One that stands in line for room.
  void Post(int number) {
    const std::lock_guard<model::ModelMutex> lock(lock_);
    line_.Set(line_.Get() + 1);
    in_line_ = number;
    ArmLine();
  }

  void Wake(bool all) {
    if (turnstile_.Release(all)) Kick();
  }

  // Events in the ring, by one who knows nothing of them.
  uint32_t ready() {
    const auto taken = static_cast<uint32_t>(read_.taken());
    const uint32_t n = tail_.load(std::memory_order_acquire) - taken;
    Check(n <= slots_, "the write index is not behind what has been taken");
    return n;
  }

  // --- Those who consume ---------------------------------------------------------------------------------------------

  bool TryNext() { return Take(/*leads=*/false); }

  // Claims only; Return() is what comes after.
  Registration* Claim() {
    int number = 0;
    return TryTake(&number) && number >= 0 ? registrations_[number] : nullptr;
  }
  void Return(Registration* registration) {
    const int times = registration->times.Get() + 1;
    Check(times <= registration->times_max, "each event is handed out once");
    registration->times.Set(times);
    if (returned_.Push(registration, times < registration->times_max) && rules_.comes_when_called) {
      const std::lock_guard<model::ModelMutex> lock(lock_);
      ArmLine();
    }
  }

  // As Queue::Next(). False: without an event.
  bool Next(Waiter* waiter) {
    if (rules_.looks_before_it_sleeps && Take(/*leads=*/false)) return true;
    return turnstile_.Join(waiter) ? LeadAndHandOn(waiter) : Follow(waiter);
  }
  bool Follow(Waiter* waiter) {
    static_cast<void>(waiter->woken.Wait());
    const Standing standing = turnstile_.Leave(waiter);
    if (standing == Standing::kReleased) return false;
    Check(standing == Standing::kLeads, "who is woken leads, or has been let go");
    return LeadAndHandOn(waiter);
  }
  bool LeadAndHandOn(Waiter* waiter) {
    const bool taken = Lead();
    if (rules_.hands_on && turnstile_.HandOn(waiter) && taken) Wake(/*all=*/false);
    return taken;
  }

  // Before the threads begin.
  void JoinFirst(Waiter* waiter) { Check(turnstile_.Join(waiter), "nobody leads"); }
  void JoinNext(Waiter* waiter) { Check(!turnstile_.Join(waiter), "somebody leads"); }

  // A wait whose deadline has passed.
  void GiveUp(Waiter* waiter) {
    if (turnstile_.Join(waiter) || turnstile_.Leave(waiter) == Standing::kLeads) turnstile_.HandOn(waiter);
  }

 private:
  bool TryTake(int* number) {
    int copy = 0;
    const auto copy_slot = [&](uint64_t index) { copy = slot_[index % slots_].load(std::memory_order_relaxed); };
    uint64_t at = 0;
    const bool taken = read_.TryTake([this] { return tail_.load(std::memory_order_acquire); },
                                     [&](uint64_t index) {
                                       at = index;
                                       if (rules_.copies_before_it_claims) copy_slot(index);
                                       return true;
                                     },
                                     shown_);
    if (!taken) return false;
    if (!rules_.copies_before_it_claims) copy_slot(at);
    Check(static_cast<uint64_t>(copy >> 8) == at, "what was copied is what the kernel has written for this index");
    *number = static_cast<int8_t>(copy & 0xff);
    return true;
  }

  bool Take(bool leads) {
    int number = 0;
    while (TryTake(&number)) {
      if (stands_.load(std::memory_order_relaxed) && rules_.looks_at_the_line && returned_.marked()) {
        const std::lock_guard<model::ModelMutex> lock(lock_);
        ArmLine();
      }
      if (number != kKick) {
        Return(registrations_[number]);
        return true;
      }
      if (leads || !turnstile_.leader_is_released() || !rules_.kicks_again) continue;
      Kick();
      return false;
    }
    return false;
  }

  void Kick() { Check(Show(kKick), "room for a kick"); }

  // Under the lock.
  void ArmLine() {
    for (Registration* r = returned_.TakeAll(); r != nullptr;) {
      Registration* const next = r->next;
      if (r->times.Get() < r->times_max) Check(Show(r->number), "room for what is armed again");
      r = next;
    }
    if (line_.Get() == 0) return;
    if (ready() >= limit_) {
      stands_.store(true, std::memory_order_relaxed);
      read_.Announce();
      if (ready() >= limit_) return;
    }
    line_.Set(line_.Get() - 1);
    stands_.store(false, std::memory_order_relaxed);
    Check(Show(in_line_), "room");
  }

  bool Lead() {
    for (bool first = true;; first = false) {
      if ((rules_.looks_before_it_sleeps || !first) && Take(/*leads=*/true)) return true;
      if (turnstile_.leader_is_released()) return false;
      bool stands;
      {
        const std::lock_guard<model::ModelMutex> lock(lock_);
        do {
          ArmLine();
          stands = line_.Get() != 0;
        } while (!stands && rules_.marks_with_the_lock && !returned_.Mark());
      }
      if (stands) continue;  // there is something to take
      if (!rules_.marks_with_the_lock && !returned_.Mark()) continue;
      read_.ShowTaken(shown_);
      Sleep();
      returned_.Unmark();
    }
  }

  void Sleep() {
    {
      const std::lock_guard<model::ModelMutex> lock(kernel_);
      const uint32_t shown = shown_.load(std::memory_order_acquire);
      if (rules_.looks_before_it_sleeps && tail_.load(std::memory_order_relaxed) != shown) return;
      asleep_.Set(true);
    }
    static_cast<void>(completion_.Wait());
  }

  const Rules rules_;
  const uint32_t slots_;
  const uint32_t limit_;
  BasicTurnstile<Waiter, model::ModelAtomics> turnstile_;
  BasicReadIndex<model::ModelAtomics> read_;
  BasicReturnStack<Registration, model::ModelAtomics> returned_;
  model::ModelMutex lock_;    // the queue's
  model::ModelMutex kernel_;  // the kernel's
  model::Plain<bool> asleep_{false};
  model::ModelAtomic<uint32_t> tail_{0};
  model::ModelAtomic<uint32_t> shown_{0};
  model::ModelAtomic<int> slot_[kSlots];
  model::ModelAtomic<bool> stands_{false};
  model::Event completion_;
  model::Plain<int> line_;  // how many stand in it
  int in_line_ = 0;
  std::vector<Registration*> registrations_;
};

using Setup = void (*)(Execution&, Rules);

Machine* Make(Execution& run, Rules rules, int registrations, uint32_t slots = kSlots, uint32_t limit = kSlots) {
  return run.Make<Machine>(&run, rules, registrations, slots, limit);
}

void Consumers(Execution& run, Machine* m, int n) {
  for (int i = 0; i < n; ++i) {
    auto* waiter = run.Make<Waiter>();
    run.Thread("consumer " + std::to_string(i), [=] { static_cast<void>(m->Next(waiter)); });
  }
}

void ThreeForThree(Execution& run, Rules rules) {
  Machine* m = Make(run, rules, 3);
  run.Thread("kernel", [m] {
    for (int i = 0; i < 3; ++i) m->Show(i);
  });
  Consumers(run, m, 3);
}

void TwoForTwo(Execution& run, Rules rules) {
  Machine* m = Make(run, rules, 2);
  run.Thread("kernel", [m] {
    for (int i = 0; i < 2; ++i) m->Show(i);
  });
  Consumers(run, m, 2);
}

// The ring is so small that the kernel fills a slot again as soon as it may.
void SlotsAreFilledAgain(Execution& run, Rules rules) {
  Machine* m = Make(run, rules, 3, /*slots=*/1);
  m->Show(0);
  run.Thread("kernel", [m] {
    if (m->Show(1)) m->Show(2);
  });
  for (int i = 0; i < 2; ++i) {
    run.Thread("consumer " + std::to_string(i), [m] {
      if (Registration* r = m->Claim(); r != nullptr) m->Return(r);
    });
  }
}

// One has waited, and gives up while another hands on to it.
void OneGivesUp(Execution& run, Rules rules) {
  Machine* m = Make(run, rules, 2);
  m->Show(0);
  run.Thread("kernel", [m] { m->Show(1); });
  Consumers(run, m, 2);
  auto* waiter = run.Make<Waiter>();
  run.Thread("gives up", [=] { m->GiveUp(waiter); });
}

// Two have taken events that report again, and are late to return them, when the leader goes to sleep.
void LateReturns(Execution& run, Rules rules) {
  Machine* m = Make(run, rules, 2);
  for (int i = 0; i < 2; ++i) {
    m->registration(i)->times_max = 2;
    m->Show(i);
  }
  Registration* const held[] = {m->Claim(), m->Claim()};
  for (int i = 0; i < 2; ++i) {
    run.Thread("late " + std::to_string(i), [m, r = held[i]] { m->Return(r); });
  }
  auto* first = run.Make<Waiter>();
  auto* second = run.Make<Waiter>();
  run.Thread("leader", [=] {
    static_cast<void>(m->Next(first));
    static_cast<void>(m->Next(second));
  });
}

// An event that reports again and again goes through the hands of all, one of whom never waits.
void OneReportsAgain(Execution& run, Rules rules) {
  Machine* m = Make(run, rules, 1);
  m->registration(0)->times_max = 3;
  m->Show(0);
  Consumers(run, m, 2);
  run.Thread("takes", [m] { static_cast<void>(m->TryNext()); });
}

// The leader is let go while another takes what is in the ring.
void KickIsStolen(Execution& run, Rules rules) {
  Machine* m = Make(run, rules, 0);
  auto* waiter = run.Make<Waiter>();
  m->JoinFirst(waiter);
  run.Thread("leader", [=] { Check(!m->LeadAndHandOn(waiter), "there is nothing but kicks"); });
  run.Thread("takes", [m] { static_cast<void>(m->TryNext()); });
  run.Thread("wakes", [m] { m->Wake(/*all=*/false); });
}

// All are let go, the leader in the middle of taking its event.
void AllAreLetGo(Execution& run, Rules rules) {
  Machine* m = Make(run, rules, 1);
  auto* leader = run.Make<Waiter>();
  auto* follower = run.Make<Waiter>();
  m->JoinFirst(leader);
  m->JoinNext(follower);
  run.Thread("leader", [=] { static_cast<void>(m->LeadAndHandOn(leader)); });
  run.Thread("follower", [=] { static_cast<void>(m->Follow(follower)); });
  run.Thread("wakes", [m] {
    m->Show(0);
    m->Wake(/*all=*/true);
  });
}

// What finds the ring full stands in line, and another makes room, while the leader goes to sleep.
void RoomIsMade(Execution& run, Rules rules) {
  Machine* m = Make(run, rules, 2, kSlots, /*limit=*/1);
  auto* waiter = run.Make<Waiter>();
  run.Thread("posts", [m] {
    m->Show(0);
    m->Post(1);
  });
  run.Thread("takes", [m] { static_cast<void>(m->TryNext()); });
  run.Thread("leader", [=] { static_cast<void>(m->Next(waiter)); });
}

// A thread that has to do with none of the others counts what is in the ring.
void OneLooks(Execution& run, Rules rules) {
  Machine* m = Make(run, rules, 1);
  run.Thread("kernel", [m] { m->Show(0); });
  run.Thread("takes", [m] { static_cast<void>(m->TryNext()); });
  run.Thread("looks", [m] { static_cast<void>(m->ready()); });
}

// Where all schedules are too many, those with two preemptions at most; of TwoForTwo all, 1.9 million, were run once,
// and hold.
std::vector<model::Scenario> SmallScenarios(Rules rules) {
  const auto scenario = [&](const char* name, Setup setup, model::Options options) {
    return model::Scenario{name, options, [=](Execution& run) { setup(run, rules); }};
  };
  const model::Options bounded = {.preemptions = 2, .stale_reads = 1};
  return {scenario("SlotsAreFilledAgain", SlotsAreFilledAgain, {}),
          scenario("OneLooks", OneLooks, {}),
          scenario("LateReturns", LateReturns, bounded),
          scenario("KickIsStolen", KickIsStolen, {}),
          scenario("AllAreLetGo", AllAreLetGo, {}),
          scenario("RoomIsMade", RoomIsMade, bounded),
          scenario("TwoForTwo", TwoForTwo, bounded),
          scenario("OneReportsAgain", OneReportsAgain, bounded)};
}

std::vector<model::Scenario> Scenarios() {
  std::vector<model::Scenario> scenarios = SmallScenarios({});
  const model::Options bounded = {.preemptions = 2, .stale_reads = 0};
  scenarios.push_back({"ThreeForThree", bounded, [](Execution& run) { ThreeForThree(run, {}); }});
  scenarios.push_back({"OneGivesUp", bounded, [](Execution& run) { OneGivesUp(run, {}); }});
  return scenarios;
}

class QueueModel : public testing::TestWithParam<model::Scenario> {};

TEST_P(QueueModel, EachEventLetsOneThreadGo) { model::ExpectHolds(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Scenarios, QueueModel, testing::ValuesIn(Scenarios()), model::NameOfScenario);

TEST(QueueMutants, EachOfTheReadIndexIsFound) {
  const char* const kLoadsBeforeStores =
      "keeps the copy of a slot, a load, before the store of what comes into it next: the model has no load that "
      "sees a store which comes after it";
  model::ExpectMutantsFound(SmallScenarios({}), "kevent/read_index.h", 14,
                            {{"Show: compare_exchange(release) without release", kLoadsBeforeStores},
                             {"ShowTaken: load(acquire) without acquire", kLoadsBeforeStores}});
}

TEST(QueueMutants, EachOfTheReturnStackIsFound) {
  model::ExpectMutantsFound(SmallScenarios({}), "kevent/return_stack.h", 11,
                            {{"Unmark: read_modify_write(relaxed) without its write",
                              "a mark that stays makes consumers enter the kernel for nothing, and loses nothing"}});
}

// Each rule, left out, loses an event or hands it out wrongly.
TEST(QueueCanaries, EachIsFound) {
  Rules keeps, no_look, does_not_come, claims_first, no_kick, marks_late, no_line;
  keeps.hands_on = false;
  no_look.looks_before_it_sleeps = false;
  does_not_come.comes_when_called = false;
  claims_first.copies_before_it_claims = false;
  no_kick.kicks_again = false;
  marks_late.marks_with_the_lock = false;
  no_line.looks_at_the_line = false;
  model::ExpectCanariesFound("A thread", {{"leaves and does not hand on", SmallScenarios(keeps)},
                                          {"sleeps without a look", SmallScenarios(no_look)},
                                          {"does not come to arm what it has returned", SmallScenarios(does_not_come)},
                                          {"claims an event before it copies it", SmallScenarios(claims_first)},
                                          {"keeps the kick that was for the leader", SmallScenarios(no_kick)},
                                          {"marks the stack without the lock", SmallScenarios(marks_late)},
                                          {"makes room for the line and says nothing", SmallScenarios(no_line)}});
}

}  // namespace
}  // namespace evring::kevent
