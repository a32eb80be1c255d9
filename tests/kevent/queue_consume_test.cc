// A record that is in the ring is consumed without a system call: by the queue's own count, by the kernel that serves
// it, and by a process that dies of the first call it makes.

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "gtest/gtest.h"
#include "kevent/kevent.h"
#include "kevent/queue.h"
#include "kevent/sanitizer.h"
#include "tests/kevent/test_queue.h"
#include "tests/support/forwarding_kernel.h"

namespace evring::kevent {
namespace {

class CountingKernel final : public ForwardingKernel {
 public:
  int Enter(io_uring* ring, Features features, unsigned to_submit, unsigned min_complete, unsigned flags,
            const WaitArgs& wait) override {
    ++enters;
    return ForwardingKernel::Enter(ring, features, to_submit, min_complete, flags, wait);
  }
  int enters = 0;
};

// Twenty posts, twenty one-shots and twenty that report again, in a ring that holds them.
constexpr int kRecords = 60;
void Fill(Queue* queue, const Pair& pair) {
  for (uint64_t i = 0; i < kRecords / 3; ++i) {
    ASSERT_GT(queue->Submit(User(i)), 0);
    ASSERT_GT(queue->Submit(Poll(pair.here(), POLLOUT, i)), 0);
    ASSERT_GT(queue->Submit(Poll(pair.here(), POLLOUT, i, KEVENT_LEVEL)), 0);
  }
}

// All of them, half by the call that waits; -1 if one is missing.
int ConsumeAll(Queue* queue) {
  Event record;
  for (int i = 0; i < kRecords / 2; ++i) {
    if (!queue->TryNext(&record)) return -1;
  }
  std::array<Event, 10> records;
  size_t taken = 0;
  for (int left = kRecords / 2; left > 0; left -= static_cast<int>(taken)) {
    if (queue->Next(records, &taken, WaitArgs()) != Queue::Waited::kRecords) return -1;
  }
  return 0;
}

TEST(QueueConsume, NeitherTheQueueNorItsKernelCountsACall) {
  CountingKernel kernel;
  auto queue = MakeQueue(128, &kernel);
  const Pair pair;
  Fill(queue.get(), pair);
  const uint64_t enters = queue->counters().enters;
  const int calls = kernel.enters;
  EXPECT_EQ(static_cast<uint64_t>(calls), enters) << "what it counts is what it has called";
  EXPECT_EQ(ConsumeAll(queue.get()), 0);
  EXPECT_EQ(queue->counters().enters, enters);
  EXPECT_EQ(kernel.enters, calls);
}

// From here on the thread is killed by each system call but the one that ends it.
bool ForbidSystemCalls() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
  };
  const sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// How a child ends that fills a queue, forbids itself system calls, and does `act`.
template <class Act>
int StatusOfChild(Act act) {
  const pid_t child = fork();
  if (child == 0) {
    auto queue = MakeQueue(128);
    const Pair pair;
    Fill(queue.get(), pair);
    if (!ForbidSystemCalls()) _exit(2);
    _exit(act(queue.get()) == 0 ? 0 : 1);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

TEST(QueueConsume, AProcessThatMayMakeNoCallConsumes) {
#if defined(EVRING_ASAN) || defined(EVRING_TSAN)
  GTEST_SKIP() << "the sanitizers make system calls of their own";
#endif
  const int status = StatusOfChild([](Queue* queue) { return ConsumeAll(queue); });
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(QueueConsume, TheSameProcessDiesOfAWait) {
  const int status = StatusOfChild([](Queue* queue) {
    if (ConsumeAll(queue) != 0) return 1;
    Event record;
    size_t taken = 0;
    return queue->Next(std::span<Event>(&record, 1), &taken, WaitArgs()) == Queue::Waited::kRecords ? 0 : 1;
  });
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGSYS);
}

}  // namespace
}  // namespace evring::kevent
