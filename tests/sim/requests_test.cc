// requests_test.cc: requests of a program to the simulated kernel, one by one, where the comparison with the real one
// (differential_test.cc) cannot look: at what time of the clock a timeout comes, what a poll tells exactly.

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kevent/handle.h"
#include "kevent/kernel.h"
#include "kevent/ring.h"
#include "sim/kernel.h"

namespace evring::sim {
namespace {

using Results = std::vector<int32_t>;

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int64_t kQuietNs = 10'000'000;  // what is under way between sockets has come after so long
constexpr int64_t kCallsNs = 1'000'000;   // more than the calls of a test take

class Request final : public kevent::Kevent {
 public:
  Request() : Kevent(kevent::EventType::kNop, -1, 0, nullptr) {}

  Results results;
  int64_t ended_ns = 0;
};

class SimulatedRequests : public ::testing::Test {
 protected:
  explicit SimulatedRequests(const KernelOptions& options = KernelOptions()) : kernel_(options) {
    auto made = kevent::Ring::Create(&kernel_, kevent::RingOptions());
    EXPECT_TRUE(made.ok()) << made.status();
    ring_ = *std::move(made);
  }
  ~SimulatedRequests() override {
    io_uring_sqe* sqe = ring_->GetSqe();
    io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
    sqe->user_data = kevent::kUserDataIgnore;
    Run(kQuietNs);
  }

  int64_t Now() { return kernel_.NowNs(); }
  io_uring_sqe* Sqe() { return ring_->GetSqe(); }
  void Start(Request* request, io_uring_sqe* sqe) { ring_->Start(request, sqe); }

  // Until the clock has moved on by `ns`.
  void Run(int64_t ns) {
    kevent::WaitArgs wait;
    wait.deadline_ns = Now() + ns;
    while (ring_->Wait(ring_->state(), wait) != kevent::WaitResult::kDeadline) {
      ring_->Consume(64, [this](kevent::Kevent* kevent, const kevent::Event& event) {
        auto* request = static_cast<Request*>(kevent);
        request->results.push_back(event.result);
        if (event.last()) request->ended_ns = Now();
      });
    }
  }

  void StartTimeout(Request* request, __kernel_timespec* time, unsigned count, unsigned flags) {
    io_uring_sqe* sqe = Sqe();
    io_uring_prep_timeout(sqe, time, count, flags);
    Start(request, sqe);
  }
  void StartNop(Request* request) {
    io_uring_sqe* sqe = Sqe();
    io_uring_prep_nop(sqe);
    Start(request, sqe);
  }
  void StartPoll(Request* request, int fd, int events, bool multishot) {
    io_uring_sqe* sqe = Sqe();
    if (multishot) {
      io_uring_prep_poll_multishot(sqe, fd, static_cast<unsigned>(events));
    } else {
      io_uring_prep_poll_add(sqe, fd, static_cast<unsigned>(events));
    }
    Start(request, sqe);
  }
  int32_t Send(int fd, size_t size) {
    const std::vector<std::byte> data(size);
    Request request;
    io_uring_sqe* sqe = Sqe();
    io_uring_prep_send(sqe, fd, data.data(), size, 0);
    Start(&request, sqe);
    Run(kQuietNs);
    return request.results.at(0);
  }

  void StartWrite(Request* request, int fd, const std::vector<std::byte>& data) {
    io_uring_sqe* sqe = Sqe();
    io_uring_prep_write(sqe, fd, data.data(), static_cast<unsigned>(data.size()), 0);
    Start(request, sqe);
  }
  int32_t Write(int fd, size_t size) {
    const std::vector<std::byte> data(size);
    Request request;
    StartWrite(&request, fd, data);
    Run(kQuietNs);
    return request.results.at(0);
  }
  int32_t Read(int fd, size_t size) {
    std::vector<std::byte> data(size);
    Request request;
    io_uring_sqe* sqe = Sqe();
    io_uring_prep_read(sqe, fd, data.data(), static_cast<unsigned>(size), 0);
    Start(&request, sqe);
    Run(kQuietNs);
    return request.results.at(0);
  }

  Kernel kernel_;
  std::unique_ptr<kevent::Ring> ring_;
};

KernelOptions WithShortCounts() {
  KernelOptions options;
  options.faults[Fault::kShortSend].ppm = 500'000;
  options.faults[Fault::kShortReceive].ppm = 500'000;
  return options;
}

class SimulatedFaults : public SimulatedRequests {
 protected:
  SimulatedFaults() : SimulatedRequests(WithShortCounts()) { kernel_.world()->faults.Start(); }
};

// Closed at the end.
struct Pipe2 {
  explicit Pipe2(Kernel* kernel) : kernel(kernel) {
    int fds[2] = {-1, -1};
    EXPECT_EQ(kernel->Pipe2(fds, O_CLOEXEC), 0);
    read = fds[0];
    write = fds[1];
  }
  Pipe2(const Pipe2&) = delete;
  Pipe2& operator=(const Pipe2&) = delete;
  ~Pipe2() {
    for (const int fd : {read, write}) {
      if (fd >= 0) kernel->Close(fd);
    }
  }

  Kernel* const kernel;
  int read = -1;
  int write = -1;
};

// --- Timeouts

TEST_F(SimulatedRequests, ATimeoutComesAtItsTime) {
  const int64_t start = Now();
  __kernel_timespec in_two = {.tv_sec = 2, .tv_nsec = 500};
  __kernel_timespec at_three = {.tv_sec = 3 + start / kSecondNs, .tv_nsec = start % kSecondNs};
  Request relative;
  Request absolute;
  StartTimeout(&relative, &in_two, 0, 0);
  StartTimeout(&absolute, &at_three, 0, IORING_TIMEOUT_ABS);
  Run(10 * kSecondNs);
  EXPECT_EQ(relative.results, Results{-ETIME});
  EXPECT_GE(relative.ended_ns, start + 2 * kSecondNs + 500);
  EXPECT_LT(relative.ended_ns, start + 2 * kSecondNs + 500 + kCallsNs);
  EXPECT_EQ(absolute.results, Results{-ETIME});
  EXPECT_GE(absolute.ended_ns, start + 3 * kSecondNs);
  EXPECT_LT(absolute.ended_ns, start + 3 * kSecondNs + kCallsNs);
}

TEST_F(SimulatedRequests, ATimeoutThatWasRemovedLeavesNoTraceOnTheClock) {
  __kernel_timespec in_an_hour = {.tv_sec = 3600, .tv_nsec = 0};
  Request timeout;
  Request remove;
  Request again;
  StartTimeout(&timeout, &in_an_hour, 0, 0);
  Run(kQuietNs);
  for (Request* request : {&remove, &again}) {
    io_uring_sqe* sqe = Sqe();
    io_uring_prep_timeout_remove(sqe, timeout.number(), 0);
    Start(request, sqe);
  }
  Run(kQuietNs);
  EXPECT_EQ(timeout.results, Results{-ECANCELED});
  EXPECT_EQ(remove.results, Results{0});
  EXPECT_EQ(again.results, Results{-ENOENT});
  EXPECT_EQ(kernel_.world()->next(), kNever);
}

TEST_F(SimulatedRequests, ATimeoutEndsAfterSoManyCompletionsOfOthers) {
  __kernel_timespec in_an_hour = {.tv_sec = 3600, .tv_nsec = 0};
  __kernel_timespec now = {.tv_sec = 0, .tv_nsec = 0};
  Request counting;
  Request other;
  Request nops[2];
  StartTimeout(&counting, &in_an_hour, 2, 0);
  StartTimeout(&other, &now, 0, 0);
  Run(kQuietNs);
  StartNop(&nops[0]);
  Run(kQuietNs);
  EXPECT_EQ(other.results, Results{-ETIME});
  EXPECT_TRUE(counting.in_flight()) << "a timeout that has come does not count";
  StartNop(&nops[1]);
  Run(kQuietNs);
  EXPECT_EQ(counting.results, Results{0});
}

TEST_F(SimulatedRequests, ATimeoutOfAnotherClockIsRefused) {
  __kernel_timespec time = {.tv_sec = 1, .tv_nsec = 0};
  Request timeout;
  StartTimeout(&timeout, &time, 0, IORING_TIMEOUT_REALTIME);
  Run(kQuietNs);
  EXPECT_EQ(timeout.results, Results{-EINVAL});
}

// --- Polls

TEST_F(SimulatedRequests, APollTellsWhatIsThereAndWhatWasNotAskedFor) {
  int fds[2];
  ASSERT_EQ(kernel_.SocketPair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  EXPECT_EQ(Send(fds[0], 10), 10);
  kernel_.Shutdown(fds[0], SHUT_RDWR);
  Request poll;
  StartPoll(&poll, fds[1], POLLIN, /*multishot=*/false);
  Run(kQuietNs);
  EXPECT_EQ(poll.results, Results{POLLIN | POLLHUP | POLLRDHUP});
  kernel_.Close(fds[0]);
  kernel_.Close(fds[1]);
}

TEST_F(SimulatedRequests, AMultishotPollTellsOfEachChangeUntilItIsRemoved) {
  int fds[2];
  ASSERT_EQ(kernel_.SocketPair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  Request poll;
  StartPoll(&poll, fds[1], POLLIN, /*multishot=*/true);
  Run(kQuietNs);
  EXPECT_EQ(poll.results, Results{});
  Send(fds[0], 1);
  EXPECT_EQ(poll.results, Results{POLLIN});
  Run(kSecondNs);
  EXPECT_EQ(poll.results, Results{POLLIN}) << "what stays as it is is told once";
  Send(fds[0], 1);
  EXPECT_EQ(poll.results, (Results{POLLIN, POLLIN}));
  Request remove;
  io_uring_sqe* sqe = Sqe();
  io_uring_prep_poll_remove(sqe, poll.number());
  Start(&remove, sqe);
  Run(kQuietNs);
  EXPECT_EQ(poll.results, (Results{POLLIN, POLLIN, -ECANCELED}));
  EXPECT_EQ(remove.results, Results{0});
  kernel_.Close(fds[0]);
  kernel_.Close(fds[1]);
}

TEST_F(SimulatedRequests, ALevelTriggeredPollIsRefused) {
  int fds[2];
  ASSERT_EQ(kernel_.SocketPair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  Request poll;
  io_uring_sqe* sqe = Sqe();
  io_uring_prep_poll_add(sqe, fds[0], POLLIN);
  sqe->len = IORING_POLL_ADD_LEVEL;
  Start(&poll, sqe);
  Run(kQuietNs);
  EXPECT_EQ(poll.results, Results{-EINVAL});
  kernel_.Close(fds[0]);
  kernel_.Close(fds[1]);
}

// --- Pipes

TEST_F(SimulatedRequests, APipeHoldsItsPagesAndGivesThemBackWhole) {
  const Pipe2 pipe(&kernel_);
  EXPECT_EQ(Write(pipe.write, 70'000), 65'536) << "a short write, not a wait";
  Request waits;
  const std::vector<std::byte> page(4096);
  StartWrite(&waits, pipe.write, page);
  Run(kQuietNs);
  EXPECT_TRUE(waits.in_flight());
  EXPECT_EQ(Read(pipe.read, 4095), 4095);
  EXPECT_TRUE(waits.in_flight()) << "a page with one byte in it is not free";
  EXPECT_EQ(Read(pipe.read, 1), 1);
  EXPECT_EQ(waits.results, Results{4096});
}

TEST_F(SimulatedRequests, BytesThatDoNotFitIntoTheLastPageOfAPipeTakeAnother) {
  const Pipe2 pipe(&kernel_);
  for (int page = 0; page < 16; ++page) EXPECT_EQ(Write(pipe.write, 3000), 3000);
  EXPECT_EQ(Write(pipe.write, 1000), 1000) << "behind the last bytes";
  Request waits;
  const std::vector<std::byte> data(1000);
  StartWrite(&waits, pipe.write, data);
  Run(kQuietNs);
  EXPECT_TRUE(waits.in_flight());
  EXPECT_EQ(Read(pipe.read, 3000), 3000);
  EXPECT_EQ(waits.results, Results{1000});
}

TEST_F(SimulatedRequests, APipeWithoutAWriterEndsAndWithoutAReaderBreaks) {
  Pipe2 ended(&kernel_);
  EXPECT_EQ(Write(ended.write, 3), 3);
  kernel_.Close(std::exchange(ended.write, -1));
  EXPECT_EQ(kernel_.PollNow(ended.read, POLLIN), POLLIN | POLLHUP);
  EXPECT_EQ(Read(ended.read, 10), 3);
  EXPECT_EQ(Read(ended.read, 10), 0);
  Pipe2 broken(&kernel_);
  kernel_.Close(std::exchange(broken.read, -1));
  EXPECT_EQ(kernel_.PollNow(broken.write, POLLOUT), POLLOUT | POLLERR);
  EXPECT_EQ(Write(broken.write, 3), -EPIPE);
}

TEST_F(SimulatedRequests, WhoWaitsAtAPipeIsToldThatTheOtherEndIsClosed) {
  Pipe2 ended(&kernel_);
  std::vector<std::byte> buffer(10);
  Request reads;
  io_uring_sqe* sqe = Sqe();
  io_uring_prep_read(sqe, ended.read, buffer.data(), static_cast<unsigned>(buffer.size()), 0);
  Start(&reads, sqe);
  Run(kQuietNs);
  EXPECT_TRUE(reads.in_flight());
  kernel_.Close(std::exchange(ended.write, -1));
  Run(kQuietNs);
  EXPECT_EQ(reads.results, Results{0});
  Pipe2 broken(&kernel_);
  EXPECT_EQ(Write(broken.write, 65'536), 65'536);
  Request writes;
  StartWrite(&writes, broken.write, buffer);
  Run(kQuietNs);
  EXPECT_TRUE(writes.in_flight());
  kernel_.Close(std::exchange(broken.read, -1));
  Run(kQuietNs);
  EXPECT_EQ(writes.results, Results{-EPIPE});
}

TEST_F(SimulatedRequests, APipeIsNoSocket) {
  const Pipe2 pipe(&kernel_);
  EXPECT_EQ(kernel_.Listen(pipe.read, 1), -ENOTSOCK);
  EXPECT_EQ(Send(pipe.write, 1), -ENOTSOCK);
  int fds[2];
  EXPECT_EQ(kernel_.Pipe2(fds, O_DIRECT), -EINVAL);
}

TEST_F(SimulatedFaults, WritesOfAPageAreNeverShort) {
  int shorter = 0;
  for (int i = 0; i < 100; ++i) {
    const Pipe2 pipe(&kernel_);
    EXPECT_EQ(Write(pipe.write, 4096), 4096);
    const int32_t large = Write(pipe.write, 20'000);
    EXPECT_GT(large, 0);
    shorter += large < 20'000 ? 1 : 0;
    EXPECT_GE(Read(pipe.read, 4096), 1);
  }
  EXPECT_GT(shorter, 0) << "but larger ones are";
}

}  // namespace
}  // namespace evring::sim
