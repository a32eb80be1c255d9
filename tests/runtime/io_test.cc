// IoOperation: results, errors, cancellation at each point of an operation's life, and rings that are much too small;
// on this machine's kernel and on simulated ones.

#include "runtime/io.h"

#include <errno.h>
#include <sys/mman.h>
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
#include "kevent/owned_descriptor.h"
#include "runtime/cancellation.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/timeout.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"
#include "tests/runtime/test_io.h"
#include "tests/runtime/test_kernel.h"

namespace evring {
namespace {

using namespace evring::testing;

class IoTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, IoTest, Machines(), MachineName);

// With threads that are no workers, or a kernel of the test's own.
class IoFromOutsideTest : public EveryWorkerCount {};
INSTANTIATE_TEST_SUITE_P(Workers, IoFromOutsideTest, WorkerCounts());

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
  co_await WriteText(&pipe, "ab");
  EXPECT_EQ(*co_await ReadByte(&pipe, &begun), 'a');  // there already
  EXPECT_EQ(*co_await ReadByte(&pipe, &begun), 'b');
  auto later = co_await Spawn(ReadByte(&pipe, &begun));
  CO_ASSERT_TRUE(co_await EventuallyInTask([&] { return begun == 3; }));
  co_await WriteText(&pipe, "c");
  EXPECT_EQ(*co_await std::move(later), 'c');
  pipe.CloseIn();
  EXPECT_TRUE(absl::IsOutOfRange((co_await ReadByte(&pipe, &begun)).status()));
}

TEST_P(IoTest, ReadsWhatIsThereAndWhatComes) { RunOk(Results()); }

Task<> Errors() {
  char byte = 0;
  const absl::Status status = (co_await ReadOnce(-1, std::as_writable_bytes(std::span(&byte, 1)))).status();
  EXPECT_EQ(kevent::StatusErrno(status), EBADF) << status;
  Pipe pipe;
  const absl::Status wrong_end = (co_await ReadOnce(pipe.in(), std::as_writable_bytes(std::span(&byte, 1)))).status();
  EXPECT_EQ(kevent::StatusErrno(wrong_end), EBADF) << wrong_end;
}

TEST_P(IoTest, ErrorsCarryTheirErrno) { RunOk(Errors()); }

// A regular file that the program has opened by itself is read as it is, on simulated machines too.
Task<> AFileOfItsOwn() {
  const kevent::OwnedDescriptor file(memfd_create("io_test", MFD_CLOEXEC));
  CO_ASSERT_TRUE(file.valid());
  CO_ASSERT_EQ(write(file.get(), "abc", 3), 3);
  CO_ASSERT_EQ(lseek(file.get(), 1, SEEK_SET), 1);
  std::array<char, 2> bytes = {};
  for (const char expected : {'b', 'c'}) {
    const absl::StatusOr<size_t> n = co_await ReadOnce(file.get(), std::as_writable_bytes(std::span(bytes).first(1)));
    EXPECT_EQ(n.value_or(0), 1u) << n.status();
    EXPECT_EQ(bytes[0], expected);
  }
  const absl::StatusOr<size_t> end = co_await ReadOnce(file.get(), std::as_writable_bytes(std::span(bytes)));
  EXPECT_EQ(end.value_or(1), 0u) << end.status();
}

TEST_P(IoTest, ReadsAFileFromWhereItStands) { RunOk(AFileOfItsOwn()); }

// --- Cancellation
// ------------------------------------------------------------------------------------------------------

Task<> CancelledBefore() {
  std::atomic<int> begun{0};
  Pipe pipe;
  co_await WriteText(&pipe, "a");
  (co_await internal::CurrentContextAwaiter())->RequestStop();
  EXPECT_TRUE(absl::IsCancelled((co_await ReadByte(&pipe, &begun)).status()));
  EXPECT_TRUE(pipe.HasBytes());  // nothing was submitted
}

TEST_P(IoTest, AfterAStopNothingIsSubmitted) { RunOk(CancelledBefore()); }

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

TEST_P(IoTest, AStopEndsAPendingOperation) { RunOk(CancelledOnTheSameWorker()); }

TEST_P(IoFromOutsideTest, AStopFromAnotherThreadEndsAPendingOperation) {
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
TEST_P(IoFromOutsideTest, AStopLosesNoData) {
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

template <class T>
Task<> Stop(JoinHandle<T>* handle) {
  handle->RequestStop();
  co_return;
}

// What is left in the pipe.
Task<int> Drain(const Pipe* pipe) {
  std::atomic<int> begun{0};
  int n = 0;
  for (; pipe->HasBytes(); ++n) {
    const absl::StatusOr<char> byte = co_await ReadByte(pipe, &begun);
    EXPECT_TRUE(byte.ok()) << byte.status();
  }
  co_return n;
}

// The same among tasks that are ready together.
Task<> StopsRaceWithWrites(int rounds) {
  Pipe pipe;
  std::atomic<int> begun{0};
  int read = 0;
  for (int i = 0; i < rounds; ++i) {
    auto reader = co_await Spawn(ReadByte(&pipe, &begun));
    for (int k = 0; k < i % 3; ++k) co_await Yield();
    auto writer = co_await Spawn(WriteText(&pipe, "x"));
    for (int k = 0; k < i % 4; ++k) co_await Yield();
    auto stopper = co_await Spawn(Stop(&reader));
    co_await std::move(stopper);
    const absl::StatusOr<char> byte = co_await std::move(reader);
    EXPECT_TRUE(byte.ok() || absl::IsCancelled(byte.status())) << byte.status();
    read += byte.ok() ? 1 : 0;
    co_await std::move(writer);
  }
  EXPECT_EQ(read + co_await Drain(&pipe), rounds);
}

TEST_P(IoTest, AStopOfATaskLosesNoData) { RunOk(StopsRaceWithWrites(Rounds(1000))); }

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

TEST_P(IoFromOutsideTest, TimeoutsOfReadsRaceWithTheData) {
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

// The same with a task that writes.
Task<> WriteNowAndThen(std::span<const std::unique_ptr<Pipe>> pipes, const std::atomic<bool>* done, int* written) {
  while (!*done && *written < 4000) {  // less than what a pipe holds
    for (const auto& pipe : pipes) co_await WriteText(pipe.get(), "x");
    ++*written;
    CO_ASSERT_OK(co_await Sleep(absl::Microseconds(*written % 30)));
  }
}

Task<> TimeoutsRaceWithWrites(int rounds) {
  std::vector<std::unique_ptr<Pipe>> pipes;
  std::vector<JoinHandle<int>> readers;
  std::atomic<int> begun{0};
  for (int i = 0; i < 8; ++i) {
    pipes.push_back(std::make_unique<Pipe>());
    readers.push_back(co_await Spawn(ReadAll(pipes.back().get(), rounds, &begun)));
  }
  std::atomic<bool> done{false};
  int written = 0;
  JoinHandle<> writer = co_await Spawn(WriteNowAndThen(pipes, &done, &written));
  std::vector<int> read;
  for (auto& reader : readers) read.push_back(co_await std::move(reader));
  done = true;
  co_await std::move(writer);
  for (size_t i = 0; i < pipes.size(); ++i) {
    const int left = co_await Drain(pipes[i].get());
    EXPECT_EQ(read[i] + left, written);
  }
}

TEST_P(IoTest, TimeoutsOfReadsRaceWithWrites) {
  RunOk(TimeoutsRaceWithWrites(machine().simulated() ? 60 : Scaled(400)));
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
  for (size_t i = step - 1; i < readers.pipes.size(); i += step) co_await WriteText(readers.pipes[i].get(), "y");
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
  const int n = machine().simulated() ? 60 : 400;
  RuntimeOptions tiny;
  tiny.ring.sq_entries = 4;
  RunOk(ReadMany(n, false), tiny);
  RunOk(ReadMany(n, true), tiny);
  tiny.ring.cq_entries = 4;
  RunOk(ReadMany(n, false), tiny);
}

Task<> ReadNow(int n) {
  Pipe pipe;
  std::vector<JoinHandle<absl::StatusOr<char>>> readers;
  std::atomic<int> begun{0};
  for (int i = 0; i < n; ++i) pipe.Write("z");
  for (int i = 0; i < n; ++i) readers.push_back(co_await Spawn(ReadByte(&pipe, &begun)));
  for (auto& reader : readers) EXPECT_EQ(*co_await std::move(reader), 'z');
}

TEST_P(IoFromOutsideTest, CompletionsThatDoNotFitIntoTheRingComeLater) {
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
TEST_P(IoFromOutsideTest, ARefusedEnterIsTriedAgain) {
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
TEST_P(IoFromOutsideTest, ARequestThatACancelInterruptsIsCancelled) {
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
TEST_P(IoFromOutsideTest, ARequestThatIsInterruptedWithoutAStopIsNotCancelled) {
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

TEST_P(IoFromOutsideTest, ShutdownEndsPendingOperations) {
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
