// The code of docs/guide/values.md, word for word (tests/house/guide_test.sh), and that it does what is said there.

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/generator.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/task_local.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring::guide {
namespace {

AsyncGenerator<int> Squares(int n) {
  for (int i = 1; i <= n; ++i) {
    const absl::Status slept = co_await Sleep(absl::Milliseconds(1));
    if (!slept.ok()) co_return;
    const int square = i * i;
    co_yield square;
  }
}

Task<int> SumOfSquares(int n) {
  int sum = 0;
  AsyncGenerator<int> squares = Squares(n);
  for (;;) {
    const int* square = co_await squares.Next();
    if (square == nullptr) co_return sum;
    sum += *square;
  }
}

TEST(Values, AGeneratorGivesThemOneByOne) { EXPECT_EQ(*evring::Run(SumOfSquares(3)), 14); }

AsyncGenerator<std::string, absl::Status> Rows(int n) {
  for (int i = 1; i <= n; ++i) {
    if (i == 3) co_return absl::DataLossError("the third row cannot be read");
    co_yield std::string(1, static_cast<char>('a' + i));
  }
  co_return absl::OkStatus();
}

Task<absl::Status> ReadRows(int n, int* rows_read) {
  AsyncGenerator<std::string, absl::Status> rows = Rows(n);
  for (;;) {
    const std::string* row = co_await rows.Next();
    if (row == nullptr) break;
    ++*rows_read;
  }
  co_return rows.status();
}

TEST(Values, AGeneratorMayEndWithAStatus) {
  int rows = 0;
  EXPECT_TRUE(evring::Run(ReadRows(2, &rows)).ok());
  EXPECT_EQ(rows, 2);
  EXPECT_TRUE(absl::IsDataLoss(evring::Run(ReadRows(9, &rows))));
  EXPECT_EQ(rows, 4);
}

Task<int> FirstSquare() {
  AsyncGenerator<int> squares = Squares(1000);
  const int* square = co_await squares.Next();
  co_return *square;
}

TEST(Values, AGeneratorIsGivenUp) { EXPECT_EQ(*evring::Run(FirstSquare()), 1); }

const TaskLocal<std::string> request_id;

Task<std::string> LogLine(std::string text) {
  const std::string* id = co_await request_id.Get();
  co_return (id == nullptr ? "-" : *id) + ": " + text;
}

Task<> Handle() {
  const auto scope = co_await request_id.Set("r17");  // until the end of this block
  JoinHandle<std::string> child = co_await Spawn(LogLine("begun"));
  const std::string line = co_await std::move(child);
  EXPECT_EQ(line, "r17: begun");
}

Task<> HandleRequests() {
  co_await Handle();
  const std::string line = co_await LogLine("idle");
  EXPECT_EQ(line, "-: idle");
}

TEST(Values, ChildrenSeeWhatWasSet) { EXPECT_TRUE(evring::Run(HandleRequests()).ok()); }

}  // namespace
}  // namespace evring::guide
