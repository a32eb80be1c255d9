#include "kevent/buffer_ring.h"

#include <errno.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "kevent/check.h"
#include "kevent/errors.h"
#include "kevent/memory_retry.h"
#include "kevent/sanitizer.h"

#ifdef EVRING_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) (static_cast<void>(address), static_cast<void>(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) (static_cast<void>(address), static_cast<void>(size))
#endif

namespace evring::kevent {
namespace {

void* Map(size_t size) {
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BufferRing>> BufferRing::Create(Ring* ring, const BufferRingOptions& options) {
  if (options.max == 0 || options.max > 32768 || (options.max & (options.max - 1)) != 0) {
    return absl::InvalidArgumentError("BufferRing: max is a power of two, at most 32768");
  }
  if (options.buffer_bytes == 0 || options.buffer_bytes % 64 != 0) {
    return absl::InvalidArgumentError("BufferRing: buffer_bytes is a multiple of 64");
  }
  auto buffers = absl::WrapUnique(new BufferRing(ring, options));
  buffers->remote_next_ = std::make_unique<std::atomic<uint32_t>[]>(options.max);
  void* entries = Map(options.max * sizeof(io_uring_buf));
  if (entries == nullptr) return ErrnoToStatus(errno, "mmap buffer ring");
  void* memory = Map(static_cast<size_t>(options.max) * options.buffer_bytes);
  if (memory == nullptr) {
    const int error = errno;
    munmap(entries, options.max * sizeof(io_uring_buf));
    return ErrnoToStatus(error, "mmap buffers");
  }
  buffers->memory_ = static_cast<std::byte*>(memory);

  io_uring_buf_reg reg;
  std::memset(&reg, 0, sizeof(reg));
  reg.ring_addr = reinterpret_cast<uintptr_t>(entries);
  reg.ring_entries = options.max;
  reg.bgid = options.group;
  const int rc =
      RetryWithoutMemory([&] { return ring->kernel_->Register(&ring->ring_, IORING_REGISTER_PBUF_RING, &reg, 1); });
  if (rc < 0) {
    munmap(entries, options.max * sizeof(io_uring_buf));
    return ErrnoToStatus(rc, "register buffer ring");
  }
  buffers->entries_ = static_cast<io_uring_buf_ring*>(entries);
  buffers->provided_ = 0;
  const uint32_t initial = std::clamp<uint32_t>(options.initial, 1, options.max);
  while (buffers->provided_ < initial) buffers->Add(static_cast<uint16_t>(buffers->provided_++));
  return buffers;
}

BufferRing::~BufferRing() {
  if (entries_ != nullptr) {
    io_uring_buf_reg reg;
    std::memset(&reg, 0, sizeof(reg));
    reg.bgid = options_.group;
    const int rc = ring_->kernel_->Register(&ring_->ring_, IORING_UNREGISTER_PBUF_RING, &reg, 1);
    EVRING_CHECK(rc == 0, "a registered buffer ring can be unregistered");
    munmap(entries_, options_.max * sizeof(io_uring_buf));
  }
  if (memory_ != nullptr) {
    const size_t size = static_cast<size_t>(options_.max) * options_.buffer_bytes;
    ASAN_UNPOISON_MEMORY_REGION(memory_, size);
    munmap(memory_, size);
  }
}

void BufferRing::Add(uint16_t id) {
  ASAN_POISON_MEMORY_REGION(address(id), options_.buffer_bytes);
  io_uring_buf_ring_add(entries_, address(id), options_.buffer_bytes, id, io_uring_buf_ring_mask(options_.max), 0);
  io_uring_buf_ring_advance(entries_, 1);  // a store-release of the tail
}

std::span<std::byte> BufferRing::Take(uint16_t id, size_t size) {
  EVRING_CHECK(id < options_.max && size <= options_.buffer_bytes, "the kernel names a buffer of ours");
  ASAN_UNPOISON_MEMORY_REGION(address(id), size);
  HandOverAcquire(address(id));
  return {address(id), size};
}

void BufferRing::Return(uint16_t id) {
  EVRING_CHECK(id < options_.max, "a buffer of ours is returned");
  HandOverRelease(address(id));
  Add(id);
}

void BufferRing::ReturnRemote(uint16_t id) {
  EVRING_CHECK(id < options_.max, "a buffer of ours is returned");
  ASAN_POISON_MEMORY_REGION(address(id), options_.buffer_bytes);
  HandOverRelease(address(id));
  uint32_t head = remote_head_.load(std::memory_order_relaxed);
  do {
    remote_next_[id].store(head, std::memory_order_relaxed);
  } while (!remote_head_.compare_exchange_weak(head, id, std::memory_order_release,  // pairs with Reclaim()
                                               std::memory_order_relaxed));
}

void BufferRing::Reclaim() {
  if (remote_head_.load(std::memory_order_relaxed) == kNil) return;
  // Takes the whole list at once, so a number that comes back meanwhile cannot be confused with its former self.
  uint32_t id = remote_head_.exchange(kNil, std::memory_order_acquire);  // pairs with ReturnRemote()
  while (id != kNil) {
    const uint32_t next = remote_next_[id].load(std::memory_order_relaxed);
    Add(static_cast<uint16_t>(id));
    id = next;
  }
}

bool BufferRing::Grow() {
  if (provided_ == options_.max) return false;
  const uint32_t target = std::min(provided_ * 2, options_.max);
  while (provided_ < target) Add(static_cast<uint16_t>(provided_++));
  return true;
}

}  // namespace evring::kevent
