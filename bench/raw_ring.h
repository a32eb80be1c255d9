// raw_ring.h: what the hand-written loops of bench/ need from the kernel: a ring, a buffer ring, a listening socket.
//
// Called by the two raw servers and by the load client, each on its one thread. Nothing here is part of evring: the raw
// loops are the limit that the library is compared with, so they talk to liburing directly.
//
// Errors: a benchmark that cannot have its ring or its socket has nothing to measure, so the Open functions end the
// process with exit code 1 after one line on stderr that names the call and the errno.

#ifndef EVRING_BENCH_RAW_RING_H_
#define EVRING_BENCH_RAW_RING_H_

#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace evring::bench {

// Prints "NAME: WHAT: strerror(error)" and ends the process with exit code 1.
[[noreturn]] void Die(const char* what, int error);

// Sets up `ring` in the fastest mode for one thread (SINGLE_ISSUER and DEFER_TASKRUN), with its descriptor registered.
// `extra_flags` are further IORING_SETUP_ flags. The calling thread is the only one that may use the ring.
void OpenRing(io_uring* ring, unsigned sq_entries, unsigned cq_entries, unsigned extra_flags);

// The next free submission entry. A full queue is submitted first, so this never fails.
inline io_uring_sqe* NextSqe(io_uring* ring) {
  for (;;) {
    io_uring_sqe* sqe = io_uring_get_sqe(ring);
    if (sqe != nullptr) [[likely]] {
      return sqe;
    }
    const int submitted = io_uring_submit(ring);
    if (submitted < 0 && submitted != -EINTR && submitted != -EAGAIN && submitted != -EBUSY) {
      Die("io_uring_submit", -submitted);
    }
  }
}

// Buffers of one size that the kernel takes from as data arrives (io_uring_register_buf_ring(3)), group kGroup.
// A buffer is the caller's from the completion that names it until Release.
class BufferRing {
 public:
  static constexpr int kGroup = 0;

  BufferRing() = default;
  BufferRing(const BufferRing&) = delete;
  BufferRing& operator=(const BufferRing&) = delete;

  // `count` is a power of two, at most 32768. The memory lives as long as the process: the kernel may write to it until
  // the ring is gone, and a ring goes away asynchronously.
  void Open(io_uring* ring, unsigned count, unsigned bytes_each);

  // The buffer that a completion names in the upper half of its flags.
  static uint16_t IdOf(uint32_t cqe_flags) { return static_cast<uint16_t>(cqe_flags >> IORING_CQE_BUFFER_SHIFT); }
  char* Data(uint16_t id) const { return memory_ + static_cast<size_t>(id) * stride_; }

  // Gives the buffer back; the kernel may fill it from now on.
  void Release(uint16_t id) {
    io_uring_buf_ring_add(ring_, Data(id), bytes_each_, id, mask_, 0);
    io_uring_buf_ring_advance(ring_, 1);  // a store-release of the tail; pairs with the kernel's load-acquire
  }

 private:
  // Buffers stand one cache line apart from a power of two: at a stride of 2048 bytes the first lines of all buffers
  // fall into two sets of the first-level cache and evict each other.
  static constexpr size_t kSkew = 64;

  io_uring_buf_ring* ring_ = nullptr;
  char* memory_ = nullptr;
  size_t stride_ = 0;
  unsigned bytes_each_ = 0;
  int mask_ = 0;
};

// A TCP socket that listens on `address` (IPv4, dotted) and `port` (0: the kernel chooses), with
// TCP_NODELAY for each connection that it accepts. Prints "listening on ADDRESS:PORT" on stdout: the server is ready.
int ListenAndAnnounce(const std::string& address, uint16_t port);

// Blocks SIGTERM and SIGINT and returns a descriptor that becomes readable when one of them comes; SIGPIPE is ignored.
int OpenStopSignal();

}  // namespace evring::bench

#endif  // EVRING_BENCH_RAW_RING_H_
