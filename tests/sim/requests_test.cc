// requests_test.cc: requests of a program to the simulated kernel, one by one, where the comparison with the real one
// (differential_test.cc) cannot look: at what time of the clock a timeout comes, what a poll tells exactly.

#include <errno.h>
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
  SimulatedRequests() {
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

  Kernel kernel_{KernelOptions()};
  std::unique_ptr<kevent::Ring> ring_;
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

}  // namespace
}  // namespace evring::sim
