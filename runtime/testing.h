// testing.h: for tests of code that runs in tasks: does it end well when it is cancelled, wherever that may be?
//
//   EXPECT_TRUE(absl::IsCancelled(co_await StartCancelled(Connect(address))));
//   const absl::StatusOr<int> points = co_await CancelAtEverySuspension(&Scenario);
//
// A scenario is a function that makes a task, the same anew each time. What it must not leave behind (open descriptors,
// values, tasks) is the test's to count, in the scenario's beginning and afterwards.

#ifndef EVRING_RUNTIME_TESTING_H_
#define EVRING_RUNTIME_TESTING_H_

#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "runtime/cancellation.h"
#include "runtime/task.h"

namespace evring::testing {

// Runs `task` as a child of the calling task of which the stop was requested before it begins: each of its waits, from
// the first, is one of a stopped task. Its result, or its exception. Await on a worker.
template <class T>
CancellationAwaiter<T> StartCancelled(Task<T> task) {
  CancelSource source;
  source.RequestStop();
  return WithCancellation(source.token(), std::move(task));
}

struct CancelOptions {
  CancelOptions() {}

  // How long after the stop a run may take to its end. Generous: a scenario that ends too late is a failure, not a
  // measurement.
  absl::Duration limit = absl::Seconds(30);
  // How many suspensions a run may have.
  int suspensions_max = 10'000;
};

// Runs the scenario again and again, as a child of the calling task: the n-th time it is asked to stop when it, or a
// task below it, suspends for the n-th time. That is, once it waits, if it still does by then: the stop comes from
// another task, and races with the end of the wait as any stop does. It ends with the first run that is over before its
// n-th suspension, of which nothing was asked. What counts is each wait for something, also a join; Yield() does not.
//
// The number of suspensions at which it was cancelled; how a cancelled run ends is its own affair. Its exception
// travels. kDeadlineExceeded: a run did not end in time; it is left to itself. kResourceExhausted: there are more
// suspensions than that. kCancelled: the calling task was asked to stop. Else the error of the last run.
Task<absl::StatusOr<int>> CancelAtEverySuspension(std::function<Task<absl::Status>()> scenario,
                                                  CancelOptions options = CancelOptions());

}  // namespace evring::testing

#endif  // EVRING_RUNTIME_TESTING_H_
