// requests_test.cc: requests of a program to the simulated kernel, one by one, where the comparison with the real one
// (differential_test.cc) cannot look: at what time of the clock a timeout comes, what a poll tells exactly.

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "sim/kernel.h"
#include "tests/sim/simulated_requests.h"

namespace evring::sim {
namespace {

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
  Asked relative;
  Asked absolute;
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
  Asked timeout;
  Asked remove;
  Asked again;
  StartTimeout(&timeout, &in_an_hour, 0, 0);
  Run(kQuietNs);
  for (Asked* request : {&remove, &again}) {
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
  Asked counting;
  Asked other;
  Asked nops[2];
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

TEST_F(SimulatedRequests, ATimeoutOfTwoClocksIsRefused) {
  __kernel_timespec time = {.tv_sec = 1, .tv_nsec = 0};
  Asked timeout;
  StartTimeout(&timeout, &time, 0, IORING_TIMEOUT_REALTIME | IORING_TIMEOUT_BOOTTIME);
  Run(kQuietNs);
  EXPECT_EQ(timeout.results, Results{-EINVAL});
}

__kernel_timespec ToTimespec(int64_t ns) { return {.tv_sec = ns / kSecondNs, .tv_nsec = ns % kSecondNs}; }

TEST_F(SimulatedRequests, TheClocksOfAMachineThatDoesNotSleep) {
  EXPECT_GE(kernel_.ClockNs(CLOCK_BOOTTIME), Now());
  EXPECT_LT(kernel_.ClockNs(CLOCK_BOOTTIME), Now() + kCallsNs);
  constexpr int64_t kFiftyYearsNs = int64_t{50} * 365 * 86'400 * kSecondNs;
  EXPECT_GT(kernel_.ClockNs(CLOCK_REALTIME), kFiftyYearsNs);
  Kernel other((KernelOptions()));
  EXPECT_EQ(other.ClockNs(CLOCK_REALTIME), kernel_.ClockNs(CLOCK_REALTIME)) << "each machine starts at the same time";
}

// Set a minute forwards, then two back.
TEST_F(SimulatedRequests, ATimeOfTheRealtimeClockMovesWhenItIsSetAndATimeFromNowDoesNot) {
  const int64_t start = Now();
  const int64_t wall = kernel_.ClockNs(CLOCK_REALTIME);
  __kernel_timespec in_100_s = {.tv_sec = 100, .tv_nsec = 0};
  __kernel_timespec at_100_s = ToTimespec(wall + 100 * kSecondNs);
  __kernel_timespec at_200_s = ToTimespec(wall + 200 * kSecondNs);
  Asked relative;
  Asked sooner;
  Asked later;
  StartTimeout(&relative, &in_100_s, 0, IORING_TIMEOUT_REALTIME);
  StartTimeout(&sooner, &at_100_s, 0, IORING_TIMEOUT_ABS | IORING_TIMEOUT_REALTIME);
  StartTimeout(&later, &at_200_s, 0, IORING_TIMEOUT_ABS | IORING_TIMEOUT_REALTIME);
  Run(kQuietNs);
  kernel_.SetClock(kernel_.ClockNs(CLOCK_REALTIME) + 60 * kSecondNs);
  Run(50 * kSecondNs);
  EXPECT_EQ(sooner.results, Results{-ETIME});
  EXPECT_NEAR(static_cast<double>(sooner.ended_ns - start), 40e9, 1e8);
  kernel_.SetClock(kernel_.ClockNs(CLOCK_REALTIME) - 120 * kSecondNs);
  Run(100 * kSecondNs);
  EXPECT_NEAR(static_cast<double>(relative.ended_ns - start), 100e9, 1e8);
  EXPECT_TRUE(later.in_flight());
  Run(200 * kSecondNs);
  EXPECT_NEAR(static_cast<double>(later.ended_ns - start), 260e9, 1e8);
  // What has come, or was cancelled, is armed no more when the clock is set.
  kernel_.SetClock(wall);
  Run(1000 * kSecondNs);
  EXPECT_EQ(later.results, Results{-ETIME});
}

// --- Polls

TEST_F(SimulatedRequests, APollTellsWhatIsThereAndWhatWasNotAskedFor) {
  int fds[2];
  ASSERT_EQ(kernel_.SocketPair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  EXPECT_EQ(Send(fds[0], 10), 10);
  kernel_.Shutdown(fds[0], SHUT_RDWR);
  Asked poll;
  StartPoll(&poll, fds[1], POLLIN, /*multishot=*/false);
  Run(kQuietNs);
  EXPECT_EQ(poll.results, Results{POLLIN | POLLHUP | POLLRDHUP});
  kernel_.Close(fds[0]);
  kernel_.Close(fds[1]);
}

TEST_F(SimulatedRequests, AMultishotPollTellsOfEachChangeUntilItIsRemoved) {
  int fds[2];
  ASSERT_EQ(kernel_.SocketPair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  Asked poll;
  StartPoll(&poll, fds[1], POLLIN, /*multishot=*/true);
  Run(kQuietNs);
  EXPECT_EQ(poll.results, Results{});
  Send(fds[0], 1);
  EXPECT_EQ(poll.results, Results{POLLIN});
  Run(kSecondNs);
  EXPECT_EQ(poll.results, Results{POLLIN}) << "what stays as it is is told once";
  Send(fds[0], 1);
  EXPECT_EQ(poll.results, (Results{POLLIN, POLLIN}));
  Asked remove;
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
  Asked poll;
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
  Asked waits;
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
  Asked waits;
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
  Asked reads;
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
  Asked writes;
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

// --- Eventfds

class Counter {
 public:
  Counter(Kernel* kernel, unsigned count, int flags) : kernel_(kernel), fd(kernel->EventFd(count, flags)) {
    EXPECT_GE(fd, 0);
  }
  Counter(const Counter&) = delete;
  Counter& operator=(const Counter&) = delete;
  ~Counter() { kernel_->Close(fd); }

 private:
  Kernel* const kernel_;

 public:
  const int fd;
};

constexpr uint64_t kCountMax = std::numeric_limits<uint64_t>::max() - 1;

TEST_F(SimulatedRequests, ACounterIsEmptiedOrCountedDown) {
  const Counter counter(&kernel_, 3, EFD_CLOEXEC);
  const Counter semaphore(&kernel_, 2, EFD_SEMAPHORE | EFD_NONBLOCK);
  uint64_t count = 0;
  const auto read = [&](int fd) {
    return Do([&](io_uring_sqe* sqe) { io_uring_prep_read(sqe, fd, &count, sizeof(count), 0); });
  };
  EXPECT_EQ(read(counter.fd), 8);
  EXPECT_EQ(count, 3u);
  EXPECT_EQ(kernel_.PollNow(counter.fd, POLLIN | POLLOUT), POLLOUT);
  for (int left = 2; left > 0; --left) {
    EXPECT_EQ(read(semaphore.fd), 8);
    EXPECT_EQ(count, 1u);
  }
  EXPECT_EQ(Read(semaphore.fd, 4), -EINVAL);
  EXPECT_EQ(Write(semaphore.fd, 16), -EINVAL);
  EXPECT_EQ(kernel_.EventFd(0, 0x1234), -EINVAL);
  EXPECT_EQ(Send(counter.fd, 1), -ENOTSOCK);
  // Blocking or not, a request waits, and is cancelled.
  for (const int fd : {counter.fd, semaphore.fd}) {
    Asked waits;
    io_uring_sqe* sqe = Sqe();
    io_uring_prep_read(sqe, fd, &count, sizeof(count), 0);
    Start(&waits, sqe);
    Run(kQuietNs);
    EXPECT_TRUE(waits.in_flight());
    EXPECT_EQ(Cancel(waits), 0);
    EXPECT_EQ(waits.results, Results{-ECANCELED});
  }
}

TEST_F(SimulatedRequests, AWriteToAFullCounterWaitsForAReader) {
  const Counter counter(&kernel_, 0, 0);
  const auto write = [this, &counter](Asked* request, const uint64_t* count) {
    io_uring_sqe* sqe = Sqe();
    io_uring_prep_write(sqe, counter.fd, count, sizeof(*count), 0);
    Start(request, sqe);
    Run(kQuietNs);
  };
  const uint64_t most = kCountMax;
  const uint64_t too_much = kCountMax + 1;
  const uint64_t one = 1;
  Asked fills;
  Asked none;
  Asked waits;
  write(&fills, &most);
  EXPECT_EQ(fills.results, Results{8});
  EXPECT_EQ(kernel_.PollNow(counter.fd, POLLIN | POLLOUT), POLLIN);
  write(&none, &too_much);
  EXPECT_EQ(none.results, Results{-EINVAL});
  write(&waits, &one);
  EXPECT_TRUE(waits.in_flight());
  EXPECT_EQ(Read(counter.fd, 8), 8);
  EXPECT_EQ(waits.results, Results{8});
  EXPECT_EQ(Read(counter.fd, 8), 8);
}

}  // namespace
}  // namespace evring::sim
