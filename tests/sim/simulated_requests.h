// simulated_requests.h: a simulated kernel without a runtime, a ring on it, and requests to it one by one.

#ifndef EVRING_TESTS_SIM_SIMULATED_REQUESTS_H_
#define EVRING_TESTS_SIM_SIMULATED_REQUESTS_H_

#include <liburing.h>

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

using Results = std::vector<int32_t>;

inline constexpr int64_t kSecondNs = 1'000'000'000;
inline constexpr int64_t kQuietNs = 10'000'000;  // what is under way between sockets has come after so long
inline constexpr int64_t kCallsNs = 1'000'000;   // more than the calls of a test take

// A request, and what it has answered.
class Asked final : public kevent::Kevent {
 public:
  Asked() : Kevent(kevent::EventType::kNop, -1, 0, nullptr) {}

  Results results;
  int64_t ended_ns = 0;
};

class SimulatedRequests : public testing::Test {
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

  // Submits what `prepare` fills in, and gives its only result.
  template <class F>
  int32_t Do(F prepare) {
    Asked request;
    io_uring_sqe* sqe = Sqe();
    prepare(sqe);
    Start(&request, sqe);
    Run(kQuietNs);
    return request.results.at(0);
  }
  // The answer of a cancel of `target`.
  int32_t Cancel(const Asked& target) {
    return Do([&](io_uring_sqe* sqe) { io_uring_prep_cancel64(sqe, target.number(), 0); });
  }

  int64_t Now() { return kernel_.NowNs(); }
  io_uring_sqe* Sqe() { return ring_->GetSqe(); }
  void Start(Asked* request, io_uring_sqe* sqe) { ring_->Start(request, sqe); }

  // Until the clock has moved on by `ns`.
  void Run(int64_t ns) {
    kevent::WaitArgs wait;
    wait.deadline_ns = Now() + ns;
    while (ring_->Wait(ring_->state(), wait) != kevent::WaitResult::kDeadline) {
      ring_->Consume(64, [this](kevent::Kevent* kevent, const kevent::Event& event) {
        auto* request = static_cast<Asked*>(kevent);
        request->results.push_back(event.result);
        if (event.last()) request->ended_ns = Now();
      });
    }
  }

  void StartTimeout(Asked* request, __kernel_timespec* time, unsigned count, unsigned flags) {
    io_uring_sqe* sqe = Sqe();
    io_uring_prep_timeout(sqe, time, count, flags);
    Start(request, sqe);
  }
  void StartNop(Asked* request) {
    io_uring_sqe* sqe = Sqe();
    io_uring_prep_nop(sqe);
    Start(request, sqe);
  }
  void StartPoll(Asked* request, int fd, int events, bool multishot) {
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
    Asked request;
    io_uring_sqe* sqe = Sqe();
    io_uring_prep_send(sqe, fd, data.data(), size, 0);
    Start(&request, sqe);
    Run(kQuietNs);
    return request.results.at(0);
  }

  void StartWrite(Asked* request, int fd, const std::vector<std::byte>& data) {
    io_uring_sqe* sqe = Sqe();
    io_uring_prep_write(sqe, fd, data.data(), static_cast<unsigned>(data.size()), 0);
    Start(request, sqe);
  }
  int32_t Write(int fd, size_t size) {
    const std::vector<std::byte> data(size);
    Asked request;
    StartWrite(&request, fd, data);
    Run(kQuietNs);
    return request.results.at(0);
  }
  int32_t Read(int fd, size_t size) {
    std::vector<std::byte> data(size);
    Asked request;
    io_uring_sqe* sqe = Sqe();
    io_uring_prep_read(sqe, fd, data.data(), static_cast<unsigned>(size), 0);
    Start(&request, sqe);
    Run(kQuietNs);
    return request.results.at(0);
  }

  Kernel kernel_;
  std::unique_ptr<kevent::Ring> ring_;
};

}  // namespace evring::sim

#endif  // EVRING_TESTS_SIM_SIMULATED_REQUESTS_H_
