// test_ring.h: what most tests of a ring begin with: a ring, requests that keep their records, pipes.

#ifndef EVRING_TESTS_KEVENT_TEST_RING_H_
#define EVRING_TESTS_KEVENT_TEST_RING_H_

#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "kevent/check.h"
#include "kevent/handle.h"
#include "kevent/kernel.h"
#include "kevent/ring.h"

namespace evring::kevent {

inline RingOptions Sizes(uint32_t sq_entries, uint32_t cq_entries) {
  RingOptions options;
  options.sq_entries = sq_entries;
  options.cq_entries = cq_entries;
  return options;
}

inline std::unique_ptr<Ring> MakeRing(const RingOptions& options = RingOptions(), Kernel* kernel = SystemKernel()) {
  absl::StatusOr<std::unique_ptr<Ring>> ring = Ring::Create(kernel, options);
  EVRING_CHECK(ring.ok(), "the test needs a ring");
  return *std::move(ring);
}

inline int64_t NowNs() { return SystemKernel()->NowNs(); }
inline constexpr int64_t kMs = 1'000'000;

// A wait that ends by itself in the end, so that a test that fails does not hang.
inline WaitArgs Patiently() {
  WaitArgs wait;
  wait.deadline_ns = NowNs() + 20'000 * kMs;
  return wait;
}

// A request that keeps the records of its completions.
class TestKevent : public Kevent {
 public:
  explicit TestKevent(EventType type = EventType::kNop, int fd = -1, uint64_t cookie = 0)
      : Kevent(type, fd, cookie, &OnEvent) {}

  const std::vector<Event>& events() const { return events_; }
  // The result of the only completion.
  int result() const {
    EXPECT_EQ(events_.size(), 1u);
    return events_.empty() ? INT32_MIN : events_.back().result;
  }

  // Prepare and hand to the kernel.
  void StartNop(Ring* ring) {
    io_uring_sqe* sqe = ring->GetSqe();
    EVRING_CHECK(sqe != nullptr, "the test has room");
    io_uring_prep_nop(sqe);
    ring->Start(this, sqe);
  }
  void StartPoll(Ring* ring, bool multishot = false) {
    io_uring_sqe* sqe = ring->GetSqe();
    EVRING_CHECK(sqe != nullptr, "the test has room");
    if (multishot) {
      io_uring_prep_poll_multishot(sqe, descriptor(), POLLIN);
    } else {
      io_uring_prep_poll_add(sqe, descriptor(), POLLIN);
    }
    ring->Start(this, sqe);
  }
  void Cancel(Ring* ring) {
    io_uring_sqe* sqe = ring->GetSqe();
    EVRING_CHECK(sqe != nullptr, "the test has room");
    PrepareCancel(sqe);
  }

 private:
  static void OnEvent(Kevent* kevent, const Event& event) {
    static_cast<TestKevent*>(kevent)->events_.push_back(event);
  }

  std::vector<Event> events_;
};

inline unsigned ConsumeAll(Ring* ring) {
  return ring->Consume(ring->cq_entries(), [](Kevent* kevent, const Event& event) { kevent->Deliver(event); });
}

// Submits, waits and consumes until nothing is in flight.
inline void Drain(Ring* ring) {
  const WaitArgs patiently = Patiently();
  while (ring->in_flight() != 0 || ring->unsubmitted() != 0) {
    if (ring->in_flight() == 0) {
      ring->Enter();
    } else {
      EVRING_CHECK(ring->Wait(ring->state(), patiently) != WaitResult::kDeadline, "the requests of a test end");
    }
    ConsumeAll(ring);
  }
  ConsumeAll(ring);
}

class Pipe {
 public:
  Pipe() { EVRING_CHECK(pipe2(fds_, O_CLOEXEC) == 0, "the test needs a pipe"); }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    close(fds_[0]);
    close(fds_[1]);
  }

  int reader() const { return fds_[0]; }
  void Write(char c = 'x') { EVRING_CHECK(write(fds_[1], &c, 1) == 1, "a pipe takes a byte"); }
  char Read() {
    char c = 0;
    EVRING_CHECK(read(fds_[0], &c, 1) == 1, "a pipe gives a byte");
    return c;
  }

 private:
  int fds_[2];
};

}  // namespace evring::kevent

#endif  // EVRING_TESTS_KEVENT_TEST_RING_H_
