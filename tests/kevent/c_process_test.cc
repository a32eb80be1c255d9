// The descriptor of a queue: what other calls do with it, what close(2), fork(2) and exec(2) mean for the queue.

#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <thread>

#include "kevent/kevent.h"
#include "tests/kevent/c_interface_util.h"

namespace evring::kevent {
namespace {

// Runs `body` in a child; true if it has no failure there. Only what is async-signal-safe may be relied on, and gtest's
// bookkeeping, in a process of one thread.
template <class F>
bool HoldsInAChild(F&& body) {
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(30);
    body();
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// K12: it is no file to read or write; its numbers by dup(2) are no queues; it can be polled, as a queue in another
// event loop would be.
TEST(CDescriptor, OtherCallsFailOrDoNoHarm) {
  TestQueue queue;
  char byte = 0;
  EXPECT_EQ(read(queue.kfd(), &byte, 1), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(write(queue.kfd(), &byte, 1), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(lseek(queue.kfd(), 0, SEEK_SET), -1);
  EXPECT_EQ(errno, ESPIPE);
  EXPECT_EQ(ftruncate(queue.kfd(), 0), -1);
  EXPECT_EQ(errno, EINVAL);
  // The kernel's own rings can be looked at, and are the kernel's.
  void* const rings = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, queue.kfd(), 0);
  ASSERT_NE(rings, MAP_FAILED);
  EXPECT_EQ(munmap(rings, 4096), 0);
  const int copy = dup(queue.kfd());
  ASSERT_GE(copy, 0);
  EXPECT_FAILS("kevent_wait EBADF", kevent_wait(copy, 0, &kAtOnce, nullptr));
  EXPECT_EQ(close(copy), 0);
  pollfd waiting = {queue.kfd(), POLLIN, 0};
  EXPECT_EQ(poll(&waiting, 1, 0), 0);
  ASSERT_EQ(queue.Post(1), 0);
  EXPECT_EQ(poll(&waiting, 1, 10'000), 1);
  EXPECT_EQ(queue.Next().cookie, 1u) << "none of this has done harm";
  EXPECT_EQ(poll(&waiting, 1, 0), 0);
}

// Another process cannot get it over a socket: the kernel refuses it, or what arrives is no queue there.
TEST(CDescriptor, SentToAnotherProcess) {
  TestQueue queue;
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  char byte = 0;
  iovec data = {&byte, 1};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int kfd = queue.kfd();
  memcpy(CMSG_DATA(header), &kfd, sizeof(kfd));
  if (sendmsg(fds[0], &message, 0) == -1) {
    EXPECT_EQ(errno, EINVAL);
  } else {
    ASSERT_EQ(recvmsg(fds[1], &message, MSG_CMSG_CLOEXEC), 1);
    int received;
    memcpy(&received, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(received));
    EXPECT_FAILS("kevent_wait EBADF", kevent_wait(received, 0, &kAtOnce, nullptr));
    close(received);
  }
  close(fds[0]);
  close(fds[1]);
}

// K12: exec(2) closes it, and the ring's own.
TEST(CDescriptor, ExecClosesIt) {
  TestQueue queue;
  EXPECT_EQ(fcntl(queue.kfd(), F_GETFD), FD_CLOEXEC);
  // The program sees no descriptor of io_uring.
  EXPECT_EQ(system("for f in /proc/self/fd/*; do readlink $f; done | grep -q io_uring"), 256);
}

// close(2) without kevent_destroy(): a call that registers, asks or sleeps says EBADF.
TEST(CDescriptor, ClosedWithoutDestroy) {
  Pipe pipe;
  const int kfd = kevent_init(8);
  ASSERT_GE(kfd, 0);
  kevent_ring* const ring = kevent_map_ringbuf(kfd, 8);
  kevent_event ev = Request(KEVENT_EVENT_POLL, pipe.reads(), 1, POLLIN);
  ASSERT_EQ(kevent_submit(kfd, &ev, 0, nullptr), 0);
  ev = Request(KEVENT_EVENT_SIGNAL, SIGUSR2, 1, 0, KEVENT_MULTI);
  ASSERT_EQ(kevent_submit(kfd, &ev, 0, nullptr), 0);
  const uint64_t number = ev.payload;
  ASSERT_EQ(close(kfd), 0);

  kevent_event posted = Request(KEVENT_EVENT_USER, 0, 1);
  sigevent sev;
  uint64_t other;
  EXPECT_FAILS("kevent_submit EBADF", kevent_submit(kfd, &posted, 0, nullptr));
  EXPECT_FAILS("kevent_wait EBADF", kevent_wait(kfd, kevent_ring_state(ring), nullptr, nullptr));
  EXPECT_FAILS("kevent_get_events EBADF", kevent_get_events(kfd, &ev, 1, 1, nullptr, nullptr));
  EXPECT_FAILS("kevent_cancel EBADF", kevent_cancel(kfd, number));
  EXPECT_FAILS("kevent_requeue EBADF", kevent_requeue(kfd, &posted));
  EXPECT_FAILS("kevent_sigevent EBADF", kevent_sigevent(kfd, &sev, 1, &other));
  EXPECT_FAILS("kevent_ctl EBADF", kevent_ctl(kfd, KEVENT_CTL_ENTRIES, &other));
  EXPECT_FAILS("kevent_map_ringbuf EBADF", kevent_map_ringbuf(kfd, 8));
  EXPECT_EQ(kevent_consume(ring, &ev), 0) << "the ring stays where it is";

  EXPECT_EQ(kevent_destroy(kfd, nullptr, 0), 0) << "what was left behind can still be freed";
  EXPECT_FAILS("kevent_destroy EBADF", kevent_destroy(kfd, nullptr, 0));
}

// The number of a closed queue turns up as a new queue's: the old one goes, its requests with it, and the new one is
// its own.
TEST(CDescriptor, TheNumberOfAClosedQueueTurnsUpAgain) {
  Pipe pipe;
  const int own = open("/dev/null", O_RDONLY | O_CLOEXEC);  // keeps the ring's own number for the next ring
  const int kfd = kevent_init(8);
  ASSERT_GE(kfd, 0);
  kevent_event ev = Request(KEVENT_EVENT_POLL, pipe.reads(), 1, POLLIN);
  ASSERT_EQ(kevent_submit(kfd, &ev, 0, nullptr), 0);
  ASSERT_EQ(close(kfd), 0);
  ASSERT_EQ(close(own), 0);
  const int again = kevent_init(8);
  ASSERT_EQ(again, kfd);
  kevent_ring* const ring = kevent_map_ringbuf(again, 8);
  ASSERT_NE(ring, nullptr);
  ASSERT_EQ(write(pipe.writes(), "x", 1), 1);
  ev = Request(KEVENT_EVENT_POLL, pipe.reads(), 2, POLLIN);
  ASSERT_EQ(kevent_submit(again, &ev, 0, nullptr), 0);
  ASSERT_EQ(kevent_get_events(again, &ev, 1, 1, &kLong, nullptr), 1);
  EXPECT_EQ(ev.cookie, 2u) << "of the old queue nothing is left";
  EXPECT_EQ(kevent_consume(ring, &ev), 0);
  EXPECT_EQ(kevent_destroy(again, ring, 8), 0);
}

// K13: a child cannot use what it inherited, and does its parent no harm; a queue of its own it can have.
TEST(CProcess, AChildOfForkGetsEperm) {
  TestQueue queue(8);
  ASSERT_EQ(queue.Post(1), 0);
  EXPECT_TRUE(HoldsInAChild([&] {
    kevent_event ev = Request(KEVENT_EVENT_USER, 0, 2);
    sigevent sev;
    uint64_t number;
    unsigned entries;
    const auto all_refuse = [&] {
      EXPECT_FAILS("kevent_map_ringbuf EPERM", kevent_map_ringbuf(queue.kfd(), 8));
      EXPECT_FAILS("kevent_consume EPERM", kevent_consume(queue.ring(), &ev));
      EXPECT_FAILS("kevent_ctl EPERM", kevent_ctl(queue.kfd(), KEVENT_CTL_ENTRIES, &entries));
      EXPECT_FAILS("kevent_submit EPERM", kevent_submit(queue.kfd(), &ev, 0, nullptr));
      EXPECT_FAILS("kevent_submit EPERM", kevent_submit(queue.kfd(), nullptr, 0, nullptr));
      EXPECT_FAILS("kevent_cancel EPERM", kevent_cancel(queue.kfd(), 1));
      EXPECT_FAILS("kevent_requeue EPERM", kevent_requeue(queue.kfd(), &ev));
      EXPECT_FAILS("kevent_wait EPERM", kevent_wait(queue.kfd(), 0, nullptr, nullptr));
      EXPECT_FAILS("kevent_get_events EPERM", kevent_get_events(queue.kfd(), &ev, 1, 1, nullptr, nullptr));
      EXPECT_FAILS("kevent_sigevent EPERM", kevent_sigevent(queue.kfd(), &sev, 1, &number));
      EXPECT_FAILS("kevent_destroy EPERM", kevent_destroy(queue.kfd(), queue.ring(), 8));
    };
    all_refuse();
    TestQueue own(8);
    EXPECT_EQ(own.Post(3), 0);
    EXPECT_EQ(own.Next().cookie, 3u);
    EXPECT_EQ(kevent_sigevent(own.kfd(), &sev, 1, &number), 0);
    all_refuse();
    EXPECT_TRUE(HoldsInAChild([&] { EXPECT_FAILS("kevent_consume EPERM", kevent_consume(own.ring(), &ev)); }));
  }));
  EXPECT_EQ(queue.Next().cookie, 1u);
}

// A child that closes what it inherited, and gets the number for a queue of its own: the parent's is forgotten, not
// cancelled and drained.
TEST(CProcess, AChildMayHaveTheNumberItself) {
  Pipe pipe;
  const int lower = dup(STDIN_FILENO);  // keeps a number for the ring of the child's queue
  TestQueue queue(8);
  kevent_event ev = Request(KEVENT_EVENT_POLL, pipe.reads(), 6, POLLIN);
  ASSERT_EQ(kevent_submit(queue.kfd(), &ev, 0, nullptr), 0);
  EXPECT_TRUE(HoldsInAChild([&] {
    EXPECT_EQ(close(queue.kfd()), 0);
    EXPECT_EQ(close(lower), 0);
    TestQueue own(8);
    EXPECT_EQ(own.kfd(), queue.kfd());
    EXPECT_EQ(own.Post(4), 0);
    EXPECT_EQ(own.Next().cookie, 4u);
    EXPECT_FAILS("kevent_consume EPERM", kevent_consume(queue.ring(), &ev));
  }));
  close(lower);
  ASSERT_EQ(write(pipe.writes(), "x", 1), 1);
  const kevent_event record = queue.Next();
  EXPECT_EQ(record.cookie, 6u);
  EXPECT_EQ(record.result, POLLIN) << "nobody has cancelled it";
}

// Forks while other threads are in calls of the queue and of the table: the child finds no lock held for ever.
TEST(CProcess, ForkWhileOthersCall) {
  TestQueue queue;
  std::atomic<bool> stop{false};
  std::thread asks([&] {
    unsigned entries;
    while (!stop) EXPECT_EQ(kevent_ctl(queue.kfd(), KEVENT_CTL_ENTRIES, &entries), 0);
  });
  std::thread registers([&] {
    sigevent sev;
    uint64_t number;
    kevent_event ev;
    while (!stop) {
      EXPECT_EQ(kevent_sigevent(queue.kfd(), &sev, 1, &number), 0);
      EXPECT_EQ(kevent_cancel(queue.kfd(), number), 0);
      while (kevent_consume(queue.ring(), &ev) == 1) {
      }
    }
  });
  for (int i = 0; i < 200; ++i) {
    const pid_t pid = fork();
    if (pid == 0) {
      alarm(20);
      sigevent sev;
      uint64_t number;
      if (kevent_wait(queue.kfd(), 0, &kAtOnce, nullptr) != -1 || errno != EPERM) _exit(1);
      const int own = kevent_init(8);
      if (own < 0 || kevent_sigevent(own, &sev, 1, &number) != 0 || kevent_cancel(own, number) != 0) _exit(2);
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
  }
  stop = true;
  asks.join();
  registers.join();
}

}  // namespace
}  // namespace evring::kevent
