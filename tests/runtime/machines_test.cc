// machines_test.cc: that tests which say that they run on a simulated machine do, and on which.

#include "tests/runtime/machines.h"

#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/placement.h"
#include "runtime/sleep.h"
#include "runtime/task.h"
#include "runtime/worker.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring::testing {
namespace {

class MachinesTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, MachinesTest, Machines({1, 2}), MachineName);

Task<bool> HasItsOwnClock() { co_return Worker::Current()->NowNs() < absl::ToInt64Nanoseconds(absl::Hours(1)); }
Task<int> Workers() { co_return WorkerCount(); }
Task<> Doze(absl::Duration d) { CO_ASSERT_OK(co_await Sleep(d)); }

TEST_P(MachinesTest, ATaskRunsOnTheKernelAndWorkersThatItsNameSays) {
  EXPECT_EQ(RunValue(Workers()), workers());
  if (!machine().simulated()) return;
  EXPECT_TRUE(RunValue(HasItsOwnClock()));
  const absl::Time start = absl::Now();
  RunOk(Doze(absl::Hours(24 * 365)));
  EXPECT_LT(absl::Now() - start, absl::Hours(1));
}

TEST(Machines, GoThroughEveryCombinationOfWorkersAndFaults) {
  std::set<std::pair<int, std::string>> seen;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    const Machine machine = SimulatedMachine(seed, Simulated(/*errors=*/true, /*workers=*/0, /*seeds=*/12));
    EXPECT_EQ(machine.seed, seed);
    seen.emplace(machine.workers, machine.name);
  }
  EXPECT_EQ(seen.size(), 12u);
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    const Machine machine = SimulatedMachine(seed, Simulated(/*errors=*/false, /*workers=*/1, /*seeds=*/12));
    EXPECT_EQ(machine.workers, 1);
    EXPECT_EQ(machine.faults[sim::Fault::kReset].ppm, 0u);
  }
}

}  // namespace
}  // namespace evring::testing
