// The example that looks for a bug on a simulated network: it finds the bug, names the few faults that it takes, finds
// it again, and finds nothing in the service that is right.

#include <cstdio>
#include <string>

#include "gtest/gtest.h"
#include "tests/support/example_process.h"

namespace evring::testing {
namespace {

constexpr char kProgram[] = "examples/replicated_counter";

TEST(ReplicatedCounterExample, FindsTheBugAndTheFewFaultsThatItTakes) {
  const ProgramResult result = RunProgram({kProgram});
  EXPECT_EQ(result.code, 1);
  const size_t faults = result.output.find("\nfaults: ");
  ASSERT_NE(faults, std::string::npos) << result.output;
  int matter = 0, all = 0;
  ASSERT_EQ(std::sscanf(&result.output[faults], "\nfaults: %d of %d matter", &matter, &all), 2) << result.output;
  EXPECT_GE(matter, 1);
  EXPECT_LT(matter, all / 2) << result.output;
  EXPECT_NE(result.output.find("clients were told "), std::string::npos) << result.output;

  // The seed that was printed fails again.
  const size_t at = result.output.find("seed ");
  ASSERT_NE(at, std::string::npos);
  const std::string seed = result.output.substr(at + 5, result.output.find(' ', at + 5) - at - 5);
  const ProgramResult again = RunProgram({kProgram, "--seed=" + seed, "--seeds=1"});
  EXPECT_EQ(again.code, 1);
  EXPECT_EQ(again.output.substr(again.output.find("seed ")), result.output.substr(at));
}

TEST(ReplicatedCounterExample, FindsNothingInTheServiceThatRemembers) {
  const ProgramResult result = RunProgram({kProgram, "--remembers", "--seeds=100"});
  EXPECT_EQ(result.code, 0) << result.output;
  EXPECT_NE(result.output.find("nothing found: 100 seeds"), std::string::npos) << result.output;
}

}  // namespace
}  // namespace evring::testing
