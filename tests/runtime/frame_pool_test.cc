// The frame pool, always on (EVRING_FRAME_POOL_ALWAYS), so that the sanitizers see its lists and its depot too. What
// goes to and comes from operator new is counted; each test runs in threads of its own, so that nothing is cached
// between them.

#include "runtime/frame_pool.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "tests/runtime/counted_new.h"

namespace evring {
namespace {

static_assert(kFramePoolOn, "these tests are about the pool");

constexpr size_t kSize = 120;  // an ordinary frame
constexpr size_t kMagazine = internal::MagazineFrames(internal::FrameClassOf(kSize));
constexpr size_t kClassBytes = internal::FrameClassSize(internal::FrameClassOf(kSize));

void InThread(const std::function<void()>& body) { std::thread(body).join(); }

class FramePool : public testing::Test {
 protected:
  void SetUp() override { live_before_ = LiveBlocks(); }

  // After each test all threads that used the pool are gone, and so is all they had.
  void TearDown() override {
    const FramePoolStats stats = ReadFramePoolStats();
    EXPECT_EQ(stats.threads, 0u);
    EXPECT_EQ(stats.thread_frames, 0u);
    EXPECT_EQ(stats.depot_magazines, 0u);
    EXPECT_EQ(stats.depot_bytes, 0u);
    EXPECT_EQ(LiveBlocks(), live_before_) << "blocks are left";
    EXPECT_EQ(counted_mismatches.load(std::memory_order_relaxed), 0) << "deleted with another size than allocated";
  }

 private:
  int64_t live_before_ = 0;
};

// The tests that mean nothing without the counts.
class FramePoolBlocks : public FramePool {
 protected:
  void SetUp() override {
    if (!kBlocksCounted) GTEST_SKIP() << "ThreadSanitizer's operator new cannot be replaced by one that counts";
    FramePool::SetUp();
  }
};

TEST_F(FramePoolBlocks, GivesAFreedFrameToTheNextOfItsClass) {
  InThread([] {
    void* const a = AllocateFrame(kSize);
    void* const b = AllocateFrame(kSize);
    FreeFrame(a, kSize);
    FreeFrame(b, kSize);
    const int64_t news = counted_news.load(std::memory_order_relaxed);
    void* const c = AllocateFrame(kSize - 15);  // the smallest of the class
    void* const d = AllocateFrame(kSize);
    EXPECT_EQ(c, b) << "the one used last is still in the cache";
    EXPECT_EQ(d, a);
    EXPECT_EQ(counted_news.load(std::memory_order_relaxed), news);
    FreeFrame(c, kSize - 15);
    void* const smaller = AllocateFrame(kSize - 16);
    void* const larger = AllocateFrame(kSize + 1);
    EXPECT_NE(smaller, c) << "another class";
    EXPECT_NE(larger, c);
    FreeFrame(d, kSize);
    FreeFrame(smaller, kSize - 16);
    FreeFrame(larger, kSize + 1);
  });
}

TEST_F(FramePool, EverySizeIsAlignedAndItsOwn) {
  InThread([] {
    struct Frame {
      unsigned char* memory;
      size_t size;
    };
    for (int round = 0; round < 3; ++round) {
      std::vector<Frame> frames;
      for (size_t size = 1; size <= 2 * kFrameSizeMax; ++size) {
        auto* const memory = static_cast<unsigned char*>(AllocateFrame(size));
        EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 16, 0u) << size;
        std::memset(memory, static_cast<int>(size % 251), size);
        frames.push_back({memory, size});
      }
      for (const Frame& frame : frames) {
        const bool whole = std::all_of(frame.memory, frame.memory + frame.size,
                                       [&](unsigned char byte) { return byte == frame.size % 251; });
        EXPECT_TRUE(whole) << frame.size << " bytes overlap another frame";
        FreeFrame(frame.memory, frame.size);
      }
    }
  });
}

TEST_F(FramePoolBlocks, LargeFramesAreNotKept) {
  InThread([] {
    void* const kept = AllocateFrame(kFrameSizeMax);
    FreeFrame(kept, kFrameSizeMax);
    EXPECT_EQ(ReadFramePoolStats().thread_frames, 1u);
    const int64_t live = LiveBlocks();
    void* const large = AllocateFrame(kFrameSizeMax + 1);
    EXPECT_EQ(last_new_size, kFrameSizeMax + 1);
    FreeFrame(large, kFrameSizeMax + 1);
    EXPECT_EQ(LiveBlocks(), live);
    EXPECT_EQ(ReadFramePoolStats().thread_frames, 1u);
  });
}

TEST_F(FramePoolBlocks, ASizeThatCannotBeHadThrows) {
  InThread([] {
    for (const size_t size : {SIZE_MAX, SIZE_MAX - 7, SIZE_MAX - 8, SIZE_MAX - 15, SIZE_MAX / 2}) {
      EXPECT_THROW(AllocateFrame(size), std::bad_alloc) << size;
    }
  });
}

TEST_F(FramePoolBlocks, AThreadKeepsTwoMagazinesAClass) {
  InThread([] {
    std::vector<void*> frames;
    for (size_t i = 0; i < 5 * kMagazine; ++i) frames.push_back(AllocateFrame(kSize));
    for (size_t i = 0; i < frames.size(); ++i) {
      FreeFrame(frames[i], kSize);
      const FramePoolStats stats = ReadFramePoolStats();
      EXPECT_LE(stats.thread_frames, 2 * kMagazine);
      EXPECT_EQ(stats.thread_bytes, stats.thread_frames * kClassBytes);
      EXPECT_EQ(stats.thread_frames + stats.depot_magazines * kMagazine, i + 1) << "in the thread or in the depot";
      EXPECT_EQ(stats.depot_bytes, stats.depot_magazines * kMagazine * kClassBytes);
    }
    EXPECT_EQ(ReadFramePoolStats().depot_magazines, 3u);

    const int64_t news = counted_news.load(std::memory_order_relaxed);
    for (void*& frame : frames) frame = AllocateFrame(kSize);
    EXPECT_EQ(counted_news.load(std::memory_order_relaxed), news) << "all of them come back";
    EXPECT_EQ(ReadFramePoolStats().depot_magazines, 0u);
    for (void* frame : frames) FreeFrame(frame, kSize);
  });
}

TEST_F(FramePool, OneFrameOverAndOverStaysOneFrame) {
  InThread([] {
    for (size_t i = 0; i < 10 * kMagazine; ++i) {
      FreeFrame(AllocateFrame(kSize), kSize);
      EXPECT_EQ(ReadFramePoolStats().thread_frames, 1u);
    }
    EXPECT_EQ(ReadFramePoolStats().depot_magazines, 0u);
  });
}

TEST_F(FramePool, UpAndDownAroundABoundaryDoesNotTouchTheDepot) {
  InThread([] {
    std::vector<void*> frames;
    for (size_t i = 0; i < 3 * kMagazine; ++i) frames.push_back(AllocateFrame(kSize));
    for (void* frame : frames) FreeFrame(frame, kSize);
    ASSERT_EQ(ReadFramePoolStats().depot_magazines, 1u);
    // Two magazines full: whatever swings by one magazine stays in the thread.
    for (int round = 0; round < 10; ++round) {
      for (size_t i = 0; i < kMagazine + 1; ++i) frames[i] = AllocateFrame(kSize);
      EXPECT_EQ(ReadFramePoolStats().depot_magazines, 1u);
      for (size_t i = 0; i < kMagazine + 1; ++i) FreeFrame(frames[i], kSize);
      EXPECT_EQ(ReadFramePoolStats().depot_magazines, 1u);
    }
  });
}

TEST_F(FramePoolBlocks, TheDepotIsBounded) {
  InThread([] {
    const int64_t live = LiveBlocks();
    std::vector<void*> frames(4 * internal::kDepotBytesMax / kFrameSizeMax);
    for (void*& frame : frames) frame = AllocateFrame(kFrameSizeMax);
    for (void* frame : frames) {
      FreeFrame(frame, kFrameSizeMax);
      EXPECT_LE(ReadFramePoolStats().depot_bytes, internal::kDepotBytesMax);
    }
    const FramePoolStats stats = ReadFramePoolStats();
    EXPECT_GT(stats.depot_bytes, internal::kDepotBytesMax - internal::kMagazineBytes) << "and it is used";
    const int64_t cached = static_cast<int64_t>((stats.depot_bytes + stats.thread_bytes) / kFrameSizeMax);
    EXPECT_LE(LiveBlocks() - live, cached + 1) << "the surplus went back (one block is the vector)";
  });
}

// One thread only allocates, the other only frees: after the first rounds nothing comes from operator new any more.
TEST_F(FramePool, ProducerAndConsumerAreFlat) {
  constexpr int kRounds = 400;
  constexpr size_t kInFlight = 700;
  std::vector<void*> handed;
  std::atomic<bool> full{false};
  std::atomic<int64_t> news_early{0};
  std::atomic<int64_t> news_late{0};
  std::thread producer([&] {
    std::vector<void*> mine(kInFlight);
    for (int round = 0; round < kRounds; ++round) {
      if (round == 20) news_early = counted_news.load(std::memory_order_relaxed);
      for (void*& frame : mine) {
        frame = AllocateFrame(kSize);
        std::memset(frame, round, kSize);
      }
      while (full.load(std::memory_order_acquire)) std::this_thread::yield();  // pairs with the consumer's release
      handed.swap(mine);
      mine.resize(kInFlight);
      full.store(true, std::memory_order_release);  // publishes `handed`; pairs with the consumer's acquire
    }
    news_late = counted_news.load(std::memory_order_relaxed);
  });
  std::thread consumer([&] {
    std::vector<void*> mine;
    for (int round = 0; round < kRounds; ++round) {
      while (!full.load(std::memory_order_acquire)) std::this_thread::yield();
      mine.swap(handed);
      full.store(false, std::memory_order_release);
      for (void* frame : mine) FreeFrame(frame, kSize);
    }
  });
  producer.join();
  consumer.join();
  // What the two threads may hold beyond what was in flight by round 20 is bounded by their magazines.
  EXPECT_LE(news_late - news_early, static_cast<int64_t>(4 * kMagazine + 2 * kInFlight));
  EXPECT_LT(news_late - news_early, static_cast<int64_t>(kRounds * kInFlight / 20)) << "grows with the rounds";
}

// Frames of random sizes go to random threads, which check that nobody wrote into them meanwhile.
TEST_F(FramePool, ThreadsExchangeFramesOfAllSizes) {
  constexpr int kThreads = 4;
  struct Frame {
    unsigned char* memory;
    size_t size;
    unsigned char mark;
  };
  std::mutex mutex;
  std::vector<Frame> market;
  std::atomic<int> damaged{0};
  const auto release = [&](const Frame& frame) {
    if (frame.memory[0] != frame.mark || frame.memory[frame.size - 1] != frame.mark) {
      damaged.fetch_add(1, std::memory_order_relaxed);  // read after join
    }
    FreeFrame(frame.memory, frame.size);
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      for (int i = 0; i < 20'000; ++i) {
        const size_t size = 24 + random() % 2 * 400 + random() % 64;
        const Frame mine{static_cast<unsigned char*>(AllocateFrame(size)), size, static_cast<unsigned char>(random())};
        std::memset(mine.memory, mine.mark, size);
        Frame other;
        {
          const std::lock_guard<std::mutex> hold(mutex);
          market.push_back(mine);
          if (market.size() < 3000 && random() % 8 != 0) continue;
          std::swap(market[random() % market.size()], market.back());
          other = market.back();
          market.pop_back();
        }
        release(other);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  InThread([&] {
    for (const Frame& frame : market) release(frame);
    std::vector<Frame>().swap(market);
  });
  EXPECT_EQ(damaged.load(std::memory_order_relaxed), 0);
}

// What a thread caches is freed when it ends, while another thread that has a pool keeps the depot; TearDown() sees the
// rest when the last one ends.
TEST_F(FramePoolBlocks, AThreadThatEndsLeavesNothingOfItsOwn) {
  InThread([] {
    FreeFrame(AllocateFrame(kSize), kSize);
    EXPECT_EQ(ReadFramePoolStats().threads, 1u);
    const int64_t live = LiveBlocks();
    InThread([] {
      std::vector<void*> frames(2 * kMagazine);
      for (void*& frame : frames) frame = AllocateFrame(kSize);
      for (void* frame : frames) FreeFrame(frame, kSize);
      EXPECT_EQ(ReadFramePoolStats().thread_frames, 2 * kMagazine);
      EXPECT_EQ(ReadFramePoolStats().threads, 2u);
    });
    EXPECT_EQ(ReadFramePoolStats().threads, 1u);
    EXPECT_EQ(LiveBlocks(), live);

    InThread([] {
      std::vector<void*> frames(3 * kMagazine);
      for (void*& frame : frames) frame = AllocateFrame(kSize);
      for (void* frame : frames) FreeFrame(frame, kSize);
    });
    EXPECT_EQ(ReadFramePoolStats().depot_magazines, 1u) << "of use to the others";
    EXPECT_EQ(LiveBlocks(), live + static_cast<int64_t>(kMagazine));
  });
}

// A thread_local that was there before the thread's pool is destroyed after it, and still frees and allocates.
struct OutlivesThePool {
  ~OutlivesThePool() {
    if (frame == nullptr) return;
    EXPECT_EQ(ReadFramePoolStats().threads, 0u) << "the pool is gone by now";
    const int64_t live = LiveBlocks();
    FreeFrame(frame, kSize);
    EXPECT_EQ(LiveBlocks(), live - 1) << "straight to operator delete";
    void* const another = AllocateFrame(kSize);
    EXPECT_EQ(LiveBlocks(), live);
    FreeFrame(another, kSize);
    EXPECT_EQ(LiveBlocks(), live - 1);
    EXPECT_EQ(ReadFramePoolStats().thread_frames, 0u);
  }
  void* frame = nullptr;
};

TEST_F(FramePoolBlocks, FramesFreedAfterTheThreadsPoolIsGone) {
  InThread([] {
    static thread_local OutlivesThePool outlives;
    outlives.frame = nullptr;  // constructed before the first frame
    std::vector<void*> frames(3 * kMagazine);
    for (void*& frame : frames) frame = AllocateFrame(kSize);
    outlives.frame = frames.back();
    frames.pop_back();
    for (void* frame : frames) FreeFrame(frame, kSize);
  });
}

struct OutlivesMain {
  ~OutlivesMain() {
    const int64_t live = LiveBlocks();
    FreeFrame(frame, kSize);
    if (LiveBlocks() != live - 1 || ReadFramePoolStats().threads != 0) _exit(1);
  }
  void* frame;
};

TEST(FramePoolDeathTest, AStaticObjectMayFreeAFrameAtExit) {
  if (!kBlocksCounted) GTEST_SKIP() << "ThreadSanitizer's operator new cannot be replaced by one that counts";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        static OutlivesMain outlives{AllocateFrame(kSize)};
        FreeFrame(AllocateFrame(kSize), kSize);
        exit(0);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace evring
