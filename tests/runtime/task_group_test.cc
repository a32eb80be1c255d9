// TaskGroup, on this machine's kernel and on simulated ones: joining, errors, stops, and memory that does not grow with
// the children that have ended.

#include "runtime/task_group.h"

#include <atomic>
#include <exception>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/cancellation.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/timeout.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

class TaskGroupTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, TaskGroupTest, Machines(), MachineName);

// With a thread that is no worker.
class TaskGroupFromOutsideTest : public EveryWorkerCount {};
INSTANTIATE_TEST_SUITE_P(Workers, TaskGroupFromOutsideTest, WorkerCounts());

Task<> Count(std::atomic<int>* count) {
  ++*count;
  co_return;
}
Task<> CountLater(std::atomic<int>* count) {
  co_await Yield();
  static_cast<void>(co_await Sleep(absl::Microseconds(10)));
  ++*count;
}
Task<absl::Status> Fail(std::string text) {
  co_await Yield();
  co_return absl::InternalError(text);
}
Task<absl::Status> Succeed() { co_return absl::OkStatus(); }
Task<> Throw(int code) {
  co_await Yield();
  throw std::runtime_error(std::to_string(code));
}
Task<absl::Status> CountStop(std::atomic<int>* stopped) {
  absl::Status status = co_await UntilStopped();
  ++*stopped;
  co_return status;
}

// --- Joining
// -----------------------------------------------------------------------------------------------------------

Task<> JoinAll(int n) {
  std::atomic<int> count{0};
  TaskGroup group;
  CO_ASSERT_OK(co_await group.Join());  // of none, at once
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < n; ++i) {
      if (i % 2 == 0) {
        co_await group.Spawn(Count(&count));
      } else {
        co_await group.Spawn(CountLater(&count));
      }
    }
    CO_ASSERT_OK(co_await group.Join());
    EXPECT_EQ(count, n * (round + 1));
    EXPECT_EQ(group.running(), 0u);
  }
}

TEST_P(TaskGroupTest, JoinWaitsForAllAndTheGroupCanBeUsedAgain) { RunOk(JoinAll(Rounds(5000))); }

// Children that end while the join begins.
Task<> JoinRaces(int rounds) {
  std::atomic<int> count{0};
  for (int i = 0; i < rounds; ++i) {
    TaskGroup group;
    for (int k = 0; k < i % 4; ++k) co_await group.Spawn(Count(&count));
    if (i % 3 == 0) co_await Yield();
    count = 0;
    CO_ASSERT_OK(co_await group.Join());
  }
}

TEST_P(TaskGroupTest, TheEndOfTheLastChildRacesWithTheJoin) { RunOk(JoinRaces(Rounds(20'000))); }

Task<> SpawnSiblings(TaskGroup* group, int depth, std::atomic<int>* count) {
  ++*count;
  if (depth == 0) co_return;
  co_await group->Spawn(SpawnSiblings(group, depth - 1, count));
  co_await group->Spawn(SpawnSiblings(group, depth - 1, count));
}

Task<> Siblings() {
  std::atomic<int> count{0};
  TaskGroup group;
  co_await group.Spawn(SpawnSiblings(&group, 10, &count));
  CO_ASSERT_OK(co_await group.Join());
  EXPECT_EQ(count, (1 << 11) - 1);
}

TEST_P(TaskGroupTest, ChildrenMaySpawnSiblingsWhileTheOwnerJoins) { RunOk(Siblings()); }

// --- Memory
// ------------------------------------------------------------------------------------------------------------

Task<> HoldUntilEnd(Counted /*counted*/) { co_return; }

Task<> ReleaseAtOnce(int n, std::atomic<int>* alive) {
  TaskGroup group;
  int alive_max = 0;
  for (int i = 0; i < n; ++i) {
    co_await group.Spawn(HoldUntilEnd(Counted(alive)));
    co_await Yield();
    alive_max = std::max(alive_max, alive->load());
  }
  EXPECT_LT(alive_max, n / 4);  // some wait for their turn on a worker that has been preempted
  CO_ASSERT_OK(co_await group.Join());
  EXPECT_EQ(*alive, 0);
}

TEST_P(TaskGroupTest, AChildThatHasEndedIsReleasedAtOnce) {
  std::atomic<int> alive{0};
  RunOk(ReleaseAtOnce(Rounds(50'000), &alive));
}

// --- Errors
// ------------------------------------------------------------------------------------------------------------

Task<> FirstErrorStopsOthers() {
  std::atomic<int> stopped{0};
  TaskGroup group;
  for (int i = 0; i < 100; ++i) co_await group.Spawn(CountStop(&stopped));
  co_await group.Spawn(Succeed());
  co_await group.Spawn(Fail("first"));
  EXPECT_EQ(co_await group.Join(), absl::InternalError("first"));
  EXPECT_EQ(stopped, 100);
  EXPECT_FALSE(co_await StopRequested());  // the owner's other work is not touched

  // As new: neither the stop nor the error is left.
  std::atomic<int> count{0};
  co_await group.Spawn(CountLater(&count));
  CO_ASSERT_OK(co_await group.Join());
  EXPECT_EQ(count, 1);
}

TEST_P(TaskGroupTest, TheFirstErrorStopsTheOthersAndIsTheAnswer) { RunOk(FirstErrorStopsOthers()); }

Task<> LateChildrenAreStopped() {
  std::atomic<int> stopped{0};
  TaskGroup group;
  co_await group.Spawn(Fail("first"));
  CO_ASSERT_TRUE(co_await EventuallyInTask([&] { return group.running() == 0; }));
  co_await group.Spawn(CountStop(&stopped));
  EXPECT_EQ(co_await group.Join(), absl::InternalError("first"));
  EXPECT_EQ(stopped, 1);
}

TEST_P(TaskGroupTest, AChildThatIsSpawnedAfterTheErrorStartsStopped) { RunOk(LateChildrenAreStopped()); }

Task<> ErrorsLetOthersBe() {
  std::atomic<int> count{0};
  TaskGroup group(TaskGroup::OnError::kGoOn);
  co_await group.Spawn(Fail("first"));
  CO_ASSERT_TRUE(co_await EventuallyInTask([&] { return group.running() == 0; }));
  for (int i = 0; i < 100; ++i) co_await group.Spawn(CountLater(&count));
  co_await group.Spawn(Fail("second"));
  EXPECT_EQ(co_await group.Join(), absl::InternalError("first"));
  EXPECT_EQ(count, 100);
}

TEST_P(TaskGroupTest, WithGoOnTheOthersAreLetBe) { RunOk(ErrorsLetOthersBe()); }

Task<> ExceptionStopsOthers() {
  std::atomic<int> stopped{0};
  TaskGroup group;
  for (int i = 0; i < 10; ++i) co_await group.Spawn(CountStop(&stopped));
  co_await group.Spawn(Throw(1));
  std::string what;
  try {
    static_cast<void>(co_await group.Join());
  } catch (const std::runtime_error& error) {
    what = error.what();
  }
  EXPECT_EQ(what, "1");
  EXPECT_EQ(stopped, 10);
  CO_ASSERT_OK(co_await group.Join());
}

TEST_P(TaskGroupTest, TheFirstExceptionIsRethrownAfterAllHaveEnded) { RunOk(ExceptionStopsOthers()); }

Task<> ManyFail(int n) {
  TaskGroup group;
  for (int i = 0; i < n; ++i) {
    co_await group.Spawn(Fail("status"));
    co_await group.Spawn(Throw(i));
  }
  bool failed = false;
  try {
    failed = !(co_await group.Join()).ok();
  } catch (const std::runtime_error&) {
    failed = true;
  }
  EXPECT_TRUE(failed);
}

TEST_P(TaskGroupTest, OfManyErrorsAtOnceOneIsKept) { RunOk(ManyFail(Rounds(500))); }

// --- All errors
// --------------------------------------------------------------------------------------------------------

// Until all but `n` have ended: what fails next fails later.
Task<> WaitForRunning(TaskGroup* group, size_t n) {
  CO_ASSERT_TRUE(co_await EventuallyInTask([&] { return group->running() == n; }));
}

Task<> CollectInOrder() {
  TaskGroup group(TaskGroup::OnError::kCollect);
  Gate gates[4];
  std::atomic<int> count{0};
  for (int i = 3; i >= 0; --i) {
    co_await group.Spawn([](int n, Gate* gate) -> Task<absl::Status> {
      co_await *gate;
      if (n % 2 == 1) throw std::runtime_error(std::to_string(n));
      co_return absl::InternalError(std::to_string(n));
    }(i, &gates[i]));
  }
  for (int i = 0; i < 4; ++i) {
    gates[i].Open();
    co_await WaitForRunning(&group, static_cast<size_t>(3 - i));
  }
  co_await group.Spawn(CountLater(&count));  // nobody is stopped by the errors
  const std::vector<TaskGroup::Failure> failures = co_await group.JoinAll();
  EXPECT_EQ(count, 1);
  CO_ASSERT_EQ(failures.size(), 4u);
  EXPECT_EQ(failures[0].status, absl::InternalError("0"));
  EXPECT_EQ(failures[1].status, absl::UnknownError("exception: 1"));
  EXPECT_EQ(failures[2].status, absl::InternalError("2"));
  EXPECT_EQ(failures[3].status, absl::UnknownError("exception: 3"));
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(failures[i].exception != nullptr, i % 2 == 1);
  CO_ASSERT_TRUE(failures[3].exception != nullptr);
  EXPECT_THROW(std::rethrow_exception(failures[3].exception), std::runtime_error);

  // As new.
  co_await group.Spawn(Succeed());
  EXPECT_TRUE((co_await group.JoinAll()).empty());
  EXPECT_TRUE((co_await group.JoinAll()).empty()) << "of no child";
}

TEST_P(TaskGroupTest, WithCollectAllErrorsComeInTheOrderOfFailing) { RunOk(CollectInOrder()); }

Task<> ThrowInt() {
  co_await Yield();
  throw 7;
}

Task<> CollectMany(int n) {
  TaskGroup group(TaskGroup::OnError::kCollect);
  for (int i = 0; i < n; ++i) {
    co_await group.Spawn(Fail(std::to_string(i)));
    co_await group.Spawn(Throw(i));
    co_await group.Spawn(ThrowInt());
    co_await group.Spawn(Succeed());
  }
  const std::vector<TaskGroup::Failure> failures = co_await group.JoinAll();
  EXPECT_EQ(failures.size(), static_cast<size_t>(3 * n));
  std::set<std::string> texts;
  int of_no_name = 0;
  for (const TaskGroup::Failure& failure : failures) {
    EXPECT_FALSE(failure.status.ok());
    const bool no_name = failure.status.message().find("no what()") != absl::string_view::npos;
    of_no_name += no_name ? 1 : 0;
    if (!no_name) texts.insert(std::string(failure.status.message()));
  }
  EXPECT_EQ(of_no_name, n);
  EXPECT_EQ(texts.size(), static_cast<size_t>(2 * n)) << "each once";
}

TEST_P(TaskGroupTest, WithCollectOfManyErrorsAtOnceAllAreKept) { RunOk(CollectMany(Rounds(2000))); }

Task<> CollectStopped() {
  std::atomic<int> stopped{0};
  TaskGroup group(TaskGroup::OnError::kCollect);
  for (int i = 0; i < 5; ++i) co_await group.Spawn(CountStop(&stopped));
  co_await group.Spawn(Fail("mine"));
  co_await WaitForRunning(&group, 5);
  EXPECT_EQ(stopped, 0);
  group.RequestStop();
  const std::vector<TaskGroup::Failure> failures = co_await group.JoinAll();
  CO_ASSERT_EQ(failures.size(), 6u);
  EXPECT_EQ(failures[0].status, absl::InternalError("mine"));
  for (size_t i = 1; i < 6; ++i) EXPECT_TRUE(absl::IsCancelled(failures[i].status));
}

TEST_P(TaskGroupTest, WithCollectTheStoppedAreAmongThem) { RunOk(CollectStopped()); }

// Join() and JoinAll() of groups with each policy.
Task<> JoinEitherWay() {
  TaskGroup collect(TaskGroup::OnError::kCollect);
  co_await collect.Spawn(Fail("first"));
  co_await WaitForRunning(&collect, 0);
  co_await collect.Spawn(Throw(2));
  EXPECT_EQ(co_await collect.Join(), absl::InternalError("first")) << "what came later is dropped";
  CO_ASSERT_OK(co_await collect.Join());
  co_await collect.Spawn(Throw(1));
  bool caught = false;
  try {
    static_cast<void>(co_await collect.Join());
  } catch (const std::runtime_error&) {
    caught = true;
  }
  EXPECT_TRUE(caught);
  EXPECT_TRUE((co_await collect.JoinAll()).empty());

  for (const TaskGroup::OnError policy : {TaskGroup::OnError::kStopOthers, TaskGroup::OnError::kGoOn}) {
    TaskGroup group(policy);
    co_await group.Spawn(Throw(1));
    co_await WaitForRunning(&group, 0);
    co_await group.Spawn(Fail("second"));
    const std::vector<TaskGroup::Failure> failures = co_await group.JoinAll();
    CO_ASSERT_EQ(failures.size(), 1u);
    EXPECT_EQ(failures[0].status, absl::UnknownError("exception: 1"));
    EXPECT_NE(failures[0].exception, nullptr);
    CO_ASSERT_OK(co_await group.Join());
  }
}

TEST_P(TaskGroupTest, EachPolicyIsJoinedEitherWay) { RunOk(JoinEitherWay()); }

// --- Stops
// -------------------------------------------------------------------------------------------------------------

Task<absl::Status> Owner(std::atomic<int>* started, std::atomic<int>* stopped, int n) {
  TaskGroup group;
  for (int i = 0; i < n; ++i) co_await group.Spawn(CountStop(stopped));
  *started = n;
  co_return co_await group.Join();
}

TEST_P(TaskGroupFromOutsideTest, AStopOfTheOwnerReachesTheChildrenAndTheJoinWaits) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  for (int i = 0; i < Scaled(200); ++i) {
    std::atomic<int> started{0}, stopped{0};
    auto owner = (*runtime)->Spawn(Owner(&started, &stopped, 20));
    if (i % 2 == 0) {
      ASSERT_TRUE(Eventually([&] { return started == 20; }));
    }
    owner->RequestStop();
    EXPECT_TRUE(absl::IsCancelled(owner->Wait()));
    EXPECT_EQ(stopped, 20);
  }
}

// The same among tasks, while the owner still spawns or already joins.
Task<> StopOwners(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    std::atomic<int> started{0}, stopped{0};
    auto owner = co_await Spawn(Owner(&started, &stopped, 20));
    for (int k = 0; k < i % 10; ++k) co_await Yield();
    owner.RequestStop();
    EXPECT_TRUE(absl::IsCancelled(co_await std::move(owner)));
    EXPECT_EQ(stopped, 20);
  }
}

TEST_P(TaskGroupTest, AStopOfTheOwnerByATaskReachesTheChildren) { RunOk(StopOwners(Rounds(500))); }

Task<> StopGroup() {
  std::atomic<int> stopped{0};
  TaskGroup group;
  group.RequestStop();  // before there is a child
  co_await group.Spawn(CountStop(&stopped));
  EXPECT_TRUE(absl::IsCancelled(co_await group.Join()));

  for (int i = 0; i < 10; ++i) co_await group.Spawn(CountStop(&stopped));
  EXPECT_EQ(group.running(), 10u);
  group.RequestStop();
  EXPECT_TRUE(absl::IsCancelled(co_await group.Join()));
  EXPECT_EQ(stopped, 11);
  EXPECT_FALSE(co_await StopRequested());
}

TEST_P(TaskGroupTest, AStopOfTheGroupReachesItsChildrenOnly) { RunOk(StopGroup()); }

Task<absl::Status> GroupInside(std::atomic<int>* stopped) {
  TaskGroup group;
  co_await group.Spawn(CountStop(stopped));
  co_return co_await group.Join();
}

Task<> TimeoutOfGroup() {
  std::atomic<int> stopped{0};
  EXPECT_TRUE(absl::IsDeadlineExceeded(co_await WithTimeout(absl::Milliseconds(1), GroupInside(&stopped))));
  EXPECT_EQ(stopped, 1);
}

TEST_P(TaskGroupTest, ATimeoutStopsAGroup) { RunOk(TimeoutOfGroup()); }

// A child that lets a task of its own go: the group ends without it, and it is stopped with the group's scope.
Task<> LeaveBehind(std::atomic<int>* stopped, JoinHandle<absl::Status>* left) {
  *left = co_await Spawn(CountStop(stopped));
}

Task<> GrandchildOutlivesGroup() {
  std::atomic<int> stopped{0};
  JoinHandle<absl::Status> left;
  {
    TaskGroup group;
    co_await group.Spawn(LeaveBehind(&stopped, &left));
    CO_ASSERT_OK(co_await group.Join());
  }
  EXPECT_EQ(stopped, 0);
  (co_await internal::CurrentContextAwaiter())->RequestStop();
  EXPECT_TRUE(absl::IsCancelled(co_await std::move(left)));
}

TEST_P(TaskGroupTest, TheStopOfTheOwnerGoesThroughAGroupThatIsGone) { RunOk(GrandchildOutlivesGroup()); }

// --- Misuse
// ------------------------------------------------------------------------------------------------------------

Task<> NotJoined() {
  TaskGroup group;
  co_await group.Spawn(CountStop(nullptr));
}

TEST(TaskGroupDeathTest, AGroupIsJoinedBeforeItGoes) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOk(NotJoined(), WithWorkers(1)), "a group is joined before it is destroyed");
}

}  // namespace
}  // namespace evring
