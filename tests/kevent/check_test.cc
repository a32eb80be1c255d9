// check_test.cc: what a failed check prints, and that a check that holds does nothing else.

#include "kevent/check.h"

#include <signal.h>

#include "gtest/gtest.h"

namespace evring::kevent {
namespace {

TEST(Check, EvaluatesItsConditionOnce) {
  int evaluated = 0;
  EVRING_CHECK(++evaluated == 1, "once");
  EXPECT_EQ(evaluated, 1);
}

TEST(Check, IsOneStatement) {
  bool reached = false;
  if (reached)
    EVRING_CHECK(false, "not reached");
  else
    reached = true;
  EXPECT_TRUE(reached);
}

TEST(CheckDeathTest, SaysWhereWhatAndWhy) {
  const int one = 1;
  EXPECT_DEATH(EVRING_CHECK(one == 2, "one is not two"),
               "check_test.cc:[0-9]+: check failed: one == 2: one is not two\n");
}

TEST(CheckDeathTest, PrintsAnyLineNumber) {
  EXPECT_DEATH(CheckFailed("f.cc", 1, "c", "t"), "^f.cc:1: check failed: c: t\n");
  EXPECT_DEATH(CheckFailed("f.cc", 10, "c", "t"), "^f.cc:10: ");
  EXPECT_DEATH(CheckFailed("f.cc", 2147483647, "c", "t"), "^f.cc:2147483647: ");
}

TEST(CheckDeathTest, MayFailInASignalHandler) {
  EXPECT_DEATH(
      {
        signal(SIGUSR1, [](int) { EVRING_CHECK(false, "in a handler"); });
        raise(SIGUSR1);
      },
      "check failed: false: in a handler");
}

#ifdef NDEBUG
TEST(DebugCheck, IsGone) {
  EVRING_DCHECK(false, "not looked at");
  int evaluated = 0;
  EVRING_DCHECK(++evaluated == 1, "not evaluated");
  EXPECT_EQ(evaluated, 0);
}
#else
TEST(CheckDeathTest, ADebugCheckIsACheck) {
  EXPECT_DEATH(EVRING_DCHECK(false, "in debug builds"), "check failed: false: in debug builds");
}
#endif

}  // namespace
}  // namespace evring::kevent
