// world.h: what a simulation shares: clock, what is to happen when, the seed's decisions, faults, log.
//
// Time stands still while a thread of the simulated program runs, moves on a little with each call of the kernel, and
// jumps to the next thing that is to happen when every thread waits. Paused (clock.h), it does neither: it goes on only
// as far as it is asked to. One thread at a time (kernel.h).

#ifndef EVRING_SIM_WORLD_H_
#define EVRING_SIM_WORLD_H_

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <utility>

#include "sim/faults.h"
#include "sim/journal.h"
#include "sim/log.h"
#include "sim/random.h"

namespace evring::sim {

inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

class World {
 public:
  using Events = std::multimap<std::pair<int64_t, uint64_t>, std::function<void()>>;

  // `journal`: is told too, if it is not nullptr; borrowed.
  World(uint64_t seed, const FaultRules& rules, FaultChoice choice, size_t log_lines, Journal* journal)
      : random(seed, /*stream=*/1),
        network(seed, /*stream=*/2),
        faults(seed, rules, std::move(choice)),
        log(log_lines),
        journal_(journal) {}

  int64_t now() const { return now_; }
  void Pass(int64_t ns) {
    if (!paused()) now_ += ns;
  }

  // `happen` runs when the clock has come to `at`; among those of one instant the seed decides. On whichever thread
  // moves the clock. The answer stays good until then, or until it is forgotten: then it will not happen.
  Events::iterator At(int64_t at, std::function<void()> happen) {
    return events_.emplace(std::pair(at, random.Next()), std::move(happen));
  }
  void After(int64_t ns, std::function<void()> happen) { At(now_ + ns, std::move(happen)); }
  void Forget(Events::iterator event) { events_.erase(event); }

  // When the next thing is to happen; kNever: nothing is under way.
  int64_t next() const { return events_.empty() ? kNever : events_.begin()->first.first; }

  // Moves the clock to `at`, unless it is there already, and lets happen what is due.
  void MoveTo(int64_t at) {
    if (at > now_) now_ = at;
    while (next() <= now_) {
      auto first = events_.extract(events_.begin());
      first.mapped()();
    }
  }

  // --- Time by hand. Pauses nest: it is paused until each has had its Unpause().
  bool paused() const { return pauses_ != 0; }
  void Pause() { ++pauses_; }
  void Unpause() { --pauses_; }

  // Paused or not, time is to go on until `until`: `come` runs when the clock is there, what was to happen by then has
  // happened, and every thread waits again. Who asks for the same, in the order of asking. As for At().
  Events::iterator Ask(int64_t until, std::function<void()> come) {
    return asked_.emplace(std::pair(until, next_asked_++), std::move(come));
  }
  void Unask(Events::iterator asked) { asked_.erase(asked); }
  // The nearest time that is asked for; kNever: none is.
  int64_t asked() const { return asked_.empty() ? kNever : asked_.begin()->first.first; }
  // The clock goes to asked(), before which nothing else is to happen.
  void MoveToAsked() {
    MoveTo(asked());
    auto first = asked_.extract(asked_.begin());
    first.mapped()();
  }
  // No longer by hand: what is asked for happens like anything else.
  void LetGo() {
    pauses_ = 0;
    while (!asked_.empty()) {
      auto first = asked_.extract(asked_.begin());
      At(first.key().first, std::move(first.mapped()));
    }
  }

  // A fault, and its line in the log.
  bool Happens(Fault fault) {
    if (!faults.Happens(fault)) return false;
    if (journal_ != nullptr) journal_->AddInjection(faults.injected().back());
    Say(std::string("fault ") + FaultName(fault));
    return true;
  }
  void Say(const std::string& line) {
    const std::string added = log.Add(now_, line);
    if (journal_ != nullptr && !faults.stopped()) journal_->AddLine(added, log.digest());
  }

  Random random;   // order and turns
  Random network;  // latencies
  Faults faults;
  Log log;

 private:
  Journal* const journal_;
  int64_t now_ = 1'000'000'000;  // of a machine that has been up for a second: no deadline is 0
  Events events_;
  int pauses_ = 0;
  Events asked_;
  uint64_t next_asked_ = 0;
};

}  // namespace evring::sim

#endif  // EVRING_SIM_WORLD_H_
