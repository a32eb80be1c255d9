// turnstile.h: of the threads that wait for the records of one queue, one leads and the others follow, so that each
// record lets exactly one of them go.
//
// The kernel wakes every thread that waits on a ring. So only one waits there, the leader; a follower sleeps on a word
// of its own. A thread that wants a record goes through these steps:
//
//   W1  take a record from the ring. Got one: done, with no lock and no call
//   W2  Join(). Nobody leads: the caller does. Else it stands in line and sleeps until it is woken
//   W3  a leader takes a record. None there: it sleeps in the kernel until one arrives, and tries again
//   W4  a leader that has its record, or gives up, hands on: the first in line leads, and is woken. It finds what else
//       has come in at W3
//   W5  a follower that gives up leaves the line. It may have been made leader meanwhile: then it hands on
//
// Why no wake-up is lost: as long as somebody is in line somebody leads, and whoever leads goes to W3 or hands on, also
// when its thread is cancelled (the caller's destructors call HandOn() and Leave()). A leader sleeps only while the
// ring is empty: the kernel compares its write index with what has been read, so that a record which arrives between
// the look and the sleep ends the sleep at once.
//
// Why each record wakes one thread: only the leader is woken by the kernel; it wakes one other, to lead, which returns
// only with a record of its own.
//
// Release() lets waiting threads go without a record: a follower at once. The leader has to be got out of the kernel by
// the caller, who puts completions into the ring that are no records (kicks), as many as the leader waits for. Another
// thread may take one from the ring before the leader sleeps: it sees by leader_is_released() that it has to put
// another one there. So as long as a released leader leads there are as many as it takes.
//
// Threads: any. A waiter is on its thread's stack: it is woken under the lock, and passes the lock once more before it
// goes away. Checked by: tests/model/queue_model_test.cc.

#ifndef EVRING_KEVENT_TURNSTILE_H_
#define EVRING_KEVENT_TURNSTILE_H_

#include <cstdint>
#include <mutex>

#include "kevent/atomics.h"
#include "kevent/check.h"

namespace evring::kevent {

enum class Standing : uint8_t {
  kOutside,
  kInLine,
  kLeads,
  kReleased,  // may go without a record
};

// What a thread that waits puts on its stack; a base of Waiter.
template <class Waiter>
struct TurnstilePlace {
  // Guarded by the turnstile's lock.
  Standing standing = Standing::kOutside;
  bool released = false;  // a leader that is to go without a record
  Waiter* previous = nullptr;
  Waiter* next = nullptr;
};

// Waiter: derives from TurnstilePlace<Waiter>, and has Wake(), which ends its sleep or the one that it is about to
// begin.
template <class Waiter, class Atomics = StdAtomics>
class BasicTurnstile {
 public:
  // W2. True: the caller leads.
  [[nodiscard]] bool Join(Waiter* waiter) {
    const Lock lock(mutex_);
    if (leader_ == nullptr) {
      Lead(waiter);
      return true;
    }
    waiter->standing = Standing::kInLine;
    waiter->previous = last_;
    waiter->next = nullptr;
    (last_ != nullptr ? last_->next : first_) = waiter;
    last_ = waiter;
    return false;
  }

  // A follower has been woken, or gives up (W5): what it was. kInLine: it has left the line. kLeads: it leads.
  [[nodiscard]] Standing Leave(Waiter* waiter) {
    const Lock lock(mutex_);
    const Standing standing = waiter->standing;
    if (standing == Standing::kInLine) Unlink(waiter);
    if (standing != Standing::kLeads) waiter->standing = Standing::kOutside;
    return standing;
  }

  // W4, by the leader. True: it had been released while it led.
  bool HandOn(Waiter* leader) {
    const Lock lock(mutex_);
    EVRING_CHECK(leader_ == leader, "only the leader hands on");
    leader->standing = Standing::kOutside;
    leader_ = nullptr;
    if (Waiter* next = first_; next != nullptr) {
      Unlink(next);
      Lead(next);
      next->Wake();
    }
    return leader->released;
  }

  // Lets one waiting thread go, or `all` of them. True: the leader is among them, was not before, and the caller kicks
  // it.
  [[nodiscard]] bool Release(bool all) {
    const Lock lock(mutex_);
    while (first_ != nullptr) {
      Waiter* const waiter = first_;
      Unlink(waiter);
      waiter->standing = Standing::kReleased;
      waiter->Wake();
      if (!all) return false;
    }
    if (leader_ == nullptr || leader_->released) return false;
    leader_->released = true;
    return true;
  }

  // The leader looks before and after its sleep; whoever takes a kick from the ring, whether to kick again.
  bool leader_is_released() const {
    const Lock lock(mutex_);
    return leader_ != nullptr && leader_->released;
  }

  // Calls `f()` while nobody waits, and nobody begins to. False: somebody waits.
  template <class F>
  [[nodiscard]] bool IfNobodyWaits(F&& f) {
    const Lock lock(mutex_);
    if (leader_ != nullptr) return false;
    f();
    return true;
  }

 private:
  using Lock = std::lock_guard<typename Atomics::Mutex>;

  void Lead(Waiter* waiter) {
    waiter->standing = Standing::kLeads;
    waiter->released = false;
    leader_ = waiter;
  }

  void Unlink(Waiter* waiter) {
    (waiter->previous != nullptr ? waiter->previous->next : first_) = waiter->next;
    (waiter->next != nullptr ? waiter->next->previous : last_) = waiter->previous;
  }

  mutable typename Atomics::Mutex mutex_;  // guards the rest
  Waiter* leader_ = nullptr;
  Waiter* first_ = nullptr;  // in line
  Waiter* last_ = nullptr;
};

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_TURNSTILE_H_
