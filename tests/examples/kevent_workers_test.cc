// The consumers in C as a process: each job is done by one thread, with fewer threads than processors and with many
// more.

#include <string>

#include "gtest/gtest.h"
#include "tests/support/example_process.h"

namespace evring::testing {
namespace {

TEST(KeventWorkersExample, EachJobIsDoneOnce) {
  for (const char* const workers : {"1", "2", "4", "64"}) {
    const ProgramResult result = RunProgram({"examples/kevent_workers", "2001", workers});
    EXPECT_EQ(result.code, 0) << workers;
    EXPECT_NE(result.output.find("2001 jobs, 1001 put back once, sum right\n"), std::string::npos) << result.output;
  }
}

TEST(KeventWorkersExample, BadArguments) {
  for (const char* const workers : {"0", "65", "x"}) {
    EXPECT_EQ(RunProgram({"examples/kevent_workers", "10", workers}).code, 2) << workers;
  }
}

}  // namespace
}  // namespace evring::testing
