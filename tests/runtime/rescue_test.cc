// Rescue: what is stuck behind a task that computes is delivered by another worker while the task still computes.
//
// Method. A hog spins inside of a task until it sees a flag that only the stuck task can set; so the flag is seen if
// and only if the other task ran meanwhile, and nothing depends on how long anything takes. With rescue off the hog
// gives up after a while without having seen it. The hog asks for the time in each turn: ThreadSanitizer delivers
// signals in such calls only.

#include "runtime/rescue.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/features.h"
#include "runtime/placement.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/timeout.h"
#include "tests/runtime/runtime_test_util.h"
#include "tests/runtime/test_io.h"

namespace evring {
namespace {

using namespace evring::testing;

constexpr auto kLong = std::chrono::seconds(20);         // until a hog gives up that should see its flag
constexpr auto kShort = std::chrono::milliseconds(100);  // until one gives up that should not

// Computes until `flag` is set: true, or until `bound` has passed: false.
bool SpinUntil(const std::atomic<bool>& flag, std::chrono::nanoseconds bound) {
  const auto end = std::chrono::steady_clock::now() + bound;
  while (!flag) {
    if (std::chrono::steady_clock::now() > end) return false;
  }
  return true;
}

RuntimeOptions WithRescue(int workers) {
  RuntimeOptions options = WithWorkers(workers);
  options.rescue_threshold = absl::Milliseconds(1);
  return options;
}
RuntimeOptions WithoutRescue(int workers) {
  RuntimeOptions options = WithWorkers(workers);
  options.rescue_threshold = absl::InfiniteDuration();
  return options;
}

// --- Victims: tasks that wait on the hog's worker
// ----------------------------------------------------------------------

enum class Victim { kRead, kEventFd, kSocket, kTimer, kTimeout, kLifo };
constexpr Victim kVictims[] = {Victim::kRead,  Victim::kEventFd, Victim::kSocket,
                               Victim::kTimer, Victim::kTimeout, Victim::kLifo};

struct Scene {
  Scene() {
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    event_fd = eventfd(0, EFD_CLOEXEC);
    EXPECT_GE(event_fd, 0);
  }
  ~Scene() {
    close(sockets[0]);
    close(sockets[1]);
    close(event_fd);
  }

  Pipe pipe;
  int sockets[2];
  int event_fd;
  Gate never;
  std::atomic<int> begun_on{-1};  // the worker on which the victim is about to wait
  std::atomic<bool> flag{false};
  std::atomic<int> ran_on{-1};
};

Task<> ReadThenFlag(Scene* scene, int fd) {
  char bytes[8];
  scene->begun_on = Worker::Current()->index();
  const absl::StatusOr<size_t> n = co_await ReadOnce(fd, std::as_writable_bytes(std::span(bytes)));
  EXPECT_TRUE(n.ok()) << n.status();
  scene->ran_on = Worker::Current()->index();
  scene->flag = true;
}
Task<> SleepThenFlag(Scene* scene) {
  scene->begun_on = Worker::Current()->index();
  CO_ASSERT_OK(co_await Sleep(absl::Milliseconds(3)));
  scene->ran_on = Worker::Current()->index();
  scene->flag = true;
}
Task<bool> PassGate(Gate* gate) { co_return co_await *gate; }
Task<> TimeOutThenFlag(Scene* scene) {
  scene->begun_on = Worker::Current()->index();
  const absl::StatusOr<bool> passed = co_await WithTimeout(absl::Milliseconds(3), PassGate(&scene->never));
  EXPECT_TRUE(absl::IsDeadlineExceeded(passed.status())) << passed.status();
  scene->ran_on = Worker::Current()->index();
  scene->flag = true;
}
Task<> JustFlag(Scene* scene) {
  scene->ran_on = Worker::Current()->index();
  scene->flag = true;
  co_return;
}

Task<> MakeVictim(Scene* scene, Victim victim) {
  switch (victim) {
    case Victim::kRead:
      return ReadThenFlag(scene, scene->pipe.out());
    case Victim::kEventFd:
      return ReadThenFlag(scene, scene->event_fd);
    case Victim::kSocket:
      return ReadThenFlag(scene, scene->sockets[0]);
    case Victim::kTimer:
      return SleepThenFlag(scene);
    case Victim::kTimeout:
      return TimeOutThenFlag(scene);
    case Victim::kLifo:
      return JustFlag(scene);
  }
  std::abort();
}

// What the victim waits for comes about.
void Provoke(Scene* scene, Victim victim) {
  const uint64_t one = 1;
  switch (victim) {
    case Victim::kRead:
      scene->pipe.Write("x");
      break;
    case Victim::kEventFd:
      EXPECT_EQ(write(scene->event_fd, &one, sizeof(one)), 8);
      break;
    case Victim::kSocket:
      EXPECT_EQ(write(scene->sockets[1], "x", 1), 1);
      break;
    case Victim::kTimer:
    case Victim::kTimeout:
    case Victim::kLifo:
      break;  // time, or nothing
  }
}

// Goes on on the very worker on which the victim waits, once it does. Others may take a task that is on its way.
Task<> JoinVictim(const Scene* scene) {
  while (scene->begun_on < 0) co_await Yield();
  while (Worker::Current()->index() != scene->begun_on) co_await ResumeOn(scene->begun_on);
}

// The victim waits in the ring, the wheel or the slot of a worker, and the hog computes there. Whether it saw the flag.
Task<bool> Hog(Scene* scene, Victim victim, std::chrono::nanoseconds bound) {
  JoinHandle<> handle = co_await Spawn(MakeVictim(scene, victim));
  if (victim != Victim::kLifo) {  // else it is next in line here
    co_await JoinVictim(scene);
    while (scene->flag) {  // on a busy machine its time may be over before there is a hog: once more
      co_await std::move(handle);
      scene->flag = false;
      scene->begun_on = -1;
      handle = co_await Spawn(MakeVictim(scene, victim));
      co_await JoinVictim(scene);
    }
  }
  const int here = Worker::Current()->index();
  Provoke(scene, victim);
  const bool seen = SpinUntil(scene->flag, bound);
  const bool elsewhere = scene->ran_on != here;
  EXPECT_TRUE(!seen || elsewhere);
  co_await std::move(handle);
  EXPECT_TRUE(scene->flag);  // in the end, in any case
  co_return seen;
}

class RescueTest : public ::testing::TestWithParam<Victim> {};
INSTANTIATE_TEST_SUITE_P(Victims, RescueTest, ::testing::ValuesIn(kVictims));

TEST_P(RescueTest, TheVictimRunsWhileTheHogComputes) {
  for (int workers : {2, 4}) {
    for (int i = 0; i < 5; ++i) {
      Scene scene;
      EXPECT_TRUE(RunValue(Hog(&scene, GetParam(), kLong), WithRescue(workers)));
    }
  }
}

TEST_P(RescueTest, WithoutRescueItWaitsForTheHog) {
  Scene scene;
  EXPECT_FALSE(RunValue(Hog(&scene, GetParam(), kShort), WithoutRescue(2)));
}

TEST_P(RescueTest, WorksWithoutTheNewestKernelFeatures) {
  Scene scene;
  RuntimeOptions options = WithRescue(2);
  options.ring.allowed = kevent::Features();
  EXPECT_TRUE(RunValue(Hog(&scene, GetParam(), kLong), options));
}

// The runtime is made by a thread that blocks every signal, as the main thread of a careful program may.
TEST_P(RescueTest, WorksForAnApplicationThatBlocksAllSignals) {
  Scene scene;
  bool seen = false;
  std::thread careful([&] {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, nullptr);
    seen = RunValue(Hog(&scene, GetParam(), kLong), WithRescue(2));
  });
  careful.join();
  EXPECT_TRUE(seen);
}

// --- Counters
// ----------------------------------------------------------------------------------------------------------

TEST(Rescue, IsCounted) {
  auto runtime = Runtime::Create(WithRescue(2));
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  Scene scene;
  EXPECT_TRUE((*runtime)->Spawn(Hog(&scene, Victim::kRead, kLong))->Wait());
  EXPECT_GE((*runtime)->counters().rescues, 1u);
  EXPECT_GE((*runtime)->counters().rescued_events, 1u);
}

// --- Several at once
// ---------------------------------------------------------------------------------------------------

Task<> VictimOn(int worker, Scene* scene) {
  while (Worker::Current()->index() != worker) co_await ResumeOn(worker);
  co_await MakeVictim(scene, Victim::kRead);
}

Task<bool> HogTogether(int worker, Scene* scene, std::atomic<int>* hogging, int hogs) {
  JoinHandle<> handle = co_await Spawn(VictimOn(worker, scene));
  co_await JoinVictim(scene);
  // All hogs compute, each on a worker of its own, before any victim can run.
  ++*hogging;
  while (*hogging < hogs) std::this_thread::yield();
  Provoke(scene, Victim::kRead);
  const bool seen = SpinUntil(scene->flag, kLong);
  co_await std::move(handle);
  co_return seen;
}

TEST(Rescue, OneWorkerServesThreeThatCompute) {
  auto runtime = Runtime::Create(WithRescue(4));
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  for (int i = 0; i < 5; ++i) {
    Scene scenes[3];
    std::atomic<int> hogging{0};
    std::vector<JoinHandle<bool>> hogs;
    for (int k = 0; k < 3; ++k) hogs.push_back(*(*runtime)->Spawn(HogTogether(k, &scenes[k], &hogging, 3)));
    for (auto& hog : hogs) EXPECT_TRUE(hog.Wait());
  }
}

// --- Under load
// --------------------------------------------------------------------------------------------------------

// Reads numbers that must come in order, each once.
Task<int> ReadNumbers(const Pipe* pipe, int n) {
  int in_order = 0;
  for (int i = 0; i < n; ++i) {
    uint32_t number = 0;
    const absl::StatusOr<size_t> size = co_await ReadOnce(pipe->out(), std::as_writable_bytes(std::span(&number, 1)));
    EXPECT_EQ(size.value_or(0), sizeof(number));
    in_order += number == static_cast<uint32_t>(i) ? 1 : 0;
  }
  co_return in_order;
}

Task<> HogNowAndThen(const std::atomic<bool>* done, int us) {
  while (!*done) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(us);
    while (std::chrono::steady_clock::now() < end) {
    }
    co_await Yield();
    static_cast<void>(co_await Sleep(absl::Microseconds(us / 4)));
  }
}

TEST(Rescue, NothingIsLostOrOutOfOrderUnderLoad) {
  constexpr int kPipes = 24;
  const int kNumbers = Scaled(2000);
  for (int workers : {2, 3, 4}) {
    RuntimeOptions options = WithRescue(workers);
    options.rescue_threshold = absl::Microseconds(100);  // as often as can be
    options.ring.cq_entries = 64;
    options.ring.sq_entries = 16;
    auto runtime = Runtime::Create(options);
    ASSERT_TRUE(runtime.ok()) << runtime.status();
    std::vector<std::unique_ptr<Pipe>> pipes;
    std::vector<JoinHandle<int>> readers;
    for (int i = 0; i < kPipes; ++i) {
      pipes.push_back(std::make_unique<Pipe>());
      readers.push_back(*(*runtime)->Spawn(ReadNumbers(pipes.back().get(), kNumbers)));
    }
    std::atomic<bool> done{false};
    std::vector<JoinHandle<>> hogs;
    for (int i = 0; i < workers; ++i) hogs.push_back(*(*runtime)->Spawn(HogNowAndThen(&done, 300 * (i + 1))));
    std::thread writer([&] {
      for (int i = 0; i < kNumbers; ++i) {
        const auto number = static_cast<uint32_t>(i);
        for (auto& pipe : pipes) {
          EXPECT_EQ(write(pipe->in(), &number, sizeof(number)), static_cast<ssize_t>(sizeof(number)));
        }
      }
    });
    for (auto& reader : readers) EXPECT_EQ(reader.Wait(), kNumbers);
    done = true;
    writer.join();
    for (auto& hog : hogs) hog.Wait();
  }
}

// --- Errors
// ------------------------------------------------------------------------------------------------------------

Task<> Nothing() { co_return; }

TEST(Rescue, ASignalThatTheProgramHandlesIsNotTaken) {
  struct sigaction mine = {}, before;
  mine.sa_handler = [](int) {};
  ASSERT_EQ(sigaction(SIGUSR2, &mine, &before), 0);
  RuntimeOptions options = WithRescue(2);
  options.rescue_signal = SIGUSR2;
  const int threads = CountIn("task");
  EXPECT_TRUE(absl::IsFailedPrecondition(Runtime::Create(options).status()));
  EXPECT_TRUE(Eventually([&] { return CountIn("task") == threads; }));
  options.rescue_threshold = absl::InfiniteDuration();  // then the signal is of no interest
  RunOk(Nothing(), options);
  options.rescue_threshold = absl::Milliseconds(1);
  options.workers = 1;  // as for a single worker
  RunOk(Nothing(), options);
  ASSERT_EQ(sigaction(SIGUSR2, &before, nullptr), 0);
}

TEST(Rescue, ANumberThatIsNoSignalIsRefused) {
  for (const int signal : {-1, 0, 4096, SIGKILL, SIGSTOP}) {
    RuntimeOptions options = WithRescue(2);
    options.rescue_signal = signal;
    EXPECT_TRUE(absl::IsInvalidArgument(Runtime::Create(options).status())) << signal;
  }
}

TEST(Rescue, AnotherSignalWillDo) {
  RuntimeOptions options = WithRescue(2);
  options.rescue_signal = SIGRTMIN + 3;
  Scene scene;
  EXPECT_TRUE(RunValue(Hog(&scene, Victim::kRead, kLong), options));
}

// Two runtimes in one program share the handler.
TEST(Rescue, TwoRuntimesAtOnce) {
  auto first = Runtime::Create(WithRescue(2));
  ASSERT_TRUE(first.ok()) << first.status();
  auto second = Runtime::Create(WithRescue(2));
  ASSERT_TRUE(second.ok()) << second.status();
  Scene scene, other;
  auto a = (*first)->Spawn(Hog(&scene, Victim::kRead, kLong));
  auto b = (*second)->Spawn(Hog(&other, Victim::kSocket, kLong));
  EXPECT_TRUE(a->Wait());
  EXPECT_TRUE(b->Wait());
}

// A stray signal, in a worker's sleep or its work, does no harm.
TEST(Rescue, StraySignalsDoNothing) {
  auto runtime = Runtime::Create(WithRescue(2));
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  std::atomic<bool> done{false};
  std::thread sender([&] {
    while (!done) {
      kill(getpid(), SIGURG);
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  });
  for (int i = 0; i < 20; ++i) {
    Scene scene;
    EXPECT_TRUE((*runtime)->Spawn(Hog(&scene, Victim::kRead, kLong))->Wait());
  }
  done = true;
  sender.join();
}

Task<size_t> ReadByte(const Pipe* from) {
  char byte;
  const auto size = co_await ReadOnce(from->out(), std::as_writable_bytes(std::span(&byte, 1)));
  co_return size.value_or(0);
}

// In the middle of a task, and the ring has a completion that could be shown.
Task<> TakesTheSignal(const Pipe* pipe) {
  auto reader = co_await Spawn(ReadByte(pipe));
  co_await Yield();
  pipe->Write("x");
  raise(SIGURG);
  const size_t size = co_await std::move(reader);
  EXPECT_EQ(size, 1u);
}

// The handler is the program's, whichever runtime has installed it.
TEST(Rescue, TheSignalDoesNothingToARuntimeWithoutIt) {
  auto with = Runtime::Create(WithRescue(2));
  ASSERT_TRUE(with.ok()) << with.status();
  const Pipe pipe;
  RunOk(TakesTheSignal(&pipe), WithRescue(1));
  RunOk(TakesTheSignal(&pipe), WithoutRescue(2));
}

}  // namespace
}  // namespace evring
