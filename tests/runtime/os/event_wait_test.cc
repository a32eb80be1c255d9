// event_wait_test.cc: every family of events of a kevent queue as an awaitable, with the real facility: it is
// delivered, it ends with a stop while it waits, and it is refused when it cannot be. (What each type does with its
// arguments is tested with the queue, tests/kevent/queue_types_*_test.cc: the code is the same.)

#include "runtime/os/event_wait.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "kevent/kevent.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/timeout.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using kevent::Event;
using kevent::EventType;
using testing::CountIn;
using testing::WithWorkers;

using Answer = absl::StatusOr<Event>;

// Things to wait for that do not come by themselves, and a hand that makes each come.
class Facilities {
 public:
  Facilities() {
    EVRING_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair_) == 0, "a pair");
    counter_ = eventfd(0, EFD_CLOEXEC);
    inotify_ = inotify_init1(IN_CLOEXEC);
    path_ = ::testing::TempDir() + "/event_wait.XXXXXX";
    locked_ = mkstemp(path_.data());
    EVRING_CHECK(counter_ >= 0 && inotify_ >= 0 && locked_ >= 0, "descriptors");
    EVRING_CHECK(inotify_add_watch(inotify_, path_.c_str(), IN_ATTRIB) >= 0, "a watch");
    other_ = open(path_.c_str(), O_RDWR | O_CLOEXEC);
    EVRING_CHECK(flock(other_, LOCK_EX) == 0, "a lock");
    messages_ = msgget(IPC_PRIVATE, 0600);
    semaphores_ = semget(IPC_PRIVATE, 1, 0600);
    EVRING_CHECK(messages_ >= 0 && semaphores_ >= 0, "objects of System V");
    child_ = fork();
    if (child_ == 0) {
      pause();
      _exit(0);
    }
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, kSignal);
    EVRING_CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0, "blocked before threads are made");
  }
  ~Facilities() {
    msgctl(messages_, IPC_RMID, nullptr);
    semctl(semaphores_, 0, IPC_RMID);
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
    unlink(path_.c_str());
    for (const int fd : {pair_[0], pair_[1], counter_, inotify_, locked_, other_}) close(fd);
  }

  static constexpr int kSignal = SIGUSR2;
  static constexpr std::array kTypes = {EventType::kPoll,    EventType::kReceive, EventType::kEventFd,
                                        EventType::kInotify, EventType::kTimer,   EventType::kTimeout,
                                        EventType::kFutex,   EventType::kSignal,  EventType::kProcess,
                                        EventType::kFlock,   EventType::kSysvMsg, EventType::kSysvSem};

  Event ToWaitFor(EventType type) {
    Event event;
    event.type = type;
    event.cookie = 0xc00c1e;
    switch (type) {
      case EventType::kPoll:
        event.descriptor = pair_[0];
        event.result = POLLIN;
        break;
      case EventType::kReceive:
        event.descriptor = pair_[0];
        event.payload = reinterpret_cast<uintptr_t>(&io_);
        break;
      case EventType::kEventFd:
        event.descriptor = counter_;
        break;
      case EventType::kInotify:
        event.descriptor = inotify_;
        event.payload = reinterpret_cast<uintptr_t>(&io_);
        break;
      case EventType::kTimer:
        event.payload = reinterpret_cast<uintptr_t>(&timer_);
        break;
      case EventType::kTimeout:
        event.payload = reinterpret_cast<uintptr_t>(&timer_.first);
        break;
      case EventType::kFutex:
        event.descriptor = 0;
        event.payload = reinterpret_cast<uintptr_t>(&word_);
        break;
      case EventType::kSignal:
        event.descriptor = kSignal;
        break;
      case EventType::kProcess:
        event.descriptor = child_;
        break;
      case EventType::kFlock:
        event.descriptor = locked_;
        event.result = LOCK_EX;
        break;
      case EventType::kSysvMsg:
        event.descriptor = messages_;
        event.payload = reinterpret_cast<uintptr_t>(&msg_);
        break;
      case EventType::kSysvSem:
        event.descriptor = semaphores_;
        event.payload = reinterpret_cast<uintptr_t>(&sem_);
        break;
      default:
        ADD_FAILURE();
    }
    return event;
  }

  void MakeItCome(EventType type) {
    const uint64_t five = 5;
    struct {
      long type = 1;
      char text[4] = {};
    } message;
    sembuf up = {0, 1, 0};
    switch (type) {
      case EventType::kPoll:
      case EventType::kReceive:
        EXPECT_EQ(write(pair_[1], "x", 1), 1);
        break;
      case EventType::kEventFd:
        EXPECT_EQ(write(counter_, &five, sizeof(five)), static_cast<ssize_t>(sizeof(five)));
        break;
      case EventType::kInotify:
        EXPECT_EQ(fchmod(locked_, 0640), 0);
        break;
      case EventType::kTimer:
      case EventType::kTimeout:
        break;  // these come
      case EventType::kFutex:
        // Until the waiter is there.
        for (int i = 0; i < 10'000 && syscall(SYS_futex, &word_, FUTEX_WAKE, 1, nullptr, nullptr, 0) == 0; ++i) {
          usleep(1000);
        }
        break;
      case EventType::kSignal:
        EXPECT_EQ(kill(getpid(), kSignal), 0);
        break;
      case EventType::kProcess:
        EXPECT_EQ(kill(std::exchange(child_, -1), SIGTERM), 0);
        break;
      case EventType::kFlock:
        EXPECT_EQ(flock(other_, LOCK_UN), 0);
        break;
      case EventType::kSysvMsg:
        EXPECT_EQ(msgsnd(messages_, &message, sizeof(message.text), 0), 0);
        break;
      case EventType::kSysvSem:
        EXPECT_EQ(semop(semaphores_, &up, 1), 0);
        break;
      default:
        ADD_FAILURE();
    }
  }

  // A timer that does not come while a test runs, or at once.
  void SetTimer(time_t seconds) { timer_.first.tv_sec = seconds; }

 private:
  int pair_[2];
  int counter_;
  int inotify_;
  std::string path_;
  int locked_;
  int other_;  // of the same file, and holds its lock
  int messages_;
  int semaphores_;
  pid_t child_;
  uint32_t word_ = 0;
  std::array<char, 512> buffer_ = {};
  kevent_io io_ = {buffer_.data(), buffer_.size(), 0, 0};
  kevent_timer timer_ = {CLOCK_MONOTONIC, 0, {0, 1'000'000}, {0, 0}};
  kevent_msg msg_ = {buffer_.data(), 64, 0, 0, 0};
  sembuf down_ = {0, -1, 0};
  kevent_sem sem_ = {&down_, 1};
};

class EveryEvent : public ::testing::TestWithParam<EventType> {
 protected:
  EveryEvent() : descriptors_(CountIn("fd")) {}
  ~EveryEvent() override { EXPECT_EQ(CountIn("fd"), descriptors_); }

 private:
  const int descriptors_;
};

Task<Answer> WaitAndMake(Facilities* facilities, EventType type) {
  auto waiting = co_await Spawn(WaitForEvent(facilities->ToWaitFor(type)));
  static_cast<void>(co_await Sleep(absl::Milliseconds(5)));
  facilities->MakeItCome(type);
  co_return co_await std::move(waiting);
}

TEST_P(EveryEvent, IsAwaited) {
  Facilities facilities;
  const Answer record = evring::Run(WaitAndMake(&facilities, GetParam()), WithWorkers(2));
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->type, GetParam());
  EXPECT_EQ(record->cookie, 0xc00c1eu);
  switch (GetParam()) {
    case EventType::kPoll:
      EXPECT_EQ(record->result, POLLIN);
      break;
    case EventType::kReceive:
    case EventType::kTimer:
      EXPECT_EQ(record->result, 1);
      break;
    case EventType::kEventFd:
      EXPECT_EQ(record->payload, 5u);
      break;
    case EventType::kSignal:
      EXPECT_EQ(record->result, Facilities::kSignal);
      break;
    case EventType::kProcess:
      EXPECT_EQ(record->result, SIGTERM);
      break;
    case EventType::kSysvMsg:
      EXPECT_EQ(record->result, 4);
      break;
    case EventType::kInotify:
      EXPECT_GE(record->result, static_cast<int>(sizeof(inotify_event)));
      break;
    default:
      EXPECT_EQ(record->result, 0);
  }
}

Task<Answer> WaitShortly(Facilities* facilities, EventType type, absl::Duration time) {
  co_return co_await WithTimeout(time, WaitForEvent(facilities->ToWaitFor(type)));
}

TEST_P(EveryEvent, EndsWithAStop) {
  Facilities facilities;
  facilities.SetTimer(3600);
  // At several moments: before the wait, while it begins, while it lasts.
  for (const int us : {0, 1, 20, 100, 1000, 10'000}) {
    const Answer record = evring::Run(WaitShortly(&facilities, GetParam(), absl::Microseconds(us)), WithWorkers(2));
    EXPECT_EQ(record.status().code(), absl::StatusCode::kDeadlineExceeded) << us << ": " << record.status();
  }
}

INSTANTIATE_TEST_SUITE_P(Types, EveryEvent, ::testing::ValuesIn(Facilities::kTypes), [](const auto& info) {
  std::string name = kevent::EventTypeName(info.param);
  std::erase(name, ' ');
  return name;
});

Task<Answer> Wait(Event event) { co_return co_await WaitForEvent(event); }

TEST(EventWait, WhatCannotBeWaitedForIsRefused) {
  for (const EventType type : {EventType::kUser, EventType::kSigevent, EventType::kNone, EventType::kRename}) {
    Event event;
    event.type = type;
    const Answer answer = evring::Run(Wait(event), WithWorkers(1));
    EXPECT_EQ(kevent::StatusErrno(answer.status()), EINVAL) << kevent::EventTypeName(type);
  }
  Event level;
  level.type = EventType::kPoll;
  level.descriptor = 0;
  level.result = POLLIN;
  level.flags = KEVENT_LEVEL;
  EXPECT_EQ(kevent::StatusErrno(evring::Run(Wait(level), WithWorkers(1)).status()), EINVAL);
}

TEST(EventWait, AnErrorCarriesItsErrnoAndSaysOfWhat) {
  Event event;
  event.type = EventType::kPoll;
  event.descriptor = 9999;
  event.result = POLLIN;
  const Answer answer = evring::Run(Wait(event), WithWorkers(1));
  EXPECT_EQ(kevent::StatusErrno(answer.status()), EBADF);
  EXPECT_NE(std::string(answer.status().message()).find("poll fd=9999"), std::string::npos) << answer.status();
}

// --- The example of the header

Task<Answer> WaitForChild(pid_t pid) {
  kevent::Event child;
  child.type = kevent::EventType::kProcess;
  child.descriptor = pid;
  absl::StatusOr<kevent::Event> ended = co_await WaitForEvent(child);
  co_return ended;
}

TEST(EventWait, TheExample) {
  const pid_t pid = fork();
  if (pid == 0) _exit(5);
  const Answer ended = evring::Run(WaitForChild(pid), WithWorkers(2));
  ASSERT_TRUE(ended.ok()) << ended.status();
  EXPECT_EQ(ended->result, 5);
}

// --- On a simulated machine

// A wait for something of the real one would be a wait that the simulation does not know of.
Task<> WaitSimulated(Facilities* facilities) {
  for (const EventType type : {EventType::kSignal, EventType::kSysvMsg, EventType::kSysvSem}) {
    const Answer answer = co_await WaitForEvent(facilities->ToWaitFor(type));
    EXPECT_TRUE(absl::IsUnimplemented(answer.status())) << kevent::EventTypeName(type) << ": " << answer.status();
    EXPECT_EQ(kevent::StatusErrno(answer.status()), ENOSYS);
    EXPECT_NE(std::string(answer.status().message()).find(kevent::EventTypeName(type)), std::string::npos);
  }
  // What it has is waited for as ever.
  const Answer timer = co_await WaitForEvent(facilities->ToWaitFor(EventType::kTimer));
  EXPECT_TRUE(timer.ok()) << timer.status();
}

class SimulatedEventWait : public testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, SimulatedEventWait, testing::SimulatedMachines(), testing::MachineName);

TEST_P(SimulatedEventWait, RefusesWhatIsOfTheRealMachine) {
  Facilities facilities;
  RunOk(WaitSimulated(&facilities));
}

}  // namespace
}  // namespace evring
