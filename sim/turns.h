// turns.h: which of a simulation's threads runs: one at a time, as the seed says.
//
//   kMaking   Each thread stops in Begin(), until all of them are there and Start() is called. One that makes calls
//             without Begin() runs freely, as in kFree.
//   kTurns    A thread runs until it calls the kernel. There, as the seed says, another may (MaybeYield); one that
//             waits (Wait) runs again when it has something to do, or its deadline has come. If all wait, the clock
//             jumps to the next thing that is to happen. If nothing is, nothing will ever: the run has failed. So it
//             has if time is paused and nobody has asked for more of it (World::Ask); where somebody has, the clock
//             jumps as before, but not beyond what is asked for.
//   kStopping After Finish() the threads run freely, and the clock does not jump: what is left is to be stopped, and
//   not
//             to see that its hour has come.
//   kFree     After LetTimePass() the clock jumps again when all of them wait, or one has waited for some milliseconds
//             of real time: others may have ended, or wait for something else.
//
// All functions: with the lock of the kernel, which each of the threads takes for its calls.

#ifndef EVRING_SIM_TURNS_H_
#define EVRING_SIM_TURNS_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "sim/world.h"

namespace evring::sim {

using Lock = std::unique_lock<std::mutex>;

class Turns {
 public:
  class Thread {
   public:
    explicit Thread(int index) : index(index) {}

    const int index;
    std::function<bool()> has_work;  // whether a wait is over; set while the thread has a ring

   private:
    friend class Turns;
    enum class State { kComing, kReady, kWaiting, kRunning };

    State state_ = State::kComing;
    int64_t deadline_ = kNever;
    int waited_in_vain_ = 0;  // outside of turns: pieces of a wait in which others did not
    std::condition_variable turn_;
  };

  // After `rounds_max` jumps of the clock a run counts as endless. `fail` prints why and does not return.
  Turns(World* world, int threads, uint64_t rounds_max, std::function<void(const std::string& why)> fail);

  Thread* thread(int index) { return threads_[static_cast<size_t>(index)].get(); }
  // The calling thread, after Begin(); nullptr: it is no thread of a simulation.
  static Thread* Current() { return current_; }
  // Threads take turns now.
  bool taken() const { return phase_ == Phase::kTurns; }

  void Begin(Lock* lock, Thread* self);
  // Waits for all threads to come, and lets the first one run.
  void Start(Lock* lock);
  void Finish();
  void LetTimePass();
  // Another thread may run now.
  void MaybeYield(Lock* lock, Thread* self);
  // Until the thread has work, or the clock has come to `deadline`; may end earlier.
  void Wait(Lock* lock, Thread* self, int64_t deadline);
  // There is work for the thread.
  void Wake(Thread* thread);

 private:
  enum class Phase { kMaking, kTurns, kStopping, kFree };

  bool CanRun(const Thread& thread) const;
  bool AllWait() const;
  // When something is to happen, or a wait to end, next; kNever.
  int64_t NextNs() const;
  // Outside of turns.
  void WaitFreely(Lock* lock, Thread* self, int64_t deadline);
  Thread* PickNext();
  void Pass(Lock* lock, Thread* self);

  static thread_local Thread* current_;

  World* const world_;
  const uint64_t rounds_max_;
  const std::function<void(const std::string& why)> fail_;
  std::vector<std::unique_ptr<Thread>> threads_;
  Phase phase_ = Phase::kMaking;
  uint64_t rounds_ = 0;  // of waiting for something to happen
};

}  // namespace evring::sim

#endif  // EVRING_SIM_TURNS_H_
