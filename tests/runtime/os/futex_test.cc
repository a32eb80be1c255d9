// futex_test.cc: words that tasks wait for: woken by tasks, by threads and by another process; wakes are counted, so
// that none is lost or given twice, also where a stop comes in between.

#include "runtime/os/futex.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/testing.h"
#include "runtime/timeout.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;
using Word = std::atomic<uint32_t>;

class FutexTest : public EveryWorkerCount {
 protected:
  static void Run(Task<> task) { RunOk(std::move(task), options()); }
};
INSTANTIATE_TEST_SUITE_P(Workers, FutexTest, ::testing::Values(1, 2, 4));

// Wakes `n` in all, as soon as they are there.
void WakeAll(const Word* word, int n, FutexScope scope = FutexScope::kPrivate) {
  EXPECT_TRUE(Eventually([&] { return (n -= FutexWake(word, n, scope)) == 0; }));
}

// --- The example of the header

Task<absl::Status> Wait(const Word* ready) {
  while (ready->load(std::memory_order_acquire) == 0) {
    absl::StatusOr<FutexResult> result = co_await FutexWait(ready, 0);
    if (!result.ok()) co_return result.status();
  }
  co_return absl::OkStatus();
}

Task<> AwaitThread() {
  Word ready{0};
  JoinHandle<absl::Status> waiting = co_await Spawn(Wait(&ready));
  // The worker goes on, be it the only one.
  static_cast<void>(co_await Sleep(absl::Milliseconds(2)));
  std::thread thread([&ready] {
    ready.store(1, std::memory_order_release);
    FutexWake(&ready, 1);
  });
  CO_ASSERT_OK(co_await std::move(waiting));
  thread.join();
}

TEST_P(FutexTest, TheExample) { Run(AwaitThread()); }

// --- One word

Task<> OtherValue() {
  Word word{0x8000'0001};
  CO_ASSERT_OK_AND_ASSIGN(FutexResult result, co_await FutexWait(&word, 1));
  EXPECT_EQ(result, FutexResult::kOtherValue);
  CO_ASSERT_OK_AND_ASSIGN(result, co_await FutexWait(&word, 0, FutexScope::kShared));
  EXPECT_EQ(result, FutexResult::kOtherValue);
  // All of its bits are compared: this one waits.
  const auto waited = co_await WithTimeout(absl::Milliseconds(5), FutexWait(&word, 0x8000'0001));
  EXPECT_TRUE(absl::IsDeadlineExceeded(waited.status())) << waited.status();
  EXPECT_EQ(FutexWake(&word, 1), 0) << "nobody waits any more";
}

TEST_P(FutexTest, AnotherValueIsNotWaitedFor) { Run(OtherValue()); }

Task<> CountedWait(const Word* word, FutexScope scope, std::atomic<int>* woken) {
  const absl::StatusOr<FutexResult> result = co_await FutexWait(word, 0, scope);
  EXPECT_TRUE(result.ok() && *result == FutexResult::kWoken) << result.status();
  ++*woken;
}

Task<> CountedWaits(FutexScope scope) {
  Word word{0};
  std::atomic<int> woken{0};
  std::vector<JoinHandle<>> waiters;
  for (int i = 0; i < 10; ++i) waiters.push_back(co_await Spawn(CountedWait(&word, scope, &woken)));
  static_cast<void>(co_await Sleep(absl::Milliseconds(20)));  // they need not all be there
  const int first = FutexWake(&word, 3, scope);
  EXPECT_LE(first, 3);
  // So many and no others.
  CO_ASSERT_TRUE(co_await EventuallyInTask([&] { return woken == first; }));
  static_cast<void>(co_await Sleep(absl::Milliseconds(5)));
  EXPECT_EQ(woken, first);
  std::thread rest([&word, scope, first] { WakeAll(&word, 10 - first, scope); });
  for (auto& waiter : waiters) co_await std::move(waiter);
  rest.join();
  EXPECT_EQ(woken, 10);
}

TEST_P(FutexTest, EachWakeIsForOne) {
  Run(CountedWaits(FutexScope::kPrivate));
  Run(CountedWaits(FutexScope::kShared));
}

Task<> WaitInMemory(const Word* word) {
  const absl::StatusOr<FutexResult> result = co_await FutexWait(word, 0, FutexScope::kShared);
  EXPECT_TRUE(result.ok() && *result == FutexResult::kWoken) << result.status();
}

TEST_P(FutexTest, AnotherProcessWakes) {
  void* const memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto* const word = new (memory) Word{0};
  const pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < 20'000 && FutexWake(word, 1, FutexScope::kShared) == 0; ++i) usleep(1000);
    _exit(0);
  }
  Run(WaitInMemory(word));
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
  munmap(memory, 4096);
}

Task<> Refused() {
  const auto* const nowhere = reinterpret_cast<const Word*>(uintptr_t{4096});
  absl::StatusOr<FutexResult> result = co_await FutexWait(nowhere, 0);
  EXPECT_EQ(kevent::StatusErrno(result.status()), EFAULT) << result.status();
  result = co_await FutexWait(nullptr, 0);
  EXPECT_EQ(kevent::StatusErrno(result.status()), EINVAL) << result.status();
  const std::vector<FutexWord> none;
  absl::StatusOr<FutexAnyResult> any = co_await FutexWaitAny(none);
  EXPECT_EQ(kevent::StatusErrno(any.status()), EINVAL) << any.status();
  Word word{0};
  const std::vector<FutexWord> too_many(129, FutexWord(&word, 0));
  any = co_await FutexWaitAny(too_many);
  EXPECT_EQ(kevent::StatusErrno(any.status()), EINVAL) << any.status();
}

TEST_P(FutexTest, WhatIsNoWordIsRefused) { Run(Refused()); }

// --- Stops

// Waits; tells whether a wake was for it.
Task<absl::Status> WaitOnce(const Word* word, std::atomic<int>* waiting) {
  ++*waiting;
  const absl::StatusOr<FutexResult> result = co_await FutexWait(word, 0);
  co_return result.status();
}

Task<> StoppedWaits() {
  Word word{0};
  std::atomic<int> waiting{0};
  const absl::Status status = co_await StartCancelled(WaitOnce(&word, &waiting));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  int woken = 0, sent = 0;
  for (int i = 0; i < Scaled(500); ++i) {
    JoinHandle<absl::Status> waiter = co_await Spawn(WaitOnce(&word, &waiting));
    if (i % 2 == 0) static_cast<void>(co_await Sleep(absl::Microseconds(i)));
    std::thread waker([&] { sent += FutexWake(&word, 1); });
    waiter.RequestStop();
    const absl::Status ended = co_await std::move(waiter);
    waker.join();
    EXPECT_TRUE(ended.ok() || absl::IsCancelled(ended)) << ended;
    woken += ended.ok() ? 1 : 0;
  }
  EXPECT_EQ(woken, sent) << "a wake that was given is a success, and nothing else is";
}

TEST_P(FutexTest, AStopLosesNoWake) { Run(StoppedWaits()); }

Task<absl::Status> WaitShortly(const Word* word) {
  const auto result = co_await WithTimeout(absl::Milliseconds(10), FutexWait(word, 0));
  co_return absl::IsDeadlineExceeded(result.status()) ? absl::OkStatus() : result.status();
}

Task<absl::Status> WaitAnyShortly(const std::vector<FutexWord>* words) {
  const auto result = co_await WithTimeout(absl::Milliseconds(10), FutexWaitAny(*words));
  co_return absl::IsDeadlineExceeded(result.status()) ? absl::OkStatus() : result.status();
}

Task<> Cancelled() {
  Word word{0};
  const std::vector<FutexWord> words(3, FutexWord(&word, 0));
  std::function<Task<absl::Status>()> one = [&word] { return WaitShortly(&word); };
  std::function<Task<absl::Status>()> any = [&words] { return WaitAnyShortly(&words); };
  CO_ASSERT_OK_AND_ASSIGN(int points, co_await CancelAtEverySuspension(one));
  EXPECT_GE(points, 1);
  CO_ASSERT_OK_AND_ASSIGN(points, co_await CancelAtEverySuspension(any));
  EXPECT_GE(points, 1);
  absl::Status status = co_await StartCancelled(WaitShortly(&word));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  status = co_await StartCancelled(WaitAnyShortly(&words));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_EQ(FutexWake(&word, 100), 0) << "nobody waits any more";
}

TEST_P(FutexTest, WhereverItIsCancelledTheWaitEnds) { Run(Cancelled()); }

// --- On simulated machines, among tasks

Task<> Toggle(Word* word, uint32_t mine, uint32_t theirs, int rounds, int* turns) {
  for (int i = 0; i < rounds; ++i) {
    while (word->load(std::memory_order_acquire) != mine) {
      const absl::StatusOr<FutexResult> result = co_await FutexWait(word, theirs);
      CO_ASSERT_OK(result);
    }
    ++*turns;
    word->store(theirs, std::memory_order_release);
    FutexWake(word, 1);
  }
}

Task<> TakeTurns() {
  Word word{1};
  int turns = 0;
  JoinHandle<> other = co_await Spawn(Toggle(&word, 2, 1, 20, &turns));
  co_await Toggle(&word, 1, 2, 20, &turns);
  co_await std::move(other);
  EXPECT_EQ(turns, 40);
}

class SimulatedFutexTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, SimulatedFutexTest, MachinesWithoutErrors({1, 2, 4}), MachineName);

TEST_P(SimulatedFutexTest, TasksTakeTurns) { RunOk(TakeTurns()); }

// --- Several words

Task<absl::StatusOr<FutexAnyResult>> WaitAny(std::vector<FutexWord> words) { co_return co_await FutexWaitAny(words); }

Task<> AnyOf() {
  Word a{7}, b{8}, c{0xffff'ffff};
  std::vector<FutexWord> words;
  words.emplace_back(&a, 7);
  words.emplace_back(&b, 8, FutexScope::kShared);
  words.emplace_back(&c, 0xffff'ffff);
  const std::vector<std::pair<Word*, FutexScope>> wakes = {
      {&a, FutexScope::kPrivate}, {&b, FutexScope::kShared}, {&c, FutexScope::kPrivate}};
  for (size_t i = 0; i < wakes.size(); ++i) {
    JoinHandle<absl::StatusOr<FutexAnyResult>> waiting = co_await Spawn(WaitAny(words));
    std::thread waker([&wakes, i] { WakeAll(wakes[i].first, 1, wakes[i].second); });
    const absl::StatusOr<FutexAnyResult> result = co_await std::move(waiting);
    waker.join();
    CO_ASSERT_OK(result);
    EXPECT_EQ(result->result, FutexResult::kWoken);
    EXPECT_EQ(result->index, i);
  }
  b = 9;
  CO_ASSERT_OK_AND_ASSIGN(const FutexAnyResult result, co_await FutexWaitAny(words));
  EXPECT_EQ(result.result, FutexResult::kOtherValue);
}

TEST_P(FutexTest, OfSeveralWordsTheOneThatWasWokenIsTold) { Run(AnyOf()); }

}  // namespace
}  // namespace evring
