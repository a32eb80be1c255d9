#include "runtime/frame_pool.h"

#include <atomic>
#include <mutex>
#include <utility>

#include "runtime/spin_lock.h"

namespace evring {
namespace internal {

[[gnu::tls_model("initial-exec")]] constinit thread_local FrameBin frame_bins[kFrameClasses] = {};

namespace {

enum class Membership : unsigned char { kNotYet, kMember, kGone };

// A thread's part besides its bins. No destructor: it outlives Member, so that a frame which is freed later still finds
// out that the pool is gone.
constinit thread_local Membership membership = Membership::kNotYet;
constinit thread_local FreeFrameLink* spares[kFrameClasses] = {};  // null or a full magazine

// The full magazines of one class. On a line of its own: threads that use other classes do not disturb it.
struct alignas(64) Shelf {
  SpinLock lock;
  std::atomic<FreeFrameLink*> top{nullptr};  // written under the lock
};

constinit Shelf depot[kFrameClasses];
constinit std::atomic<size_t> depot_bytes{0};
constinit std::atomic<size_t> depot_magazines{0};
constinit std::atomic<size_t> members{0};

constexpr size_t MagazineBytes(size_t frame_class) { return MagazineFrames(frame_class) * FrameClassSize(frame_class); }

void FreeList(FreeFrameLink* list, size_t frame_class) noexcept {
  while (list != nullptr) ::operator delete(std::exchange(list, list->next), FrameClassSize(frame_class));
}

// A magazine of the class, or null.
FreeFrameLink* TakeFromDepot(size_t frame_class) noexcept {
  Shelf& shelf = depot[frame_class];
  // A look without the lock: while nothing comes back, growing costs no write to shared memory. A magazine that is put
  // down at this moment is missed, and taken next time.
  if (shelf.top.load(std::memory_order_relaxed) == nullptr) return nullptr;
  FreeFrameLink* magazine;
  {
    const std::lock_guard<SpinLock> hold(shelf.lock);
    magazine = shelf.top.load(std::memory_order_relaxed);  // the lock orders it
    if (magazine == nullptr) return nullptr;
    shelf.top.store(magazine->below, std::memory_order_relaxed);
  }
  depot_bytes.fetch_sub(MagazineBytes(frame_class), std::memory_order_relaxed);  // a count, as are all of these
  depot_magazines.fetch_sub(1, std::memory_order_relaxed);
  return magazine;
}

// Puts down a full magazine, or frees it if the depot is full.
void PutIntoDepot(FreeFrameLink* magazine, size_t frame_class) noexcept {
  const size_t bytes = MagazineBytes(frame_class);
  if (depot_bytes.fetch_add(bytes, std::memory_order_relaxed) + bytes > kDepotBytesMax) {
    depot_bytes.fetch_sub(bytes, std::memory_order_relaxed);
    FreeList(magazine, frame_class);
    return;
  }
  depot_magazines.fetch_add(1, std::memory_order_relaxed);
  Shelf& shelf = depot[frame_class];
  const std::lock_guard<SpinLock> hold(shelf.lock);
  magazine->below = shelf.top.load(std::memory_order_relaxed);
  shelf.top.store(magazine, std::memory_order_relaxed);
}

// One a thread, made at its first frame.
struct Member {
  Member() noexcept {
    members.fetch_add(1, std::memory_order_relaxed);
    for (size_t c = 0; c < kFrameClasses; ++c) frame_bins[c].room = MagazineFrames(c);
    membership = Membership::kMember;
  }

  ~Member() {
    membership = Membership::kGone;
    for (size_t c = 0; c < kFrameClasses; ++c) {
      FreeList(std::exchange(frame_bins[c], FrameBin{}).head, c);
      FreeList(std::exchange(spares[c], nullptr), c);
    }
    // The last one to leave empties the depot. Each release here pairs with its acquire: it sees all that was put down.
    if (members.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    for (size_t c = 0; c < kFrameClasses; ++c) {
      while (FreeFrameLink* magazine = TakeFromDepot(c)) FreeList(magazine, c);
    }
  }
};

// Whether the calling thread has a pool: from its first frame until its thread_local objects are destroyed.
bool IsMember() noexcept {
  if (membership == Membership::kNotYet) [[unlikely]] {
    static thread_local Member member;
  }
  return membership == Membership::kMember;
}

FramePoolStats ReadStats() {
  FramePoolStats stats;
  if (membership == Membership::kMember) {
    for (size_t c = 0; c < kFrameClasses; ++c) {
      const size_t frames = MagazineFrames(c) - frame_bins[c].room + (spares[c] != nullptr ? MagazineFrames(c) : 0);
      stats.thread_frames += frames;
      stats.thread_bytes += frames * FrameClassSize(c);
    }
  }
  stats.depot_magazines = depot_magazines.load(std::memory_order_relaxed);
  stats.depot_bytes = depot_bytes.load(std::memory_order_relaxed);
  stats.threads = members.load(std::memory_order_relaxed);
  return stats;
}

}  // namespace

void* AllocateFrameSlow(size_t size) {
  const size_t c = FrameClassOf(size);
  if (c >= kFrameClasses) return ::operator new(size);
  if (IsMember()) {
    FreeFrameLink* magazine = std::exchange(spares[c], nullptr);
    if (magazine == nullptr) magazine = TakeFromDepot(c);
    if (magazine != nullptr) {
      frame_bins[c] = {magazine->next, 1};  // the list was empty; of a full one, the first frame is the caller's
      return magazine;
    }
  }
  return ::operator new(FrameClassSize(c));
}

void FreeFrameSlow(void* frame, size_t size) noexcept {
  const size_t c = FrameClassOf(size);
  if (c >= kFrameClasses) return ::operator delete(frame, size);
  if (!IsMember()) return ::operator delete(frame, FrameClassSize(c));
  FrameBin& bin = frame_bins[c];
  if (bin.room == 0) {
    FreeFrameLink* const full = std::exchange(spares[c], bin.head);
    bin = {nullptr, MagazineFrames(c)};
    if (full != nullptr) PutIntoDepot(full, c);
  }
  auto* const link = new (frame) FreeFrameLink;
  link->next = bin.head;
  bin.head = link;
  --bin.room;
}

}  // namespace internal

FramePoolStats ReadFramePoolStats() { return internal::ReadStats(); }

}  // namespace evring
