// multishot.h: a request that stays armed and completes again and again: its events wait in order for a task to take
// them.
//
// One task at a time takes (Take), on any worker; events come on the worker whose ring the request is in, or on one
// that rescues it. A lock of a few instructions orders the two.
//
//   armed_      the request is in worker_'s ring. It is armed by the task that finds nothing to take, on the worker
//   that
//               the task runs on, and ends by itself (error, end of stream, no buffers), by Pause(), or by Close().
//   waiter_     the take that waits, if any. An event goes straight to it.
//   closed_     the owner has let go: what still arrives is given back, and after the last completion the descriptor is
//               closed and this is freed.
//
//   ended_      the owner wants no more: nothing is armed any more.
//   posted_     a request to cancel is on its way to worker_, from another thread.
//   doubted_    the kernel may have seen the end of the stream and forgotten it. A receive that takes more than
//               kBurst pieces without a pause may be armed anew inside the kernel when the end is there already: it
//               then takes what is left and sleeps, and no wake-up follows. (A Unix socket's end, a TCP reset; Linux
//               6.18 is the newest seen to do it.) So after such a run of pieces, the first take that finds nothing
//               asks the socket; if the end is there the request is cancelled and armed again, and sees it.
//
// References: one of the owner, one while armed, one of a cancel on its way to worker_. A stop of the waiting task only
// takes the waiter out; the request stays armed and what arrives later stays for the next take.

#ifndef EVRING_RUNTIME_MULTISHOT_H_
#define EVRING_RUNTIME_MULTISHOT_H_

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <mutex>

#include "absl/container/inlined_vector.h"
#include "kevent/event.h"
#include "kevent/handle.h"
#include "runtime/context.h"
#include "runtime/spin_lock.h"
#include "runtime/worker.h"

namespace evring {
namespace internal {

class Multishot : private kevent::Kevent, private RemoteRequest {
 public:
  Multishot(kevent::EventType type, int fd) : Kevent(type, fd, 0, &OnCompletion), RemoteRequest(&OnCancelRequest) {}

  // The owner lets go; once. Nobody may be waiting. Events not taken are given back, which wants the runtime to be
  // there. The descriptor is taken along: it is closed when no request can refer to it any more. (One that was armed a
  // moment ago may not have reached the kernel yet, which would then find the file that has got the number since, and
  // take its data.)
  void Close();

  // There will be no more: the take that waits, and each later one that finds nothing untaken, gets `result`, a
  // negative errno. The request is cancelled. Any thread, while the owner has not let go.
  void End(int32_t result);

  int fd() const { return descriptor(); }

  // Whether the next event has come, untaken, and is an ending: of the stream (0), or an error. False may change at any
  // time; true only by taking it. On a worker, by the task that takes.
  bool EndsNext();

  // An event that nobody has taken yet.
  struct Record {
    int32_t result;
    uint32_t flags;
    Worker* from;
  };

  // One wait for the next event. In the awaiter of the derived class's user.
  class TakeWait : public Wait {
   public:
    explicit TakeWait(Multishot* source) : source_(source) {}

   protected:
    // True: `result` and `flags` are there, do not suspend.
    bool TakeNow();
    // False: do not suspend, the result is there (-ECANCELED after a stop).
    bool Suspend(TaskContext* context, std::coroutine_handle<> handle);

    Multishot* const source_;
    int32_t result_ = 0;
    uint32_t flags_ = 0;      // of the event, see kevent::Event
    Worker* from_ = nullptr;  // whose buffer ring a buffer is of

   private:
    friend class Multishot;
    void OnStop() noexcept override;
    void Fill(const Record& record);

    TaskContext* context_ = nullptr;
    bool stopped_ = false;  // before it was linked; under the source's lock
  };

 protected:
  virtual ~Multishot();

  // Fills the entry of the request. On `worker`, whose ring it goes into.
  virtual void Prepare(io_uring_sqe* sqe, Worker* worker) = 0;
  // Gives back what an event carries that nobody will take.
  virtual void Discard(const Record& record) = 0;
  // An ending that is not the taker's to see, after which the request is armed again as soon as someone waits.
  virtual bool IsPause(int32_t /*result*/, Worker* /*worker*/) { return false; }

  static constexpr size_t kQueuedMax = 16;  // untaken events beyond which the request is paused
  static constexpr int kBurst = 16;         // half of what the kernel takes before it arms itself anew

 private:
  static void OnCompletion(Kevent* kevent, const kevent::Event& event);
  static void OnCancelRequest(RemoteRequest* request, Worker* worker);
  // Cancels the request, which is armed, on whichever worker it is. Under `lock_`, by its guard, which is let go of.
  void CancelArmed(std::unique_lock<SpinLock> lock);
  // Whether the end of the stream has come, as the socket knows it. Under `lock_`, for all that it is a system call: a
  // short one, once after a long run of pieces, and nobody but a completion of the same stream can be waiting.
  bool HasEnded() const;
  void Arm(Worker* worker);
  void Unref();
  bool PopLocked(TakeWait* take);
  // Under lock_: the request is about to be armed on `worker`.
  void MarkArmed(Worker* worker);

  SpinLock lock_;
  bool armed_ = false;  // these under lock_
  bool pausing_ = false;
  bool closed_ = false;
  bool posted_ = false;
  int32_t ended_ = 0;  // what End() has said
  bool doubted_ = false;
  int burst_ = 0;  // events in a row that left more in the socket
  TakeWait* waiter_ = nullptr;
  Worker* worker_ = nullptr;
  absl::InlinedVector<Record, 2> queue_;
  std::atomic<int> references_{1};
};

}  // namespace internal
}  // namespace evring

#endif  // EVRING_RUNTIME_MULTISHOT_H_
