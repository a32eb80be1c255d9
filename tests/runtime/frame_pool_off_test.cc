// The frame pool switched off (EVRING_NO_FRAME_POOL): each frame is a block of operator new of exactly its size, as the
// sanitizers need it.

#include <gtest/gtest.h>

#include <cstdint>

#include "runtime/frame_pool.h"
#include "tests/runtime/counted_new.h"

namespace evring {
namespace {

static_assert(!kFramePoolOn, "this test is about the pool that is off");

TEST(FramePoolOff, EveryFrameIsABlockOfItsOwn) {
  if (!kBlocksCounted) GTEST_SKIP() << "ThreadSanitizer's operator new cannot be replaced by one that counts";
  for (const size_t size : {size_t{1}, size_t{24}, size_t{100}, kFrameSizeMax, kFrameSizeMax + 1}) {
    const int64_t live = LiveBlocks();
    void* const frame = AllocateFrame(size);
    EXPECT_EQ(last_new_size, size);
    EXPECT_EQ(LiveBlocks(), live + 1);
    FreeFrame(frame, size);
    EXPECT_EQ(LiveBlocks(), live);
  }
  EXPECT_EQ(counted_mismatches.load(std::memory_order_relaxed), 0);
  const FramePoolStats stats = ReadFramePoolStats();
  EXPECT_EQ(stats.threads, 0u);
  EXPECT_EQ(stats.thread_frames, 0u);
  EXPECT_EQ(stats.depot_bytes, 0u);
}

}  // namespace
}  // namespace evring
