// timer.h: a timer as the workers know it: a node of one worker's wheel and what to do when it is due.
//
// Armed on a worker, in that worker's wheel; cancelled from any thread. The wheel's lock decides between the two: a
// timer that was cancelled never fires, one that fired cannot be cancelled. What is waited for by it lives in timeout.h
// and sleep.h.

#ifndef EVRING_RUNTIME_TIMER_H_
#define EVRING_RUNTIME_TIMER_H_

#include <cstdint>

#include "runtime/timer_wheel.h"

namespace evring {

class Worker;

class Timer : public TimerNode {
 public:
  // Called once when the deadline has passed, on the worker that noticed, with no lock held. The timer is idle by then
  // and may be armed again or freed.
  using Fire = void (*)(Timer* timer);

  explicit Timer(Fire fire) : fire_(fire) {}

 protected:
  // Cancelled before it was armed, so it never was. For who has called Worker::CancelTimer.
  bool revoked() const { return revoked_; }

 private:
  friend class Worker;
  const Fire fire_;
  Worker* worker_ = nullptr;  // whose wheel; set by the first Arm
  bool revoked_ = false;      // cancelled before it was armed; under the wheel's lock
};

}  // namespace evring

#endif  // EVRING_RUNTIME_TIMER_H_
