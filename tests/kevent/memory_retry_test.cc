// memory_retry_test.cc: how often an attempt without memory is repeated, and when that ends. The attempts are scripted
// and the pauses only noted: no test sleeps, but for the one of the pauses themselves.

#include "kevent/memory_retry.h"

#include <errno.h>
#include <time.h>

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace evring::kevent {
namespace {

// Answers the script one by one, the last answer for good.
struct Script {
  explicit Script(std::vector<int> in_order) : answers(std::move(in_order)) {}
  int Next() {
    const size_t call = calls++;
    return answers[call < answers.size() ? call : answers.size() - 1];
  }
  std::vector<int> answers;
  size_t calls = 0;
};

struct Outcome {
  int answer;
  std::vector<long> pauses_ms;
};

Outcome Retry(Script* script) {
  std::vector<long> pauses;
  const int answer =
      RetryWithoutMemory([script] { return script->Next(); }, [&pauses](long ms) { pauses.push_back(ms); });
  return {answer, pauses};
}

TEST(MemoryRetry, AnAttemptThatSucceedsIsTheOnlyOne) {
  for (const int answer : {0, 7}) {
    Script script({answer, -EIO});
    const Outcome outcome = Retry(&script);
    EXPECT_EQ(outcome.answer, answer);
    EXPECT_EQ(script.calls, 1u);
    EXPECT_TRUE(outcome.pauses_ms.empty());
  }
}

TEST(MemoryRetry, OtherErrorsAreAnsweredAtOnce) {
  for (const int error : {EINVAL, EPERM, ENOSYS, EMFILE, EAGAIN, ENOBUFS}) {
    Script script({-error, 0});
    EXPECT_EQ(Retry(&script).answer, -error);
    EXPECT_EQ(script.calls, 1u) << error;
  }
}

// With a pause before each attempt but the first, each twice as long as the one before, up to a longest.
TEST(MemoryRetry, WithoutMemoryItTriesUntilThereIsSome) {
  Script script({-ENOMEM, -ENOMEM, -ENOMEM, -ENOMEM, -ENOMEM, -ENOMEM, -ENOMEM, -ENOMEM, 5});
  const Outcome outcome = Retry(&script);
  EXPECT_EQ(outcome.answer, 5);
  EXPECT_EQ(script.calls, 9u);
  EXPECT_EQ(outcome.pauses_ms, (std::vector<long>{2, 4, 8, 16, 32, 64, 100, 100}));
}

TEST(MemoryRetry, AnotherErrorEndsTheTrying) {
  Script script({-ENOMEM, -ENOMEM, -EPERM, 0});
  EXPECT_EQ(Retry(&script).answer, -EPERM);
  EXPECT_EQ(script.calls, 3u);
}

TEST(MemoryRetry, GivesUpWhenItHasPausedForLongEnough) {
  Script script({-ENOMEM});
  const Outcome outcome = Retry(&script);
  EXPECT_EQ(outcome.answer, -ENOMEM);
  EXPECT_EQ(script.calls, outcome.pauses_ms.size() + 1) << "the last attempt comes behind the last pause";
  const long all = std::accumulate(outcome.pauses_ms.begin(), outcome.pauses_ms.end(), 0L);
  EXPECT_GE(all, kMemoryRetryAllMs);
  EXPECT_LT(all, kMemoryRetryAllMs + kMemoryRetryLongestMs);
}

int64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// 2 + 4 + 8 ms at least, as nanosleep promises; nothing is said of how much longer it takes.
TEST(MemoryRetry, SleepsInThePauses) {
  Script script({-ENOMEM, -ENOMEM, -ENOMEM, 3});
  const int64_t before = NowNs();
  EXPECT_EQ(RetryWithoutMemory([&script] { return script.Next(); }), 3);
  EXPECT_GE(NowNs() - before, 14'000'000);
  EXPECT_EQ(script.calls, 4u);
}

}  // namespace
}  // namespace evring::kevent
