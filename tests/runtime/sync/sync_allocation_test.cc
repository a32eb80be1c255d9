// Waiting allocates nothing: blocks are counted while tasks wait for each other a thousand times.

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>

#include "runtime/sync/barrier.h"
#include "runtime/sync/channel.h"
#include "runtime/sync/cond_var.h"
#include "runtime/sync/event.h"
#include "runtime/sync/mutex.h"
#include "runtime/sync/semaphore.h"
#include "runtime/sync/shared_mutex.h"
#include "runtime/sync/unbounded_channel.h"
#include "tests/runtime/counted_new.h"
#include "tests/runtime/sync/sync_test_util.h"

namespace evring {
namespace {

using testing::RunFor;

constexpr int kRounds = 1000;

int64_t Blocks() { return counted_news.load(std::memory_order_relaxed); }

struct Meeting {
  Event there, back;
  Mutex mutex;
  Semaphore semaphore{1};
  Channel<int> channel{1};
  Channel<int> handed{0};
  Barrier<> barrier{2};
  SharedMutex shared_mutex;
  UnboundedChannel<int> unbounded;
  CondVar turned;
  int turn = 0;  // guarded by the mutex
};

// The two sides of a meeting: whatever one of them does, it waits for the other. The stack of coroutines is the same
// all the time.
Task<void> OneSide(Meeting* m) {
  for (int i = 0; i < kRounds; ++i) {
    m->there.Set();
    CO_ASSERT_OK(co_await m->back.Wait());
    m->back.Reset();
    CO_ASSERT_OK(co_await m->channel.Send(i));
    CO_ASSERT_OK(co_await m->handed.Send(i));
    CO_ASSERT_OK(co_await m->semaphore.Acquire());
    co_await Yield();
    m->semaphore.Release();
    {
      absl::StatusOr<MutexGuard> guard = co_await m->mutex.Lock();
      CO_ASSERT_OK(guard.status());
      co_await Yield();
    }
    CO_ASSERT_OK(co_await m->barrier.ArriveAndWait());
    {
      absl::StatusOr<WriterGuard> guard = co_await m->shared_mutex.Lock();
      CO_ASSERT_OK(guard.status());
      co_await Yield();
    }
    {
      absl::StatusOr<MutexGuard> guard = co_await m->mutex.Lock();
      CO_ASSERT_OK(guard.status());
      while (m->turn != 0) CO_ASSERT_OK(co_await m->turned.Wait(&*guard));
      m->turn = 1;
      m->turned.NotifyOne();
    }
    CO_ASSERT_OK(m->unbounded.Send(i));
  }
}

Task<void> OtherSide(Meeting* m, int64_t* blocks) {
  for (int i = 0; i < kRounds; ++i) {
    if (i == 10) *blocks = -Blocks();  // by then everything that is made once is there
    CO_ASSERT_OK(co_await m->there.Wait());
    m->there.Reset();
    m->back.Set();
    CO_ASSERT_OK((co_await m->channel.Receive()).status());
    CO_ASSERT_OK((co_await m->handed.Receive()).status());
    CO_ASSERT_OK(co_await m->semaphore.Acquire());
    co_await Yield();
    m->semaphore.Release();
    {
      absl::StatusOr<MutexGuard> guard = co_await m->mutex.Lock();
      CO_ASSERT_OK(guard.status());
      co_await Yield();
    }
    CO_ASSERT_OK(co_await m->barrier.ArriveAndWait());
    {
      absl::StatusOr<ReaderGuard> guard = co_await m->shared_mutex.LockShared();
      CO_ASSERT_OK(guard.status());
      co_await Yield();
    }
    {
      absl::StatusOr<MutexGuard> guard = co_await m->mutex.Lock();
      CO_ASSERT_OK(guard.status());
      while (m->turn != 1) CO_ASSERT_OK(co_await m->turned.Wait(&*guard));
      m->turn = 0;
      m->turned.NotifyOne();
    }
    CO_ASSERT_OK((co_await m->unbounded.Receive()).status());
  }
  *blocks += Blocks();
}

Task<void> Meet(int64_t* blocks) {
  Meeting meeting;
  JoinHandle<void> one = co_await Spawn(OneSide(&meeting));
  JoinHandle<void> other = co_await Spawn(OtherSide(&meeting, blocks));
  co_await std::move(one);
  co_await std::move(other);
}

TEST(SyncAllocation, WaitsAllocateNothing) {
  if (!kBlocksCounted) GTEST_SKIP() << "ThreadSanitizer's operator new cannot be counted";
  int64_t blocks = -1;
  RunFor(1, Meet(&blocks));
  EXPECT_EQ(blocks, 0) << "in " << kRounds << " rounds";
}

// What a poller sees most of the time is an error.
TEST(SyncAllocation, RefusalsAllocateNothing) {
  if (!kBlocksCounted) GTEST_SKIP() << "ThreadSanitizer's operator new cannot be counted";
  Channel<int> channel(1), closed(1);
  closed.Close();
  EXPECT_TRUE(channel.TrySend(1).ok());
  int64_t blocks = 0;
  for (int i = 0; i < kRounds; ++i) {
    if (i == 1) blocks = -Blocks();  // each error is made when it is first needed
    const bool refused = !channel.TrySend(2).ok() && !closed.TrySend(2).ok() && !closed.TryReceive().ok();
    if (!refused) ADD_FAILURE() << "not refused";
  }
  blocks += Blocks();
  EXPECT_EQ(blocks, 0);
}

}  // namespace
}  // namespace evring
