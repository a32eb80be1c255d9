// The code of docs/guide/cancellation.md, word for word (tests/house/guide_test.sh), and that it does what is said
// there.

#include "runtime/cancellation.h"

#include <atomic>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/current_deadline.h"
#include "runtime/runtime.h"
#include "runtime/shield.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/timeout.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring::guide {
namespace {

Task<absl::Status> Serve() {
  const absl::Status status = co_await Sleep(absl::InfiniteDuration());
  co_return status;
}

Task<> StopAChild() {
  JoinHandle<absl::Status> server = co_await Spawn(Serve());
  server.RequestStop();
  const absl::Status status = co_await std::move(server);
  EXPECT_TRUE(absl::IsCancelled(status));
}

TEST(Cancellation, AStopEndsAWait) { EXPECT_TRUE(evring::Run(StopAChild()).ok()); }

Task<> Compute(std::atomic<int>* rounds) {
  for (;;) {
    const bool stop = co_await StopRequested();
    if (stop) co_return;
    ++*rounds;
    co_await Yield();
  }
}

Task<> StopAComputation() {
  std::atomic<int> rounds{0};
  JoinHandle<> computation = co_await Spawn(Compute(&rounds));
  while (rounds == 0) co_await Yield();
  computation.RequestStop();
  co_await std::move(computation);
}

TEST(Cancellation, AComputationAsksWhetherItShouldStop) { EXPECT_TRUE(evring::Run(StopAComputation()).ok()); }

Task<> ServeUntil(CancelToken token) {
  const absl::Status status = co_await WithCancellation(token, Serve());
  EXPECT_TRUE(absl::IsCancelled(status));
  const absl::Status after = co_await Sleep(absl::Milliseconds(1));
  EXPECT_TRUE(after.ok());  // the stop was of that scope only
}

TEST(Cancellation, ATokenStopsAScope) {
  CancelSource source;
  std::thread other([&source] { source.RequestStop(); });
  EXPECT_TRUE(evring::Run(ServeUntil(source.token())).ok());
  other.join();
}

Task<> Bounded() {
  const absl::Status status = co_await WithTimeout(absl::Milliseconds(5), Serve());
  EXPECT_TRUE(absl::IsDeadlineExceeded(status));
}

TEST(Cancellation, ATimeoutEndsATask) { EXPECT_TRUE(evring::Run(Bounded()).ok()); }

Task<absl::StatusOr<int>> AnswerAllTheSame() {
  const absl::Status status = co_await Sleep(absl::InfiniteDuration());  // until the deadline has passed
  EXPECT_TRUE(absl::IsCancelled(status));
  co_return 42;
}

Task<> LateSuccess() {
  const absl::StatusOr<int> answer = co_await WithTimeout(absl::Milliseconds(5), AnswerAllTheSame());
  EXPECT_EQ(*answer, 42);
}

TEST(Cancellation, ALateSuccessIsASuccess) { EXPECT_TRUE(evring::Run(LateSuccess()).ok()); }

Task<absl::Duration> TimeForTheBackend() {
  const absl::Duration left = co_await RemainingTime();
  co_return left / 2;
}

Task<> Request() {
  const absl::StatusOr<absl::Duration> half = co_await WithTimeout(absl::Hours(2), TimeForTheBackend());
  EXPECT_LE(*half, absl::Hours(1));
  const absl::Time none = co_await CurrentDeadline();
  EXPECT_EQ(none, absl::InfiniteFuture());  // out here
}

TEST(Cancellation, ATaskKnowsItsDeadline) { EXPECT_TRUE(evring::Run(Request()).ok()); }

Task<> AskWhy(absl::Status* cause) {
  const absl::Status status = co_await Sleep(absl::InfiniteDuration());
  EXPECT_TRUE(absl::IsCancelled(status));
  *cause = co_await StopCause();
}

Task<> TheClockWasTheCause() {
  absl::Status cause;
  const absl::Status status = co_await WithTimeout(absl::Milliseconds(5), AskWhy(&cause));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status));
  EXPECT_TRUE(absl::IsDeadlineExceeded(cause));
}

TEST(Cancellation, ATaskLearnsWhyItIsStopped) { EXPECT_TRUE(evring::Run(TheClockWasTheCause()).ok()); }

Task<absl::Status> SayGoodbye() { co_return co_await Sleep(absl::Milliseconds(1)); }

Task<absl::Status> ServeAndSayGoodbye() {
  const absl::Status status = co_await Serve();
  EXPECT_TRUE(absl::IsCancelled(status));
  co_return co_await Shielded(absl::Minutes(1), SayGoodbye());
}

Task<absl::Status> StopTheServer() {
  JoinHandle<absl::Status> server = co_await Spawn(ServeAndSayGoodbye());
  server.RequestStop();
  co_return co_await std::move(server);
}

TEST(Cancellation, AShieldedTaskIsNotInterrupted) { EXPECT_TRUE(evring::Run(StopTheServer()).ok()); }

}  // namespace
}  // namespace evring::guide
