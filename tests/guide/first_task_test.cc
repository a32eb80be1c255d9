// The code of docs/guide/first_task.md, word for word (tests/house/guide_test.sh), and that it does what is said there.

#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/task.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring::guide {
namespace {

Task<absl::StatusOr<int>> SquareLater(int n) {
  const absl::Status slept = co_await Sleep(absl::Milliseconds(1));
  if (!slept.ok()) co_return slept;
  const int square = n * n;
  co_return square;
}

TEST(FirstTask, RunGivesTheResult) {
  const absl::StatusOr<int> square = evring::Run(SquareLater(7));
  EXPECT_EQ(*square, 49);
}

Task<absl::StatusOr<int>> SumOfSquares() {
  const absl::StatusOr<int> a = co_await SquareLater(3);
  if (!a.ok()) co_return a.status();
  const absl::StatusOr<int> b = co_await SquareLater(4);
  if (!b.ok()) co_return b.status();
  co_return *a + *b;
}

TEST(FirstTask, ATaskAwaitsOthers) { EXPECT_EQ(*evring::Run(SumOfSquares()), 25); }

Task<> Count(int* calls) {
  ++*calls;
  co_return;
}

Task<> AwaitLater(int* calls) {
  Task<> task = Count(calls);
  EXPECT_EQ(*calls, 0);  // nothing of it has run
  co_await std::move(task);
  EXPECT_EQ(*calls, 1);
}

TEST(FirstTask, DoesNothingUntilItIsAwaited) {
  int calls = 0;
  EXPECT_TRUE(evring::Run(AwaitLater(&calls)).ok());
  EXPECT_EQ(calls, 1);
}

Task<int> Parse(std::string text) {
  if (text.empty()) throw std::invalid_argument("no text");
  co_return static_cast<int>(text.size());
}

Task<int> ParseOrZero(std::string text) {
  try {
    co_return co_await Parse(std::move(text));
  } catch (const std::invalid_argument&) {
  }
  co_return 0;
}

TEST(FirstTask, ExceptionsTravelToWhoAwaits) {
  EXPECT_EQ(*evring::Run(ParseOrZero("four")), 4);
  EXPECT_EQ(*evring::Run(ParseOrZero("")), 0);
  EXPECT_THROW(evring::Run(Parse("")).IgnoreError(), std::invalid_argument);
}

TEST(FirstTask, AnOptionOutOfRangeIsAnErrorOfRun) {
  RuntimeOptions options;
  options.workers = 2;  // 0, the default: as many as the CPUs that this process may use
  EXPECT_EQ(*evring::Run(SumOfSquares(), options), 25);

  options.workers = 1000;
  EXPECT_TRUE(absl::IsInvalidArgument(evring::Run(SumOfSquares(), options).status()));
}

TEST(FirstTask, AnyThreadMaySpawnOnARuntime) {
  absl::StatusOr<std::unique_ptr<Runtime>> runtime = Runtime::Create();
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  absl::StatusOr<JoinHandle<absl::StatusOr<int>>> handle = (*runtime)->Spawn(SquareLater(6));
  ASSERT_TRUE(handle.ok()) << handle.status();
  EXPECT_EQ(*handle->Wait(), 36);
}

Task<int> AddInALambda(int a, int b) {
  auto add = [](int x, int y) -> Task<int> { co_return x + y; };
  co_return co_await add(a, b);
}

TEST(FirstTask, ALambdaTakesParameters) { EXPECT_EQ(*evring::Run(AddInALambda(1, 2)), 3); }

Task<size_t> Length(std::string_view text) {
  const absl::Status slept = co_await Sleep(absl::Milliseconds(1));
  co_return slept.ok() ? text.size() : 0;
}

Task<size_t> LengthOfALocal() {
  const std::string text = "lives as long as this task";
  co_return co_await Length(text);
}

TEST(FirstTask, AViewOfWhatTheAwaitingTaskOwns) { EXPECT_EQ(*evring::Run(LengthOfALocal()), 26u); }

}  // namespace
}  // namespace evring::guide
