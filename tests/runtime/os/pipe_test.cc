// pipe_test.cc: pipes: what is written is read, in order, to its end; broken and full ones; ends that are shared and do
// not block; stops. What has to do with this machine's signals, flags and limits runs on its kernel only.

#include "runtime/os/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/testing.h"
#include "runtime/timeout.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/os/other_kernels.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

class PipeTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, PipeTest, MachinesWithoutErrors({1, 2, 4}), MachineName);

Task<absl::StatusOr<std::string>> ThroughAPipe() {
  absl::StatusOr<Pipe> pipe = Pipe::Create();
  if (!pipe.ok()) co_return pipe.status();
  const std::string_view text = "some text";
  absl::Status status = co_await pipe->writer.Write(std::as_bytes(std::span(text)));
  if (!status.ok()) co_return status;
  pipe->writer.Close();
  co_return co_await pipe->reader.ReadAll(/*limit=*/1000);
}

Task<> CarriesText() {
  CO_ASSERT_OK_AND_ASSIGN(const std::string text, co_await ThroughAPipe());
  EXPECT_EQ(text, "some text");
}

TEST_P(PipeTest, CarriesTextToItsEnd) { RunOk(CarriesText()); }

// Bytes of which each says where it stands.
std::string Numbered(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>((i * 2654435761u) >> 13);
  return bytes;
}

Task<absl::Status> WritePieces(PipeWriter* writer, std::string_view bytes) {
  for (size_t piece = 1; !bytes.empty(); piece = (piece * 5 + 1) % 20'011) {
    const std::string_view part = bytes.substr(0, piece);
    const absl::Status status = co_await writer->Write(Bytes(part));
    if (!status.ok()) co_return status;
    bytes.remove_prefix(part.size());
  }
  writer->Close();
  co_return absl::OkStatus();
}

Task<> ReadPieces(size_t size) {
  CO_ASSERT_OK_AND_ASSIGN(Pipe pipe, Pipe::Create());
  const std::string bytes = Numbered(size);
  JoinHandle<absl::Status> writing = co_await Spawn(WritePieces(&pipe.writer, bytes));
  std::string read;
  std::vector<std::byte> buffer(7'001);
  for (;;) {
    const std::span<std::byte> room = std::span(buffer).first(1 + read.size() % buffer.size());
    CO_ASSERT_OK_AND_ASSIGN(const size_t n, co_await pipe.reader.Read(room));
    if (n == 0) break;
    CO_ASSERT_LE(n, room.size());
    read.append(reinterpret_cast<const char*>(buffer.data()), n);
  }
  CO_ASSERT_OK(co_await std::move(writing));
  EXPECT_TRUE(read == bytes) << read.size() << " bytes of " << bytes.size();
  CO_ASSERT_OK_AND_ASSIGN(const size_t again, co_await pipe.reader.Read(buffer));
  EXPECT_EQ(again, 0u) << "the end stays the end";
}

TEST_P(PipeTest, BytesComeInOrderWhateverThePieces) { RunOk(ReadPieces(machine().simulated() ? 100'000 : 1'000'000)); }

Task<> Limits() {
  for (const size_t size : {0, 1, 4'096, 9'999}) {
    for (const size_t limit : {size, size + 1, size - 1}) {
      if (size == 0 && limit != 0) continue;
      CO_ASSERT_OK_AND_ASSIGN(Pipe pipe, Pipe::Create());
      const std::string bytes = Numbered(size);
      CO_ASSERT_OK(co_await pipe.writer.Write(Bytes(bytes)));
      pipe.writer.Close();
      const absl::StatusOr<std::string> all = co_await pipe.reader.ReadAll(limit);
      if (limit < size) {
        EXPECT_TRUE(absl::IsResourceExhausted(all.status())) << all.status();
      } else {
        CO_ASSERT_OK(all);
        EXPECT_EQ(*all, bytes);
      }
    }
  }
}

TEST_P(PipeTest, ReadAllKeepsToItsLimit) { RunOk(Limits()); }

Task<absl::Status> CountBytes(PipeReader* reader, std::atomic<size_t>* bytes) {
  std::array<std::byte, 100> buffer;
  for (;;) {
    const absl::StatusOr<size_t> n = co_await reader->Read(buffer);
    if (!n.ok()) co_return n.status();
    if (*n == 0) co_return absl::OkStatus();
    *bytes += *n;
  }
}

Task<> SeveralReaders() {
  CO_ASSERT_OK_AND_ASSIGN(Pipe pipe, Pipe::Create());
  std::atomic<size_t> bytes{0};
  std::vector<JoinHandle<absl::Status>> readers;
  for (int i = 0; i < 5; ++i) {
    JoinHandle<absl::Status> reader = co_await Spawn(CountBytes(&pipe.reader, &bytes));
    readers.push_back(std::move(reader));
  }
  const std::string text = Numbered(30'000);
  const absl::Status written = co_await WritePieces(&pipe.writer, text);
  for (JoinHandle<absl::Status>& reader : readers) CO_ASSERT_OK(co_await std::move(reader));
  CO_ASSERT_OK(written);
  EXPECT_EQ(bytes, text.size());
}

TEST_P(PipeTest, SeveralReadersShareWhatComes) { RunOk(SeveralReaders()); }

// --- Stops

Task<absl::Status> ReadOne(PipeReader* reader) {
  std::array<std::byte, 1> byte;
  const absl::StatusOr<size_t> n = co_await reader->Read(byte);
  co_return n.status();
}

Task<absl::Status> WriteMuch(PipeWriter* writer) {
  const std::string much(1'000'000, 'm');
  co_return co_await writer->Write(Bytes(much));
}

Task<> StopBoth() {
  CO_ASSERT_OK_AND_ASSIGN(Pipe pipe, Pipe::Create());
  absl::Status status = co_await StartCancelled(ReadOne(&pipe.reader));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  status = co_await StartCancelled(WriteMuch(&pipe.writer));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  status = co_await WithTimeout(absl::Milliseconds(2), ReadOne(&pipe.reader));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  CO_ASSERT_OK(co_await pipe.writer.Write(Bytes("ab")));
  const absl::StatusOr<size_t> after = co_await pipe.reader.Read({});
  CO_ASSERT_OK(after);
  std::array<std::byte, 1> byte;
  CO_ASSERT_OK_AND_ASSIGN(const size_t n, co_await pipe.reader.Read(byte));
  CO_ASSERT_EQ(n, 1u);
  EXPECT_EQ(static_cast<char>(byte[0]), 'a') << "a read that was stopped has taken nothing";
  status = co_await WithTimeout(absl::Milliseconds(2), WriteMuch(&pipe.writer));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
}

TEST_P(PipeTest, AStopEndsReadsAndWrites) { RunOk(StopBoth()); }

Task<absl::Status> Exchange() {
  absl::StatusOr<Pipe> pipe = Pipe::Create();
  if (!pipe.ok()) co_return pipe.status();
  const std::string text(200'000, 'x');
  JoinHandle<absl::Status> writing = co_await Spawn(WritePieces(&pipe->writer, text));
  absl::StatusOr<std::string> all = co_await pipe->reader.ReadAll(300'000);
  if (!all.ok()) pipe->reader.Close();
  const absl::Status written = co_await std::move(writing);
  if (!all.ok()) co_return all.status();
  co_return written;
}

Task<> StopEverywhere() {
  CO_ASSERT_OK_AND_ASSIGN(const int suspensions, co_await CancelAtEverySuspension(&Exchange));
  EXPECT_GE(suspensions, 3);
}

TEST_P(PipeTest, AStopAnywhereEndsAnExchange) {
  const int before = CountIn("fd");
  RunOk(StopEverywhere());
  EXPECT_EQ(CountIn("fd"), before);
}

// --- This machine

class PipeOfThisMachine : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Workers, PipeOfThisMachine, RealMachines({1, 2, 4}), MachineName);

// Counts SIGPIPE, which would end the program.
class CountedSigpipe {
 public:
  CountedSigpipe() {
    count_ = 0;
    struct sigaction action = {};
    action.sa_handler = [](int) { ++count_; };
    EXPECT_EQ(sigaction(SIGPIPE, &action, &before_), 0);
  }
  ~CountedSigpipe() { EXPECT_EQ(sigaction(SIGPIPE, &before_, nullptr), 0); }
  int count() const { return count_; }

 private:
  static inline std::atomic<int> count_{0};
  struct sigaction before_;
};

Task<> WriteToNobody() {
  CO_ASSERT_OK_AND_ASSIGN(Pipe pipe, Pipe::Create());
  pipe.reader.Close();
  for (int i = 0; i < 3; ++i) {
    const absl::Status status = co_await pipe.writer.Write(Bytes("x"));
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_EQ(kevent::StatusErrno(status), EPIPE);
    EXPECT_NE(std::string(status.message()).find("write to a pipe fd="), std::string::npos) << status;
  }
  // One that waits in a full pipe when the last reader goes.
  CO_ASSERT_OK_AND_ASSIGN(Pipe full, Pipe::Create());
  JoinHandle<absl::Status> writing = co_await Spawn(WriteMuch(&full.writer));
  CO_ASSERT_OK(co_await Sleep(absl::Milliseconds(20)));
  full.reader.Close();
  const absl::Status status = co_await std::move(writing);
  EXPECT_EQ(kevent::StatusErrno(status), EPIPE) << status;
}

TEST_P(PipeOfThisMachine, AWriteThatNobodyReadsIsAnErrorAndNoSignal) {
  CountedSigpipe sigpipe;
  RunOk(WriteToNobody());
  EXPECT_EQ(sigpipe.count(), 0);
}

// A Linux that does not know RWF_NOSIGNAL: it refuses the flag.
class OlderKernel : public AlteringKernel {
 public:
  OlderKernel() : AlteringKernel([this](io_uring_sqe* sqe) { Alter(sqe); }) {}

  std::atomic<int> refused{0};
  std::atomic<int> by_its_threads{0};

 private:
  void Alter(io_uring_sqe* sqe) {
    constexpr __kernel_rwf_t kNoSignal = 0x100;
    constexpr __kernel_rwf_t kUnknown = 0x4000'0000;
    if (sqe->opcode != IORING_OP_WRITE) return;
    if ((sqe->flags & IOSQE_ASYNC) != 0) ++by_its_threads;
    if ((sqe->rw_flags & kNoSignal) == 0) return;
    sqe->rw_flags = kUnknown;
    ++refused;
  }
};

TEST_P(PipeOfThisMachine, OnAnOlderLinuxNeither) {
  CountedSigpipe sigpipe;
  OlderKernel kernel;
  RuntimeOptions options;
  options.kernel = &kernel;
  RunOk(WriteToNobody(), options);
  RunOk(ReadPieces(300'000), options);
  EXPECT_EQ(sigpipe.count(), 0);
  EXPECT_GE(kernel.refused, 2) << "once for each runtime";
  EXPECT_LE(kernel.refused, 2 * 2 * workers()) << "it is found out, and remembered";
  EXPECT_GT(kernel.by_its_threads, kernel.refused);
}

// A FIFO that another process might share, opened not to block.
class SharedFifo {
 public:
  SharedFifo() {
    path_ = ::testing::TempDir() + "/pipe_test.XXXXXX";
    EVRING_CHECK(mkdtemp(path_.data()) != nullptr, "a directory");
    const std::string fifo = path_ + "/fifo";
    EVRING_CHECK(mkfifo(fifo.c_str(), 0600) == 0, "a FIFO");
    for (int& fd : fds_) fd = open(fifo.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
    EVRING_CHECK(fds_[0] >= 0 && fds_[1] >= 0, "both ends");
    EVRING_CHECK(unlink(fifo.c_str()) == 0 && rmdir(path_.c_str()) == 0, "removed");
  }
  ~SharedFifo() {
    for (const int fd : fds_) close(fd);
  }
  int fd(int i) const { return fds_[i]; }

 private:
  std::string path_;
  int fds_[2];
};

Task<> ExchangeWithoutBlocking(int read_end, int write_end) {
  PipeReader reader(read_end);
  PipeWriter writer(write_end);
  const std::string bytes = Numbered(400'000);
  JoinHandle<absl::Status> writing = co_await Spawn(WritePieces(&writer, bytes));
  std::string read;
  std::array<std::byte, 5'000> buffer;
  while (read.size() < bytes.size()) {
    CO_ASSERT_OK_AND_ASSIGN(const size_t n, co_await reader.Read(buffer));
    CO_ASSERT_GT(n, 0u);
    read.append(reinterpret_cast<const char*>(buffer.data()), n);
  }
  CO_ASSERT_OK(co_await std::move(writing));
  EXPECT_TRUE(read == bytes);
  // Nothing comes: it waits.
  const absl::Status status = co_await WithTimeout(absl::Milliseconds(5), ReadOne(&reader));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
}

TEST_P(PipeOfThisMachine, EndsThatDoNotBlockAreWaitedForAndStayAsTheyAre) {
  const SharedFifo fifo;
  const int flags = fcntl(fifo.fd(0), F_GETFL);
  RunOk(ExchangeWithoutBlocking(dup(fifo.fd(0)), dup(fifo.fd(1))));
  EXPECT_EQ(fcntl(fifo.fd(0), F_GETFL), flags);
}

// Linux 6.18 waits in such a request. It answers EAGAIN when it is told to, as others do unasked.
TEST_P(PipeOfThisMachine, AnAnswerToTryAgainIsWaitedOn) {
  std::atomic<int> reads{0};
  AlteringKernel kernel([&reads](io_uring_sqe* sqe) {
    if (sqe->opcode == IORING_OP_READ) ++reads;
    if (sqe->opcode == IORING_OP_READ || sqe->opcode == IORING_OP_WRITE) sqe->rw_flags |= RWF_NOWAIT;
  });
  RuntimeOptions options;
  options.kernel = &kernel;
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
  RunOk(ExchangeWithoutBlocking(fds[0], dup(fds[1])), options);  // and it does not end
  close(fds[1]);
  EXPECT_GT(reads, 400'000 / 5'000) << "and it was asked again";
}

Task<> WrongEnds() {
  CO_ASSERT_OK_AND_ASSIGN(Pipe pipe, Pipe::Create());
  EXPECT_EQ(fcntl(pipe.reader.fd(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(fcntl(pipe.writer.fd(), F_GETFD), FD_CLOEXEC);
  PipeReader not_to_read(pipe.writer.Release());
  EXPECT_FALSE(pipe.writer.valid());
  const absl::Status status = co_await ReadOne(&not_to_read);
  EXPECT_EQ(kevent::StatusErrno(status), EBADF) << status;
  const PipeReader none;
  const absl::StatusOr<std::string> all = co_await none.ReadAll(5);
  EXPECT_EQ(kevent::StatusErrno(all.status()), EBADF) << all.status();
}

TEST_P(PipeOfThisMachine, EndsOwnTheirDescriptorsAndErrorsAreTheSystems) {
  const int before = CountIn("fd");
  RunOk(WrongEnds());
  EXPECT_EQ(CountIn("fd"), before);
}

TEST(Pipe, WithoutDescriptorsThereIsNone) {
  EXPECT_TRUE(Pipe::Create().ok());  // UBSan takes a look at what is called for the first time, with descriptors
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = 3;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  const absl::StatusOr<Pipe> pipe = Pipe::Create();
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(absl::IsResourceExhausted(pipe.status())) << pipe.status();
  EXPECT_EQ(kevent::StatusErrno(pipe.status()), EMFILE);
}

}  // namespace
}  // namespace evring
