// uring_source.cc: io_uring by hand: one-shot polls that are armed again with the next enter, in the fastest mode that
// one thread can have; and for several threads a ring on which all of them wait.

#include <liburing.h>
#include <poll.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "bench/events/sources.h"
#include "kevent/check.h"

namespace evring::bench {
namespace {

class UringSource final : public ReadinessSource {
 public:
  explicit UringSource(uint32_t entries) {
    io_uring_params params = {};
    params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    params.cq_entries = entries;
    EVRING_CHECK(io_uring_queue_init_params(entries, &ring_, &params) == 0, "a ring");
    io_uring_register_ring_fd(&ring_);
  }
  ~UringSource() override { io_uring_queue_exit(&ring_); }

  void Watch(int fd) override { Arm(fd); }

  size_t Wait(std::span<int> ready) override {
    for (const int fd : reported_) Arm(fd);
    reported_.clear();
    EVRING_CHECK(io_uring_submit_and_wait(&ring_, 1) >= 0, "a wait");
    unsigned head;
    io_uring_cqe* cqe;
    size_t n = 0;
    io_uring_for_each_cqe(&ring_, head, cqe) {
      if (n == ready.size()) break;
      ready[n++] = static_cast<int>(cqe->user_data);
      reported_.push_back(static_cast<int>(cqe->user_data));
    }
    io_uring_cq_advance(&ring_, static_cast<unsigned>(n));
    return n;
  }

 private:
  void Arm(int fd) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    if (sqe == nullptr) {
      EVRING_CHECK(io_uring_submit(&ring_) >= 0, "a submit");
      sqe = io_uring_get_sqe(&ring_);
    }
    io_uring_prep_poll_add(sqe, fd, POLLIN);
    sqe->user_data = static_cast<uint64_t>(fd);
  }

  io_uring ring_ = {};
  std::vector<int> reported_;
};

class SharedUring final : public SharedSource {
 public:
  SharedUring() { EVRING_CHECK(io_uring_queue_init(256, &ring_, 0) == 0, "a ring"); }
  ~SharedUring() override { io_uring_queue_exit(&ring_); }

  void Post() override {
    const std::lock_guard<std::mutex> lock(submit_);
    io_uring_prep_nop(io_uring_get_sqe(&ring_));
    EVRING_CHECK(io_uring_submit(&ring_) == 1, "a submit");
  }

  bool WaitAndTake() override {
    if (!stop_.load()) io_uring_enter(static_cast<unsigned>(ring_.ring_fd), 0, 1, IORING_ENTER_GETEVENTS, nullptr);
    if (stop_.load()) return false;
    const std::lock_guard<std::mutex> lock(take_);
    io_uring_cqe* cqe;
    if (io_uring_peek_cqe(&ring_, &cqe) != 0) return false;
    io_uring_cqe_seen(&ring_, cqe);
    return true;
  }

  // Completions that nobody takes end every wait.
  void Stop() override {
    stop_.store(true);
    Post();
  }

 private:
  io_uring ring_ = {};
  std::mutex submit_;
  std::mutex take_;
  std::atomic<bool> stop_{false};
};

}  // namespace

std::unique_ptr<ReadinessSource> MakeUringSource(uint32_t entries) { return std::make_unique<UringSource>(entries); }
std::unique_ptr<SharedSource> MakeSharedUring() { return std::make_unique<SharedUring>(); }

}  // namespace evring::bench
