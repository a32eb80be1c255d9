// ring_memory.h: the two rings of a simulated io_uring, in memory as the kernel lays them out, seen from the kernel's
// side: it moves the submission head and the completion tail.

#ifndef EVRING_SIM_RING_MEMORY_H_
#define EVRING_SIM_RING_MEMORY_H_

#include <liburing.h>

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

namespace evring::sim {

struct Completion {
  uint64_t user_data;
  int32_t result;
  uint32_t flags;
};

// Buffers that the kernel picks from, as the program has registered them.
struct BufferGroup {
  io_uring_buf_ring* entries = nullptr;
  uint32_t count = 0;
  uint16_t head = 0;

  bool empty() const { return head == io_uring_smp_load_acquire(&entries->tail); }
  const io_uring_buf& front() const { return entries->bufs[head & (count - 1)]; }
};

class RingMemory {
 public:
  // Powers of two.
  RingMemory(unsigned sq_entries, unsigned cq_entries, int fd);
  RingMemory(const RingMemory&) = delete;
  RingMemory& operator=(const RingMemory&) = delete;

  // Fills the program's view of it.
  void Map(io_uring* ring);

  // Submission entries that the program has shown and the kernel has not taken.
  unsigned submitted() const { return io_uring_smp_load_acquire(&sq_tail_) - sq_head_; }
  // The next of them, by value: the slot may be filled again.
  io_uring_sqe Take();

  // Completions that the program has not consumed.
  unsigned ready() const { return cq_tail_ - io_uring_smp_load_acquire(&cq_head_); }
  bool full() const { return ready() == cqes_.size() || !overflow_.empty(); }
  // What finds the ring full is kept, in order.
  void Post(const Completion& completion);
  // Moves what was kept into the ring, as far as there is room.
  void Flush();
  bool overflown() const { return !overflow_.empty(); }

  // IORING_SQ_TASKRUN and IORING_SQ_CQ_OVERFLOW, as they stand.
  void ShowFlags(bool tasks_wait);

  std::map<uint16_t, BufferGroup> buffers;

 private:
  void Put(const Completion& completion);

  const int fd_;
  unsigned sq_head_ = 0;
  unsigned sq_tail_ = 0;
  unsigned sq_flags_ = 0;
  unsigned sq_dropped_ = 0;
  unsigned sq_mask_;
  unsigned sq_count_;
  unsigned cq_head_ = 0;
  unsigned cq_tail_ = 0;
  unsigned cq_flags_ = 0;
  unsigned cq_overflow_ = 0;
  unsigned cq_mask_;
  unsigned cq_count_;
  std::vector<unsigned> sq_array_;
  std::vector<io_uring_sqe> sqes_;
  std::vector<io_uring_cqe> cqes_;
  std::deque<Completion> overflow_;
};

}  // namespace evring::sim

#endif  // EVRING_SIM_RING_MEMORY_H_
