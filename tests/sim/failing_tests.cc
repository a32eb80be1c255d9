// failing_tests.cc: a program of tests that fail, each in its way. testing_test.cc runs it and reads what it says.

#include <array>
#include <cstddef>
#include <cstdio>
#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "net/stream.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/event.h"
#include "sim/testing.h"

namespace evring::sim {
namespace {

SIM_TEST(Failing, AnExpectationOfEverySeed) {
  co_await Yield();
  EXPECT_EQ(1 + 1, 3);
  std::printf("it goes on\n");
}

SIM_TEST(Failing, AFatalAssertion) {
  CO_ASSERT_EQ(1 + 1, 3) << "by arithmetic";
  std::printf("it goes on\n");
  co_await Yield();
}

// Messages of a hundred bytes, read as they should be; the last is taken to come in one piece.
SIM_TEST(Failing, AShortReadTakenForAll) {
  CO_ASSERT_OK_AND_ASSIGN(auto ends, net::Stream::Pair());
  const std::array<std::byte, 100> sent = {};
  std::array<std::byte, 100> received = {};
  for (int i = 0; i < 20; ++i) {
    CO_ASSERT_OK(co_await ends.first.Write(sent));
    for (size_t all = 0; all < sent.size();) {
      CO_ASSERT_OK_AND_ASSIGN(const size_t n, co_await ends.second.Read(std::span(received).subspan(all)));
      all += n;
    }
  }
  CO_ASSERT_OK(co_await ends.first.Write(sent));
  CO_ASSERT_OK_AND_ASSIGN(const size_t n, co_await ends.second.Read(received));
  EXPECT_EQ(n, sent.size());
}

SIM_TEST(Failing, AWaitThatNothingEnds) {
  Event event;
  CO_ASSERT_OK(co_await event.Wait());
}

SIM_TEST_WITH(Failing, OnlyOneSeed, TestOptions().Seeds(20)) {
  co_await Yield();
  EXPECT_NE(Simulation::Current()->random()->Below(8), 0u);
}

// Changes a variable of its process in each run.
int runs = 0;
SIM_TEST_WITH(Passing, EachRunHasAProcess, TestOptions().Seeds(20)) {
  co_await Yield();
  EXPECT_EQ(++runs, 1);
}

}  // namespace
}  // namespace evring::sim
