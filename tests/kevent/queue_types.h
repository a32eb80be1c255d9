// queue_types.h: what the tests of the types of events share: a queue that has the kernel's operations or only their
// fallbacks, requests, the next record, and what must hold for every request that waits: it can be cancelled, and the
// queue can be destroyed with it.
//
// Threads: the test's own.

#ifndef EVRING_TESTS_KEVENT_QUEUE_TYPES_H_
#define EVRING_TESTS_KEVENT_QUEUE_TYPES_H_

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "kevent/kevent.h"
#include "kevent/queue.h"

namespace evring::kevent {

// Longer than anything takes that works.
inline constexpr int kPatienceMs = 10'000;

// With only the fallbacks, the queue has none of the operations that came after Linux 6.1: WAITID, FUTEX_WAIT,
// FUTEX_WAITV, BIND, LISTEN.
inline std::unique_ptr<Queue> MakeQueue(bool fallbacks = false, int helper_threads_max = 8) {
  QueueOptions options;
  options.entries = 64;
  options.helper_threads_max = helper_threads_max;
  if (fallbacks) {
    for (const unsigned opcode : {50, 51, 53, 56, 57}) options.hidden.set(opcode);
  }
  auto queue = Queue::Create(std::move(options));
  EXPECT_TRUE(queue.ok()) << queue.status();
  return queue.ok() ? *std::move(queue) : nullptr;
}

inline uint64_t Address(const void* argument) { return reinterpret_cast<uintptr_t>(argument); }

// With a cookie of its own.
inline Event Request(EventType type, int descriptor, int result, const void* argument, uint32_t flags = 0) {
  static uint64_t cookie = 0x1234'5678'0000'0000;
  Event event;
  event.type = type;
  event.descriptor = descriptor;
  event.cookie = ++cookie;
  event.result = result;
  event.flags = flags;
  event.payload = Address(argument);
  return event;
}

// The next record; of type kNone, with a failure of the test, if there is none.
inline Event NextRecord(Queue* queue) {
  Event record;
  size_t taken = 0;
  WaitArgs wait;
  wait.deadline_ns = SystemKernel()->NowNs() + int64_t{kPatienceMs} * 1'000'000;
  EXPECT_EQ(queue->Next(std::span<Event>(&record, 1), &taken, wait), Queue::Waited::kRecords);
  return record;
}

// The next record, which belongs to `request` and is its last one.
inline Event LastRecord(Queue* queue, const Event& request) {
  const Event record = NextRecord(queue);
  EXPECT_EQ(record.type, request.type);
  EXPECT_EQ(record.cookie, request.cookie);
  EXPECT_EQ(record.descriptor, request.descriptor);
  EXPECT_TRUE(record.last());
  return record;
}

// What becomes of it, submitted to a queue that has nothing else.
inline int32_t Outcome(Queue* queue, const Event& request) {
  const int64_t number = queue->Submit(request);
  EXPECT_GT(number, 0);
  return number > 0 ? LastRecord(queue, request).result : static_cast<int32_t>(number);
}

// Waits, without consuming it, until a record is in the ring.
inline void AwaitCompletion(Queue* queue) {
  pollfd ring = {.fd = queue->descriptor(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&ring, 1, kPatienceMs), 1);
}

// Waits until a helper thread is in one of these system calls: of one that blocks, the test knows that it does.
inline void AwaitHelperIn(std::initializer_list<long> calls) {
  const int64_t deadline_ns = SystemKernel()->NowNs() + int64_t{kPatienceMs} * 1'000'000;
  while (SystemKernel()->NowNs() < deadline_ns) {
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      std::string name;
      std::getline(std::ifstream(task.path() / "comm"), name);
      long call = -1;
      std::ifstream(task.path() / "syscall") >> call;  // "running", which is no number, of a thread that runs
      if (name == "evring-call" && std::find(calls.begin(), calls.end(), call) != calls.end()) return;
    }
    sched_yield();
  }
  ADD_FAILURE() << "no helper thread is in the call";
}

// Registers `request`, which waits, cancels it, and destroys a queue with it. If it waits on a helper thread, there in
// one of `calls`.
inline void ExpectCancelAndTearDown(const Event& request, bool fallbacks = false,
                                    std::initializer_list<long> calls = {}) {
  auto queue = MakeQueue(fallbacks);
  const int64_t number = queue->Submit(request);
  ASSERT_GT(number, 0);
  if (calls.size() > 0) AwaitHelperIn(calls);
  Event record;
  EXPECT_FALSE(queue->TryNext(&record)) << "it does not wait: result " << record.result;
  EXPECT_EQ(queue->Cancel(number), 0);
  record = LastRecord(queue.get(), request);
  EXPECT_EQ(record.result, -ECANCELED);
  EXPECT_EQ(record.payload, static_cast<uint64_t>(number));
  EXPECT_EQ(queue->Cancel(number), -ENOENT);
  const QueueCounters counters = queue->counters();
  EXPECT_EQ(counters.consumed, 1u);
  EXPECT_EQ(counters.ended, 1u);
  ASSERT_GT(queue->Submit(request), 0);
  if (calls.size() > 0) AwaitHelperIn(calls);
  queue.reset();
}

// A descriptor, closed at the end of its scope.
class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) { EXPECT_GE(fd, 0) << errno; }
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~Fd() { Close(); }
  int get() const { return fd_; }
  void Close() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

// A pipe, or two sockets that are connected.
class Pair {
 public:
  explicit Pair(int socket_type = SOCK_STREAM) {
    EXPECT_EQ(socketpair(AF_UNIX, socket_type | SOCK_CLOEXEC, 0, fds_), 0);
  }
  static Pair Pipe(int flags = 0) { return Pair(OfPipe(), flags); }
  ~Pair() {
    CloseHere();
    CloseThere();
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;
  int here() const { return fds_[0]; }   // of a pipe: to read
  int there() const { return fds_[1]; }  // to write
  void CloseHere() { Close(&fds_[0]); }
  void CloseThere() { Close(&fds_[1]); }

 private:
  struct OfPipe {};
  Pair(OfPipe, int flags) { EXPECT_EQ(pipe2(fds_, flags | O_CLOEXEC), 0); }
  static void Close(int* fd) {
    if (*fd >= 0) close(std::exchange(*fd, -1));
  }

  int fds_[2] = {-1, -1};
};

// Tests that run twice: on the operations of the kernel, and on the fallbacks.
class WithAndWithoutOperations : public ::testing::TestWithParam<bool> {
 protected:
  std::unique_ptr<Queue> Make() { return MakeQueue(GetParam()); }
};

inline std::string FormName(const ::testing::TestParamInfo<bool>& form) {
  return form.param ? "Fallback" : "Operation";
}

}  // namespace evring::kevent

#endif  // EVRING_TESTS_KEVENT_QUEUE_TYPES_H_
