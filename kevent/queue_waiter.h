// queue_waiter.h: a thread that waits at a queue: how a follower sleeps, and how it is woken (turnstile.h).
//
// It sleeps on a word of its own by futex(2). A wait with a signal mask needs a call that changes the mask and sleeps
// in one step, which a futex does not do: such a follower sleeps in ppoll(2) on an eventfd, lent by its queue, which
// never closes one while it lives, so that a late wake-up reaches an eventfd and not what has got its number since.
//
// Threads: Sleep() on the waiting thread, a cancellation point; Wake() on any, under the turnstile's lock.

#ifndef EVRING_KEVENT_QUEUE_WAITER_H_
#define EVRING_KEVENT_QUEUE_WAITER_H_

#include <pthread.h>

#include <atomic>
#include <cstdint>

#include "kevent/kernel.h"
#include "kevent/turnstile.h"

namespace evring::kevent {

class QueueWaiter : public TurnstilePlace<QueueWaiter> {
 public:
  enum class Slept { kWoken, kDeadline, kInterrupted };

  // `event_fd`: for a wait with a signal mask, else -1.
  explicit QueueWaiter(int event_fd) : event_fd_(event_fd) {}
  QueueWaiter(const QueueWaiter&) = delete;
  QueueWaiter& operator=(const QueueWaiter&) = delete;

  // Until Wake(), which may have come already, the deadline, or a signal with a handler.
  Slept Sleep(const WaitArgs& wait);
  void Wake();

 private:
  const int event_fd_;
  std::atomic<uint32_t> woken_{0};
};

// The calling thread may be cancelled (pthread_cancel(3)) in `call(argument)`, which owns nothing and calls the kernel
// once; elsewhere the calls of a queue are no cancellation points. Its own frame has nothing to clean up, so that the
// cancellation may come between any two instructions.
int AtCancellationPoint(int (*call)(void* argument), void* argument);

// While it lives the calling thread is not cancelled: around calls that are cancellation points.
class NotCancelled {
 public:
  NotCancelled() { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
  NotCancelled(const NotCancelled&) = delete;
  NotCancelled& operator=(const NotCancelled&) = delete;
  ~NotCancelled() { pthread_setcancelstate(before_, &before_); }

 private:
  int before_;
};

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_QUEUE_WAITER_H_
