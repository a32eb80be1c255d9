// The list of living tasks: who is whose child, where each waits and for what; how it reads; and that tasks may begin,
// wait, stop and end while it is made, by one thread or several.

#include "runtime/task_dump.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <source_location>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/generator.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/event.h"
#include "runtime/task_group.h"
#include "runtime/timeout.h"
#include "runtime/worker.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"
#include "tests/runtime/test_io.h"

namespace evring {
namespace {

using namespace evring::testing;
using State = TaskInfo::State;

bool IsHere(const TaskInfo& info) { return std::string_view(info.where.file_name()).ends_with("task_dump_test.cc"); }

// The test's own tasks: the first that awaits something in this file, at depth 0, and all below it.
std::vector<TaskInfo> OfTest(const std::vector<TaskInfo>& all) {
  const auto first = std::find_if(all.begin(), all.end(), IsHere);
  if (first == all.end()) return {};
  const int depth = first->depth;
  std::vector<TaskInfo> tasks(first, std::find_if(first + 1, all.end(), [=](auto& t) { return t.depth <= depth; }));
  for (TaskInfo& info : tasks) info.depth -= depth;
  return tasks;
}
std::vector<TaskInfo> Tasks() { return OfTest(internal::ListTasks(Worker::Current()->scheduler()->root())); }

// Gives way until so many of the test's tasks wait.
Task<> LetWait(int n) {
  const absl::Time end = TimerNow() + absl::Seconds(30);
  for (;;) {
    co_await Yield();
    const std::vector<TaskInfo> tasks = Tasks();
    if (std::count_if(tasks.begin(), tasks.end(), [](auto& t) { return t.state == State::kWaiting; }) == n) co_return;
    CO_ASSERT_LT(TimerNow(), end) << ToString(tasks);
  }
}

constexpr unsigned kWaitLine = __LINE__ + 1;
Task<absl::Status> WaitFor(Event* event) { co_return co_await event->Wait(); }
Task<absl::Status> Nested(Event* event) { co_return co_await WaitFor(event); }

class TaskDumpTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, TaskDumpTest, Machines(), MachineName);

Task<> Tree() {
  Event go;
  JoinHandle<absl::Status> child = co_await Spawn(Nested(&go));
  TaskGroup group;
  const unsigned grouped = __LINE__ + 1;
  co_await group.Spawn(WaitFor(&go));
  co_await group.Spawn(Nested(&go));
  co_await LetWait(3);

  const std::vector<TaskInfo> tasks = Tasks();
  CO_ASSERT_EQ(tasks.size(), 5u);
  EXPECT_EQ(tasks[0].depth, 0);
  EXPECT_EQ(tasks[0].state, State::kReady) << "it is looking";
  for (const size_t i : {1, 3, 4}) {
    EXPECT_EQ(tasks[i].state, State::kWaiting);
    EXPECT_TRUE(IsHere(tasks[i]));
    EXPECT_EQ(tasks[i].where.line(), kWaitLine);
    EXPECT_EQ(tasks[i].awaited, "EventAwaiter");
    EXPECT_EQ(tasks[i].event, kevent::EventType::kNone);
    EXPECT_EQ(tasks[i].descriptor, -1);
    EXPECT_FALSE(tasks[i].stop_requested);
  }
  EXPECT_EQ(tasks[1].depth, 1);
  EXPECT_EQ(tasks[2].depth, 1);
  EXPECT_EQ(tasks[2].state, State::kGroup);
  EXPECT_EQ(tasks[2].where.line(), grouped);
  EXPECT_EQ(tasks[3].depth, 2);
  EXPECT_EQ(tasks[4].depth, 2);

  go.Set();
  EXPECT_TRUE((co_await group.Join()).ok());
  const absl::Status joined = co_await std::move(child);
  EXPECT_TRUE(joined.ok());
  EXPECT_EQ(Tasks().size(), 1u) << "who has ended is not there any more";
}
TEST_P(TaskDumpTest, ShowsWhoIsWhoseChildAndWaitsWhere) { RunOk(Tree()); }

Task<> Numbers(Event* event) {
  const absl::Status waited = co_await event->Wait();
  EXPECT_TRUE(waited.ok());
}
AsyncGenerator<int> Generated(Event* event) {
  const absl::Status waited = co_await event->Wait();
  EXPECT_TRUE(waited.ok());
  co_yield 1;
}
Task<> Ask(Event* event) {
  AsyncGenerator<int> generator = Generated(event);
  const int* const value = co_await generator.Next();
  EXPECT_NE(value, nullptr);
}
Task<> Kinds() {
  Event go;
  JoinHandle<> joins = co_await Spawn(Numbers(&go));
  JoinHandle<> asks = co_await Spawn(Ask(&go));
  JoinHandle<absl::Status> sleeps =
      co_await Spawn([]() -> Task<absl::Status> { co_return co_await Sleep(absl::Hours(1)); }());
  co_await LetWait(3);
  std::vector<TaskInfo> tasks = Tasks();
  CO_ASSERT_EQ(tasks.size(), 4u);
  EXPECT_EQ(tasks[2].awaited, "EventAwaiter") << "within a generator";
  EXPECT_EQ(tasks[3].awaited, "SleepAwaiter");
  sleeps.RequestStop();
  const absl::Status slept = co_await std::move(sleeps);
  EXPECT_EQ(slept.code(), absl::StatusCode::kCancelled);
  go.Set();
  co_await std::move(joins);
  co_await std::move(asks);
}
TEST_P(TaskDumpTest, NamesWhatIsAwaited) { RunOk(Kinds()); }

// The one that a foreign thread looks at while it computes.
Task<> Busy(std::atomic<int>* step) {
  step->store(1);
  while (step->load() == 1) std::this_thread::yield();
  co_await Yield();
  step->store(3);
  while (step->load() == 3) std::this_thread::yield();
}

class TaskDumpFromOutside : public EveryWorkerCount {};
INSTANTIATE_TEST_SUITE_P(Workers, TaskDumpFromOutside, WorkerCounts());

TEST_P(TaskDumpFromOutside, TellsWhoHasNotBegunAndWhoRuns) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok());
  EXPECT_EQ((*runtime)->DumpTasks(), "no tasks\n");
  std::atomic<int> step{0};
  const unsigned line = __LINE__ + 1;
  auto handle = (*runtime)->Spawn(Busy(&step));
  ASSERT_TRUE(handle.ok());
  ASSERT_TRUE(Eventually([&] { return step == 1; }));
  std::vector<TaskInfo> tasks = (*runtime)->Tasks();
  ASSERT_EQ(tasks.size(), 1u);
  EXPECT_EQ(tasks[0].state, State::kHasNotWaited) << "has come to no co_await";
  EXPECT_EQ(tasks[0].where.line(), line);
  step = 2;
  ASSERT_TRUE(Eventually([&] { return step == 3; }));
  tasks = (*runtime)->Tasks();
  ASSERT_EQ(tasks.size(), 1u);
  EXPECT_EQ(tasks[0].state, State::kReady);
  step = 4;
  handle->Wait();
  EXPECT_EQ((*runtime)->Tasks().size(), 0u);
}

Task<absl::Status> ReadFrom(int fd) {
  std::byte buffer[8];
  const absl::StatusOr<size_t> read = co_await ReadOnce(fd, buffer);
  co_return read.status();
}

TEST_P(TaskDumpFromOutside, TellsTheDescriptorThatIsReadAndAStop) {
  const Pipe pipe;
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok());
  auto handle = (*runtime)->Spawn(ReadFrom(pipe.out()));
  ASSERT_TRUE(handle.ok());
  std::vector<TaskInfo> tasks;
  const auto reads = [&] {
    tasks = (*runtime)->Tasks();
    return tasks.size() == 1 && tasks[0].state == State::kWaiting;
  };
  ASSERT_TRUE(Eventually(reads));
  EXPECT_EQ(tasks[0].event, kevent::EventType::kFileRead);
  EXPECT_EQ(tasks[0].descriptor, pipe.out());
  EXPECT_EQ(tasks[0].awaited, "testing::ReadOperation");
  pipe.Write("x");
  EXPECT_TRUE(handle->Wait().ok());
}

// Goes on after it was asked to stop, until it is let.
Task<> Stubborn(std::atomic<bool>* may_end) {
  while (!may_end->load()) co_await Yield();
}
Task<> LetsGoOf(std::atomic<bool>* may_end) { const JoinHandle<> child = co_await Spawn(Stubborn(may_end)); }

TEST_P(TaskDumpFromOutside, KeepsWhoHasEndedAboveItsChildren) {
  std::atomic<bool> may_end{false};
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok());
  auto handle = (*runtime)->Spawn(LetsGoOf(&may_end));
  ASSERT_TRUE(handle.ok());
  handle->Wait();
  std::vector<TaskInfo> tasks = (*runtime)->Tasks();
  ASSERT_EQ(tasks.size(), 2u);
  EXPECT_EQ(tasks[0].state, State::kEnded);
  EXPECT_FALSE(tasks[0].stop_requested);
  EXPECT_EQ(tasks[1].depth, 1);
  EXPECT_TRUE(tasks[1].stop_requested);
  may_end = true;
  EXPECT_TRUE(Eventually([&] { return (*runtime)->Tasks().empty(); }));
}

// --- While everything moves
// -------------------------------------------------------------------------------------------

Task<int> Churn(int depth) {
  if (depth == 0) co_return 1;
  JoinHandle<int> one = co_await Spawn(Churn(depth - 1));
  co_await Yield();
  JoinHandle<int> let_go = co_await Spawn(Churn(depth - 1));
  const absl::StatusOr<int> other = co_await WithTimeout(absl::Microseconds(50), Churn(depth - 1));
  co_return co_await std::move(one) + other.value_or(0);
}
Task<> ChurnUntil(std::atomic<bool>* enough) {
  while (!enough->load()) static_cast<void>(co_await Churn(4));
}

TEST_P(TaskDumpFromOutside, IsMadeWhileTasksBeginAndEnd) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok());
  std::atomic<bool> enough{false};
  std::vector<JoinHandle<>> churns;
  for (int i = 0; i < 4; ++i) {
    auto handle = (*runtime)->Spawn(ChurnUntil(&enough));
    ASSERT_TRUE(handle.ok());
    churns.push_back(*std::move(handle));
  }
  const auto look = [&] {
    for (int i = 0; i < Scaled(500); ++i) {
      int depth = -1;
      for (const TaskInfo& info : (*runtime)->Tasks()) {
        ASSERT_GE(info.depth, 0);
        ASSERT_LE(info.depth, depth + 1) << "stands behind its parent";
        depth = info.depth;
        ASSERT_TRUE(IsHere(info)) << info.where.file_name();
        ASSERT_EQ(info.awaited.empty(), info.state != State::kWaiting);
      }
    }
  };
  std::thread other(look);
  look();
  other.join();
  enough = true;
  for (JoinHandle<>& churn : churns) churn.Wait();
  EXPECT_TRUE(Eventually([&] { return (*runtime)->DumpTasks() == "no tasks\n"; }));
}

// The shutdown waits for who looks, however late; what is let go of by the looker goes while rings are there.
TEST_P(TaskDumpFromOutside, IsMadeWhileTheRuntimeIsShutDown) {
  for (int round = 0; round < Scaled(100); ++round) {
    auto runtime = Runtime::Create(options());
    ASSERT_TRUE(runtime.ok());
    std::atomic<bool> enough{false};
    std::atomic<int> looks{0};
    auto handle = (*runtime)->Spawn(ChurnUntil(&enough));
    ASSERT_TRUE(handle.ok());
    std::thread other([&] {
      while (!enough) {
        static_cast<void>((*runtime)->Tasks());
        ++looks;
      }
      for (int i = 0; i < 100; ++i) static_cast<void>((*runtime)->Tasks());
    });
    EXPECT_TRUE(Eventually([&] { return looks > 2; }));
    enough = true;
    (*runtime)->Shutdown();
    other.join();
    EXPECT_EQ((*runtime)->DumpTasks(), "no tasks\n");
  }
}

Task<int> Deep(int depth, Event* event) {
  if (depth == 0) {
    const absl::Status waited = co_await event->Wait();
    EXPECT_TRUE(waited.ok());
    co_return 0;
  }
  JoinHandle<int> child = co_await Spawn(Deep(depth - 1, event));
  co_return co_await std::move(child) + 1;
}

TEST_P(TaskDumpFromOutside, ShowsTreesOfAnyDepth) {
  constexpr int kDepth = 100'000;
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok());
  Event go;
  auto handle = (*runtime)->Spawn(Deep(kDepth, &go));
  ASSERT_TRUE(handle.ok());
  std::vector<TaskInfo> tasks;
  ASSERT_TRUE(Eventually([&] {
    tasks = (*runtime)->Tasks();
    return tasks.size() == kDepth + 1 && tasks.back().state == State::kWaiting;
  }));
  EXPECT_EQ(tasks.back().depth, kDepth);
  go.Set();
  EXPECT_EQ(handle->Wait(), kDepth);
}

// --- How it reads
// ----------------------------------------------------------------------------------------------------

TEST(TaskDumpText, IsOneLineATask) {
  TaskInfo info;
  EXPECT_EQ(ToString({}), "no tasks\n");
  info.where = std::source_location::current();
  const std::string at = absl::StrCat("task_dump_test.cc:", info.where.line(), " ");
  const std::string in = ", in virtual void TaskDumpText_IsOneLineATask_Test::TestBody()\n";
  info.state = State::kHasNotWaited;
  EXPECT_EQ(ToString({info}), at + "has not waited, spawned" + in);
  info.state = State::kReady;
  EXPECT_EQ(ToString({info}), at + "ready or running" + in);
  info.state = State::kGroup;
  EXPECT_EQ(ToString({info}), at + "(group)\n");
  info.state = State::kEnded;
  EXPECT_EQ(ToString({info}), at + "ended, its children go on" + in);
  info.state = State::kWaiting;
  info.awaited = "EventAwaiter";
  info.depth = 2;
  EXPECT_EQ(ToString({info}), "    " + at + "waits: EventAwaiter" + in);
  info.event = kevent::EventType::kReceive;
  info.stop_requested = true;
  EXPECT_EQ(ToString({info, info}),
            "    " + at + "stopping, waits: receive" + in + "    " + at + "stopping, waits: receive" + in);
  info.descriptor = 7;
  EXPECT_EQ(ToString({info}), "    " + at + "stopping, waits: receive 7" + in);
}

Task<std::string> NameOfThisCoroutine(int) {
  co_await Yield();
  const std::string text = DumpTasks();
  co_return text;
}
TEST(TaskDumpText, NamesTheCoroutine) {
  const std::string text = RunValue(NameOfThisCoroutine(0), WithWorkers(1));
  EXPECT_NE(text.find("NameOfThisCoroutine(int)\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("Frame"), std::string::npos) << text;
}

}  // namespace
}  // namespace evring
