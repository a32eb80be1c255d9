// A task that never has to wait lets others run: on a single worker, a loop over operations that are ready at once ends
// because another task ends it.

#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "runtime/sync/barrier.h"
#include "runtime/sync/channel.h"
#include "runtime/sync/event.h"
#include "runtime/sync/latch.h"
#include "runtime/sync/mutex.h"
#include "runtime/sync/semaphore.h"
#include "runtime/sync/shared_mutex.h"
#include "runtime/sync/unbounded_channel.h"
#include "runtime/sync/watch.h"
#include "tests/runtime/sync/sync_test_util.h"

namespace evring {
namespace {

using testing::RunFor;

struct Ready {
  Ready() { closed.Close(); }

  Event event{true};
  Mutex mutex;
  Semaphore semaphore{1};
  Channel<int> channel{1};
  Channel<int> closed{1};
  SharedMutex shared_mutex;
  Latch latch{0};
  Barrier<> barrier{1};
  UnboundedChannel<int> unbounded;
  Watch<int> watch{0};
};

struct Operation {
  std::string name;
  Task<void> (*once)(Ready* r);
};
std::ostream& operator<<(std::ostream& out, const Operation& operation) { return out << operation.name; }

Task<void> WaitForEvent(Ready* r) { CO_ASSERT_OK(co_await r->event.Wait()); }
Task<void> LockMutex(Ready* r) { CO_ASSERT_OK((co_await r->mutex.Lock()).status()); }
Task<void> AcquireSemaphore(Ready* r) {
  CO_ASSERT_OK(co_await r->semaphore.Acquire());
  r->semaphore.Release();
}
Task<void> SendToChannel(Ready* r) {
  CO_ASSERT_OK(co_await r->channel.Send(1));
  CO_ASSERT_OK(r->channel.TryReceive().status());
}
Task<void> ReceiveFromChannel(Ready* r) {
  CO_ASSERT_OK(r->channel.TrySend(1));
  CO_ASSERT_OK((co_await r->channel.Receive()).status());
}
Task<void> ReceiveFromClosedChannel(Ready* r) {
  const absl::StatusOr<int> value = co_await r->closed.Receive();
  EXPECT_EQ(value.status().code(), absl::StatusCode::kOutOfRange);
}

Task<void> LockSharedMutex(Ready* r) { CO_ASSERT_OK((co_await r->shared_mutex.LockShared()).status()); }
Task<void> WaitForLatch(Ready* r) { CO_ASSERT_OK(co_await r->latch.Wait()); }
Task<void> ArriveAtBarrier(Ready* r) { CO_ASSERT_OK(co_await r->barrier.ArriveAndWait()); }
Task<void> ReceiveFromUnboundedChannel(Ready* r) {
  CO_ASSERT_OK(r->unbounded.Send(1));
  CO_ASSERT_OK((co_await r->unbounded.Receive()).status());
}
Task<void> LookAtWatch(Ready* r) { CO_ASSERT_OK((co_await r->watch.Next(0)).status()); }

Task<void> Set(bool* flag) {
  *flag = true;
  co_return;
}

// How often the operation was done before the other task ran.
Task<void> Loop(const Operation* op, int max, int* done) {
  Ready r;
  bool other_ran = false;
  JoinHandle<void> other = co_await Spawn(Set(&other_ran));
  while (!other_ran && *done < max) {
    co_await op->once(&r);
    ++*done;
  }
  co_await std::move(other);
}

class SyncFairness : public ::testing::TestWithParam<Operation> {};

TEST_P(SyncFairness, ALoopThatIsAlwaysReadyLetsOthersRun) {
  constexpr int kMax = 100'000;
  int done = 0;
  RunFor(1, Loop(&GetParam(), kMax, &done));
  EXPECT_LT(done, 1000) << "a task's budget is a fraction of that";
}

INSTANTIATE_TEST_SUITE_P(All, SyncFairness,
                         ::testing::Values(Operation{"EventWait", WaitForEvent}, Operation{"MutexLock", LockMutex},
                                           Operation{"SemaphoreAcquire", AcquireSemaphore},
                                           Operation{"ChannelSend", SendToChannel},
                                           Operation{"ChannelReceive", ReceiveFromChannel},
                                           Operation{"ClosedChannelReceive", ReceiveFromClosedChannel},
                                           Operation{"SharedMutexLockShared", LockSharedMutex},
                                           Operation{"LatchWait", WaitForLatch},
                                           Operation{"BarrierArriveAndWait", ArriveAtBarrier},
                                           Operation{"UnboundedChannelReceive", ReceiveFromUnboundedChannel},
                                           Operation{"WatchNext", LookAtWatch}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace evring
