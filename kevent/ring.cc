#include "kevent/ring.h"

#include <errno.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "kevent/check.h"
#include "kevent/errors.h"
#include "kevent/sanitizer.h"

namespace evring::kevent {

absl::StatusOr<std::unique_ptr<Ring>> Ring::Create(Kernel* kernel, const RingOptions& options) {
  auto ring = absl::WrapUnique(new Ring(kernel));
  if (absl::Status status = kernel->Setup(options, &ring->ring_, &ring->features_); !status.ok()) {
    ring->ring_.ring_fd = -1;
    return status;
  }
  if (!options.shared && !ring->features_.has(Feature::kSyncMessage)) {
    ring->event_fd_ = eventfd(0, EFD_CLOEXEC);
    if (ring->event_fd_ < 0) return ErrnoToStatus(errno, "eventfd");
    ring->ArmEventFd();
  }
  return ring;
}

Ring::~Ring() {
  if (ring_.ring_fd < 0) return;
  EVRING_CHECK(in_flight_ == 0, "a ring is drained before it is closed");
  while (event_fd_armed_) {
    // The read points into this object: one write ends it, and its completion is the proof.
    const uint64_t one = 1;
    EVRING_CHECK(write(event_fd_, &one, sizeof(one)) == sizeof(one), "write to our own eventfd");
    const int fd = std::exchange(event_fd_, -1);
    Wait(*ring_.cq.khead, WaitArgs());
    Consume(cq_entries(), [](Kevent*, const Event&) { EVRING_CHECK(false, "a completion after the drain"); });
    event_fd_ = fd;
  }
  if (event_fd_ >= 0) close(event_fd_);
  kernel_->Teardown(&ring_);
}

unsigned Ring::Publish() {
  io_uring_smp_store_release(ring_.sq.ktail, ring_.sq.sqe_tail);  // the entries before the tail that shows them
  // Not counted from submitted_tail_: CopyOut() may have submitted some, and a kernel that is asked to submit more than
  // there is leaves without running what it has deferred.
  return ring_.sq.sqe_tail - io_uring_smp_load_acquire(ring_.sq.khead);
}

int Ring::EnterKernel(unsigned min_complete, const WaitArgs& wait) {
  const unsigned to_submit = Publish();
  ++counters_.enters;
  const int rc = kernel_->Enter(&ring_, features_, to_submit, min_complete, IORING_ENTER_GETEVENTS, wait);
  CountSubmitted();
  const bool overflow = (IO_URING_READ_ONCE(*ring_.sq.kflags) & IORING_SQ_CQ_OVERFLOW) != 0;
  if (overflow && !overflowing_) ++counters_.overflow_episodes;
  overflowing_ = overflow;
  return std::min(Checked(rc), 0);
}

void Ring::CountSubmitted() {
  // The kernel's read index says what it took, whatever the call answered: a wait that ends early after a submit
  // reports the submit, one that ends early before it an errno.
  const unsigned taken = io_uring_smp_load_acquire(ring_.sq.khead);
  counters_.submitted += taken - submitted_tail_;
  submitted_tail_ = taken;
}

EVRING_UNINSTRUMENTED int Ring::Checked(int rc) {
  EVRING_CHECK(rc != -EBADR, "the kernel had no memory to keep an overflowing completion: events are lost");
  EVRING_CHECK(rc >= 0 || rc == -EINTR || rc == -ETIME || rc == -EAGAIN || rc == -ENOMEM || rc == -EBUSY,
               "io_uring_enter refused a ring of ours");
  return rc;
}

int Ring::Submit() {
  const unsigned to_submit = Publish();
  ++counters_.enters;
  const int rc = kernel_->Enter(&ring_, features_, to_submit, 0, 0, WaitArgs());
  CountSubmitted();
  return std::min(Checked(rc), 0);
}

EVRING_UNINSTRUMENTED int Ring::EnterShared(unsigned to_submit, unsigned min_complete, const WaitArgs& wait) {
  return Checked(kernel_->Enter(&ring_, features_, to_submit, min_complete, IORING_ENTER_GETEVENTS, wait));
}

int Ring::Enter() { return EnterKernel(0, WaitArgs()); }

WaitResult Ring::Wait(uint32_t seen_state, const WaitArgs& wait) {
  if (event_fd_ >= 0 && !event_fd_armed_) ArmEventFd();
  if (event_fd_ >= 0 && !event_fd_armed_) return WaitResult::kNoMemory;  // never sleep where no wake can arrive
  if (state() != seen_state) return WaitResult::kStateMoved;
  // Between the comparison and the sleep nothing can slip by: the kernel sleeps only while its own tail is less than
  // one past our published read index.
  const int rc = EnterKernel(1, wait);
  if (ready() != 0) return WaitResult::kEvents;
  switch (rc) {
    case -ETIME:
      return WaitResult::kDeadline;
    case -EAGAIN:
    case -ENOMEM:
    case -EBUSY:
      return WaitResult::kNoMemory;
    default:
      // A submit hides why the wait ended; the clock tells.
      if (wait.deadline_ns != kNoDeadline && kernel_->NowNs() >= wait.deadline_ns) return WaitResult::kDeadline;
      return WaitResult::kInterrupted;
  }
}

bool Ring::MakeRoom() {
  ++counters_.full_queue;
  Enter();
  return ring_.sq.sqe_tail - io_uring_smp_load_acquire(ring_.sq.khead) < ring_.sq.ring_entries;
}

void Ring::Wake() {
  if (!features_.has(Feature::kSyncMessage)) {
    const uint64_t one = 1;
    while (write(event_fd_, &one, sizeof(one)) != sizeof(one)) {
      EVRING_CHECK(errno == EINTR, "write to our own eventfd");
    }
    return;
  }
  // ENOMEM and EAGAIN pass; a wake that is not sent would be a thread that never wakes. EOVERFLOW says that the
  // target's ring is full: then it has completions and does not sleep.
  for (int tries = 0;; ++tries) {
    const int rc = kernel_->Message(ring_.ring_fd, kUserDataWake);
    if (rc == 0 || rc == -EOVERFLOW) return;
    EVRING_CHECK((rc == -ENOMEM || rc == -EAGAIN || rc == -EINTR) && tries < 1'000'000, "a wake cannot be sent");
    sched_yield();
  }
}

void Ring::ArmEventFd() {
  io_uring_sqe* sqe = GetSqe();
  if (sqe == nullptr) return;  // Wait() tries again and does not sleep before it is armed
  io_uring_prep_read(sqe, event_fd_, &event_fd_value_, sizeof(event_fd_value_), 0);
  sqe->user_data = kUserDataEventFd;
  event_fd_armed_ = true;
}

void Ring::Internal(uint64_t user_data, int32_t result) {
  switch (user_data) {
    case kUserDataWake:
      ++counters_.wakes_received;
      break;
    case kUserDataEventFd:
      event_fd_armed_ = false;
      if (result > 0) ++counters_.wakes_received;
      if (event_fd_ >= 0) ArmEventFd();
      break;
    default:
      break;  // the answer to a cancel: the cancelled request speaks for itself
  }
}

unsigned Ring::CopyOut(RawCompletion* out, unsigned max) {
  // The interrupted code may stand anywhere in GetSqe() or Enter(): the tail in the kernel's view only ever moves on.
  unsigned tail_shown = IO_URING_READ_ONCE(*ring_.sq.ktail);
  if (static_cast<int>(sealed_tail_ - tail_shown) > 0) {
    tail_shown = sealed_tail_;
    io_uring_smp_store_release(ring_.sq.ktail, tail_shown);
  }
  // One enter runs about twenty of what the kernel has deferred, or brings in one ring-full of an overflow; the flags
  // say that there is more. The bound is for a source that never runs dry.
  unsigned n = 0;
  for (int enters = 0; enters < kCopyOutEntersMax; ++enters) {
    const unsigned to_submit = tail_shown - io_uring_smp_load_acquire(ring_.sq.khead);
    const int rc = kernel_->Enter(&ring_, features_, to_submit, 0, IORING_ENTER_GETEVENTS, WaitArgs());
    EVRING_CHECK(rc != -EBADR, "the kernel had no memory to keep an overflowing completion: events are lost");
    n += CopyReady(out + n, max - n);
    if (n == max || (IO_URING_READ_ONCE(*ring_.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) == 0) break;
  }
  return n;
}

unsigned Ring::CopyReady(RawCompletion* out, unsigned max) {
  const unsigned head = *ring_.cq.khead;
  const unsigned tail = io_uring_smp_load_acquire(ring_.cq.ktail);
  unsigned n = 0;
  unsigned i = head;
  // A wake is used up, a cancel's answer is dropped; the eventfd is armed again by the owner before it sleeps.
  for (; i != tail && n < max; ++i) {
    const io_uring_cqe& cqe = ring_.cq.cqes[i & ring_.cq.ring_mask];
    if (cqe.user_data <= kUserDataLast) {
      if (cqe.user_data == kUserDataEventFd) event_fd_armed_ = false;
      continue;
    }
    out[n++] = RawCompletion{cqe.user_data, cqe.res, cqe.flags};
  }
  io_uring_smp_store_release(ring_.cq.khead, i);  // copied: the kernel may fill the slots again
  counters_.completions += i - head;              // the interrupted code is in a task and does not consume
  return n;
}

}  // namespace evring::kevent
