// multishot_stop_test.cc: a stop that comes in the middle of a take: after the wait has begun, so that it is told of
// the stop, and before it is linked into its source, where a stop would find it.
//
// That window is a few instructions long, up to the source's lock. The test holds the lock: IsPause() is called under
// it when a request ends, and the one of Source does not return until it is let go. Meanwhile
//   S1  the taker, on another worker, begins its wait and queues for the lock, behind which its spinning has turned to
//       sleeping (spin_lock.h);
//   S2  the stopper, which has seen the wait begin, requests the stop; an observer, called before the wait is told,
//       lets the lock go;
//   S3  the stopper, which does not sleep, mostly gets the lock first.
// Whether it did shows afterwards: a taker that finds the stop does not arm the request, one that comes first does.

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/check.h"
#include "kevent/event.h"
#include "runtime/context.h"
#include "runtime/multishot.h"
#include "runtime/placement.h"
#include "runtime/runtime.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/worker.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using testing::Eventually;
using testing::WithWorkers;

// Waits for an eventfd, once each time that it is armed; the end of each such request is a pause, which nobody sees.
class Source final : public internal::Multishot {
 public:
  explicit Source(int fd) : Multishot(kevent::EventType::kPoll, fd) {}

  // How often the request was armed, and how often it has ended.
  int times_armed() const { return times_armed_.load(std::memory_order_acquire); }
  int times_ended() const { return times_ended_.load(std::memory_order_acquire); }

  // The worker on which the request ends is held, under the lock, from then on until LetGo().
  void HoldAtTheEnd() { hold_.store(true, std::memory_order_release); }
  void LetGo() { hold_.store(false, std::memory_order_release); }  // pairs with the loads of IsPause()

  // Makes the armed request end. Returns when its worker is in IsPause().
  void End() {
    const int before = times_ended();
    uint64_t count = 1;
    EVRING_CHECK(write(fd(), &count, sizeof(count)) == sizeof(count), "an eventfd counts");
    EVRING_CHECK(Eventually([&] { return times_ended() == before + 1; }), "the request ends");
    EVRING_CHECK(read(fd(), &count, sizeof(count)) == sizeof(count), "an eventfd counts");
  }

 private:
  void Prepare(io_uring_sqe* sqe, Worker*) override {
    io_uring_prep_poll_add(sqe, fd(), POLLIN);
    times_armed_.fetch_add(1, std::memory_order_acq_rel);
  }
  void Discard(const Record&) override {}
  bool IsPause(int32_t, Worker*) override {
    times_ended_.fetch_add(1, std::memory_order_acq_rel);
    while (hold_.load(std::memory_order_acquire)) {
    }
    return true;
  }

  std::atomic<int> times_armed_{0};
  std::atomic<int> times_ended_{0};
  std::atomic<bool> hold_{false};
};

class Take;

// The take that is about to suspend, for the stopper to look at.
struct TakeInSight {
  std::atomic<Take*> take{nullptr};
  TaskContext* context = nullptr;  // before `take`, which publishes it
};

// Suspends whether there is an event or not.
class Take final : public internal::Multishot::TakeWait {
 public:
  Take(Source* source, TakeInSight* sight) : TakeWait(source), sight_(sight) {}

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
    TaskContext* const context = handle.promise().context();
    sight_->context = context;
    sight_->take.store(this, std::memory_order_release);  // pairs with the load of HasBegun()
    return Suspend(context, handle);
  }
  int32_t await_resume() const noexcept { return result_; }

 private:
  TakeInSight* const sight_;
};

// Whether the wait of the take in sight, which does not end meanwhile, has begun.
bool HasBegun(const TakeInSight& sight) {
  const Take* const take = sight.take.load(std::memory_order_acquire);
  return take != nullptr && sight.context->StillStopping(take);
}

Task<int32_t> TakeOn(int worker, Source* source, TakeInSight* sight) {
  co_await ResumeOn(worker);
  co_return co_await Take(source, sight);
}

// S2.
class LettingGo final : public StopObserver {
 public:
  explicit LettingGo(Source* source) : source_(source) {}

 private:
  void OnStopRequested() noexcept override { source_->LetGo(); }

  Source* const source_;
};

// What fails here leaves a task that waits for good or a worker that is held: the checks end the program.
class Stopper {
 public:
  Stopper() {
    RuntimeOptions options = WithWorkers(2);
    options.rescue_threshold = absl::InfiniteDuration();  // the worker that is held is meant to be stuck
    auto runtime = Runtime::Create(options);
    EVRING_CHECK(runtime.ok(), "a runtime can be had");
    runtime_ = *std::move(runtime);
    const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    EVRING_CHECK(fd >= 0, "an eventfd can be had");
    source_ = new Source(fd);
  }
  ~Stopper() { source_->Close(); }

  // A take on worker 1 that is stopped as at the head of this file. True: S3, the stop came before the taker was
  // linked.
  bool StopInTheWindow() {
    ArmOnWorker0();
    source_->HoldAtTheEnd();
    source_->End();
    const int armed = source_->times_armed();
    TakeInSight sight;
    auto taker = runtime_->Spawn(TakeOn(1, source_, &sight));
    EVRING_CHECK(taker.ok() && Eventually([&] { return HasBegun(sight); }), "the taker begins its wait");
    LettingGo letting_go(source_);
    EVRING_CHECK(sight.context->AddObserver(&letting_go), "nobody else stops it");
    std::this_thread::sleep_for(std::chrono::milliseconds(3));  // S1: the taker comes to sleeping
    taker->RequestStop();
    EVRING_CHECK(Eventually([&] { return taker->done(); }), "a stop ends the wait");
    EXPECT_EQ(taker->Wait(), -ECANCELED);
    if (source_->times_armed() == armed) return true;
    source_->End();  // it was linked, and armed the request on its worker
    return false;
  }

  // A take is armed on worker 0 and stopped: nobody waits for the request, which stays.
  void ArmOnWorker0() {
    const int before = source_->times_armed();
    TakeInSight sight;
    auto taker = runtime_->Spawn(TakeOn(0, source_, &sight));
    EVRING_CHECK(taker.ok() && Eventually([&] { return source_->times_armed() == before + 1; }), "a take arms");
    taker->RequestStop();
    EXPECT_EQ(taker->Wait(), -ECANCELED);
  }

 private:
  std::unique_ptr<Runtime> runtime_;
  Source* source_;
};

TEST(MultishotStop, AStopBetweenTheBeginningOfAWaitAndItsLinkEndsIt) {
  constexpr int kWanted = 5;
  constexpr int kTries = 500;
  Stopper stopper;
  int in_the_window = 0;
  int tries = 0;
  while (in_the_window < kWanted && tries < kTries) {
    ++tries;
    if (stopper.StopInTheWindow()) ++in_the_window;
  }
  EXPECT_EQ(in_the_window, kWanted) << "the stop came at another moment, in " << tries << " tries";
  RecordProperty("tries", tries);
}

}  // namespace
}  // namespace evring
