// frame_pool.h: memory for coroutine frames, recycled per thread.
//
// Called by the operator new and delete of every promise, on any thread, worker or not; a frame may be freed on another
// thread than the one that allocated it. Not in a signal handler.
//
// Three layers, by size class (steps of 16 bytes up to kFrameSizeMax; larger frames go straight to operator new):
//   1. The thread's own list: a push or a pop, inline, a handful of instructions, no lock, no guard of initialization.
//   2. When it is empty or full: the thread's spare magazine, a full list that is taken or put down whole. So a thread
//      that goes up and down around a boundary does not reach
//   3. the depot: full magazines, for all threads, one spin lock a class, touched once per magazine. Here the frames
//      of a thread that only frees return to one that only allocates.
// Past that frames come from operator new and go back to operator delete.
//
// Bounds: two magazines (kMagazineBytes each) per class and thread, kDepotBytesMax in the depot. A thread that ends
// frees what it holds, and the last one to end empties the depot, so that nothing is left for a leak checker. A frame
// freed after its thread's pool is gone (by the destructor of a thread_local or a static) goes to operator delete.
//
// Sizes. malloc's chunks hold 16 k + 8 bytes, so the classes end there too: a class costs no memory over what malloc
// itself rounds up, and a million suspended tasks are as small as they can be.
//
// Under AddressSanitizer, ThreadSanitizer and MemorySanitizer, or with EVRING_NO_FRAME_POOL defined for the whole
// build, each frame comes from operator new, so that the sanitizers see its life. EVRING_FRAME_POOL_ALWAYS overrides
// both, for the tests of the pool itself.
//
// Checked by: tests/runtime/frame_pool_test.cc, under the sanitizers as well.
// Measured by: bench/micro/frame_pool_bench.cc.

#ifndef EVRING_RUNTIME_FRAME_POOL_H_
#define EVRING_RUNTIME_FRAME_POOL_H_

#include <cstddef>
#include <cstdint>
#include <new>

#include "kevent/sanitizer.h"

#if defined(EVRING_ASAN) || defined(EVRING_TSAN)
#define EVRING_FRAMES_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(memory_sanitizer)
#define EVRING_FRAMES_WATCHED 1
#endif
#endif

namespace evring {

// Whether frames are recycled in this build.
#if defined(EVRING_FRAME_POOL_ALWAYS)
inline constexpr bool kFramePoolOn = true;
#elif defined(EVRING_NO_FRAME_POOL) || defined(EVRING_FRAMES_WATCHED)
inline constexpr bool kFramePoolOn = false;
#else
inline constexpr bool kFramePoolOn = true;
#endif

namespace internal {

inline constexpr size_t kFrameStep = 16;
inline constexpr size_t kFrameClasses = 64;

// What a class holds: 24, 40, 56, … bytes.
constexpr size_t FrameClassSize(size_t frame_class) { return (frame_class + 1) * kFrameStep + 8; }

// The class of a frame of `size` bytes; kFrameClasses or more if it has none: too large, or under 9 bytes, where the
// subtraction wraps around. (No coroutine frame is that small.)
constexpr size_t FrameClassOf(size_t size) { return (size - 9) / kFrameStep; }

}  // namespace internal

// The largest frame that is recycled, in bytes.
inline constexpr size_t kFrameSizeMax = internal::FrameClassSize(internal::kFrameClasses - 1);

namespace internal {

static_assert(FrameClassOf(kFrameSizeMax) == kFrameClasses - 1 && FrameClassOf(kFrameSizeMax + 1) == kFrameClasses);
static_assert(FrameClassOf(9) == 0 && FrameClassOf(24) == 0 && FrameClassOf(25) == 1);
static_assert(FrameClassOf(8) >= kFrameClasses && FrameClassOf(0) >= kFrameClasses &&
              FrameClassOf(SIZE_MAX) > kFrameClasses);
static_assert(__STDCPP_DEFAULT_NEW_ALIGNMENT__ >= 16, "a frame may hold a max_align_t");

// The first bytes of a frame that is free.
struct FreeFrameLink {
  FreeFrameLink* next;   // in its list
  FreeFrameLink* below;  // of the first frame of a magazine in the depot: the next magazine
};
static_assert(sizeof(FreeFrameLink) <= FrameClassSize(0), "every frame has room for the links");

// The thread's own list of one class. All zeros is a thread that has not used the pool yet, and one whose pool is gone:
// no frame to take, no room to put one, so that both go to the slow path, which knows.
struct FrameBin {
  FreeFrameLink* head;
  uint32_t room;  // how many frames may still be pushed
};

// initial-exec: the address is the thread's base plus a constant from the link table, also in a shared library.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local FrameBin frame_bins[kFrameClasses];

void* AllocateFrameSlow(size_t size);
void FreeFrameSlow(void* frame, size_t size) noexcept;

}  // namespace internal

// Memory for a frame of `size` bytes, aligned to 16. Throws std::bad_alloc as operator new does, for a size that cannot
// be had too.
inline void* AllocateFrame(size_t size) {
  if constexpr (!kFramePoolOn) return ::operator new(size);
  const size_t frame_class = internal::FrameClassOf(size);
  if (frame_class < internal::kFrameClasses) [[likely]] {
    internal::FrameBin& bin = internal::frame_bins[frame_class];
    if (internal::FreeFrameLink* frame = bin.head; frame != nullptr) [[likely]] {
      bin.head = frame->next;
      ++bin.room;
      return frame;
    }
  }
  return internal::AllocateFrameSlow(size);
}

// Gives back what AllocateFrame(size) returned, with the same `size`, on any thread.
inline void FreeFrame(void* frame, size_t size) noexcept {
  if constexpr (!kFramePoolOn) return ::operator delete(frame, size);
  const size_t frame_class = internal::FrameClassOf(size);
  if (frame_class < internal::kFrameClasses) [[likely]] {
    internal::FrameBin& bin = internal::frame_bins[frame_class];
    if (bin.room > 0) [[likely]] {
      auto* const link = new (frame) internal::FreeFrameLink;
      link->next = bin.head;
      bin.head = link;
      --bin.room;
      return;
    }
  }
  internal::FreeFrameSlow(frame, size);
}

// What is cached now; all zeros while the pool is off.
struct FramePoolStats {
  size_t thread_frames = 0;  // in the calling thread's lists and spare magazines
  size_t thread_bytes = 0;
  size_t depot_magazines = 0;  // of all classes
  size_t depot_bytes = 0;
  size_t threads = 0;  // that have a pool
};

// Of the calling thread and of the depot, whose numbers may be a moment old. Any thread.
FramePoolStats ReadFramePoolStats();

namespace internal {

// Large enough that the depot costs a fraction of a nanosecond a frame, small enough that a thread keeps little.
inline constexpr size_t kMagazineBytes = 32 * 1024;
inline constexpr size_t kDepotBytesMax = 16 * 1024 * 1024;

// How many frames a magazine of the class has.
constexpr uint32_t MagazineFrames(size_t frame_class) {
  return static_cast<uint32_t>(kMagazineBytes / FrameClassSize(frame_class));
}
static_assert(MagazineFrames(kFrameClasses - 1) >= 16, "the depot is touched seldom in every class");

}  // namespace internal
}  // namespace evring

#endif  // EVRING_RUNTIME_FRAME_POOL_H_
