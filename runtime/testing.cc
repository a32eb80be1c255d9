#include "runtime/testing.h"

#include <atomic>

#include "absl/strings/str_cat.h"
#include "runtime/context.h"
#include "runtime/spawn.h"
#include "runtime/sync/event.h"
#include "runtime/timeout.h"

namespace evring::testing {
namespace {

// Says when it, with what is below it, has suspended for the n-th time, and when it has ended.
class WatchedTask final : public internal::Spawned<absl::Status> {
 public:
  WatchedTask(TaskContext* parent, Task<absl::Status> task, int n)
      : Spawned(parent->scheduler(), parent, std::move(task)), left_(n) {
    Watch();
  }

  // Set by the n-th suspension, or by the end.
  Event& reached() { return reached_; }
  Event& ended() { return ended_; }
  // After reached(): it was the suspension.
  bool suspended() const { return left_.load(std::memory_order_relaxed) <= 0; }

 private:
  void OnWatchedWait() noexcept override {
    // Relaxed: a count. The event publishes it.
    if (left_.fetch_sub(1, std::memory_order_relaxed) == 1) reached_.Set();
  }
  void OnEnded() noexcept override {
    reached_.Set();
    ended_.Set();
  }

  std::atomic<int> left_;
  Event reached_;
  Event ended_;
};

Task<absl::Status> Until(Event* event) { co_return co_await event->Wait(); }

}  // namespace

Task<absl::StatusOr<int>> CancelAtEverySuspension(std::function<Task<absl::Status>()> scenario, CancelOptions options) {
  TaskContext* self = co_await internal::CurrentContextAwaiter();
  for (int n = 1; n <= options.suspensions_max; ++n) {
    const auto run =
        ContextRef<WatchedTask>::Share(new WatchedTask(self, scenario(), n));  // besides the running task's
    JoinHandle<absl::Status> handle(ContextRef<internal::Spawned<absl::Status>>::Share(run.get()));
    run->LinkToParent();
    run->Schedule();

    absl::Status waited = co_await run->reached().Wait();
    if (!waited.ok()) co_return waited;  // the handle asks the run to stop as well
    const bool suspended = run->suspended();
    if (suspended) run->RequestStop();
    waited = co_await WithTimeout(options.limit, Until(&run->ended()));
    if (absl::IsDeadlineExceeded(waited)) {
      co_return absl::DeadlineExceededError(absl::StrCat("cancelled at suspension ", n, ", it has not ended after ",
                                                         absl::FormatDuration(options.limit)));
    }
    if (!waited.ok()) co_return waited;
    absl::Status status = co_await std::move(handle);
    if (suspended) continue;
    if (!status.ok()) co_return status;
    co_return n - 1;
  }
  co_return absl::ResourceExhaustedError(absl::StrCat("more than ", options.suspensions_max, " suspensions"));
}

}  // namespace evring::testing
