// The code of docs/guide/looking_inside.md, word for word (tests/house/guide_test.sh), and that it does what is said
// there.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/channel.h"
#include "runtime/task.h"
#include "runtime/task_dump.h"
#include "runtime/testing.h"
#include "runtime/worker.h"
#include "sim/testing.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring::guide {
namespace {

Task<absl::Status> Send(Channel<int>* channel, int n) {
  for (int i = 0; i < n; ++i) {
    const absl::Status sent = co_await channel->Send(i);
    if (!sent.ok()) co_return sent;
  }
  co_return absl::OkStatus();
}

Task<absl::Status> SendAndReceive() {
  Channel<int> channel(0);
  JoinHandle<absl::Status> sender = co_await Spawn(Send(&channel, 3));
  absl::Status status;
  for (int i = 0; i < 3 && status.ok(); ++i) status = (co_await channel.Receive()).status();
  if (!status.ok()) channel.Close();
  const absl::Status sent = co_await std::move(sender);
  co_return status.ok() ? sent : status;
}

Task<> CancelledEverywhere() {
  const absl::StatusOr<int> points = co_await testing::CancelAtEverySuspension(&SendAndReceive);
  EXPECT_TRUE(points.ok()) << points.status();
  EXPECT_GT(*points, 0);
  const absl::Status status = co_await testing::StartCancelled(SendAndReceive());
  EXPECT_TRUE(absl::IsCancelled(status));
}

TEST(LookingInside, AScenarioIsCancelledEverywhere) { EXPECT_TRUE(evring::Run(CancelledEverywhere()).ok()); }

SIM_TEST(LookingInsideSimulated, ADayPassesInNoTime) {
  const absl::Time start = sim::Simulation::Current()->Now();
  CO_ASSERT_OK(co_await Sleep(absl::Hours(24)));
  EXPECT_GE(sim::Simulation::Current()->Now() - start, absl::Hours(24));
  CO_ASSERT_OK(co_await SendAndReceive());
}

Task<absl::Status> AnHour() { co_return co_await Sleep(absl::Hours(1)); }

Task<> ShowTheTasks() {
  JoinHandle<absl::Status> sleeper = co_await Spawn(AnHour());
  co_await Yield();
  const std::string tasks = DumpTasks();
  EXPECT_NE(tasks.find("waits: Sleep"), std::string::npos) << tasks;
}

TEST(LookingInside, TheDumpSaysWhoWaitsForWhat) {
  EXPECT_TRUE(evring::Run(ShowTheTasks(), testing::WithWorkers(1)).ok());  // one: then the child runs in the Yield()
}

TEST(LookingInside, ARuntimeCounts) {
  absl::StatusOr<std::unique_ptr<Runtime>> runtime = Runtime::Create();
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  absl::StatusOr<JoinHandle<absl::Status>> handle = (*runtime)->Spawn(SendAndReceive());
  ASSERT_TRUE(handle.ok()) << handle.status();
  EXPECT_TRUE(handle->Wait().ok());

  WorkerCounters all = (*runtime)->counters();
  EXPECT_GT(all.tasks_run, 0u);
  EXPECT_EQ(all.overflow_episodes, 0u);
}

}  // namespace
}  // namespace evring::guide
