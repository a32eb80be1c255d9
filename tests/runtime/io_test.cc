// IoOperation: results, errors, cancellation at each point of an operation's life, and rings that are much too small.

#include "runtime/io.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "runtime/cancellation.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/timeout.h"
#include "tests/runtime/runtime_test_util.h"
#include "tests/runtime/test_io.h"
#include "tests/runtime/test_kernel.h"

namespace evring {
namespace {

using namespace evring::testing;

class IoTest : public EveryWorkerCount {};
INSTANTIATE_TEST_SUITE_P(Workers, IoTest, WorkerCounts());

Task<absl::StatusOr<char>> ReadByte(const Pipe* pipe, std::atomic<int>* begun) {
  char byte = 0;
  ++*begun;
  const absl::StatusOr<size_t> n = co_await ReadOnce(pipe->out(), std::as_writable_bytes(std::span(&byte, 1)));
  if (!n.ok()) co_return n.status();
  if (*n == 0) co_return absl::OutOfRangeError("end of file");
  co_return byte;
}

// --- Results
// -----------------------------------------------------------------------------------------------------------

Task<> Results() {
  std::atomic<int> begun{0};
  Pipe pipe;
  pipe.Write("ab");
  EXPECT_EQ(*co_await ReadByte(&pipe, &begun), 'a');  // there already
  EXPECT_EQ(*co_await ReadByte(&pipe, &begun), 'b');
  auto later = co_await Spawn(ReadByte(&pipe, &begun));
  CO_ASSERT_TRUE(co_await EventuallyInTask([&] { return begun == 3; }));
  pipe.Write("c");
  EXPECT_EQ(*co_await std::move(later), 'c');
  pipe.CloseIn();
  EXPECT_TRUE(absl::IsOutOfRange((co_await ReadByte(&pipe, &begun)).status()));
}

TEST_P(IoTest, ReadsWhatIsThereAndWhatComes) { RunOk(Results(), options()); }

Task<> Errors() {
  char byte = 0;
  const absl::Status status = (co_await ReadOnce(-1, std::as_writable_bytes(std::span(&byte, 1)))).status();
  EXPECT_EQ(kevent::StatusErrno(status), EBADF) << status;
  Pipe pipe;
  const absl::Status wrong_end = (co_await ReadOnce(pipe.in(), std::as_writable_bytes(std::span(&byte, 1)))).status();
  EXPECT_EQ(kevent::StatusErrno(wrong_end), EBADF) << wrong_end;
}

TEST_P(IoTest, ErrorsCarryTheirErrno) { RunOk(Errors(), options()); }

// --- Cancellation
// ------------------------------------------------------------------------------------------------------

Task<> CancelledBefore() {
  std::atomic<int> begun{0};
  Pipe pipe;
  pipe.Write("a");
  (co_await internal::CurrentContextAwaiter())->RequestStop();
  EXPECT_TRUE(absl::IsCancelled((co_await ReadByte(&pipe, &begun)).status()));
  EXPECT_EQ(pipe.Readable(), 1);  // nothing was submitted
}

TEST_P(IoTest, AfterAStopNothingIsSubmitted) { RunOk(CancelledBefore(), options()); }

Task<> CancelledOnTheSameWorker() {
  std::atomic<int> begun{0};
  Pipe pipe;
  for (int yields : {0, 1, 5}) {
    auto reader = co_await Spawn(ReadByte(&pipe, &begun));
    for (int i = 0; i < yields; ++i) co_await Yield();
    reader.RequestStop();
    EXPECT_TRUE(absl::IsCancelled((co_await std::move(reader)).status()));
  }
}

TEST_P(IoTest, AStopEndsAPendingOperation) { RunOk(CancelledOnTheSameWorker(), options()); }

TEST_P(IoTest, AStopFromAnotherThreadEndsAPendingOperation) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  Pipe pipe;
  std::atomic<int> begun{0};
  for (int i = 0; i < Scaled(500); ++i) {
    auto reader = (*runtime)->Spawn(ReadByte(&pipe, &begun));
    if (i % 2 == 0) {
      while (begun <= i) std::this_thread::yield();
    }
    reader->RequestStop();
    EXPECT_TRUE(absl::IsCancelled(reader->Wait().status()));
  }
}

// A stop that races with the data: what was not read is still there.
TEST_P(IoTest, AStopLosesNoData) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  Pipe pipe;
  std::atomic<int> begun{0};
  int read = 0;
  const int rounds = Scaled(1000);
  for (int i = 0; i < rounds; ++i) {
    auto reader = (*runtime)->Spawn(ReadByte(&pipe, &begun));
    std::thread writer([&] { pipe.Write("x"); });
    reader->RequestStop();
    const absl::StatusOr<char> byte = reader->Wait();
    EXPECT_TRUE(byte.ok() || absl::IsCancelled(byte.status())) << byte.status();
    read += byte.ok() ? 1 : 0;
    writer.join();
  }
  EXPECT_EQ(read + pipe.Readable(), rounds);
}

// The cancel travels to the worker that has the request; meanwhile the task may be in another operation already, at the
// same place in memory, which must not be hit.
Task<int> ReadAll(const Pipe* pipe, int n, std::atomic<int>* begun) {
  int read = 0;
  for (int i = 0; i < n; ++i) {
    const absl::StatusOr<char> byte = co_await WithTimeout(absl::Microseconds(i % 60), ReadByte(pipe, begun));
    if (byte.ok()) {
      ++read;
    } else {
      EXPECT_TRUE(absl::IsDeadlineExceeded(byte.status())) << byte.status();
    }
  }
  co_return read;
}

TEST_P(IoTest, TimeoutsOfReadsRaceWithTheData) {
  auto runtime = Runtime::Create(options());
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  const int rounds = Scaled(400);
  std::vector<std::unique_ptr<Pipe>> pipes;
  std::vector<JoinHandle<int>> readers;
  std::atomic<int> begun{0};
  for (int i = 0; i < 16; ++i) {
    pipes.push_back(std::make_unique<Pipe>());
    readers.push_back(*(*runtime)->Spawn(ReadAll(pipes.back().get(), rounds, &begun)));
  }
  std::atomic<bool> done{false};
  int written = 0;
  std::thread writer([&] {
    while (!done && written < 4000) {  // less than what a pipe holds
      for (auto& pipe : pipes) pipe->Write("x");
      ++written;
      std::this_thread::yield();
    }
  });
  std::vector<int> read;
  for (auto& reader : readers) read.push_back(reader.Wait());
  done = true;
  writer.join();
  for (size_t i = 0; i < pipes.size(); ++i) EXPECT_EQ(read[i] + pipes[i]->Readable(), written);
}

// --- Rings that are too small
// ------------------------------------------------------------------------------------------

// Tasks that each read a byte of a pipe of their own.
struct Readers {
  std::vector<std::unique_ptr<Pipe>> pipes;
  std::vector<JoinHandle<absl::StatusOr<char>>> handles;
  std::atomic<int> begun{0};
};

// Spawns `n` of them. False: not all have come to their read in time.
Task<bool> Begin(int n, Readers* readers) {
  for (int i = 0; i < n; ++i) {
    readers->pipes.push_back(std::make_unique<Pipe>());
    readers->handles.push_back(co_await Spawn(ReadByte(readers->pipes.back().get(), &readers->begun)));
  }
  co_return co_await EventuallyInTask([readers, n] { return readers->begun == n; });
}

Task<> ReadMany(int n, bool cancel_half) {
  Readers readers;
  CO_ASSERT_TRUE(co_await Begin(n, &readers));
  const size_t step = cancel_half ? 2 : 1;
  if (cancel_half) {
    for (size_t i = 0; i < readers.handles.size(); i += step) readers.handles[i].RequestStop();
  }
  for (size_t i = step - 1; i < readers.pipes.size(); i += step) readers.pipes[i]->Write("y");
  for (size_t i = 0; i < readers.handles.size(); ++i) {
    const absl::StatusOr<char> byte = co_await std::move(readers.handles[i]);
    if (cancel_half && i % 2 == 0) {
      EXPECT_TRUE(absl::IsCancelled(byte.status())) << byte.status();
    } else {
      EXPECT_EQ(*byte, 'y');
    }
  }
}

TEST_P(IoTest, RequestsThatDoNotFitIntoTheRingWaitTheirTurn) {
  RuntimeOptions tiny = options();
  tiny.ring.sq_entries = 4;
  RunOk(ReadMany(400, false), tiny);
  RunOk(ReadMany(400, true), tiny);
}

Task<> ReadNow(int n) {
  Pipe pipe;
  std::vector<JoinHandle<absl::StatusOr<char>>> readers;
  std::atomic<int> begun{0};
  for (int i = 0; i < n; ++i) pipe.Write("z");
  for (int i = 0; i < n; ++i) readers.push_back(co_await Spawn(ReadByte(&pipe, &begun)));
  for (auto& reader : readers) EXPECT_EQ(*co_await std::move(reader), 'z');
}

TEST_P(IoTest, CompletionsThatDoNotFitIntoTheRingComeLater) {
  RuntimeOptions tiny = options();
  tiny.ring.sq_entries = 8;
  tiny.ring.cq_entries = 8;
  auto runtime = Runtime::Create(tiny);
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  (*runtime)->Spawn(ReadNow(1000))->Wait();
  (*runtime)->Spawn(ReadMany(400, false))->Wait();
  (*runtime)->Shutdown();
  EXPECT_GE((*runtime)->counters().completions, 1400u);
}

// All bytes come while nobody looks at the ring: more completions than it holds.
Task<> Overflow(int n) {
  Readers readers;
  CO_ASSERT_TRUE(co_await Begin(n, &readers));
  CO_ASSERT_OK(co_await Sleep(absl::Milliseconds(1)));  // all are in the kernel
  for (auto& pipe : readers.pipes) pipe->Write("w");
  for (auto& reader : readers.handles) EXPECT_EQ(*co_await std::move(reader), 'w');
}

TEST(Io, AnOverflowOfTheCompletionRingIsCountedAndLosesNothing) {
  RuntimeOptions tiny = WithWorkers(1);
  tiny.ring.sq_entries = 8;
  tiny.ring.cq_entries = 16;
  auto runtime = Runtime::Create(tiny);
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  (*runtime)->Spawn(Overflow(400))->Wait();
  (*runtime)->Shutdown();
  EXPECT_GT((*runtime)->counters().overflow_episodes, 0u);
}

// --- A kernel that refuses
// ---------------------------------------------------------------------------------------------

// Every other call is refused for want of memory; a ring that is too small leaves a backlog behind each time.
TEST_P(IoTest, ARefusedEnterIsTriedAgain) {
  for (const int error : {EAGAIN, EBUSY, ENOMEM, EINTR}) {
    TestKernel kernel;
    std::atomic<uint32_t> calls{0};
    kernel.on_enter = [&](unsigned, unsigned) { return ++calls % 2 == 0 ? -error : 0; };
    RuntimeOptions tiny = options();
    tiny.kernel = &kernel;
    tiny.ring.sq_entries = 4;
    RunOk(ReadMany(60, true), tiny);
    EXPECT_GT(kernel.refused_enters, 0);
  }
}

// Stops reads until one was in the kernel by then, and not just about to begin.
Task<> StopUntilOneIsInterrupted(const std::atomic<int>* interrupted) {
  std::atomic<int> begun{0};
  Pipe pipe;
  for (int round = 0; *interrupted == 0 && round < 10'000; ++round) {
    auto reader = co_await Spawn(ReadByte(&pipe, &begun));
    CO_ASSERT_TRUE(co_await EventuallyInTask([&] { return begun > round; }));
    reader.RequestStop();
    const absl::Status status = (co_await std::move(reader)).status();
    EXPECT_TRUE(absl::IsCancelled(status)) << status;
  }
}

// Linux interrupts the thread of its own that carries a request out, and the request may end by that. Here every read
// that a stop cancels ends so.
TEST_P(IoTest, ARequestThatACancelInterruptsIsCancelled) {
  TestKernel kernel;
  std::atomic<int> interrupted{0};
  kernel.on_completion = [&](io_uring_cqe* cqe) {
    if (cqe->res != -ECANCELED) return;
    cqe->res = -EINTR;
    ++interrupted;
  };
  RuntimeOptions interrupting = options();
  interrupting.kernel = &kernel;
  RunOk(StopUntilOneIsInterrupted(&interrupted), interrupting);
  EXPECT_GT(interrupted, 0);
}

Task<> InterruptedRead() {
  std::atomic<int> begun{0};
  Pipe pipe;
  pipe.Write("a");
  const absl::Status status = (co_await ReadByte(&pipe, &begun)).status();
  EXPECT_EQ(kevent::StatusErrno(status), EINTR) << status;
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

// What interrupts a request unasked is an error like any.
TEST_P(IoTest, ARequestThatIsInterruptedWithoutAStopIsNotCancelled) {
  TestKernel kernel;
  kernel.on_completion = [](io_uring_cqe* cqe) {
    if (cqe->user_data > kevent::kUserDataLast && cqe->res == 1) cqe->res = -EINTR;
  };
  RuntimeOptions interrupting = options();
  interrupting.kernel = &kernel;
  RunOk(InterruptedRead(), interrupting);
}

// --- Shutdown
// ----------------------------------------------------------------------------------------------------------

TEST_P(IoTest, ShutdownEndsPendingOperations) {
  for (int i = 0; i < 20; ++i) {
    auto runtime = Runtime::Create(options());
    ASSERT_TRUE(runtime.ok()) << runtime.status();
    std::vector<std::unique_ptr<Pipe>> pipes;
    std::vector<JoinHandle<absl::StatusOr<char>>> readers;
    std::atomic<int> begun{0};
    for (int k = 0; k < 20; ++k) {
      pipes.push_back(std::make_unique<Pipe>());
      readers.push_back(*(*runtime)->Spawn(ReadByte(pipes.back().get(), &begun)));
    }
    if (i % 2 == 0) {
      ASSERT_TRUE(Eventually([&] { return begun == 20; }));
    }
    runtime->reset();
    for (auto& reader : readers) EXPECT_TRUE(absl::IsCancelled(reader.Wait().status()));
  }
}

}  // namespace
}  // namespace evring
