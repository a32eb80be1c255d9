// test_queue.h: what most tests of a queue begin with: a queue, registrations, sockets, a wait that ends.

#ifndef EVRING_TESTS_KEVENT_TEST_QUEUE_H_
#define EVRING_TESTS_KEVENT_TEST_QUEUE_H_

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "gtest/gtest.h"
#include "kevent/check.h"
#include "kevent/event.h"
#include "kevent/kernel.h"
#include "kevent/queue.h"

namespace evring::kevent {

inline std::unique_ptr<Queue> MakeQueue(QueueOptions options) {
  auto queue = Queue::Create(std::move(options));
  EVRING_CHECK(queue.ok(), "the test needs a queue");
  return *std::move(queue);
}

inline std::unique_ptr<Queue> MakeQueue(uint32_t entries = 64, Kernel* kernel = SystemKernel()) {
  QueueOptions options;
  options.entries = entries;
  options.kernel = kernel;
  return MakeQueue(std::move(options));
}

inline Event Poll(int fd, short events, uint64_t cookie, uint32_t flags = 0) {
  Event event;
  event.type = EventType::kPoll;
  event.descriptor = fd;
  event.cookie = cookie;
  event.result = events;
  event.flags = flags;
  return event;
}

inline Event User(uint64_t cookie) {
  Event event;
  event.type = EventType::kUser;
  event.cookie = cookie;
  return event;
}

inline WaitArgs Within(int64_t ms) {
  WaitArgs wait;
  wait.deadline_ns = SystemKernel()->NowNs() + ms * 1'000'000;
  return wait;
}

// The next record, which comes within twenty seconds.
inline Event Next(Queue* queue) {
  Event record;
  size_t taken = 0;
  EXPECT_EQ(queue->Next(std::span<Event>(&record, 1), &taken, Within(20'000)), Queue::Waited::kRecords);
  return record;
}

class Pair {
 public:
  Pair() { EVRING_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds_) == 0, "the test needs sockets"); }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;
  ~Pair() {
    close(fds_[0]);
    close(fds_[1]);
  }
  int here() const { return fds_[0]; }
  int there() const { return fds_[1]; }
  void Write() { EVRING_CHECK(write(there(), "x", 1) == 1, "a socket takes a byte"); }

 private:
  int fds_[2];
};

// As many descriptors as the process may have.
inline void AllowManyDescriptors() {
  rlimit limit;
  EVRING_CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0, "its limits");
  limit.rlim_cur = limit.rlim_max;
  EVRING_CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0, "the soft limit may be raised to the hard one");
}

}  // namespace evring::kevent

#endif  // EVRING_TESTS_KEVENT_TEST_QUEUE_H_
