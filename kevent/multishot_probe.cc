#include "kevent/multishot_probe.h"

#include <liburing.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstddef>

#include "kevent/ring_memory.h"

namespace evring::kevent {
namespace {

// A ring that defers its work, two buffers in it, and a stream. One thread does everything, so that both wake-ups are
// there, for certain, when the work is done.
class Trial {
 public:
  Trial() {
    io_uring_params params = {};
    params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    has_ring_ = io_uring_queue_init_params(8, &ring_, &params) == 0;
    RingMemoryComes();
    has_stream_ = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream_) == 0;
  }
  ~Trial() {
    RingMemoryGoes();
    if (has_ring_) io_uring_queue_exit(&ring_);
    if (!has_stream_) return;
    close(stream_[0]);
    close(stream_[1]);
  }
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;

  bool SeesTheEnd() {
    if (!has_ring_ || !has_stream_) return false;
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    io_uring_prep_provide_buffers(sqe, memory_.data(), kBufferBytes, kBuffers, kGroup, 0);
    sqe = io_uring_get_sqe(&ring_);
    io_uring_prep_recv_multishot(sqe, stream_[0], nullptr, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = kGroup;
    sqe->user_data = kReceive;
    if (io_uring_submit(&ring_) != 2) return false;
    if (send(stream_[1], "x", 1, MSG_NOSIGNAL) != 1 || shutdown(stream_[1], SHUT_WR) != 0) return false;
    if (io_uring_get_events(&ring_) < 0) return false;

    bool seen = false;
    unsigned head, n = 0;
    io_uring_cqe* cqe;
    io_uring_for_each_cqe(&ring_, head, cqe) {
      ++n;
      if (cqe->user_data == kReceive && cqe->res == 0) seen = true;
    }
    io_uring_cq_advance(&ring_, n);
    return seen;
  }

 private:
  static constexpr int kBufferBytes = 8;
  static constexpr int kBuffers = 4;
  static constexpr int kGroup = 0;
  static constexpr unsigned kReceive = 1;

  io_uring ring_;
  int stream_[2];
  bool has_ring_ = false;
  bool has_stream_ = false;
  std::array<std::byte, kBufferBytes * kBuffers> memory_;
};

}  // namespace

bool MultishotReceiveSeesTheEnd() {
  static const bool sees = Trial().SeesTheEnd();
  return sees;
}

}  // namespace evring::kevent
