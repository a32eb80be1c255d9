// clock.h: the time of a simulation by hand, for tests that say themselves when it goes on.
//
//   CO_ASSERT_OK(sim::PauseTime());
//   JoinHandle<> cache = co_await Spawn(ExpireEntries());
//   CO_ASSERT_OK(co_await sim::Advance(absl::Minutes(59)));   whatever is due in these 59 minutes has been done
//   EXPECT_EQ(entries, 1);
//   CO_ASSERT_OK(co_await sim::Advance(absl::Minutes(1)));
//   EXPECT_EQ(entries, 0);
//   CO_ASSERT_OK(sim::ResumeTime());
//
// Without it the clock jumps to the next thing that is to happen whenever all workers wait, and moves on a little with
// each call of the kernel. While time is paused it stands still, to the nanosecond, but for Advance(). All that takes
// time waits for it: sleeps, timeouts, intervals, timeouts of requests, what is on its way through the network, and the
// completions and buffers that a fault has made late. What takes none goes on: tasks run, and wake each other, on other
// workers too (no message between workers is late then). Faults that move a clock (FaultRules: kClockJump, kClockSet)
// do not happen; SetWallClock() still sets the other one.
//
// In an advance each thing happens at its own instant and in order: a timer that is armed again within the span comes
// again within it, and a task that looks at the clock then sees that instant. The caller goes on last, when the clock
// has come by all of the span and every worker waits: what was made ready has run as far as it can without more time.
//
// Several tasks may advance at once. They share the clock: each goes on when it has come by what that one asked for,
// from when it asked, the nearest first and of those for the same instant who asked first. So two tasks that advance by
// an hour at the same time move it by one hour.
//
// Nothing else moves a paused clock: if every worker waits, and nobody advances, the run prints that, how far away the
// next thing is, seed and log, and aborts, as it does where nothing can happen any more. (Limits of real time,
// TestOptions::RunMax() and the like, count on.) A pause ends with the first task.
//
// Threads: in tasks on a simulated machine.

#ifndef EVRING_SIM_CLOCK_H_
#define EVRING_SIM_CLOCK_H_

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "runtime/task.h"

namespace evring::sim {

// Pauses nest: time is paused until each has had its ResumeTime(), by whichever task.
// kFailedPrecondition: not in a task on a simulated machine, or its first task has ended.
[[nodiscard]] absl::Status PauseTime();

// kFailedPrecondition: time is not paused, or as above. What is being advanced by then ends as it would have.
[[nodiscard]] absl::Status ResumeTime();

// The paused clock goes on by `d`, as the head of this file says; by nothing: what is ready runs, and what is due. A
// part of a nanosecond counts as a whole one.
// OK: it has. kCancelled: a stop came first; the clock stays where it has come to. kInvalidArgument: `d` is negative,
// infinite, or longer than the clock can count (73 years). kFailedPrecondition: as for ResumeTime().
[[nodiscard]] Task<absl::Status> Advance(absl::Duration d);

// Sets the machine's wall clock (WallNow(), runtime/wall_clock.h), paused or not, as clock_settime(2): what counts by
// that clock comes sooner or later. From there it goes on with the other.
// kInvalidArgument: not a time from 1970 to 2115. kFailedPrecondition: not in a task on a simulated machine.
[[nodiscard]] absl::Status SetWallClock(absl::Time time);

}  // namespace evring::sim

#endif  // EVRING_SIM_CLOCK_H_
