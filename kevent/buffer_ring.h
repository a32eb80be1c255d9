// buffer_ring.h: buffers that the kernel picks from when data arrives, so that an idle connection holds none.
//
// Buffers have one size and are known by a number. Few are lent to the kernel at first, so that the same cache-warm
// memory goes round; Grow() lends more when the kernel ran out (-ENOBUFS), up to the maximum.
//
//   states of a buffer   kernel's -> (a completion names it) -> the receiver's -> Return()/ReturnRemote() -> kernel's
//
// Threads: everything on the ring's owner, but ReturnRemote() and Take() (any thread). A returned buffer is poisoned
// under AddressSanitizer until a completion names it again: a late reader is caught.

#ifndef EVRING_KEVENT_BUFFER_RING_H_
#define EVRING_KEVENT_BUFFER_RING_H_

#include <liburing.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "kevent/ring.h"

namespace evring::kevent {

struct BufferRingOptions {
  BufferRingOptions() = default;
  uint16_t group = 0;
  uint32_t buffer_bytes = 4096;  // a multiple of 64
  uint32_t initial = 64;         // lent at first; from 1 to max, what lies outside counts as the nearer one
  uint32_t max = 2048;           // a power of two, at most 32768
};

class BufferRing {
 public:
  // Registers the group with `ring`, which must outlive it. Errors: kInvalidArgument for the options,
  // kResourceExhausted for memory, kAlreadyExists for a group number in use.
  static absl::StatusOr<std::unique_ptr<BufferRing>> Create(Ring* ring, const BufferRingOptions& options);
  ~BufferRing();
  BufferRing(const BufferRing&) = delete;
  BufferRing& operator=(const BufferRing&) = delete;

  uint16_t group() const { return options_.group; }
  uint32_t buffer_bytes() const { return options_.buffer_bytes; }

  // The first `size` bytes of buffer `id`, which a completion has just named. Any thread.
  std::span<std::byte> Take(uint16_t id, size_t size);

  void Return(uint16_t id);
  // From a thread that is not the owner: kept aside until the owner's next Reclaim(). Lock-free.
  void ReturnRemote(uint16_t id);
  // Lends what came back by ReturnRemote() to the kernel again. One load if there is nothing.
  void Reclaim();

  // After -ENOBUFS: lends more buffers. False: the maximum is out already.
  bool Grow();

  uint32_t lent_max() const { return provided_; }

 private:
  BufferRing(Ring* ring, const BufferRingOptions& options) : ring_(ring), options_(options) {}

  static constexpr uint32_t kNil = ~0u;

  std::byte* address(uint16_t id) { return memory_ + static_cast<size_t>(id) * options_.buffer_bytes; }
  void Add(uint16_t id);

  Ring* const ring_;
  const BufferRingOptions options_;
  io_uring_buf_ring* entries_ = nullptr;
  std::byte* memory_ = nullptr;
  uint32_t provided_ = 0;  // buffers that were lent at least once
  std::atomic<uint32_t> remote_head_{kNil};
  std::unique_ptr<std::atomic<uint32_t>[]> remote_next_;
};

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_BUFFER_RING_H_
