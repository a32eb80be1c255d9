// A task that is posted from outside runs soon although every worker has something to run all the time: a loop that
// spawns an empty child and awaits it, which never leaves a worker's own queue empty.
//
// How soon is not told by a clock, which says more about the machine's other work, but by what the workers did
// meanwhile: of the tasks that the worker runs which takes the posted one, few come before it (worker.h says where it
// looks, and how often). With threads of its own that no simulated machine has: on this machine's kernel.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "runtime/runtime.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/worker.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

class PostedTaskTest : public EveryWorkerCount {};
INSTANTIATE_TEST_SUITE_P(Workers, PostedTaskTest, WorkerCounts());

// A worker looks at what was posted every 31 tasks; twice that, as it may have just looked when it was.
constexpr uint64_t kTasksMax = 62;
// When every worker has run so many, it is not waited for any longer.
constexpr uint64_t kHopeless = 1'000'000;
constexpr int kPosts = 200;

struct Loops {
  std::atomic<bool> over{false};
  std::atomic<int> running{0};
};

class LoopsEnd {
 public:
  explicit LoopsEnd(Loops* loops) : loops_(loops) {}
  LoopsEnd(const LoopsEnd&) = delete;
  LoopsEnd& operator=(const LoopsEnd&) = delete;
  ~LoopsEnd() { loops_->over = true; }

 private:
  Loops* const loops_;
};

Task<> Empty() { co_return; }

Task<> SpawnAndAwait(Loops* loops) {
  ++loops->running;
  while (!loops->over.load(std::memory_order_relaxed)) {
    JoinHandle<> child = co_await Spawn(Empty());
    co_await std::move(child);
  }
}

// What the poster and the posted task share.
struct Posting {
  std::atomic<bool> ran{false};
  int worker = -1;         // that ran it
  uint64_t tasks_run = 0;  // by that worker when it did, this one included
};

Task<> Posted(Posting* posting) {
  posting->worker = Worker::Current()->index();
  posting->tasks_run = Worker::Current()->counters().tasks_run;
  posting->ran.store(true, std::memory_order_release);  // pairs with the poster's wait
  co_return;
}

std::vector<uint64_t> TasksRun(const Runtime& runtime) {
  std::vector<uint64_t> tasks_run;
  for (int i = 0; i < runtime.workers(); ++i) tasks_run.push_back(runtime.counters(i).tasks_run);
  return tasks_run;
}

// Every worker has run at least `n` tasks since `before`.
bool AllHaveRun(const Runtime& runtime, const std::vector<uint64_t>& before, uint64_t n) {
  const std::vector<uint64_t> now = TasksRun(runtime);
  for (size_t i = 0; i < now.size(); ++i) {
    if (now[i] - before[i] < n) return false;
  }
  return true;
}

TEST_P(PostedTaskTest, RunsAmongTheFirstOfBusyWorkers) {
  Loops loops;
  std::vector<Posting> postings(kPosts);
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  const LoopsEnd end(&loops);  // before the runtime waits for them
  std::vector<JoinHandle<>> handles;
  for (int i = 0; i < GetParam(); ++i) {
    absl::StatusOr<JoinHandle<>> loop = (*runtime)->Spawn(SpawnAndAwait(&loops));
    ASSERT_TRUE(loop.ok()) << loop.status();
    handles.push_back(*std::move(loop));
  }
  ASSERT_TRUE(Eventually([&] { return loops.running == GetParam(); })) << "they were posted as well";

  for (Posting& posting : postings) {
    auto handle = (*runtime)->Spawn(Posted(&posting));
    ASSERT_TRUE(handle.ok()) << handle.status();
    // After the post, so that what this thread is kept from running here does not count against the workers.
    const std::vector<uint64_t> before = TasksRun(**runtime);
    const auto ran = [&posting] { return posting.ran.load(std::memory_order_acquire); };
    ASSERT_TRUE(Eventually([&] { return ran() || AllHaveRun(**runtime, before, kHopeless); }));
    ASSERT_TRUE(ran()) << "every worker has run " << kHopeless << " tasks meanwhile";
    handle->Wait();
    const uint64_t at_post = before[static_cast<size_t>(posting.worker)];
    if (posting.tasks_run > at_post) {
      EXPECT_LE(posting.tasks_run - at_post, kTasksMax) << "tasks of worker " << posting.worker;
    }
  }
}

}  // namespace
}  // namespace evring
