// queue.h: one queue for everything that a program waits for, which any number of threads may feed and consume.
//
// It stands on a ring that threads share (ring.h): a completion of io_uring is a record once what it was registered
// with has been added to it: type, descriptor, cookie. The C interface (kevent.h) is this class behind a descriptor.
//
//   submit   registration.h   a registration stands in line, is armed when the ring has room, and has its completion
//   consume  read_index.h     records are taken one by one, in order, without a lock or a call
//            return_stack.h   what reports again is armed with the next call that enters the kernel
//   wait     turnstile.h      one thread waits in the kernel, and each record lets one thread go
//
// Room. A registration that reports again and again has one place in the ring at most: it is armed again when its
// record has been consumed. And nothing is armed while more than three quarters of the ring are full: it stands in line
// until there is room, for which the next call that enters the kernel looks, and a consumer while the leader sleeps. So
// only what was armed before can fill the ring, and a source that is always ready neither spews
// nor starves the others: the line is first in, first out. This is the credit by which accepts and level-triggered
// events slow down before an overflow.
//
// Overflow. What finds the ring full all the same is kept by the kernel in order, and comes in as the ring is read:
// nothing is lost. Each episode is counted and told (on_overflow), by the thread that notices it.
//
// Threads that end. The kernel ends a request with ECANCELED when the thread that submitted it has ended; a request
// that nobody has cancelled is armed again by whoever consumes that. Next() is a cancellation point: a thread that is
// cancelled there has no record, and hands on what it has.
//
// Threads: everything but the destructor on any thread at any time.

#ifndef EVRING_KEVENT_QUEUE_H_
#define EVRING_KEVENT_QUEUE_H_

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kevent/blocking_calls.h"
#include "kevent/event.h"
#include "kevent/queue_waiter.h"
#include "kevent/read_index.h"
#include "kevent/registration.h"
#include "kevent/requests.h"
#include "kevent/return_stack.h"
#include "kevent/ring.h"
#include "kevent/turnstile.h"

namespace evring::kevent {

struct QueueOptions {
  QueueOptions() = default;
  // Records that the ring holds: rounded up to a power of two, from 8 to 65536.
  uint32_t entries = 256;
  uint32_t registrations_max = 1u << 20;
  int helper_threads_max = 64;  // calls that have no other form, at a time
  // Called once per episode of overflow, on the thread that notices it, which may be in any call of the queue but the
  // destructor, and may be the one for which the others wait. So it may use the queue, but not wait at it.
  std::function<void()> on_overflow;
  Kernel* kernel = SystemKernel();
  Opcodes hidden;  // operations that count as missing
};

struct QueueCounters {
  uint64_t submitted = 0;  // registrations and posts accepted
  uint64_t consumed = 0;   // records handed out
  uint64_t ended = 0;      // registrations that have had their last record
  uint64_t enters = 0;     // calls into the kernel, to submit or to wait
  uint64_t overflows = 0;  // episodes
  uint64_t wakes = 0;      // ends of sleeps, of leaders and followers
};

class Queue {
 public:
  // Errors: as Ring::Create(); kInvalidArgument for `entries`.
  static absl::StatusOr<std::unique_ptr<Queue>> Create(QueueOptions options);

  // Cancels all requests and waits for their ends; their records are dropped, and a descriptor that one of them has
  // accepted is closed. Nobody uses the queue any more.
  ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  // --- Registering --------------------------------------------------------------------------------------------------

  enum class Full {
    kStandInLine,  // accepted, armed when there is room
    kRefuse,       // -EAGAIN
    kWait,         // until there is room, or the deadline: then -EAGAIN. Somebody else has to consume
  };

  // Registers `event`, whose fields mean what kevent.h says, and returns its number, or -errno: EINVAL, ENOSYS,
  // EAGAIN (no room; no helper thread), ENOSPC (registrations_max), ENOMEM, EMFILE, ENFILE, ECANCELED (Close() came
  // while it waited for room).
  // `later`: need not enter the kernel before the next submit or wait does. No cancellation point.
  // Buffers and other memory that the arguments point to belong to the kernel until the last record.
  int64_t Submit(const Event& event, Full full = Full::kStandInLine, int64_t deadline_ns = kNoDeadline,
                 bool later = false);

  // Puts a record into the ring as it is, behind those that are there. 0, -ENOSPC, -ENOMEM.
  int Post(const Event& record);

  // The registration `number`, of type kSigevent, has something to report: a record with its cookie. 0, -ENOENT,
  // -ENOSPC, -ENOMEM.
  int Notify(int64_t number);

  // The registration with this number reports -ECANCELED, or the result that came before, and ends. 0; -ENOENT: it has
  // ended; -EALREADY: it is being cancelled. Does not wait.
  int Cancel(int64_t number);

  // Lets one thread that waits go without a record, or all of them.
  void Wake(bool all);

  // --- Consuming ----------------------------------------------------------------------------------------------------

  // Moves with each record that arrives.
  uint32_t state() const { return ring_->state(); }

  // Takes the oldest record. False: there is none. No system call for a record that is in the ring.
  bool TryNext(Event* record);

  enum class Waited {
    kRecords,
    kStateMoved,  // the state is not the one that the caller has seen
    kWoken,       // by Wake()
    kDeadline,
    kInterrupted,  // by a signal
    kNoMemory,     // the kernel has none to wait with
    kClosed,       // Close() was called
  };

  // Waits until min_events() records are there, and takes up to `records.size()` (at least 1) of them: `*taken`. Each
  // record goes to one thread and lets one thread go. When the deadline (CLOCK_MONOTONIC) comes, a signal or a Wake(),
  // what is there is taken: kRecords if that is anything. `seen`: if there is not enough and the state is not this any
  // more, does not sleep. A cancellation point.
  // Fewer than min_events() may be given as well when a timer is among them, which Linux lets end such a wait, and
  // after a Wake(), whose traces in the ring count. With a signal mask, kInterrupted comes also when another thread has
  // taken what this one was woken for: a signal may have come with it.
  Waited Next(std::span<Event> records, size_t* taken, const WaitArgs& wait, const uint32_t* seen = nullptr);

  // How many records a wait waits for, the same for all threads; at most a quarter of the ring. -EINVAL; -EBUSY while
  // threads wait, so that it does not change for them.
  int SetMinEvents(uint32_t n);
  uint32_t min_events() const { return min_events_.load(std::memory_order_relaxed); }

  // --- The rest -----------------------------------------------------------------------------------------------------

  // Whoever waits, now or later, is told kClosed; who waits for room, -ECANCELED.
  void Close();

  void SetOnOverflow(std::function<void()> on_overflow);
  void SetRegistrationsMax(uint32_t n);
  uint32_t entries() const { return ring_->cq_entries(); }
  int descriptor() const { return ring_->descriptor(); }
  QueueCounters counters() const;

 private:
  friend class HelperCall;
  class Place;
  using Lock = std::unique_lock<std::mutex>;

  explicit Queue(QueueOptions options);

  absl::Status Start();

  // What f(Lock*) answers, called under the lock; then Leave(), and a look for an overflow without the lock.
  template <class F>
  auto WithLock(F&& f);

  // Under the lock.
  int PostLocked(const Event& record);
  Registration* TakeRegistration(int* error);
  int64_t SubmitLocked(const Event& event, Full full, int64_t deadline_ns, bool later, Lock* lock);
  int CancelLocked(int64_t number, Lock* lock);
  // Gives it to a helper thread. 0 or -errno.
  int Help(Registration* registration);
  void StandInLine(Registration* registration);
  void LeaveLine(Registration* registration);
  // Looks what becomes of the registrations that have come back.
  void TakeBack();
  // Arms what stands in line, as far as there is room.
  void ArmLine();
  // Whoever has held the lock ends with this: what he has brought into the line is armed and reaches the kernel, if any
  // of it is urgent.
  void Leave(Lock* lock);
  // Submits what is armed. Want of memory in the kernel passes, and is waited for.
  void SubmitArmed(Lock* lock);
  // How many armed requests the kernel has not taken; the caller sees to them.
  unsigned Publish();
  void WaitForRoom(Lock* lock, int64_t deadline_ns);
  uint32_t limit() const { return entries() - entries() / 4; }

  // Arms what can be, and enters the kernel with it. Takes the lock.
  void Flush();
  // Puts `n` completions into the ring that are no records.
  void Kick(uint32_t n);
  // A record was taken while something stood in line.
  void TellOfRoom();
  // The helper thread's call has ended.
  void EndCall(Registration* registration, int32_t result);

  // Completions in the ring. The read index first: the other is never behind it.
  uint32_t ready() const {
    const auto taken = static_cast<uint32_t>(read_.taken());
    return ring_->state() - taken;
  }
  // `leads`: the caller is the turnstile's leader, for whom kicks are.
  bool Take(Event* record, bool leads);
  size_t TakeUpTo(std::span<Event> records, bool leads);
  // What a completion says. False: nothing that the program has to know.
  bool ToRecord(uint64_t user_data, int32_t result, Event* record);
  void GiveBack(Registration* registration);
  // Lets in what the kernel has kept for want of room. False: nothing came.
  bool FlushOverflow();
  // Counts and tells the beginning of an episode.
  void LookForOverflow();

  Waited Lead(Place* place, std::span<Event> records, size_t* taken, const WaitArgs& wait);
  // The end of a wait: what is there, or why there is nothing.
  Waited AtLast(Waited otherwise, std::span<Event> records, size_t* taken, bool leads);
  int Sleep(unsigned to_submit, uint32_t min, const WaitArgs& wait);
  int BorrowEventFd();
  void ReturnEventFd(int fd);

  QueueOptions options_;
  std::unique_ptr<Ring> ring_;
  Opcodes opcodes_;

  BasicReadIndex<> read_;
  BasicReturnStack<Registration> returned_;
  BasicTurnstile<QueueWaiter> turnstile_;
  std::atomic<uint32_t> min_events_{1};
  std::atomic<bool> closed_{false};
  std::atomic<bool> overflown_{false};  // an episode
  std::atomic<uint64_t> overflows_{0};
  std::atomic<uint64_t> not_records_{0};  // completions that were taken and told nobody
  std::atomic<uint64_t> waits_{0};        // calls into the kernel without the lock
  std::atomic<uint64_t> wakes_{0};
  std::atomic<int> room_waiters_{0};
  std::atomic<bool> line_stands_{false};  // as of the last ArmLine()
  std::atomic<bool> later_{false};        // something is armed that has not reached the kernel, and nobody sees to it

  mutable std::mutex mutex_;  // guards the submission side of the ring, and the rest
  Registrations registrations_;
  Registration* line_first_ = nullptr;
  Registration* line_last_ = nullptr;
  int64_t armed_ = 0;
  bool urgent_ = false;  // what has not reached the kernel must, before the lock is left
  uint64_t submitted_ = 0;
  uint64_t ended_ = 0;
  std::unique_ptr<BlockingCalls> calls_;
  std::vector<int> event_fds_;  // those not lent
  size_t event_fds_made_ = 0;
  std::condition_variable room_;
  std::mutex overflow_mutex_;  // guards the callback, and the beginnings and ends of episodes
  std::shared_ptr<const std::function<void()>> on_overflow_;
};

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_QUEUE_H_
