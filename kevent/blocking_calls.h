// blocking_calls.h: calls that block and have neither a descriptor to poll nor a form that does not block: messages and
// semaphores of System V, flock, F_OFD_SETLKW, msync. Each runs on a helper thread, and can be interrupted there.
//
//   B1  Start() gives the call, under the lock, to an idle thread; else to a thread that it makes; else, with all
//       threads made, to one that is in a Done() and will take it next. So the limit counts calls that have not ended.
//   B2  The thread takes the call under the lock; from here on it may be sent the signal. Before each Run() it looks at
//       the call's cancel flag.
//   B3  Cancel() sets the flag; then, under the lock and if the call was taken, it arms the thread's own timer. The
//       kernel sends the signal to that thread at once, and once more each millisecond: one that comes after the look
//       at the flag and before the system call blocks interrupts nothing, the next one does. Who cancels never waits.
//       The signal has an empty handler and no SA_RESTART, so the system call leaves with EINTR.
//   B4  EINTR with the flag set ends the call: -ECANCELED. Without it somebody else's signal came, and the call runs
//       again. Any other result stands, also after a cancel.
//   B5  The thread acknowledges under the lock: no Cancel() finds the call any more. If the timer was armed it disarms
//       it; a signal that was sent before is delivered when timer_settime(2) returns, at the latest. So neither Done()
//       nor the next call sees one.
//   B6  Done(). Then the thread takes what B1 gave it, or waits. When its idle time is over it looks under the lock:
//       Start() has either given it a call already, or does not find it any more.
//
// Why a timer, and not tgkill(2) by a thread that repeats it: it needs no thread; its queue entry is its own from
// timer_create(2) on, so that no RLIMIT_SIGPENDING can hinder a cancel; and its next period begins when the signal is
// delivered, so that a thread in a sleep that no signal ends (msync on a disk) is sent one, not a thousand a second.
// A stale look at the flag costs one more signal: the flag orders nothing else.
//
// Helper threads block all signals but this one and those that report a fault of the thread itself.
//
// fork(2): the child has none of the threads and timers. There Start() answers an error, Cancel() does nothing, no call
// ends, and the destructor leaves the threads' records where they are. exec(2) ends all of it.
//
// Checked by: tests/kevent/blocking_calls_test.cc.

#ifndef EVRING_KEVENT_BLOCKING_CALLS_H_
#define EVRING_KEVENT_BLOCKING_CALLS_H_

#include <signal.h>
#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kevent/check.h"

namespace evring::kevent {

class BlockingCalls {
 private:
  struct Thread;

 public:
  // Lives in its owner. Belongs to the pool from Start() until Done() is called; destroying it before is a failed
  // check.
  class Call {
   public:
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

   protected:
    Call() = default;
    ~Call() { EVRING_CHECK(thread_ == nullptr, "a call is destroyed that has not ended"); }

   private:
    friend class BlockingCalls;

    // On a helper thread: makes the system call once and gives what it returned, or -errno. After -EINTR it is called
    // again, unless the call was cancelled: a relative timeout is to be computed from a deadline each time.
    virtual int32_t Run() noexcept = 0;

    // On the helper thread, once for each Start() that was OK, possibly before Start() has returned. -ECANCELED: a
    // Cancel(), or the pool's end, came before a result. What timer_create(2) says, which is -EAGAIN at
    // RLIMIT_SIGPENDING: a new thread got no timer, and the call was not run. The pool does not touch the call any
    // more: it may be freed or started again, here too. Must not wait for another call, which may have been given to
    // this very thread.
    virtual void Done(int32_t result) noexcept = 0;

    Thread* thread_ = nullptr;  // whose call it is; under the pool's lock
    std::atomic<bool> cancelled_{false};
  };

  struct Options {
    int threads_max = 64;
    absl::Duration idle = absl::Seconds(10);  // after which a thread without a call ends; at most a day
    // What interrupts the threads. High in the range of real-time signals, whose low end applications tend to use. The
    // application leaves it alone: with SA_RESTART, ignored, or read by sigwait(3) it would not interrupt any more.
    int signal = SIGRTMAX - 3;
  };

  struct Counters {
    int threads;          // that exist
    int idle;             // of these, wait for a call
    int running;          // calls that have not ended
    uint64_t started;     // all since the pool was made:
    uint64_t cancelled;   // ended by a Cancel(), or by the pool's end
    uint64_t interrupts;  // timers armed: calls that were cancelled while a thread had them
    uint64_t restarts;    // EINTR of somebody else's signal: Run() was called again
  };

  // Installs the signal's handler, which stays, but makes no thread yet. Any thread. kInvalidArgument: threads_max < 1,
  // a negative idle time, or no signal that can be handled, or one that reports a fault. kFailedPrecondition: the
  // program handles that signal itself.
  static absl::StatusOr<std::unique_ptr<BlockingCalls>> Create(const Options& options);

  // Cancels all calls, waits until each Done() has returned, and joins the threads: it takes as long as a call that no
  // signal interrupts. A Start() by one of those Done() is refused. Not on a helper thread: a failed check.
  ~BlockingCalls();
  BlockingCalls(const BlockingCalls&) = delete;
  BlockingCalls& operator=(const BlockingCalls&) = delete;

  // Any thread. If it is not OK, the call was not taken. kResourceExhausted (EAGAIN): threads_max calls have not ended,
  // or no thread can be made. kFailedPrecondition: the pool is being destroyed (ECANCELED), or this is a child of the
  // process that made it (ESRCH). Starting a call that has not ended is a failed check.
  [[nodiscard]] absl::Status Start(Call* call);

  // Any thread; does not wait. Start() has returned OK and Done() has not returned yet: the caller sees to both. The
  // call ends with -ECANCELED if it can be interrupted before it comes to a result, else with its result. More than one
  // cancel is the same as one.
  void Cancel(Call* call);

  Counters counters() const;

 private:
  explicit BlockingCalls(const Options& options);

  static void* ThreadMain(void* thread);
  void Serve(Thread* self);
  int32_t RunToEnd(Call* call);
  int MakeThread(Thread* thread);
  void Interrupt(Call* call);
  void WakeDestructor();

  const Options options_;
  const pid_t process_;

  mutable std::mutex mutex_;
  std::condition_variable threads_gone_;
  // All below under mutex_. A thread is in one of the lists. Its call: in busy_, the one that it runs or is about to;
  // in finishing_, none, it is in Done(); in idle_, none, and the one that came last is taken first.
  std::list<Thread> busy_;
  std::list<Thread> finishing_;
  std::list<Thread> idle_;
  std::list<Thread> ended_;  // to be joined by the next that ends, or the destructor
  bool ending_ = false;
  uint64_t started_ = 0;
  uint64_t cancelled_ = 0;
  uint64_t interrupts_ = 0;
  std::atomic<uint64_t> restarts_{0};  // the one that is counted outside the lock
};

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_BLOCKING_CALLS_H_
