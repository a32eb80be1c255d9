// SignalSet: signals of the process, several waiters, cancellation, misuse.
// What a test has not read is discarded after it, before the signals are unblocked again.

#include "runtime/os/signals.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/timeout.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

// The mask of the main thread is as before after each test.
template <class Base>
class RestoresMask : public Base {
 protected:
  void SetUp() override { pthread_sigmask(SIG_BLOCK, nullptr, &before_); }
  void TearDown() override {
    // Nothing may be left that would end the program.
    const timespec none = {.tv_sec = 0, .tv_nsec = 0};
    sigset_t all;
    sigemptyset(&all);
    for (const int signal : {SIGUSR1, SIGUSR2, SIGTERM, SIGRTMIN}) sigaddset(&all, signal);
    while (sigtimedwait(&all, nullptr, &none) > 0) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t before_;
};

class SignalsTest : public RestoresMask<EveryWorkerCount> {};
INSTANTIATE_TEST_SUITE_P(Workers, SignalsTest, WorkerCounts());
class SignalsErrorTest : public RestoresMask<::testing::Test> {};

Task<absl::StatusOr<int>> Next(SignalSet* signals, std::atomic<int>* waiting) {
  ++*waiting;
  co_return co_await signals->Next();
}

TEST_P(SignalsTest, ASignalOfTheProcessIsAnEvent) {
  auto signals = SignalSet::Block({SIGUSR1, SIGUSR2});
  ASSERT_TRUE(signals.ok()) << signals.status();
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  std::atomic<int> waiting{0};
  for (int i = 0; i < 20; ++i) {
    auto next = (*runtime)->Spawn(Next(&*signals, &waiting));
    if (i % 2 == 0) {
      ASSERT_TRUE(Eventually([&] { return waiting == i + 1; }));
    }
    const int signal = i % 3 == 0 ? SIGUSR1 : SIGUSR2;
    ASSERT_EQ(kill(getpid(), signal), 0);
    const absl::StatusOr<int> result = next->Wait();
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(*result, signal);
  }
}

TEST_P(SignalsTest, ASignalThatCameBeforeTheWaitIsKept) {
  auto signals = SignalSet::Block({SIGUSR1});
  ASSERT_TRUE(signals.ok()) << signals.status();
  ASSERT_EQ(kill(getpid(), SIGUSR1), 0);
  ASSERT_EQ(kill(getpid(), SIGUSR1), 0);  // of a standard signal one is kept
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  std::atomic<int> waiting{0};
  EXPECT_EQ(*(*runtime)->Spawn(Next(&*signals, &waiting))->Wait(), SIGUSR1);
  auto second = (*runtime)->Spawn(Next(&*signals, &waiting));
  ASSERT_TRUE(Eventually([&] { return waiting == 2; }));
  second->RequestStop();
  EXPECT_TRUE(absl::IsCancelled(second->Wait().status()));
}

TEST_P(SignalsTest, EachSignalGoesToOneOfThoseThatWait) {
  auto signals = SignalSet::Block({SIGRTMIN});  // these queue
  ASSERT_TRUE(signals.ok()) << signals.status();
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  std::atomic<int> waiting{0};
  std::vector<JoinHandle<absl::StatusOr<int>>> waiters;
  for (int i = 0; i < 10; ++i) waiters.push_back(*(*runtime)->Spawn(Next(&*signals, &waiting)));
  ASSERT_TRUE(Eventually([&] { return waiting == 10; }));
  for (int i = 0; i < 6; ++i) ASSERT_EQ(kill(getpid(), SIGRTMIN), 0);
  ASSERT_TRUE(Eventually([&] {
    int done = 0;
    for (const auto& waiter : waiters) done += waiter.done() ? 1 : 0;
    return done == 6;
  }));
  for (auto& waiter : waiters) waiter.RequestStop();
  int read = 0, cancelled = 0;
  for (auto& waiter : waiters) {
    const absl::StatusOr<int> result = waiter.Wait();
    read += result.ok() ? 1 : 0;
    cancelled += absl::IsCancelled(result.status()) ? 1 : 0;
  }
  EXPECT_EQ(read, 6);
  EXPECT_EQ(cancelled, 4);
}

// A stop that races with a signal: the signal is read by the one that was stopped, or by the next.
TEST_P(SignalsTest, AStopLosesNoSignal) {
  auto signals = SignalSet::Block({SIGRTMIN});
  ASSERT_TRUE(signals.ok()) << signals.status();
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  std::atomic<int> waiting{0};
  for (int i = 0; i < Scaled(200); ++i) {
    auto first = (*runtime)->Spawn(Next(&*signals, &waiting));
    std::thread stopper([&] { first->RequestStop(); });
    ASSERT_EQ(kill(getpid(), SIGRTMIN), 0);
    stopper.join();
    const absl::StatusOr<int> result = first->Wait();
    if (result.ok()) continue;
    EXPECT_TRUE(absl::IsCancelled(result.status())) << result.status();
    EXPECT_EQ(*(*runtime)->Spawn(Next(&*signals, &waiting))->Wait(), SIGRTMIN);
  }
}

TEST_P(SignalsTest, ATimeoutEndsTheWait) {
  auto signals = SignalSet::Block({SIGUSR1});
  ASSERT_TRUE(signals.ok()) << signals.status();
  RunOk(
      [](SignalSet* set) -> Task<> {
        std::atomic<int> waiting{0};
        const auto result = co_await WithTimeout(absl::Milliseconds(1), Next(set, &waiting));
        EXPECT_TRUE(absl::IsDeadlineExceeded(result.status())) << result.status();
      }(&*signals),
      options());
}

void Ignore(int) {}

// Signals that a handler takes wake who waits at a signalfd as well; io_uring's reads lose patience after 128 of them.
TEST_P(SignalsTest, SignalsThatOthersHandleDoNotEndTheWait) {
  struct sigaction handler = {}, before;
  handler.sa_handler = &Ignore;
  ASSERT_EQ(sigaction(SIGUSR2, &handler, &before), 0);
  auto signals = SignalSet::Block({SIGUSR1});
  ASSERT_TRUE(signals.ok()) << signals.status();
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  std::atomic<int> waiting{0};
  auto next = (*runtime)->Spawn(Next(&*signals, &waiting));
  ASSERT_TRUE(Eventually([&] { return waiting == 1; }));
  for (int i = 0; i < 1000 && !next->done(); ++i) {
    ASSERT_EQ(raise(SIGUSR2), 0);
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  EXPECT_FALSE(next->done());
  ASSERT_EQ(kill(getpid(), SIGUSR1), 0);
  const absl::StatusOr<int> result = next->Wait();
  EXPECT_EQ(sigaction(SIGUSR2, &before, nullptr), 0);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(*result, SIGUSR1);
}

// --- The example of the header
// ---------------------------------------------------------------------------------------------

Task<absl::StatusOr<int>> Main(SignalSet* signals) {
  absl::StatusOr<int> signal = co_await signals->Next();
  co_return signal;
}

absl::StatusOr<int> RunUntilSignal() {
  absl::StatusOr<SignalSet> signals = SignalSet::Block({SIGINT, SIGTERM});  // before any thread is made
  if (!signals.ok()) return signals.status();
  return Run(Main(&*signals));
}

TEST_P(SignalsTest, TheExample) {
  sigset_t blocked;  // so that it is kept until somebody waits
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &blocked, nullptr), 0);
  ASSERT_EQ(kill(getpid(), SIGTERM), 0);
  const absl::StatusOr<int> signal = RunUntilSignal();
  ASSERT_TRUE(signal.ok()) << signal.status();
  EXPECT_EQ(*signal, SIGTERM);
}

// --- Errors
// ------------------------------------------------------------------------------------------------------------

TEST_F(SignalsErrorTest, SignalsThatCannotBeBlockedAreRefused) {
  for (const int signal : {SIGKILL, SIGSTOP, 0, -1, 4096}) {
    const auto signals = SignalSet::Block({SIGUSR1, signal});
    EXPECT_TRUE(absl::IsInvalidArgument(signals.status())) << signal << ": " << signals.status();
  }
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  EXPECT_EQ(sigismember(&mask, SIGUSR1), 0);  // nothing was changed
}

TEST_F(SignalsErrorTest, ARuntimeThatIsOlderThanTheBlockIsNoticed) {
  auto runtime = Runtime::Create(WithWorkers(2));
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  auto signals = SignalSet::Block({SIGUSR1});
  ASSERT_TRUE(signals.ok()) << signals.status();
  std::atomic<int> waiting{0};
  const absl::StatusOr<int> result = (*runtime)->Spawn(Next(&*signals, &waiting))->Wait();
  EXPECT_TRUE(absl::IsFailedPrecondition(result.status())) << result.status();
}

TEST_F(SignalsErrorTest, TheRescueSignalIsNotForUsers) {
  auto signals = SignalSet::Block({SIGURG});
  ASSERT_TRUE(signals.ok()) << signals.status();
  auto runtime = Runtime::Create(WithWorkers(2));
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  std::atomic<int> waiting{0};
  const absl::StatusOr<int> result = (*runtime)->Spawn(Next(&*signals, &waiting))->Wait();
  EXPECT_TRUE(absl::IsFailedPrecondition(result.status())) << result.status();
  EXPECT_NE(result.status().message().find("rescue"), absl::string_view::npos) << result.status();
}

Task<> NextSimulated(SignalSet* signals) {
  const absl::StatusOr<int> signal = co_await signals->Next();
  EXPECT_TRUE(absl::IsUnimplemented(signal.status())) << signal.status();
}

TEST_F(SignalsErrorTest, ASimulatedMachineHasNone) {
  auto signals = SignalSet::Block({SIGUSR1});
  ASSERT_TRUE(signals.ok()) << signals.status();
  RunOk(NextSimulated(&*signals), CalmMachine(2));
}

TEST_F(SignalsErrorTest, NoDescriptorIsLeft) {
  const int before = CountIn("fd");
  for (int i = 0; i < 10; ++i) {
    auto signals = SignalSet::Block({SIGUSR1});
    ASSERT_TRUE(signals.ok());
    SignalSet moved = *std::move(signals);
    auto other = SignalSet::Block({SIGUSR2});
    moved = *std::move(other);
  }
  EXPECT_EQ(CountIn("fd"), before);
}

}  // namespace
}  // namespace evring
