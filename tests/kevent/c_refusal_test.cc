// A system that refuses what a queue needs: io_uring, memory, descriptors. Played by limits and by seccomp filters.

#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <utility>

#include "kevent/kevent.h"
#include "kevent/queue.h"
#include "kevent/requests.h"
#include "kevent/sanitizer.h"
#include "tests/kevent/c_interface_util.h"
#include "tests/kevent/refusals.h"

namespace evring::kevent {
namespace {

// Runs `body` with a limit that is lower than usual.
void WithLimit(int resource, rlim_t value, const std::function<void()>& body) {
  rlimit before;
  ASSERT_EQ(getrlimit(static_cast<__rlimit_resource>(resource), &before), 0);
  const rlimit low = {value, before.rlim_max};
  ASSERT_EQ(setrlimit(static_cast<__rlimit_resource>(resource), &low), 0);
  body();
  ASSERT_EQ(setrlimit(static_cast<__rlimit_resource>(resource), &before), 0);
}

TEST(CRefusal, IoUringIsSwitchedOff) {
  WithRefusals({{__NR_io_uring_setup, EPERM}}, [] { EXPECT_FAILS("kevent_init EPERM", kevent_init(8)); });
  WithRefusals({{__NR_io_uring_setup, ENOSYS}}, [] { EXPECT_FAILS("kevent_init ENOSYS", kevent_init(8)); });
}

TEST(CRefusal, NoMemoryForARing) {
  WithRefusals({{__NR_io_uring_setup, ENOMEM}}, [] { EXPECT_FAILS("kevent_init ENOMEM", kevent_init(8)); });
}

TEST(CRefusal, NoDescriptors) {
  WithLimit(RLIMIT_NOFILE, 0, [] { EXPECT_FAILS("kevent_init EMFILE", kevent_init(8)); });
  WithRefusals({{__NR_io_uring_setup, ENFILE}}, [] { EXPECT_FAILS("kevent_init ENFILE", kevent_init(8)); });
  // One for the ring is left, none for the program's.
  const int lowest = dup(STDIN_FILENO);
  ASSERT_GE(lowest, 0);
  close(lowest);
  WithLimit(RLIMIT_NOFILE, static_cast<rlim_t>(lowest) + 1, [] { EXPECT_FAILS("kevent_init EMFILE", kevent_init(8)); });
  TestQueue queue;
  kevent_event ev = Request(KEVENT_EVENT_SIGNAL, SIGUSR2, 1);
  WithLimit(RLIMIT_NOFILE, 0, [&] {
    EXPECT_FAILS("kevent_submit EMFILE", kevent_submit(queue.kfd(), &ev, 0, nullptr));
    // A wait with a mask may need an eventfd.
    sigset_t none;
    sigemptyset(&none);
    EXPECT_FAILS("kevent_wait ENOMEM", kevent_wait(queue.kfd(), kevent_ring_state(queue.ring()), &kAtOnce, &none));
  });
  WithRefusals({{__NR_signalfd4, ENFILE}},
               [&] { EXPECT_FAILS("kevent_submit ENFILE", kevent_submit(queue.kfd(), &ev, 0, nullptr)); });
  EXPECT_EQ(kevent_submit(queue.kfd(), &ev, 0, nullptr), 0);
}

// To report a process again and again needs the kernel's waitid request: a descriptor of a process tells its end only.
TEST(CRefusal, TheKernelCannot) {
  QueueOptions options;
  options.hidden.set();
  auto queue = Queue::Create(options);
  ASSERT_TRUE(queue.ok()) << queue.status();
  Event event;
  event.type = EventType::kProcess;
  event.descriptor = getpid();
  event.result = WSTOPPED;
  event.flags = KEVENT_MULTI;
  EXPECT_EQ((*queue)->Submit(event), -ENOSYS) << "kevent_submit ENOSYS: it passes on what Queue::Submit() says";
}

TEST(CRefusal, TheKernelHasNoMemoryToWait) {
  TestQueue queue;
  kevent_event ev;
  for (const int error : {ENOMEM, EAGAIN, EBUSY}) {
    WithRefusals({{__NR_io_uring_enter, error}}, [&] {
      EXPECT_FAILS("kevent_wait ENOMEM", kevent_wait(queue.kfd(), kevent_ring_state(queue.ring()), &kLong, nullptr));
      EXPECT_FAILS("kevent_get_events ENOMEM", kevent_get_events(queue.kfd(), &ev, 1, 1, &kLong, nullptr));
    });
  }
}

// K7: a record that is in the ring is consumed without a system call: on a thread that may not enter io_uring, which
// would be a failed check, all of them are.
TEST(CRefusal, ConsumingNeedsNoSystemCall) {
  TestQueue queue(64);
  for (uint64_t i = 0; i < 48; ++i) ASSERT_EQ(queue.Post(i), 0);
  kevent_counters before;
  kevent_counters after;
  ASSERT_EQ(kevent_ctl(queue.kfd(), KEVENT_CTL_COUNTERS, &before), 0);
  WithRefusals({{__NR_io_uring_enter, EPERM}}, [&] {
    kevent_event ev;
    for (uint64_t i = 0; i < 48; ++i) {
      ASSERT_EQ(kevent_consume(queue.ring(), &ev), 1);
      EXPECT_EQ(ev.cookie, i);
    }
    EXPECT_EQ(kevent_consume(queue.ring(), &ev), 0);
  });
  ASSERT_EQ(kevent_ctl(queue.kfd(), KEVENT_CTL_COUNTERS, &after), 0);
  EXPECT_EQ(after.enters, before.enters);
  EXPECT_EQ(after.consumed, before.consumed + 48);
}

// Want of memory of the process itself, while registrations pile up.
TEST(CRefusal, NoMemoryForARegistration) {
#if defined(EVRING_ASAN) || defined(EVRING_TSAN)
  GTEST_SKIP() << "a sanitizer's own memory does not fit into a limit of the address space";
#else
  TestQueue queue(8);
  kevent_event ev = Request(KEVENT_EVENT_USER, 0, 1);
  bool failed = false;
  uint64_t accepted = 0;
  const auto fill = [&] {
    while (accepted < 1'000'000 && kevent_submit(queue.kfd(), &ev, 0, nullptr) == 0) ++accepted;
    EXPECT_FAILS("kevent_submit ENOMEM", kevent_submit(queue.kfd(), &ev, 0, nullptr));
    EXPECT_FAILS("kevent_requeue ENOMEM", kevent_requeue(queue.kfd(), &ev));
    sigevent sev;
    uint64_t number;
    EXPECT_FAILS("kevent_sigevent ENOMEM", kevent_sigevent(queue.kfd(), &sev, 1, &number));
    failed = true;
  };
  // A callback needs a few bytes, so the last of them have to go.
  int rc = 0;
  int error = 0;
  const auto ask_with_nothing_left = [&] {
    void** taken = nullptr;
    for (void* more; (more = malloc(24)) != nullptr;) taken = new (more) void*(taken);
    void (*callback)(int, void*) = [](int, void*) {};
    errno = 0;
    rc = kevent_ctl(queue.kfd(), KEVENT_CTL_OVERFLOW_CALLBACK, callback, nullptr);
    error = errno;
    while (taken != nullptr) free(std::exchange(taken, static_cast<void**>(*taken)));
  };
  WithLimit(RLIMIT_AS, 1, [&] {
    fill();
    ask_with_nothing_left();
  });
  EXPECT_EQ(rc, -1);
  EXPECT_EQ(error, ENOMEM) << "kevent_ctl ENOMEM";
  EXPECT_TRUE(failed);
  for (uint64_t i = 0; i < accepted; ++i) ASSERT_EQ(queue.Next().cookie, 1u) << i << " of " << accepted;
  EXPECT_EQ(queue.Post(7), 0) << "and there is room again";
#endif
}

}  // namespace
}  // namespace evring::kevent
