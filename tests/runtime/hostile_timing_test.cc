// hostile_timing_test.cc: a Kernel that is slow, or early, exactly where it hurts: every answer that it gives is one
// that Linux may give too, and what the runtime promises holds all the same.

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/kernel.h"
#include "runtime/placement.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/socket_io.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "tests/runtime/runtime_test_util.h"
#include "tests/support/forwarding_kernel.h"

namespace evring {
namespace {

using testing::EventuallyInTask;
using testing::RunOk;
using testing::WithWorkers;

void SleepMs(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

RuntimeOptions With(kevent::Kernel* kernel, int workers) {
  RuntimeOptions options = WithWorkers(workers);
  options.kernel = kernel;
  return options;
}

// Holds up the calling thread until `*done`, as a computation would. False: ten seconds have not been enough.
bool ComputeUntil(const std::atomic<bool>* done) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!done->load()) {
    if (std::chrono::steady_clock::now() > end) return false;
  }
  return true;
}

Task<> Nothing() { co_return; }

// Every sleep ends early, every message takes long: workers find out by themselves that the runtime ends, while the
// thread that ends it is still about to wake them.
class EarlyAndLateKernel final : public kevent::ForwardingKernel {
 public:
  int Enter(io_uring* ring, kevent::Features features, unsigned to_submit, unsigned min_complete, unsigned flags,
            const kevent::WaitArgs& wait) override {
    kevent::WaitArgs short_wait = wait;
    short_wait.deadline_ns = std::min(wait.deadline_ns, NowNs() + 500'000);
    return ForwardingKernel::Enter(ring, features, to_submit, min_complete, flags, short_wait);
  }
  int Message(int target_fd, uint64_t user_data) override {
    SleepMs(5);
    return ForwardingKernel::Message(target_fd, user_data);
  }
};

TEST(HostileTiming, WorkersThatNoticeTheEndBeforeTheyAreWokenAreWokenAllTheSame) {
  EarlyAndLateKernel kernel;
  for (int round = 0; round < 5; ++round) RunOk(Nothing(), With(&kernel, 4));
}

// A worker that has just left its sleep loses its processor for long, before it runs the task that it was woken for.
class PreemptingKernel final : public kevent::ForwardingKernel {
 public:
  int Enter(io_uring* ring, kevent::Features features, unsigned to_submit, unsigned min_complete, unsigned flags,
            const kevent::WaitArgs& wait) override {
    const int rc = ForwardingKernel::Enter(ring, features, to_submit, min_complete, flags, wait);
    if (min_complete != 0 && rc == -ETIME) left_sleep_ = true;
    return rc;
  }
  int64_t NowNs() override {
    if (std::exchange(left_sleep_, false) && armed.exchange(false)) SleepMs(200);
    return ForwardingKernel::NowNs();
  }
  std::atomic<bool> armed{false};

 private:
  static inline thread_local bool left_sleep_ = false;
};

Task<> ReceiveByte(int fd, std::atomic<bool>* received) {
  std::array<std::byte, 1> byte;
  const auto n = co_await ReceiveInto(fd, byte);
  EXPECT_TRUE(n.ok()) << n.status().ToString();
  received->store(true);
}

// The task is alone in its ring with what it has armed there: it is on the worker that runs when its own sleep ends.
Task<> ComputeWhatIsReceivedHere(PreemptingKernel* kernel, int here, int there, std::atomic<bool>* rescued) {
  std::atomic<bool> received = false;
  JoinHandle<> receiver = co_await Spawn(ReceiveByte(here, &received));
  CO_ASSERT_TRUE(co_await EventuallyInTask([] { return true; }));
  kernel->armed = true;
  CO_ASSERT_OK(co_await Sleep(absl::Milliseconds(20)));
  CO_ASSERT_TRUE(write(there, "x", 1) == 1);
  rescued->store(ComputeUntil(&received));
  co_await std::move(receiver);
}

TEST(HostileTiming, TheWatchdogDoesNotFallAsleepWhileAWorkerIsOnItsWayToATask) {
  PreemptingKernel kernel;
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  RuntimeOptions options = With(&kernel, 2);
  options.rescue_threshold = absl::Milliseconds(1);
  std::atomic<bool> rescued = false;
  RunOk(ComputeWhatIsReceivedHere(&kernel, fds[0], fds[1], &rescued), options);
  EXPECT_TRUE(rescued);
  close(fds[0]);
  close(fds[1]);
}

// Holds its worker until it is told where to go, so that the two are on different ones.
Task<> MoveOnceTold(std::atomic<bool>* started, const std::atomic<int>* to, std::atomic<bool>* arrived) {
  started->store(true);
  while (to->load() < 0) {
  }
  co_await ResumeOn(to->load());
  arrived->store(true);
}

Task<> ComputeUntilAnotherArrives(std::atomic<bool>* arrived_in_time) {
  std::atomic<bool> started = false;
  std::atomic<int> to = -1;
  std::atomic<bool> arrived = false;
  JoinHandle<> mover = co_await Spawn(MoveOnceTold(&started, &to, &arrived));
  CO_ASSERT_TRUE(co_await EventuallyInTask([&started] { return started.load(); }));
  to = Worker::Current()->index();
  arrived_in_time->store(ComputeUntil(&arrived));
  co_await std::move(mover);
}

// Nothing else is there to do: it is the move alone that somebody has to be woken for.
TEST(HostileTiming, ATaskThatMovesToAStuckWorkerIsTakenByAnother) {
  RuntimeOptions options = WithWorkers(2);
  options.rescue_threshold = absl::Milliseconds(1);
  std::atomic<bool> arrived_in_time = false;
  RunOk(ComputeUntilAnotherArrives(&arrived_in_time), options);
  EXPECT_TRUE(arrived_in_time);
}

}  // namespace
}  // namespace evring
