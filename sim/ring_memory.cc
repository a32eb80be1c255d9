#include "sim/ring_memory.h"

#include <cstring>

namespace evring::sim {

RingMemory::RingMemory(unsigned sq_entries, unsigned cq_entries, int fd)
    : fd_(fd),
      sq_mask_(sq_entries - 1),
      sq_count_(sq_entries),
      cq_mask_(cq_entries - 1),
      cq_count_(cq_entries),
      sq_array_(sq_entries),
      sqes_(sq_entries),
      cqes_(cq_entries) {
  for (unsigned i = 0; i < sq_entries; ++i) sq_array_[i] = i;
}

void RingMemory::Map(io_uring* ring) {
  std::memset(ring, 0, sizeof(*ring));
  ring->sq.khead = &sq_head_;
  ring->sq.ktail = &sq_tail_;
  ring->sq.kring_mask = &sq_mask_;
  ring->sq.kring_entries = &sq_count_;
  ring->sq.kflags = &sq_flags_;
  ring->sq.kdropped = &sq_dropped_;
  ring->sq.array = sq_array_.data();
  ring->sq.sqes = sqes_.data();
  ring->sq.ring_mask = sq_mask_;
  ring->sq.ring_entries = sq_count_;
  ring->cq.khead = &cq_head_;
  ring->cq.ktail = &cq_tail_;
  ring->cq.kring_mask = &cq_mask_;
  ring->cq.kring_entries = &cq_count_;
  ring->cq.kflags = &cq_flags_;
  ring->cq.koverflow = &cq_overflow_;
  ring->cq.cqes = cqes_.data();
  ring->cq.ring_mask = cq_mask_;
  ring->cq.ring_entries = cq_count_;
  ring->ring_fd = fd_;
  ring->enter_ring_fd = fd_;
}

io_uring_sqe RingMemory::Take() {
  const io_uring_sqe sqe = sqes_[sq_array_[sq_head_ & sq_mask_] & sq_mask_];
  io_uring_smp_store_release(&sq_head_, sq_head_ + 1);
  return sqe;
}

void RingMemory::Put(const Completion& completion) {
  io_uring_cqe& cqe = cqes_[cq_tail_ & cq_mask_];
  cqe.user_data = completion.user_data;
  cqe.res = completion.result;
  cqe.flags = completion.flags;
  io_uring_smp_store_release(&cq_tail_, cq_tail_ + 1);
}

void RingMemory::Post(const Completion& completion) {
  if (full()) {
    overflow_.push_back(completion);
  } else {
    Put(completion);
  }
}

void RingMemory::Flush() {
  while (!overflow_.empty() && ready() < cqes_.size()) {
    Put(overflow_.front());
    overflow_.pop_front();
  }
}

void RingMemory::ShowFlags(bool tasks_wait) {
  const unsigned flags =
      (tasks_wait ? IORING_SQ_TASKRUN : 0u) | (overflow_.empty() ? 0u : static_cast<unsigned>(IORING_SQ_CQ_OVERFLOW));
  IO_URING_WRITE_ONCE(sq_flags_, flags);
}

}  // namespace evring::sim
