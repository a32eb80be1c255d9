// The C interface: what each call does with good arguments, and what it answers to each bad one. Waiting has
// c_wait_test.cc, descriptors and processes c_process_test.cc, a system that refuses c_refusal_test.cc.

#include <sys/msg.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "kevent/kevent.h"
#include "tests/kevent/c_interface_util.h"

extern "C" kevent_event kevent_layout_sample();

namespace evring::kevent {
namespace {

static_assert(sizeof(kevent_event) == 32 && alignof(kevent_event) == 8);
static_assert(offsetof(kevent_event, cookie) == 8 && offsetof(kevent_event, result) == 16 &&
              offsetof(kevent_event, payload) == 24);

// K4: what C writes into the record is what C++ reads there.
TEST(CInterface, ARecordMadeInC) {
  const kevent_event ev = kevent_layout_sample();
  EXPECT_EQ(ev.type, KEVENT_EVENT_USER);
  EXPECT_EQ(ev.descriptor, 0x11223344);
  EXPECT_EQ(ev.cookie, 0x5566778899aabbccu);
  EXPECT_EQ(ev.result, -2);
  EXPECT_EQ(ev.flags, KEVENT_MORE);
  EXPECT_EQ(ev.payload, 0xddeeff0011223344u);
}

// K2, K3: the identifier and the cookie come back as they were registered.
TEST(CInterface, ARegistrationIsReported) {
  TestQueue queue;
  Pipe pipe;
  kevent_event ev = Request(KEVENT_EVENT_POLL, pipe.reads(), UINT64_MAX - 1, POLLIN);
  ASSERT_EQ(kevent_submit(queue.kfd(), &ev, 0, nullptr), 0) << strerror(errno);
  const uint64_t number = ev.payload;
  EXPECT_NE(number, 0u);
  EXPECT_EQ(kevent_consume(queue.ring(), &ev), 0);
  const unsigned before = kevent_ring_state(queue.ring());
  ASSERT_EQ(write(pipe.writes(), "x", 1), 1);
  const kevent_event record = queue.Next();
  EXPECT_NE(kevent_ring_state(queue.ring()), before);
  EXPECT_EQ(record.type, KEVENT_EVENT_POLL);
  EXPECT_EQ(record.descriptor, pipe.reads());
  EXPECT_EQ(record.cookie, UINT64_MAX - 1);
  EXPECT_EQ(record.result, POLLIN);
  EXPECT_EQ(record.payload, number);
  EXPECT_EQ(record.flags, 0u);
}

// --- kevent_init and kevent_map_ringbuf

TEST(CInterface, SizesAreRoundedUpAndTold) {
  for (const auto& [num, entries] : {std::pair{1, 8u}, {8, 8u}, {9, 16u}, {100, 128u}, {65536, 65536u}}) {
    TestQueue queue(num);
    unsigned told = 0;
    EXPECT_EQ(kevent_ctl(queue.kfd(), KEVENT_CTL_ENTRIES, &told), 0);
    EXPECT_EQ(told, entries) << num;
  }
  EXPECT_FAILS("kevent_init EINVAL", kevent_init(0));
  EXPECT_FAILS("kevent_init EINVAL", kevent_init(-1));
  EXPECT_FAILS("kevent_init EINVAL", kevent_init(65537));
}

// K13: the second mapping is the first; one of fewer records is the same ring; a larger one there is not.
TEST(CInterface, MappingTwiceIsTheSameRing) {
  TestQueue queue(100);
  EXPECT_EQ(kevent_map_ringbuf(queue.kfd(), 100), queue.ring());
  EXPECT_EQ(kevent_map_ringbuf(queue.kfd(), 1), queue.ring());
  EXPECT_FAILS("kevent_map_ringbuf EINVAL", kevent_map_ringbuf(queue.kfd(), 0));
  EXPECT_FAILS("kevent_map_ringbuf EINVAL", kevent_map_ringbuf(queue.kfd(), 101));
  EXPECT_FAILS("kevent_map_ringbuf EINVAL", kevent_map_ringbuf(queue.kfd(), SIZE_MAX));
  EXPECT_FAILS("kevent_map_ringbuf EBADF", kevent_map_ringbuf(-1, 1));
}

TEST(CInterface, NullIsNoRingAndNoRecord) {
  TestQueue queue;
  kevent_event ev;
  EXPECT_FAILS("kevent_consume EINVAL", kevent_consume(nullptr, &ev));
  EXPECT_FAILS("kevent_consume EINVAL", kevent_consume(queue.ring(), nullptr));
  errno = 0;
  EXPECT_EQ(kevent_ring_state(nullptr), 0u);
  EXPECT_EQ(errno, EINVAL) << "kevent_ring_state EINVAL";
}

// --- kevent_ctl

TEST(CInterface, UnknownCommandsAndValues) {
  TestQueue queue;
  for (const int cmd : {0, -1, 7, 1000}) EXPECT_FAILS("kevent_ctl EINVAL", kevent_ctl(queue.kfd(), cmd, nullptr));
  EXPECT_FAILS("kevent_ctl EINVAL", kevent_ctl(queue.kfd(), KEVENT_CTL_COUNTERS, nullptr));
  EXPECT_FAILS("kevent_ctl EINVAL", kevent_ctl(queue.kfd(), KEVENT_CTL_ENTRIES, nullptr));
  EXPECT_FAILS("kevent_ctl EINVAL", kevent_ctl(queue.kfd(), KEVENT_CTL_REGISTRATIONS_MAX, 0u));
  EXPECT_FAILS("kevent_ctl EINVAL", kevent_ctl(queue.kfd(), KEVENT_CTL_MIN_EVENTS, 0u));
  EXPECT_FAILS("kevent_ctl EINVAL", kevent_ctl(queue.kfd(), KEVENT_CTL_MIN_EVENTS, 17u)) << "a quarter of 64 is 16";
  const sigval value = {};
  EXPECT_FAILS("kevent_ctl EINVAL", kevent_ctl(queue.kfd(), KEVENT_CTL_OVERFLOW_SIGNAL, SIGUSR1, value));
  EXPECT_FAILS("kevent_ctl EINVAL", kevent_ctl(queue.kfd(), KEVENT_CTL_OVERFLOW_SIGNAL, SIGRTMAX + 1, value));
  EXPECT_FAILS("kevent_ctl EBADF", kevent_ctl(-1, KEVENT_CTL_ENTRIES, nullptr));
}

// K11: how many records a wait waits for is the queue's; a call that says otherwise is refused, as is a change while
// threads wait.
TEST(CInterface, TheNumberOfEventsIsTheQueues) {
  TestQueue queue;
  ASSERT_EQ(kevent_ctl(queue.kfd(), KEVENT_CTL_MIN_EVENTS, 3u), 0);
  kevent_event events[8];
  EXPECT_FAILS("kevent_get_events EINVAL", kevent_get_events(queue.kfd(), events, 1, 8, &kAtOnce, nullptr));
  EXPECT_FAILS("kevent_get_events EINVAL", kevent_get_events(queue.kfd(), events, 4, 8, &kAtOnce, nullptr));
  std::atomic<int> got{0};
  std::thread waiter([&] {
    kevent_event mine[8];
    got = kevent_get_events(queue.kfd(), mine, 3, 8, &kLong, nullptr);
  });
  kevent_counters counters = {};
  while (kevent_ctl(queue.kfd(), KEVENT_CTL_MIN_EVENTS, 3u) == 0) std::this_thread::yield();
  EXPECT_FAILS("kevent_ctl EBUSY", kevent_ctl(queue.kfd(), KEVENT_CTL_MIN_EVENTS, 2u));
  ASSERT_EQ(queue.Post(1), 0);
  ASSERT_EQ(queue.Post(2), 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(got, 0) << "two are not three";
  ASSERT_EQ(queue.Post(3), 0);
  waiter.join();
  EXPECT_EQ(got, 3);
  EXPECT_EQ(kevent_ctl(queue.kfd(), KEVENT_CTL_MIN_EVENTS, 1u), 0) << "nobody waits any more";
  EXPECT_EQ(kevent_ctl(queue.kfd(), KEVENT_CTL_COUNTERS, &counters), 0);
  EXPECT_EQ(counters.submitted, 3u);
  EXPECT_EQ(counters.consumed, 3u);
  EXPECT_EQ(counters.overflows, 0u);
  EXPECT_GE(counters.enters, 3u);
}

// Arms one-shot polls of one pipe, more than the ring holds, and fires all at once.
void Overflow(TestQueue* queue, const Pipe& pipe, int polls) {
  for (int i = 0; i < polls; ++i) {
    kevent_event ev = Request(KEVENT_EVENT_POLL, pipe.reads(), static_cast<uint64_t>(i), POLLIN);
    ASSERT_EQ(kevent_submit(queue->kfd(), &ev, 0, nullptr), 0);
  }
  ASSERT_EQ(write(pipe.writes(), "x", 1), 1);
}

int ConsumeAll(TestQueue* queue) {
  kevent_event ev;
  int n = 0;
  while (kevent_consume(queue->ring(), &ev) == 1) ++n;
  return n;
}

struct Told {
  int kfd = -1;
  int times = 0;
  int destroyed_errno = 0;
};

// K8: the callback is told queue and argument, once for the episode, and nothing is lost.
TEST(CInterface, OverflowCallsBackOncePerEpisode) {
  TestQueue queue(8);
  Told told;
  void (*callback)(int, void*) = [](int kfd, void* arg) {
    auto* to = static_cast<Told*>(arg);
    to->kfd = kfd;
    ++to->times;
    to->destroyed_errno = kevent_destroy(kfd, nullptr, 0) == -1 ? errno : 0;
  };
  ASSERT_EQ(kevent_ctl(queue.kfd(), KEVENT_CTL_OVERFLOW_CALLBACK, callback, &told), 0);
  for (int episode = 1; episode <= 2; ++episode) {
    Pipe pipe;
    Overflow(&queue, pipe, 32);
    EXPECT_EQ(ConsumeAll(&queue), 32);
    EXPECT_EQ(told.times, episode);
    EXPECT_EQ(told.kfd, queue.kfd());
  }
  EXPECT_EQ(told.destroyed_errno, EDEADLK) << "kevent_destroy EDEADLK";
  ASSERT_EQ(queue.Post(1), 0);  // what has been consumed counts as ended with the next call that registers
  kevent_counters counters;
  ASSERT_EQ(kevent_ctl(queue.kfd(), KEVENT_CTL_COUNTERS, &counters), 0);
  EXPECT_EQ(counters.overflows, 2u);
  EXPECT_EQ(counters.ended, 64u);
  EXPECT_EQ(ConsumeAll(&queue), 1);
  ASSERT_EQ(kevent_ctl(queue.kfd(), KEVENT_CTL_OVERFLOW_CALLBACK, nullptr, nullptr), 0);
  Pipe pipe;
  Overflow(&queue, pipe, 32);
  EXPECT_EQ(ConsumeAll(&queue), 32);
  EXPECT_EQ(told.times, 2) << "it was taken back";
}

TEST(CInterface, OverflowSendsARealTimeSignalWithItsValue) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 2);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &set, nullptr), 0);
  TestQueue queue(8);
  sigval value;
  value.sival_int = queue.kfd() + 1000;
  ASSERT_EQ(kevent_ctl(queue.kfd(), KEVENT_CTL_OVERFLOW_SIGNAL, SIGRTMIN + 2, value), 0);
  Pipe pipe;
  Overflow(&queue, pipe, 32);
  EXPECT_EQ(ConsumeAll(&queue), 32);
  siginfo_t info = {};
  EXPECT_EQ(sigtimedwait(&set, &info, &kLong), SIGRTMIN + 2);
  EXPECT_EQ(info.si_code, SI_QUEUE);
  EXPECT_EQ(info.si_value.sival_int, queue.kfd() + 1000);
  EXPECT_EQ(sigtimedwait(&set, &info, &kAtOnce), -1) << "once per episode";
  ASSERT_EQ(kevent_ctl(queue.kfd(), KEVENT_CTL_OVERFLOW_SIGNAL, 0, value), 0);
  Pipe again;
  Overflow(&queue, again, 32);
  EXPECT_EQ(ConsumeAll(&queue), 32);
  EXPECT_EQ(sigtimedwait(&set, &info, &kAtOnce), -1) << "it was taken back";
  ASSERT_EQ(pthread_sigmask(SIG_UNBLOCK, &set, nullptr), 0);
}

TEST(CInterface, RegistrationsAreBounded) {
  TestQueue queue;
  ASSERT_EQ(kevent_ctl(queue.kfd(), KEVENT_CTL_REGISTRATIONS_MAX, 2u), 0);
  Pipe pipe;
  kevent_event ev = Request(KEVENT_EVENT_POLL, pipe.reads(), 1, POLLIN);
  ASSERT_EQ(kevent_submit(queue.kfd(), &ev, 0, nullptr), 0);
  ev = Request(KEVENT_EVENT_POLL, pipe.reads(), 2, POLLIN);
  ASSERT_EQ(kevent_submit(queue.kfd(), &ev, 0, nullptr), 0);
  ev = Request(KEVENT_EVENT_POLL, pipe.reads(), 3, POLLIN);
  EXPECT_FAILS("kevent_submit ENOSPC", kevent_submit(queue.kfd(), &ev, 0, nullptr));
  EXPECT_FAILS("kevent_requeue ENOSPC", kevent_requeue(queue.kfd(), &ev));
  sigevent sev;
  uint64_t number;
  EXPECT_FAILS("kevent_sigevent ENOSPC", kevent_sigevent(queue.kfd(), &sev, 1, &number));
  ASSERT_EQ(write(pipe.writes(), "x", 1), 1);
  queue.Next();
  EXPECT_EQ(kevent_submit(queue.kfd(), &ev, 0, nullptr), 0) << "one has ended";
}

// --- kevent_submit

// K1: what is unknown is refused, not guessed.
TEST(CInterface, SubmitRefusesWhatItDoesNotKnow) {
  TestQueue queue;
  Pipe pipe;
  kevent_event ev = {};
  const auto fails = [&](const kevent_event& wrong, int flags, const timespec* timeout) {
    ev = wrong;
    EXPECT_FAILS("kevent_submit EINVAL", kevent_submit(queue.kfd(), &ev, flags, timeout)) << wrong.type;
    EXPECT_EQ(memcmp(&ev, &wrong, sizeof(ev)), 0) << "a record that was refused is as it was";
  };
  const kevent_event good = Request(KEVENT_EVENT_POLL, pipe.reads(), 1, POLLIN);
  for (const int type : {-1, 0, 1, 2, 11, 31, 50, 1000}) fails(Request(type, pipe.reads(), 1, POLLIN), 0, nullptr);
  fails(Request(KEVENT_EVENT_SIGEVENT, 0, 1), 0, nullptr);
  fails(Request(KEVENT_EVENT_POLL, pipe.reads(), 1, POLLIN, KEVENT_MORE), 0, nullptr);
  fails(Request(KEVENT_EVENT_POLL, pipe.reads(), 1, POLLIN, KEVENT_MULTI), 0, nullptr);
  fails(Request(KEVENT_EVENT_EVENTFD, pipe.reads(), 1, 0, KEVENT_LEVEL), 0, nullptr);
  fails(Request(KEVENT_EVENT_POLL, pipe.reads(), 1, 0), 0, nullptr);
  for (const int type :
       {KEVENT_EVENT_RECV, KEVENT_EVENT_SEND, KEVENT_EVENT_READ, KEVENT_EVENT_WRITE, KEVENT_EVENT_TIMER,
        KEVENT_EVENT_DELAY, KEVENT_EVENT_SYSV_MSG, KEVENT_EVENT_SYSV_SEM, KEVENT_EVENT_MSYNC, KEVENT_EVENT_CONNECT,
        KEVENT_EVENT_BIND, KEVENT_EVENT_FUTEX, KEVENT_EVENT_FUTEXV, KEVENT_EVENT_INOTIFY}) {
    fails(Request(type, pipe.reads(), 1, 1), 0, nullptr);  // its argument is missing
  }
  fails(good, KEVENT_NOWAIT | KEVENT_WAIT, nullptr);
  fails(good, KEVENT_WAKE_ALL, nullptr);
  fails(good, 0x10, nullptr);
  for (const timespec& wrong : {timespec{-1, 0}, timespec{0, -1}, timespec{0, 1'000'000'000}}) {
    fails(good, KEVENT_WAIT, &wrong);
  }
  EXPECT_FAILS("kevent_submit EINVAL", kevent_submit(queue.kfd(), nullptr, KEVENT_NOWAIT, nullptr));
  EXPECT_FAILS("kevent_submit EBADF", kevent_submit(-1, &ev, 0, nullptr));
  kevent_counters counters;
  ASSERT_EQ(kevent_ctl(queue.kfd(), KEVENT_CTL_COUNTERS, &counters), 0);
  EXPECT_EQ(counters.submitted, 0u);
}

// K14: a full ring, one thread: the request stands in line, or the call says so; it never blocks for ever by itself.
TEST(CInterface, SubmitToAFullRing) {
  TestQueue queue(8);
  Pipe pipe;
  for (uint64_t i = 0; i < 20; ++i) ASSERT_EQ(queue.Post(i), 0);  // six in the ring, the others in line
  kevent_event ev = Request(KEVENT_EVENT_USER, 0, 100);
  EXPECT_FAILS("kevent_submit EAGAIN", kevent_submit(queue.kfd(), &ev, KEVENT_NOWAIT, nullptr));
  EXPECT_FAILS("kevent_submit EAGAIN", kevent_submit(queue.kfd(), &ev, KEVENT_WAIT, &kAtOnce));
  const timespec soon = {0, 20'000'000};
  EXPECT_FAILS("kevent_submit EAGAIN", kevent_submit(queue.kfd(), &ev, KEVENT_WAIT, &soon));
  std::thread consumer([&] {
    for (uint64_t i = 0; i < 20; ++i) EXPECT_EQ(queue.Next().cookie, i);
  });
  EXPECT_EQ(kevent_submit(queue.kfd(), &ev, KEVENT_WAIT, nullptr), 0);
  consumer.join();
  EXPECT_EQ(queue.Next().cookie, 100u);
}

TEST(CInterface, ASubmitThatWaitsForRoomSeesTheEnd) {
  TestQueue queue(8);
  for (uint64_t i = 0; i < 10; ++i) ASSERT_EQ(queue.Post(i), 0);
  std::atomic<bool> waits{false};
  std::thread submitter([&] {
    kevent_event ev = Request(KEVENT_EVENT_USER, 0, 100);
    waits = true;
    EXPECT_FAILS("kevent_submit ECANCELED", kevent_submit(queue.kfd(), &ev, KEVENT_WAIT, nullptr));
  });
  while (!waits) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  queue.Destroy();
  submitter.join();
}

// KEVENT_LATER makes no system call of its own: the next wait takes it along.
TEST(CInterface, LaterGoesWithTheNextWait) {
  TestQueue queue;
  kevent_counters before;
  kevent_counters after;
  ASSERT_EQ(kevent_ctl(queue.kfd(), KEVENT_CTL_COUNTERS, &before), 0);
  kevent_event ev = Request(KEVENT_EVENT_USER, 0, 5);
  ASSERT_EQ(kevent_submit(queue.kfd(), &ev, KEVENT_LATER, nullptr), 0);
  ASSERT_EQ(kevent_ctl(queue.kfd(), KEVENT_CTL_COUNTERS, &after), 0);
  EXPECT_EQ(after.enters, before.enters);
  EXPECT_EQ(queue.Next().cookie, 5u);
}

// More calls that block than there are helper threads.
TEST(CInterface, HelperThreadsAreBounded) {
  const int msgq = msgget(IPC_PRIVATE, 0600);
  ASSERT_GE(msgq, 0);
  struct {
    long type;
    char text[8];
  } buffer;
  kevent_msg argument = {};
  argument.message = &buffer;
  argument.size = sizeof(buffer.text);
  {
    TestQueue queue;
    kevent_event ev = {};
    for (int i = 0; i <= 64; ++i) {
      ev = Request(KEVENT_EVENT_SYSV_MSG, msgq, static_cast<uint64_t>(i));
      ev.payload = reinterpret_cast<uintptr_t>(&argument);
      if (i == 64) break;
      ASSERT_EQ(kevent_submit(queue.kfd(), &ev, 0, nullptr), 0) << i << ": " << strerror(errno);
    }
    EXPECT_FAILS("kevent_submit EAGAIN", kevent_submit(queue.kfd(), &ev, 0, nullptr));
  }
  EXPECT_EQ(msgctl(msgq, IPC_RMID, nullptr), 0);
}

// --- kevent_cancel, kevent_requeue, kevent_sigevent, kevent_destroy

TEST(CInterface, CancelOnceAndBeforeTheEnd) {
  TestQueue queue;
  Pipe pipe;
  kevent_event ev = Request(KEVENT_EVENT_POLL, pipe.reads(), 9, POLLIN);
  ASSERT_EQ(kevent_submit(queue.kfd(), &ev, 0, nullptr), 0);
  const uint64_t number = ev.payload;
  EXPECT_EQ(kevent_cancel(queue.kfd(), number), 0);
  EXPECT_FAILS("kevent_cancel EALREADY", kevent_cancel(queue.kfd(), number));
  ev = queue.Next();
  EXPECT_EQ(ev.result, -ECANCELED);
  EXPECT_EQ(ev.cookie, 9u);
  EXPECT_EQ(ev.payload, number);
  EXPECT_FAILS("kevent_cancel ENOENT", kevent_cancel(queue.kfd(), number));
  EXPECT_FAILS("kevent_cancel ENOENT", kevent_cancel(queue.kfd(), 0));
  EXPECT_FAILS("kevent_cancel ENOENT", kevent_cancel(queue.kfd(), UINT64_MAX));
  EXPECT_FAILS("kevent_cancel EBADF", kevent_cancel(-1, number));
}

TEST(CInterface, ARequeuedRecordComesAgainBehindTheOthers) {
  TestQueue queue;
  ASSERT_EQ(queue.Post(1), 0);
  ASSERT_EQ(queue.Post(2), 0);
  const kevent_event first = queue.Next();
  EXPECT_EQ(first.cookie, 1u);
  ASSERT_EQ(kevent_requeue(queue.kfd(), &first), 0);
  EXPECT_EQ(queue.Next().cookie, 2u);
  const kevent_event again = queue.Next();
  EXPECT_EQ(memcmp(&first, &again, sizeof(first)), 0);
  EXPECT_FAILS("kevent_requeue EINVAL", kevent_requeue(queue.kfd(), nullptr));
  EXPECT_FAILS("kevent_requeue EBADF", kevent_requeue(-1, &first));
}

TEST(CInterface, SigeventNeedsBothPlaces) {
  TestQueue queue;
  sigevent sev = {};
  uint64_t number = 0;
  EXPECT_FAILS("kevent_sigevent EINVAL", kevent_sigevent(queue.kfd(), nullptr, 1, &number));
  EXPECT_FAILS("kevent_sigevent EINVAL", kevent_sigevent(queue.kfd(), &sev, 1, nullptr));
  EXPECT_FAILS("kevent_sigevent EBADF", kevent_sigevent(-1, &sev, 1, &number));
  ASSERT_EQ(kevent_sigevent(queue.kfd(), &sev, 0xabcdef0123456789, &number), 0);
  EXPECT_EQ(sev.sigev_notify, SIGEV_THREAD);
  sev.sigev_notify_function(sev.sigev_value);
  const kevent_event record = queue.Next();
  EXPECT_EQ(record.type, KEVENT_EVENT_SIGEVENT);
  EXPECT_EQ(record.cookie, 0xabcdef0123456789);
  EXPECT_EQ(record.payload, number);
  EXPECT_EQ(record.flags, KEVENT_MORE);
  ASSERT_EQ(kevent_cancel(queue.kfd(), number), 0);
  EXPECT_EQ(queue.Next().result, -ECANCELED);
  sev.sigev_notify_function(sev.sigev_value);  // one that comes late finds nothing
  kevent_event ev;
  EXPECT_EQ(kevent_consume(queue.ring(), &ev), 0);
}

TEST(CInterface, DestroyNamesTheRingOrNone) {
  TestQueue queue(16);
  TestQueue other(16);
  EXPECT_FAILS("kevent_destroy EINVAL", kevent_destroy(queue.kfd(), other.ring(), 16));
  EXPECT_FAILS("kevent_destroy EINVAL", kevent_destroy(queue.kfd(), queue.ring(), 17));
  EXPECT_FAILS("kevent_destroy EINVAL", kevent_destroy(queue.kfd(), queue.ring(), 0));
  EXPECT_FAILS("kevent_destroy EINVAL", kevent_destroy(queue.kfd(), nullptr, 16));
  EXPECT_FAILS("kevent_destroy EBADF", kevent_destroy(-1, nullptr, 0));
  const int kfd = queue.kfd();
  EXPECT_EQ(kevent_destroy(kfd, nullptr, 0), 0);
  queue.Forget();
  EXPECT_EQ(fcntl(kfd, F_GETFD), -1) << "the descriptor is closed";
  EXPECT_FAILS("kevent_destroy EBADF", kevent_destroy(kfd, nullptr, 0));
}

// Requests of every state go with their queue: armed, standing in line, completed and not consumed, on a helper thread.
TEST(CInterface, DestroyTakesWhatIsUnderWay) {
  const int msgq = msgget(IPC_PRIVATE, 0600);
  ASSERT_GE(msgq, 0);
  Pipe pipe;
  struct {
    long type;
    char text[8];
  } buffer;
  kevent_msg argument = {};
  argument.message = &buffer;
  argument.size = sizeof(buffer.text);
  {
    TestQueue queue(8);
    kevent_event ev = Request(KEVENT_EVENT_SYSV_MSG, msgq, 1);
    ev.payload = reinterpret_cast<uintptr_t>(&argument);
    ASSERT_EQ(kevent_submit(queue.kfd(), &ev, 0, nullptr), 0);
    ev = Request(KEVENT_EVENT_POLL, pipe.reads(), 2, POLLIN);
    ASSERT_EQ(kevent_submit(queue.kfd(), &ev, 0, nullptr), 0);
    ev = Request(KEVENT_EVENT_SIGNAL, SIGUSR2, 3, 0, KEVENT_MULTI);
    ASSERT_EQ(kevent_submit(queue.kfd(), &ev, 0, nullptr), 0);
    ev = Request(KEVENT_EVENT_POLL, pipe.writes(), 4, POLLOUT, KEVENT_LEVEL);
    ASSERT_EQ(kevent_submit(queue.kfd(), &ev, 0, nullptr), 0);
    for (uint64_t i = 0; i < 20; ++i) ASSERT_EQ(queue.Post(i), 0);
  }
  EXPECT_EQ(msgctl(msgq, IPC_RMID, nullptr), 0);
}

}  // namespace
}  // namespace evring::kevent
