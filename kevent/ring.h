// ring.h: one io_uring of one thread: requests go in by memory, completions come out as 32-byte records by moving the
// read index, and one call per batch enters the kernel.
//
// Threads. Everything belongs to the thread that created the ring, but for Wake() (any thread) and Dispatch() (whoever
// was handed copied completions). The owner alone moves the read index, so consuming needs no atomic read-modify-write.
//
// Rescue. While the owner computes, its completions wait inside the kernel: under DEFER_TASKRUN only an enter of the
// owner makes them visible. CopyOut() is that enter, made from a signal handler on the owner's own thread: it copies
// the completions to memory that another thread may read, and moves the index. What must hold: the handler never runs
// it while the owner is inside Wait() or Consume() (inside the Enter() of a full queue it may); and the owner consumes
// nothing further while copied completions are still undelivered, or a multishot would be reported out of order. Who
// sees to both: runtime/rescue.h. CopyOut() also submits what was prepared before the last Seal(): an entry after it
// may be half written.
//
// Shared rings (RingOptions::shared) are for queue.h, whose lock stands around the submission side, GetSqe(), Submit()
// and Publish(). EnterShared() and the looks at the completions are for any thread at any time: they write nothing of
// this object, and who may move the read index is the queue's affair. Nothing else is called on a shared ring.
//
// Overflow. Completions that find the ring full are kept by the kernel in order (NODROP) and come in as room is made,
// one ring-full per enter. Nothing is lost; each episode is counted.

#ifndef EVRING_KEVENT_RING_H_
#define EVRING_KEVENT_RING_H_

#include <liburing.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kevent/canary.h"
#include "kevent/event.h"
#include "kevent/features.h"
#include "kevent/handle.h"
#include "kevent/kernel.h"

namespace evring::kevent {

// A completion as copied out of the ring, not yet tied to its handle.
struct RawCompletion {
  uint64_t user_data;
  int32_t result;
  uint32_t flags;
};

enum class WaitResult {
  kEvents,       // there are records to consume
  kStateMoved,   // the ring state was no longer the one the caller had seen: look again
  kDeadline,     // the deadline came first
  kInterrupted,  // a signal came first
  kNoMemory,     // the kernel could not take the requests now (ENOMEM, EAGAIN, EBUSY): consume, then try again
};

struct RingCounters {
  uint64_t enters = 0;             // system calls made
  uint64_t submitted = 0;          // requests the kernel took
  uint64_t completions = 0;        // records consumed, messages and cancel answers among them
  uint64_t wakes_received = 0;     // messages from Wake()
  uint64_t overflow_episodes = 0;  // times the completion ring was found overflown
  uint64_t full_queue = 0;         // times a request found the submission ring full
};

class Ring {
 public:
  // Makes a ring for the calling thread. Errors: see Kernel::Setup, and kResourceExhausted for the eventfd of the
  // message fallback.
  static absl::StatusOr<std::unique_ptr<Ring>> Create(Kernel* kernel, const RingOptions& options);

  // No request may be in flight (checked).
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // The owner begins its loop: see Kernel::Begin().
  void Begin() { kernel_->Begin(&ring_); }

  // --- Requests -----------------------------------------------------------------------------------------------------

  // A blank submission entry, or nullptr: the ring is full and the kernel takes nothing now; consume and try again.
  // A full ring is submitted first.
  io_uring_sqe* GetSqe() {
    if (ring_.sq.sqe_tail - io_uring_smp_load_acquire(ring_.sq.khead) >= ring_.sq.ring_entries) [[unlikely]] {
      if (!MakeRoom()) return nullptr;
    }
    return &ring_.sq.sqes[ring_.sq.sqe_tail++ & ring_.sq.ring_mask];
  }

  // Hands `kevent` to the kernel with the prepared `sqe`; it is in flight from here on.
  void Start(Kevent* kevent, io_uring_sqe* sqe) {
    kevent->Start(sqe);
    ++in_flight_;
  }

  unsigned unsubmitted() const { return ring_.sq.sqe_tail - submitted_tail_; }
  // Handles whose last completion was not consumed yet.
  int64_t in_flight() const { return in_flight_; }
  // For completions that another thread delivered by Dispatch().
  void ForgetInFlight(int64_t n) { in_flight_ -= n; }

  // --- The kernel ---------------------------------------------------------------------------------------------------

  // Submits all, runs what the kernel has deferred, does not wait. 0 or a negative errno: EAGAIN, ENOMEM or EBUSY (the
  // requests stay queued), EINTR.
  int Enter();

  // True if an Enter() would find work: requests to submit, deferred completions, or an overflow to flush.
  bool NeedsEnter() const {
    return unsubmitted() != 0 ||
           (IO_URING_READ_ONCE(*ring_.sq.kflags) &
            (IORING_SQ_TASKRUN | (EVRING_CANARY(kOverflowNotFlushed) ? 0u : IORING_SQ_CQ_OVERFLOW))) != 0;
  }

  // The ring state: moves with every completion that arrives. (Drepper's `ringstate`.)
  uint32_t state() const { return io_uring_smp_load_acquire(ring_.cq.ktail); }

  // Submits all, then sleeps until a completion arrives, `wait.deadline_ns` passes or a signal comes; at once if the
  // ring state is not `seen_state` any more. `wait.sigmask` holds for the sleep only, set atomically.
  WaitResult Wait(uint32_t seen_state, const WaitArgs& wait);

  // Wakes the owner out of Wait(), or makes its next one return at once. Any thread. One system call; who calls this
  // for a sleeping owner only, and once per sleep, pays nothing else.
  void Wake();

  // --- Records ------------------------------------------------------------------------------------------------------

  unsigned ready() const { return state() - *ring_.cq.khead; }

  // Calls `f(Kevent*, const Event&)` for up to `max` completions in order and gives their slots back with one store.
  // `f` must not consume. Returns how many slots were freed.
  template <class F>
  unsigned Consume(unsigned max, F&& f) {
    const unsigned head = *ring_.cq.khead;
    const unsigned n = std::min(io_uring_smp_load_acquire(ring_.cq.ktail) - head, max);
    if (n == 0) return 0;
    int64_t ended = 0;
    for (unsigned i = 0; i < n; ++i) {
      const io_uring_cqe& cqe = ring_.cq.cqes[(head + i) & ring_.cq.ring_mask];
      if (cqe.user_data > kUserDataLast) [[likely]] {
        ended += Dispatch(RawCompletion{cqe.user_data, cqe.res, cqe.flags}, f);
      } else {
        Internal(cqe.user_data, cqe.res);
      }
    }
    io_uring_smp_store_release(ring_.cq.khead, head + n);  // the kernel may fill the slots again
    in_flight_ -= ended;
    counters_.completions += n;
    return n;
  }

  // Delivers one completion to `f`. 1 if it was its handle's last, else 0.
  template <class F>
  static int Dispatch(const RawCompletion& completion, F&& f) {
    auto* kevent = reinterpret_cast<Kevent*>(static_cast<uintptr_t>(completion.user_data));
    const Event event = kevent->Complete(completion.result, completion.flags);
    const int last = event.last() ? 1 : 0;
    f(kevent, event);
    return last;
  }

  // What was prepared up to here is whole: CopyOut() may submit it.
  void Seal() { sealed_tail_ = ring_.sq.sqe_tail; }

  // Submits what was prepared before Seal(), copies up to `max` completions of handles to `out` and frees their slots.
  // Async-signal-safe; see Rescue above. Returns how many were copied.
  unsigned CopyOut(RawCompletion* out, unsigned max);

  // --- Shared rings -------------------------------------------------------------------------------------------------

  // Shows the kernel what was prepared. How many requests it has not taken yet.
  unsigned Publish();
  // Enters the kernel to submit all. 0 or a negative errno: EAGAIN, ENOMEM, EBUSY (the requests stay queued), EINTR.
  int Submit();
  // Submits `to_submit` of what was published and, if there were as many, waits until `min_complete` completions are in
  // the ring, the deadline or a signal. How many were submitted, or -ETIME, -EINTR, -EAGAIN, -ENOMEM, -EBUSY.
  int EnterShared(unsigned to_submit, unsigned min_complete, const WaitArgs& wait);
  // More completions have come than the ring holds; they come in with the next enter that waits.
  bool overflown() const { return (IO_URING_READ_ONCE(*ring_.sq.kflags) & IORING_SQ_CQ_OVERFLOW) != 0; }
  // The completion at an index, which may be overwritten once the kernel has been shown that it was read.
  RawCompletion At(uint32_t index) const {
    const io_uring_cqe& cqe = ring_.cq.cqes[index & ring_.cq.ring_mask];
    return RawCompletion{IO_URING_READ_ONCE(cqe.user_data), IO_URING_READ_ONCE(cqe.res), IO_URING_READ_ONCE(cqe.flags)};
  }
  // The kernel's copy of the read index.
  std::atomic_ref<unsigned> read_index() { return std::atomic_ref<unsigned>(*ring_.cq.khead); }
  int descriptor() const { return ring_.ring_fd; }
  // Which operations the kernel has. 0 or a negative errno.
  int Probe(io_uring_probe* probe, unsigned ops) {
    return kernel_->Register(&ring_, IORING_REGISTER_PROBE, probe, ops);
  }

  const RingCounters& counters() const { return counters_; }
  Features features() const { return features_; }
  Kernel* kernel() const { return kernel_; }
  unsigned sq_entries() const { return ring_.sq.ring_entries; }
  unsigned cq_entries() const { return ring_.cq.ring_entries; }

 private:
  friend class BufferRing;

  static constexpr int kCopyOutEntersMax = 64;

  explicit Ring(Kernel* kernel) : kernel_(kernel) {}

  // What the kernel has answered to an enter, if it may.
  static int Checked(int rc);
  void CountSubmitted();
  int EnterKernel(unsigned min_complete, const WaitArgs& wait);
  bool MakeRoom();
  void Internal(uint64_t user_data, int32_t result);
  // The part of CopyOut() that copies what is in the ring.
  unsigned CopyReady(RawCompletion* out, unsigned max);
  void ArmEventFd();

  io_uring ring_ = {};
  Kernel* const kernel_;
  Features features_;
  unsigned submitted_tail_ = 0;
  unsigned sealed_tail_ = 0;
  int64_t in_flight_ = 0;
  bool overflowing_ = false;
  bool event_fd_armed_ = false;
  int event_fd_ = -1;  // only without Feature::kSyncMessage
  uint64_t event_fd_value_ = 0;
  RingCounters counters_;
};

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_RING_H_
