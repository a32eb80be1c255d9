// WhenAll and WhenAny, on this machine's kernel and on simulated ones: results, failures, stops, and what becomes of
// losers.

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/cancellation.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/timeout.h"
#include "runtime/when_all.h"
#include "runtime/when_any.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

class WhenTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, WhenTest, Machines(), MachineName);

Task<int> Value(int value) { co_return value; }
Task<int> ValueLater(int value) {
  static_cast<void>(co_await Sleep(absl::Microseconds(value % 50)));
  co_return value;
}
Task<> Nothing() { co_return; }
Task<std::unique_ptr<std::string>> Text() {
  co_await Yield();
  co_return std::make_unique<std::string>("text");
}
Task<int> Throw(int code) {
  co_await Yield();
  throw std::runtime_error(std::to_string(code));
}
Task<absl::Status> Fail() {
  co_await Yield();
  co_return absl::InternalError("failed");
}
Task<absl::Status> CountStop(std::atomic<int>* stopped) {
  absl::Status status = co_await UntilStopped();
  ++*stopped;
  co_return status;
}

// --- WhenAll
// -----------------------------------------------------------------------------------------------------------

Task<> AllOfATuple() {
  auto [number, nothing, text, later] = co_await WhenAll(Value(1), Nothing(), Text(), ValueLater(2));
  EXPECT_EQ(number, 1);
  EXPECT_EQ(nothing, std::monostate());
  EXPECT_EQ(*text, "text");
  EXPECT_EQ(later, 2);
  EXPECT_EQ(std::get<0>(co_await WhenAll(Value(3))), 3);
}

TEST_P(WhenTest, AllGivesTheResultsInOrder) { RunOk(AllOfATuple()); }

Task<> AllOfAVector(int n) {
  std::vector<Task<int>> none;
  EXPECT_TRUE((co_await WhenAll(std::move(none))).empty());

  std::vector<Task<int>> tasks;
  for (int i = 0; i < n; ++i) tasks.push_back(ValueLater(i));
  const std::vector<int> values = co_await WhenAll(std::move(tasks));
  EXPECT_EQ(values.size(), static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) EXPECT_EQ(values[static_cast<size_t>(i)], i);

  std::vector<Task<>> nothings;
  for (int i = 0; i < 3; ++i) nothings.push_back(Nothing());
  EXPECT_EQ((co_await WhenAll(std::move(nothings))).size(), 3u);
}

TEST_P(WhenTest, AllOfAVectorGivesAVector) { RunOk(AllOfAVector(Rounds(10'000))); }

Task<> AllStatusFails() {
  std::atomic<int> stopped{0};
  auto [stopped_a, failed, stopped_b, number] =
      co_await WhenAll(CountStop(&stopped), Fail(), CountStop(&stopped), Value(4));
  EXPECT_TRUE(absl::IsCancelled(stopped_a));
  EXPECT_EQ(failed, absl::InternalError("failed"));
  EXPECT_TRUE(absl::IsCancelled(stopped_b));
  EXPECT_EQ(number, 4);
  EXPECT_EQ(stopped, 2);
  EXPECT_FALSE(co_await StopRequested());
}

TEST_P(WhenTest, AllStopsTheOthersAfterAnError) { RunOk(AllStatusFails()); }

Task<absl::StatusOr<int>> FailOr() {
  co_await Yield();
  co_return absl::NotFoundError("nothing");
}

Task<> AllStatusOrFails() {
  std::atomic<int> stopped{0};
  auto [failed, status] = co_await WhenAll(FailOr(), CountStop(&stopped));
  EXPECT_TRUE(absl::IsNotFound(failed.status()));
  EXPECT_TRUE(absl::IsCancelled(status));
}

TEST_P(WhenTest, AllTakesAStatusOrForAFailureToo) { RunOk(AllStatusOrFails()); }

Task<> AllThrows() {
  std::atomic<int> stopped{0};
  std::string what;
  try {
    co_await WhenAll(CountStop(&stopped), Text(), Throw(7), CountStop(&stopped));
  } catch (const std::runtime_error& error) {
    what = error.what();
  }
  EXPECT_EQ(what, "7");
  EXPECT_EQ(stopped, 2);
}

TEST_P(WhenTest, AllRethrowsAfterAllHaveEnded) { RunOk(AllThrows()); }

Task<int> ThrowAfterStop(int code) {
  static_cast<void>(co_await UntilStopped());
  throw std::runtime_error(std::to_string(code));
}

// The first to fail decides, not the first in order; a Status that fails first lets an exception through all the same.
Task<> AllThrowTwice() {
  std::string what;
  try {
    co_await WhenAll(ThrowAfterStop(1), Throw(2));
  } catch (const std::runtime_error& error) {
    what = error.what();
  }
  EXPECT_EQ(what, "2");
  try {
    co_await WhenAll(ThrowAfterStop(3), Fail(), ThrowAfterStop(4));
  } catch (const std::runtime_error& error) {
    what = error.what();
  }
  EXPECT_EQ(what, "3");
}

TEST_P(WhenTest, TheExceptionOfTheFirstToFailIsRethrown) { RunOk(AllThrowTwice()); }

Task<> AllOfStopped(std::atomic<int>* stopped, Gate* started) {
  started->Open();
  auto [a, b] = co_await WhenAll(CountStop(stopped), CountStop(stopped));
  EXPECT_TRUE(absl::IsCancelled(a));
  EXPECT_TRUE(absl::IsCancelled(b));
  auto [c, d] = co_await WhenAll(CountStop(stopped), Value(1));  // stopped before
  EXPECT_TRUE(absl::IsCancelled(c));
  EXPECT_EQ(d, 1);
}

Task<> StopAll() {
  std::atomic<int> stopped{0};
  Gate started;
  auto task = co_await Spawn(AllOfStopped(&stopped, &started));
  co_await started;
  co_await Yield();
  task.RequestStop();
  co_await std::move(task);
  EXPECT_EQ(stopped, 3);
}

TEST_P(WhenTest, AStopReachesAll) { RunOk(StopAll()); }

Task<int> Sum(int depth) {
  if (depth == 0) co_return 1;
  auto [a, b] = co_await WhenAll(Sum(depth - 1), Sum(depth - 1));
  co_return a + b;
}

TEST_P(WhenTest, AllForksAndJoins) {
  const int depth = machine().simulated() ? 8 : kSanitized ? 10 : 14;
  EXPECT_EQ(RunValue(Sum(depth)), 1 << depth);
}

// --- WhenAny
// -----------------------------------------------------------------------------------------------------------

Task<> AnyOfATuple() {
  std::atomic<int> stopped{0};
  auto first = co_await WhenAny(CountStop(&stopped), ValueLater(5), CountStop(&stopped));
  EXPECT_EQ(first.index(), 1u);
  EXPECT_EQ(std::get<1>(first), 5);
  EXPECT_EQ(stopped, 2);
  EXPECT_FALSE(co_await StopRequested());

  auto nothing = co_await WhenAny(Nothing(), CountStop(&stopped));
  EXPECT_EQ(nothing.index(), 0u);
  auto text = co_await WhenAny(CountStop(&stopped), Text());
  EXPECT_EQ(*std::get<1>(text), "text");
  auto failed = co_await WhenAny(CountStop(&stopped), Fail());
  EXPECT_EQ(std::get<1>(failed), absl::InternalError("failed"));  // an end is an end
  EXPECT_EQ(stopped, 5);
}

TEST_P(WhenTest, AnyGivesTheFirstAndEndsTheOthers) { RunOk(AnyOfATuple()); }

Task<> AnyOfAVector() {
  std::atomic<int> stopped{0};
  std::vector<Task<absl::Status>> tasks;
  for (int i = 0; i < 100; ++i) tasks.push_back(CountStop(&stopped));
  tasks.push_back(Fail());
  auto first = co_await WhenAny(std::move(tasks));
  EXPECT_EQ(first.index, 100u);
  EXPECT_EQ(first.value, absl::InternalError("failed"));
  EXPECT_EQ(stopped, 100);

  std::vector<Task<>> nothings;
  nothings.push_back(Nothing());
  EXPECT_EQ((co_await WhenAny(std::move(nothings))).index, 0u);
}

TEST_P(WhenTest, AnyOfAVectorSaysWhich) { RunOk(AnyOfAVector()); }

Task<> AnyThrows() {
  std::atomic<int> stopped{0};
  std::string what;
  try {
    co_await WhenAny(CountStop(&stopped), Throw(3));
  } catch (const std::runtime_error& error) {
    what = error.what();
  }
  EXPECT_EQ(what, "3");
  EXPECT_EQ(stopped, 1);
  auto value = co_await WhenAny(ValueLater(1), ThrowAfterStop(4));  // the exception of a loser is dropped
  EXPECT_EQ(std::get<0>(value), 1);
}

TEST_P(WhenTest, AnyRethrowsTheExceptionOfTheFirstOnly) { RunOk(AnyThrows()); }

// Owns a descriptor, as an accepted connection does.
class OwnedFd {
 public:
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~OwnedFd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

Task<absl::StatusOr<OwnedFd>> OpenAfterStop(std::atomic<int>* fd) {
  static_cast<void>(co_await UntilStopped());
  OwnedFd owned(open("/dev/null", O_RDONLY | O_CLOEXEC));
  *fd = owned.get();
  co_return owned;
}

Task<> LoserSucceeds() {
  std::atomic<int> fd{-1};
  auto first = co_await WhenAny(OpenAfterStop(&fd), ValueLater(1));
  EXPECT_EQ(first.index(), 1u);
  EXPECT_GE(fd, 0);
  EXPECT_EQ(fcntl(fd, F_GETFD), -1);  // closed by the time that WhenAny answers
}

TEST_P(WhenTest, WhatALoserStillBringsIsGivenBack) { RunOk(LoserSucceeds()); }

Task<> Photofinish(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    auto first = co_await WhenAny(ValueLater(i % 3), ValueLater(i % 3), Value(7));
    const int value = std::visit([](int v) { return v; }, first);
    EXPECT_EQ(value, first.index() == 2 ? 7 : i % 3);
  }
}

TEST_P(WhenTest, OneWinsWhenManyEndAtOnce) { RunOk(Photofinish(Rounds(5000))); }

Task<> AnyOfStopped(Gate* started, std::atomic<int>* stopped) {
  started->Open();
  auto first = co_await WhenAny(CountStop(stopped), CountStop(stopped));
  EXPECT_TRUE(absl::IsCancelled(std::visit([](absl::Status& status) { return status; }, first)));
}

Task<> StopAny() {
  std::atomic<int> stopped{0};
  Gate started;
  auto task = co_await Spawn(AnyOfStopped(&started, &stopped));
  co_await started;
  co_await Yield();
  task.RequestStop();
  co_await std::move(task);
  EXPECT_EQ(stopped, 2);
}

TEST_P(WhenTest, AStopReachesAllOfAny) { RunOk(StopAny()); }

Task<absl::Status> AnyInside(std::atomic<int>* stopped) {
  auto first = co_await WhenAny(CountStop(stopped), CountStop(stopped));
  co_return std::visit([](absl::Status& status) { return status; }, first);
}

Task<> TimeoutOfAny() {
  std::atomic<int> stopped{0};
  EXPECT_TRUE(absl::IsDeadlineExceeded(co_await WithTimeout(absl::Milliseconds(1), AnyInside(&stopped))));
  EXPECT_EQ(stopped, 2);
}

TEST_P(WhenTest, ATimeoutStopsAny) { RunOk(TimeoutOfAny()); }

Task<> AnyOfNone() {
  std::vector<Task<>> none;
  co_await WhenAny(std::move(none));
}

TEST(WhenDeathTest, AnyOfNoneIsRefused) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOk(AnyOfNone(), WithWorkers(1)), "of no tasks none is the first");
}

// Results that nobody took, of either kind, are destroyed once.
Task<Counted> Holder(std::atomic<int>* alive) { co_return Counted(alive); }
Task<Counted> HolderLater(std::atomic<int>* alive) {
  static_cast<void>(co_await Sleep(absl::Microseconds(20)));
  co_return Counted(alive);
}

Task<> ResultsAreDestroyed(int rounds, std::atomic<int>* alive) {
  for (int i = 0; i < rounds; ++i) {
    {
      auto first = co_await WhenAny(Holder(alive), HolderLater(alive), Holder(alive));
      EXPECT_EQ(*alive, 1);
    }
    EXPECT_EQ(*alive, 0);
    {
      auto all = co_await WhenAll(Holder(alive), HolderLater(alive));
      EXPECT_EQ(*alive, 2);
    }
    try {
      co_await WhenAll(Holder(alive), Throw(1));
    } catch (const std::runtime_error&) {
    }
    EXPECT_EQ(*alive, 0);
  }
}

TEST_P(WhenTest, ResultsAreDestroyedOnce) {
  std::atomic<int> alive{0};
  RunOk(ResultsAreDestroyed(Rounds(500), &alive));
  EXPECT_EQ(alive, 0);
}

}  // namespace
}  // namespace evring
