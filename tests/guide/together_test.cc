// The code of docs/guide/together.md, word for word (tests/house/guide_test.sh), and that it does what is said there.

#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/event.h"
#include "runtime/task.h"
#include "runtime/task_group.h"
#include "runtime/when_all.h"
#include "runtime/when_any.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring::guide {
namespace {

Task<int> Sum(int first, int last) {
  int sum = 0;
  for (int i = first; i <= last; ++i) sum += i;
  co_return sum;
}

Task<int> SumOfHalves() {
  JoinHandle<int> low = co_await Spawn(Sum(1, 50));
  JoinHandle<int> high = co_await Spawn(Sum(51, 100));
  const int sum = co_await std::move(low);
  co_return sum + co_await std::move(high);
}

TEST(Together, ChildrenGiveTheirResults) { EXPECT_EQ(*evring::Run(SumOfHalves()), 5050); }

Task<> UntilStopped(Event* ended) {
  const absl::Status status = co_await Sleep(absl::InfiniteDuration());
  EXPECT_TRUE(absl::IsCancelled(status));
  ended->Set();
}

Task<absl::Status> DropAHandle() {
  Event ended;
  {
    const JoinHandle<> handle = co_await Spawn(UntilStopped(&ended));
  }  // the child is asked to stop, and is let go
  co_return co_await ended.Wait();
}

TEST(Together, AHandleThatIsDroppedStopsItsChild) { EXPECT_TRUE(evring::Run(DropAHandle()).ok()); }

Task<> Note(Event* done) {
  done->Set();
  co_return;
}

Task<absl::Status> StartAndForget() {
  Event done;
  SpawnDetached(Note(&done));
  co_return co_await done.Wait();
}

TEST(Together, ADetachedTaskRunsOnItsOwn) { EXPECT_TRUE(evring::Run(StartAndForget()).ok()); }

Task<absl::Status> Fetch(std::string name) {
  if (name.empty()) co_return absl::InvalidArgumentError("a page without a name");
  co_return co_await Sleep(absl::Hours(1));  // it takes its time
}

Task<absl::Status> FetchAll(std::vector<std::string> names) {
  TaskGroup group;
  for (std::string& name : names) co_await group.Spawn(Fetch(std::move(name)));
  co_return co_await group.Join();
}

TEST(Together, TheFirstErrorStopsTheOthers) {
  const absl::Status status = evring::Run(FetchAll({"a", "b", ""}));  // does not take an hour
  EXPECT_EQ(status, absl::InvalidArgumentError("a page without a name"));
}

Task<absl::Status> Check(int number) {
  if (number % 2 == 0) co_return absl::OkStatus();
  co_return absl::InternalError(absl::StrCat(number, " is odd"));
}

Task<std::vector<TaskGroup::Failure>> CheckAll() {
  TaskGroup group(TaskGroup::OnError::kCollect);
  for (int number = 1; number <= 5; ++number) co_await group.Spawn(Check(number));
  co_return co_await group.JoinAll();
}

TEST(Together, AllErrorsCanBeCollected) { EXPECT_EQ(evring::Run(CheckAll())->size(), 3u); }

Task<std::string> Name() { co_return "evring"; }

Task<> Both() {
  const auto [sum, name] = co_await WhenAll(Sum(1, 3), Name());
  EXPECT_EQ(sum, 6);
  EXPECT_EQ(name, "evring");
}

TEST(Together, WhenAllGivesAllResults) { EXPECT_TRUE(evring::Run(Both()).ok()); }

Task<absl::Status> AnHour() { co_return co_await Sleep(absl::Hours(1)); }

Task<> First() {
  const std::variant<absl::Status, int> first = co_await WhenAny(AnHour(), Sum(1, 4));
  EXPECT_EQ(first.index(), 1u);
  EXPECT_EQ(std::get<1>(first), 10);
}

TEST(Together, WhenAnyGivesTheFirstAndStopsTheOthers) { EXPECT_TRUE(evring::Run(First()).ok()); }

}  // namespace
}  // namespace evring::guide
