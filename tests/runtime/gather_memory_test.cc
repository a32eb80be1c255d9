// WhenAll and WhenAny without memory: every block that they ask for is refused in turn. The waiting task gets the
// exception, and what had been made by then goes: no child, no frame and no context stays behind. This program's
// operator new refuses and counts. (ThreadSanitizer's cannot be replaced: there the cases are skipped.)

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "gtest/gtest.h"
#include "kevent/sanitizer.h"
#include "runtime/frame_pool.h"
#include "runtime/runtime.h"
#include "runtime/task.h"
#include "runtime/when_all.h"
#include "runtime/when_any.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

#ifdef EVRING_TSAN
constexpr bool kNewCanFail = false;
#else
constexpr bool kNewCanFail = true;
#endif

// A result too large for the frame pool: whatever keeps one is a block of its own.
using Large = std::array<char, 2 * kFrameSizeMax>;

// The blocks that have room for a Large: the contexts of the tasks here, and nothing of the runtime's.
constinit std::atomic<int64_t> large_blocks{0};

constexpr int kNone = -1;
// How many more blocks this thread gets before one is refused; kNone: none will be.
constinit thread_local int blocks_before_refusal = kNone;

struct Header {
  alignas(16) size_t size;
};

[[maybe_unused]] void* CountedNew(size_t size) {
  if (blocks_before_refusal != kNone && blocks_before_refusal-- == 0) throw std::bad_alloc();
  auto* const header = static_cast<Header*>(std::malloc(sizeof(Header) + size));
  if (header == nullptr) throw std::bad_alloc();
  header->size = size;
  if (size >= sizeof(Large)) large_blocks.fetch_add(1, std::memory_order_relaxed);  // one thread makes them
  return header + 1;
}

[[maybe_unused]] void CountedDelete(void* block) noexcept {
  if (block == nullptr) return;
  Header* const header = static_cast<Header*>(block) - 1;
  if (header->size >= sizeof(Large)) large_blocks.fetch_sub(1, std::memory_order_relaxed);
  std::free(header);
}

}  // namespace
}  // namespace evring

#ifndef EVRING_TSAN
void* operator new(size_t size) { return evring::CountedNew(size); }
void operator delete(void* block) noexcept { evring::CountedDelete(block); }
void operator delete(void* block, size_t) noexcept { evring::CountedDelete(block); }
#endif

namespace evring {
namespace {

using testing::Counted;
using testing::RunValue;
using testing::WithWorkers;

Task<Large> MakeLarge(Counted counted) {
  static_cast<void>(counted);
  co_return Large{'x'};
}

std::vector<Task<Large>> MakeMany(std::atomic<int>* alive) {
  std::vector<Task<Large>> tasks;
  for (int i = 0; i < 6; ++i) tasks.push_back(MakeLarge(Counted(alive)));  // more than a Gathering has room for
  return tasks;
}

// Waits for some tasks, with the block number `refused` refused, of those that waiting asks for.
using Wait = Task<> (*)(std::atomic<int>* alive, int refused);

Task<> AllOfThree(std::atomic<int>* alive, int refused) {
  Task<Large> a = MakeLarge(Counted(alive)), b = MakeLarge(Counted(alive)), c = MakeLarge(Counted(alive));
  blocks_before_refusal = refused;
  const std::tuple<Large, Large, Large> all = co_await WhenAll(std::move(a), std::move(b), std::move(c));
  EXPECT_EQ(std::get<2>(all)[0], 'x');
}

Task<> AnyOfThree(std::atomic<int>* alive, int refused) {
  Task<Large> a = MakeLarge(Counted(alive)), b = MakeLarge(Counted(alive)), c = MakeLarge(Counted(alive));
  blocks_before_refusal = refused;
  const std::variant<Large, Large, Large> first = co_await WhenAny(std::move(a), std::move(b), std::move(c));
  EXPECT_EQ(first.index(), 0u);
}

Task<> AllOfMany(std::atomic<int>* alive, int refused) {
  std::vector<Task<Large>> tasks = MakeMany(alive);
  blocks_before_refusal = refused;
  const std::vector<Large> all = co_await WhenAll(std::move(tasks));
  EXPECT_EQ(all.size(), 6u);
}

Task<> AnyOfMany(std::atomic<int>* alive, int refused) {
  std::vector<Task<Large>> tasks = MakeMany(alive);
  blocks_before_refusal = refused;
  const WhenAnyResult<Large> first = co_await WhenAny(std::move(tasks));
  EXPECT_EQ(first.index, 0u);
}

// How many refusals there were until nothing was left to refuse. On a runtime of one worker: one thread asks for all.
Task<int> RefuseEachInTurn(Wait wait) {
  for (int refused = 0;; ++refused) {
    std::atomic<int> alive{0};
    const int64_t before = large_blocks;
    bool thrown = false;
    try {
      co_await wait(&alive, refused);
    } catch (const std::bad_alloc&) {
      thrown = true;
    }
    const bool enough = std::exchange(blocks_before_refusal, kNone) != kNone;
    EXPECT_NE(thrown, enough) << "block " << refused;
    EXPECT_EQ(alive, 0) << "tasks are left behind by the refusal of block " << refused;
    EXPECT_EQ(large_blocks, before) << "contexts are left behind by the refusal of block " << refused;
    if (enough) co_return refused;
  }
}

class GatherMemoryTest : public ::testing::TestWithParam<std::pair<Wait, int>> {};

TEST_P(GatherMemoryTest, ARefusedBlockIsAnExceptionOfTheWaitingTaskAndLeavesNothingBehind) {
  if (!kNewCanFail) GTEST_SKIP() << "ThreadSanitizer's operator new cannot be made to fail";
  const auto [wait, children] = GetParam();
  EXPECT_GE(RunValue(RefuseEachInTurn(wait), WithWorkers(1)), children) << "each child is a block";
  EXPECT_EQ(large_blocks, 0) << "a context of a task that waited";
}

INSTANTIATE_TEST_SUITE_P(Waits, GatherMemoryTest,
                         ::testing::Values(std::pair(&AllOfThree, 3), std::pair(&AnyOfThree, 3),
                                           std::pair(&AllOfMany, 6), std::pair(&AnyOfMany, 6)));

}  // namespace
}  // namespace evring
