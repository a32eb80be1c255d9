// multishot_close_test.cc: letting go of a multishot request: whatever it was about to do, it does nothing to a file
// that gets its descriptor's number afterwards, and the descriptor is closed, once.

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "runtime/multishot_socket.h"
#include "runtime/placement.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/socket_io.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/timeout.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using internal::MultishotReceive;
using testing::CountIn;
using testing::EveryWorkerCount;
using testing::RunOk;
using testing::WithWorkers;
using testing::WorkerCounts;

struct Pair {
  Pair() { EVRING_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "the test needs sockets"); }
  int fds[2];
};

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

Task<absl::StatusOr<ReceivedBuffer>> Take(MultishotReceive* source) {
  co_return co_await MultishotReceive::Operation(source);
}

Task<absl::StatusOr<size_t>> Receive(int fd) {
  std::array<std::byte, 16> buffer;
  co_return co_await ReceiveInto(fd, buffer);
}

// One worker, which does not look at its ring in between: the request has been prepared and is not submitted when its
// task is stopped and the stream let go. Then another stream is opened, which has data.
Task<> LetGoBeforeItIsSubmitted() {
  Pair first;
  auto* source = new MultishotReceive(first.fds[0]);
  JoinHandle<absl::StatusOr<ReceivedBuffer>> taker = co_await Spawn(Take(source));
  co_await Yield();
  taker.RequestStop();
  EXPECT_TRUE(absl::IsCancelled((co_await std::move(taker)).status()));
  source->Close();

  Pair second;  // takes the lowest free numbers
  CO_ASSERT_TRUE(write(second.fds[1], "data", 4) == 4);
  const absl::StatusOr<size_t> n = co_await WithTimeout(absl::Seconds(10), Receive(second.fds[0]));
  CO_ASSERT_OK(n.status());
  EXPECT_EQ(*n, 4u);

  EXPECT_EQ(write(first.fds[1], "x", 1), -1) << "the first stream is closed by now";
  close(first.fds[1]);
  close(second.fds[0]);
  close(second.fds[1]);
}

TEST(MultishotClose, ARequestThatWasNotSubmittedYetDoesNotTakeFromAnotherFile) {
  signal(SIGPIPE, SIG_IGN);
  RunOk(LetGoBeforeItIsSubmitted(), WithWorkers(1));
}

class MultishotCloseTest : public EveryWorkerCount {};
INSTANTIATE_TEST_SUITE_P(Workers, MultishotCloseTest, WorkerCounts());

Task<> NeverArmed() {
  Pair pair;
  (new MultishotReceive(pair.fds[0]))->Close();
  EXPECT_FALSE(IsOpen(pair.fds[0])) << "nothing refers to it: closed at once";
  close(pair.fds[1]);
  co_return;
}

TEST_P(MultishotCloseTest, ClosesTheDescriptorOfARequestThatWasNeverArmed) { RunOk(NeverArmed(), options()); }

// Takes once, so that the request stays armed on some worker, with an event that nobody takes; then lets go on another.
Task<> ArmedAndUntaken(int worker) {
  Pair pair;
  auto* source = new MultishotReceive(pair.fds[0]);
  CO_ASSERT_TRUE(write(pair.fds[1], "x", 1) == 1);
  CO_ASSERT_OK((co_await Take(source)).status());
  CO_ASSERT_TRUE(write(pair.fds[1], "y", 1) == 1);
  if (worker % 2 == 0) static_cast<void>(co_await Sleep(absl::Microseconds(100)));
  co_await ResumeOn(worker);
  source->Close();
  // The peer sees the end, whichever worker has the request.
  const absl::StatusOr<size_t> n = co_await WithTimeout(absl::Seconds(10), Receive(pair.fds[1]));
  if (n.ok()) {
    EXPECT_EQ(*n, 0u);
  } else {
    EXPECT_TRUE(absl::IsUnavailable(n.status())) << n.status().ToString();  // it had data unread: a reset
  }
  close(pair.fds[1]);
}

Task<> LetGoEverywhere() {
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < WorkerCount(); ++i) co_await ArmedAndUntaken(i);
  }
}

TEST_P(MultishotCloseTest, ClosesTheDescriptorOfAnArmedRequest) {
  const int before = CountIn("fd");
  RunOk(LetGoEverywhere(), options());
  EXPECT_EQ(CountIn("fd"), before);
}

Task<> Arm(MultishotReceive* source, int peer) {
  CO_ASSERT_TRUE(write(peer, "x", 1) == 1);
  CO_ASSERT_OK((co_await Take(source)).status());
}

// The owner is a thread that is no worker, while the runtime runs, and after it has ended.
TEST_P(MultishotCloseTest, MayBeLetGoByAnyThread) {
  const int before = CountIn("fd");
  Pair early, late;
  auto* let_go_early = new MultishotReceive(early.fds[0]);
  auto* let_go_late = new MultishotReceive(late.fds[0]);
  {
    auto runtime = Runtime::Create(options());
    ASSERT_TRUE(runtime.ok()) << runtime.status().ToString();
    (*runtime)->Spawn(Arm(let_go_early, early.fds[1]))->Wait();
    (*runtime)->Spawn(Arm(let_go_late, late.fds[1]))->Wait();
    let_go_early->Close();
  }
  EXPECT_FALSE(IsOpen(early.fds[0]));
  EXPECT_TRUE(IsOpen(late.fds[0]));
  let_go_late->Close();
  close(early.fds[1]);
  close(late.fds[1]);
  EXPECT_EQ(CountIn("fd"), before);
}

}  // namespace
}  // namespace evring
