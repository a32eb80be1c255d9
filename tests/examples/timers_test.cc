// The example with tickers and deadlines: what must have happened, whatever the machine's load does to the times.

#include <string>

#include "gtest/gtest.h"
#include "tests/support/example_process.h"

namespace evring::testing {
namespace {

TEST(TimersExample, TickersTickAndDeadlinesCutThem) {
  const ProgramResult result = RunProgram({"examples/timers", "--tick=20ms"});
  EXPECT_EQ(result.code, 0);
  // The bounded ticker never ends by itself, nor does the watched one; both say how they were ended.
  EXPECT_NE(result.output.find("bounded: DEADLINE_EXCEEDED\n"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("bounded: CANCELLED after "), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("watched: DEADLINE_EXCEEDED\n"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("fast: tick 1\n"), std::string::npos) << result.output;
  // The slow one is stopped at the end, and has seen it.
  EXPECT_NE(result.output.find("slow: CANCELLED after "), std::string::npos) << result.output;
}

}  // namespace
}  // namespace evring::testing
