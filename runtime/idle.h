// idle.h: which workers sleep, which look for work, and who is woken when a task becomes stealable: one, and only if
// nobody is looking already.
//
// A worker is in one of these states; the words below say so to the others.
//   busy       runs tasks, or is about to            neither counted nor marked
//   searching  looks at other workers' queues        counted in searching_
//   parked     sleeps in its ring, or is about to    its bit is set in masks_
//   chosen     was parked, a wake message is on its way to its ring; searching for everybody else
//
//   N. A task became stealable (NotifyOne, NotifyOneFrom). The push itself comes before.
//      N1  add 1 to the line of the pusher: a word of its own for each worker, one for all other threads
//      N2  somebody is counted as searching: done, that one finds the task, or P3 does (N4 would say so too, for more)
//      N3  nobody is parked: done
//      N4  searching_ from 0 to 1, on behalf of whom we choose. It is not 0: done, as N2
//      N5  take one bit out of the masks: that worker is chosen. The caller sends the message
//      N6  all bits are gone (their workers woke by themselves): take the count of N4 back, and go to N3 if that
//          leaves 0, since whoever came through N2 or P2 meanwhile relied on it
//   S. A worker without tasks starts to search (TryBeginSearch): count up, unless half of the workers are counted.
//   F. A searcher has found tasks (EndSearchFound).
//      F1  count down. Others are left, or nobody is parked: done
//      F2  read and write every line, then look at all queues; if there is more, go to N2. So a single wake becomes as
//          many as there is work for, one after the other
//   P. A worker has nothing to do (Park).
//      P1  set the own bit
//      P2  count down, if it was searching. Others are left: sleep
//      P3  nobody is left: read and write every line, then look at all queues once more before sleeping
//      P4  there is something (SearchOn): count up, even beyond half of the workers, and take the own bit out; it is
//          gone, the worker is chosen, so do not count twice. (If it could be refused here, because of the count of an
//          N that is about to find it gone, the two could keep each other from the task for as long as they stay in
//          step.)
//   U. A worker has left the ring (Unpark): take the own bit out. It is gone: the worker is chosen, and counted as
//      searching.
//   M. Something was put into the inbox of one worker, which only that one looks at (IsParked): read and write its
//      mask. Either this sees the bit, and the caller sends the message, or P1 comes later, and the worker's look at
//      its inbox between P1 and sleep sees what was put there. The bit stays.
//
// Why no task is lost. Suppose a worker sleeps, nobody searches or is chosen, and a pushed task lies there. Let L be
// the pusher's N1, D the P2 of the sleeper Z, and E the first change of searching_, not before D, that leaves 0 (there
// is one, since nobody searches). All changes of searching_ are read-modify-writes, in one order, and P2 releases and
// acquires: whoever made E has seen Z's bit, which was set before D.
//   - P2 of some Y made E (Z itself, mostly). Y went through P3. If it wrote the pusher's line after L, its look at the
//     queues has seen the task. If before, L has acquired from Y, so the pusher's N2 and N3 came after E and after Z's
//     bit: it cannot have stopped at N3, nor at N2 for a search that ended with E or earlier. A later search ends in a
//     later E, with which the argument is made again.
//   - F1 of some Y made E. Y has seen Z's bit and goes on to F2: as P3, that finds the task, or the pusher did not
//     stop.
//   - N6 made E. Then N3 follows, and sees Z's bit.
// Where N does not stop, somebody is chosen; if that one finds nothing, it is the last to leave, at P2, or leaves
// another searcher behind. A push that stopped at N3 because nobody was parked is found in the same way by the first
// who parks.
//
// So it rests on two things: a pair of read-modify-writes of one word, N1 and P3 (or F2) on a line, of which one sees
// the other (this is where "push, then look for sleepers" meets "declare asleep, then look at the queues"), and the
// chain of changes of searching_. N2 and N3 are plain loads; without N1 they would lose wake-ups, for the push might
// still sit in the store buffer. The lines exist so that N1 is an add to a word that the pusher has in its cache to
// itself, and the rest of a push reads two words that change only when somebody parks or wakes. With one word for all,
// each push of each worker would fight for it.
//
// Why at most one wake a task: every wake goes through N4, which only one at a time can pass, and each passage is a
// push's or F2's own. Nobody passes while a worker searches or is chosen.
//
// Shutdown: the caller sets its flag, then WakeAll reads and writes every mask (W1) and wakes whom it finds there. A
// worker that parks later has seen at P1 what W1 published: it looks at the flag between Park and sleep, always.
//
// Bound: kWorkersMax workers, for N3 reads and P3 writes a word per 64 or per one of them. Chosen is the parked worker
// with the lowest index: the same few do the work of a light load and the others stay asleep.
// Checked by: tests/model/idle_model_test.cc, which also removes or weakens each access in turn.

#ifndef EVRING_RUNTIME_IDLE_H_
#define EVRING_RUNTIME_IDLE_H_

#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>

#include "kevent/atomics.h"
#include "kevent/check.h"

namespace evring {

struct IdleCounters {
  uint64_t notifies = 0;   // tasks or batches announced
  uint64_t wakes = 0;      // workers chosen, WakeAll's included
  uint64_t hand_ons = 0;   // last searchers that found work while others were parked
  uint64_t looks = 0;      // last searchers that parked, and looked once more
  uint64_t withdrawn = 0;  // N6: parked workers were about but woke by themselves
};

// Fewer workers to a mask are for tests, which get several masks that way.
template <class Atomics = StdAtomics, int kWorkersPerMask = 64>
class Idle {
  static_assert(kWorkersPerMask >= 1 && kWorkersPerMask <= 64, "a mask is a word");

 public:
  static constexpr int kWorkersMax = 1024;

  explicit Idle(int workers) : workers_(workers) {
    EVRING_CHECK(workers >= 1 && workers <= kWorkersMax, "1 to 1024 workers");
    masks_ = std::make_unique<Atomic<uint64_t>[]>(Masks());
    lines_ = std::make_unique<Line[]>(workers_ + 1);
  }

  // --- Any thread ----------------------------------------------------------------------------------------------------

  // The calling thread has made a task, or a batch, visible to others. Returns the parked worker that the caller now
  // sends the wake message to, or -1: none is needed. The chosen worker is counted as searching.
  [[nodiscard]] int NotifyOne() { return NotifyFrom(workers_); }

  // For shutdown: `wake(int worker)` for every parked worker, chosen as by NotifyOne. What the caller wrote before is
  // visible to every worker that parks afterwards.
  template <class Wake>
  void WakeAll(Wake&& wake) {
    for (int i = 0; i < Masks(); ++i) {
      // W1 publishes the caller's flag; pairs with P1.
      uint64_t parked = masks_[i].fetch_or(0, std::memory_order_release);
      for (; parked != 0; parked &= parked - 1) {
        searching_.fetch_add(1, std::memory_order_relaxed);  // N4 and N5 for a given worker
        if (TakeBit(i, parked & -parked)) {
          Count(&wakes_);
          wake(i * kWorkersPerMask + std::countr_zero(parked));
        } else {
          searching_.fetch_sub(1, std::memory_order_relaxed);  // no N6: all are awake or see the flag
        }
      }
    }
  }

  // The calling thread has put something into the inbox of `worker`. True: that one sleeps, or is about to without
  // having seen it, and the caller wakes it. It leaves the ring as it would for a completion.
  [[nodiscard]] bool IsParked(int worker) {
    const uint64_t bit = Bit(worker);
    // M publishes what was put; pairs with P1.
    const uint64_t parked = masks_[worker / kWorkersPerMask].fetch_or(0, std::memory_order_release);
    return (parked & bit) != 0;
  }

  // Workers that search or are chosen, a little old.
  int SearchingApprox() const { return searching_.load(std::memory_order_relaxed); }

  IdleCounters counters() const {
    IdleCounters c;
    for (int i = 0; i <= workers_; ++i) c.notifies += lines_[i].notifies.load(std::memory_order_relaxed);
    c.wakes = wakes_.load(std::memory_order_relaxed);
    c.hand_ons = hand_ons_.load(std::memory_order_relaxed);
    c.looks = looks_.load(std::memory_order_relaxed);
    c.withdrawn = withdrawn_.load(std::memory_order_relaxed);
    return c;
  }

  // --- A worker, about itself ----------------------------------------------------------------------------------------

  // NotifyOne for a thread that is worker `worker`: does not share the line that it writes.
  [[nodiscard]] int NotifyOneFrom(int worker) {
    EVRING_CHECK(worker >= 0 && worker < workers_, "no such worker");
    return NotifyFrom(worker);
  }

  // False: half of the workers search already; park without.
  [[nodiscard]] bool TryBeginSearch() {
    int32_t searching = searching_.load(std::memory_order_relaxed);
    do {
      if (2 * searching >= workers_) return false;
      // S hands nothing over: no order.
    } while (!searching_.compare_exchange_weak(searching, searching + 1, std::memory_order_relaxed,
                                               std::memory_order_relaxed));
    return true;
  }

  // The calling worker, which was searching or chosen, has tasks to run and is searching no longer. What it found
  // beyond the first is where others can steal it. True: it was the last searcher, and others are parked: if there is a
  // task in any queue, its own included, it calls NotifyOneFrom(). (It may do so without looking: that costs a wake for
  // nothing.)
  [[nodiscard]] bool EndSearchFound() {
    // F1 sees the bits of those who left earlier; pairs with P2.
    const int32_t before = searching_.fetch_sub(1, std::memory_order_acquire);
    EVRING_CHECK(before > 0, "only a searcher stops searching");
    if (before != 1 || !AnyParked()) return false;
    TouchLines();  // F2
    Count(&hand_ons_);
    return true;
  }

  // The calling worker is parked from here on, and searching no longer if it `was_searching`. Before it sleeps it looks
  // at the shutdown flag, its inbox, and, if this returns true, at all queues. A task that it sees there leads to
  // SearchOn(), anything else to Unpark().
  [[nodiscard]] bool Park(int worker, bool was_searching) {
    const uint64_t bit = Bit(worker);
    const int32_t mine = was_searching ? 1 : 0;
    // P1 sees the shutdown flag and the inbox; pairs with W1 and M.
    const uint64_t parked = masks_[worker / kWorkersPerMask].fetch_or(bit, std::memory_order_acquire);
    EVRING_CHECK((parked & bit) == 0, "a worker parks after it was unparked");
    // P2 publishes the bit to those who leave later, and sees the bits of those who left earlier; pairs with P2, F1,
    // N6.
    const int32_t before = searching_.fetch_sub(mine, std::memory_order_acq_rel);
    EVRING_CHECK(before >= mine, "only a searcher stops searching");
    if (before != mine) return false;
    TouchLines();  // P3
    Count(&looks_);
    return true;
  }

  // The calling worker, which Park() told to look, has seen a task: it is not parked, and it is searching.
  void SearchOn(int worker) {
    searching_.fetch_add(1, std::memory_order_relaxed);  // P4, first: a worker is always seen parked or searching
    if (!TakeBit(worker / kWorkersPerMask, Bit(worker))) {
      searching_.fetch_sub(1, std::memory_order_relaxed);  // leaves the count of N4
    }
  }

  // The calling worker has left its ring, for whatever reason, or does not go to sleep after all. True: it is busy
  // again. False: it was chosen; it is searching now, and the wake message is, or will be, in its ring.
  [[nodiscard]] bool Unpark(int worker) {
    const uint64_t bit = Bit(worker);
    // U comes after the N4 of who has chosen us; pairs with N5.
    const uint64_t parked = masks_[worker / kWorkersPerMask].fetch_and(~bit, std::memory_order_acquire);
    return (parked & bit) != 0;
  }

 private:
  template <class T>
  using Atomic = typename Atomics::template Atomic<T>;
  struct alignas(kCacheLine) Line {
    Atomic<uint64_t> notifies{0};
  };

  int Masks() const { return (workers_ + kWorkersPerMask - 1) / kWorkersPerMask; }
  uint64_t Bit(int worker) const {
    EVRING_CHECK(worker >= 0 && worker < workers_, "no such worker");
    return uint64_t{1} << (worker % kWorkersPerMask);
  }
  static void Count(std::atomic<uint64_t>* counter) { counter->fetch_add(1, std::memory_order_relaxed); }

  void TouchLines() {
    for (int i = 0; i <= workers_; ++i) {
      // P3, F2 publish that the search is over and who is parked, see the pushes; pair with N1.
      lines_[i].notifies.fetch_add(0, std::memory_order_acq_rel);
    }
  }

  int NotifyFrom(int line) {
    // N1 publishes the push, sees the end of searches and the bits; pairs with P3 and F2.
    lines_[line].notifies.fetch_add(1, std::memory_order_acq_rel);
    if (searching_.load(std::memory_order_relaxed) != 0) return -1;  // N2, after N1
    return Choose();
  }

  int Choose() {
    while (AnyParked()) {  // N3
      int32_t nobody = 0;
      if (!searching_.compare_exchange_strong(nobody, 1, std::memory_order_relaxed, std::memory_order_relaxed)) {
        return -1;  // N4 failed. When it succeeds, N5 publishes it
      }
      if (const int worker = TakeAny(); worker >= 0) {
        Count(&wakes_);
        return worker;
      }
      Count(&withdrawn_);
      // N6 sees the bits of those who parked because of us; pairs with P2.
      if (searching_.fetch_sub(1, std::memory_order_acquire) != 1) break;
    }
    return -1;
  }

  bool AnyParked() const {
    for (int i = 0; i < Masks(); ++i) {
      if (masks_[i].load(std::memory_order_relaxed) != 0) return true;  // after N1, F1 or N6
    }
    return false;
  }

  int TakeAny() {
    for (int i = 0; i < Masks(); ++i) {
      for (uint64_t parked = masks_[i].load(std::memory_order_relaxed); parked != 0; parked &= parked - 1) {
        if (TakeBit(i, parked & -parked)) return i * kWorkersPerMask + std::countr_zero(parked);
      }
    }
    return -1;
  }

  bool TakeBit(int mask, uint64_t bit) {
    return (masks_[mask].fetch_and(~bit, std::memory_order_release) & bit) != 0;  // N5 publishes N4; pairs with U
  }

  const int workers_;
  std::unique_ptr<Line[]> lines_;              // one per worker, then one for all other threads
  std::unique_ptr<Atomic<uint64_t>[]> masks_;  // bit w % kWorkersPerMask of masks_[w / kWorkersPerMask]: w is parked
  alignas(kCacheLine) Atomic<int32_t> searching_{0};
  alignas(kCacheLine) std::atomic<uint64_t> wakes_{0};  // counters are no part of the protocol
  std::atomic<uint64_t> hand_ons_{0};
  std::atomic<uint64_t> looks_{0};
  std::atomic<uint64_t> withdrawn_{0};
};

}  // namespace evring

#endif  // EVRING_RUNTIME_IDLE_H_
