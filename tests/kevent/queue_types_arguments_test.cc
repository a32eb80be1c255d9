// What a queue says to arguments that cannot be, type by type; to more blocking calls than it has helper threads; to
// want of descriptors; and what it does with events of the program's own. DESIGN.md row K5.

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kevent/kevent.h"
#include "kevent/queue.h"
#include "tests/kevent/queue_types.h"

namespace evring::kevent {
namespace {

constexpr EventType kAllTypes[] = {
    EventType::kAccept,  EventType::kConnect,  EventType::kReceive,   EventType::kSend,  EventType::kPoll,
    EventType::kTimeout, EventType::kFileRead, EventType::kFileWrite, EventType::kSync,  EventType::kUser,
    EventType::kTimer,   EventType::kSignal,   EventType::kProcess,   EventType::kFutex, EventType::kFutexV,
    EventType::kMq,      EventType::kSysvMsg,  EventType::kSysvSem,   EventType::kBind,  EventType::kListen,
    EventType::kFlock,   EventType::kLock,     EventType::kDataSync,  EventType::kMsync, EventType::kInotify,
    EventType::kEventFd, EventType::kSigevent};

struct Case {
  const char* name;
  Event request;
};

// Refused at once, in both forms, and leave nothing behind.
void ExpectRefused(const std::vector<Case>& cases) {
  for (const bool fallbacks : {false, true}) {
    auto queue = MakeQueue(fallbacks);
    for (const Case& c : cases) {
      EXPECT_EQ(queue->Submit(c.request), -EINVAL) << EventTypeName(c.request.type) << ": " << c.name;
    }
    Event record;
    EXPECT_FALSE(queue->TryNext(&record));
    EXPECT_EQ(queue->counters().submitted, 0u);
  }
}

TEST(QueueTypesArguments, UnknownTypesAreRefused) {
  std::vector<Case> cases;
  for (const int type : {-1, 0, 1, 2, 11, 13, 14, 31, 50, 1 << 30}) {
    cases.push_back({"no type of a queue", Request(static_cast<EventType>(type), 0, 1, nullptr)});
  }
  ExpectRefused(cases);
}

TEST(QueueTypesArguments, FlagsThatATypeHasNotAreRefused) {
  alignas(16) const char argument[64] = {};
  std::vector<Case> cases;
  for (const EventType type : kAllTypes) {
    cases.push_back({"an unknown flag", Request(type, 1, POLLIN, argument, 0x400)});
    cases.push_back({"the flag of a record", Request(type, 1, POLLIN, argument, KEVENT_MORE)});
    const bool polls = type == EventType::kPoll || type == EventType::kMq;
    const bool goes_on = type == EventType::kAccept || type == EventType::kSignal || type == EventType::kProcess ||
                         type == EventType::kInotify || type == EventType::kEventFd || type == EventType::kSigevent;
    if (!polls) cases.push_back({"KEVENT_LEVEL", Request(type, 1, POLLIN, argument, KEVENT_LEVEL)});
    if (!goes_on) cases.push_back({"KEVENT_MULTI", Request(type, 1, POLLIN, argument, KEVENT_MULTI)});
  }
  ExpectRefused(cases);
}

TEST(QueueTypesArguments, NoAddressWhereThereMustBeOneIsRefused) {
  std::vector<Case> cases;
  for (const EventType type :
       {EventType::kConnect, EventType::kBind, EventType::kReceive, EventType::kSend, EventType::kFileRead,
        EventType::kFileWrite, EventType::kInotify, EventType::kTimer, EventType::kTimeout, EventType::kFutexV,
        EventType::kSysvMsg, EventType::kSysvSem, EventType::kMsync}) {
    cases.push_back({"no address", Request(type, 0, 16, nullptr)});
  }
  cases.push_back({"no address", Request(EventType::kFutex, 0, 0, nullptr)});
  cases.push_back({"no address", Request(EventType::kLock, 0, F_SETLKW, nullptr)});
  ExpectRefused(cases);
}

TEST(QueueTypesArguments, OfSocketsAndFilesThatCannotBeAreRefused) {
  const sockaddr address = {};
  char byte;
  const kevent_io huge = {.buffer = &byte, .size = 0x8000'0000, .offset = 0, .flags = 0};
  const kevent_io flags = {.buffer = &byte, .size = 1, .offset = 0, .flags = MSG_PEEK};
  const kevent_io before = {.buffer = &byte, .size = 1, .offset = -2, .flags = 0};
  const struct flock lock = {};
  std::vector<Case> cases = {
      {"no events", Request(EventType::kPoll, 0, 0, nullptr)},
      {"more than poll(2) has", Request(EventType::kPoll, 0, 0x1'0001, nullptr)},
      {"no events", Request(EventType::kMq, 0, 0, nullptr)},
      {"more than poll(2) has", Request(EventType::kMq, 0, -1, nullptr)},
      {"a flag that accept4(2) has not", Request(EventType::kAccept, 0, MSG_PEEK, nullptr)},
      {"no size", Request(EventType::kConnect, 0, 0, &address)},
      {"a negative size", Request(EventType::kBind, 0, -1, &address)},
      {"no operation", Request(EventType::kFlock, 0, 0, nullptr)},
      {"two operations", Request(EventType::kFlock, 0, LOCK_SH | LOCK_EX, nullptr)},
      {"an unknown operation", Request(EventType::kFlock, 0, 0x100, nullptr)},
      {"a command that does not wait", Request(EventType::kLock, 0, F_SETLK, &lock)},
      {"a command that does not lock", Request(EventType::kLock, 0, F_GETFL, &lock)},
      {"an offset before the file", Request(EventType::kFileRead, 0, 0, &before)},
      {"an offset before the file", Request(EventType::kFileWrite, 0, 0, &before)},
  };
  for (const EventType type :
       {EventType::kReceive, EventType::kSend, EventType::kFileRead, EventType::kFileWrite, EventType::kInotify}) {
    cases.push_back({"more than a call moves", Request(type, 0, 0, &huge)});
  }
  for (const EventType type : {EventType::kFileRead, EventType::kFileWrite, EventType::kInotify}) {
    cases.push_back({"flags of recv(2)", Request(type, 0, 0, &flags)});
  }
  ExpectRefused(cases);
}

TEST(QueueTypesArguments, TimesThatCannotBeAreRefused) {
  kevent_timer good = {};
  good.clock = CLOCK_MONOTONIC;
  std::vector<kevent_timer> timers(7, good);
  timers[0].clock = CLOCK_PROCESS_CPUTIME_ID;
  timers[1].clock = -1;
  timers[2].first.tv_sec = -1;
  timers[3].first.tv_nsec = -1;
  timers[4].first.tv_nsec = 1'000'000'000;
  timers[5].interval.tv_sec = -1;
  timers[6].interval.tv_nsec = 1'000'000'000;
  const timespec negative = {.tv_sec = -1, .tv_nsec = 0};
  const timespec too_many = {.tv_sec = 0, .tv_nsec = 1'000'000'000};
  std::vector<Case> cases = {{"a negative delay", Request(EventType::kTimeout, 0, 0, &negative)},
                             {"more nanoseconds than a second has", Request(EventType::kTimeout, 0, 0, &too_many)}};
  for (const kevent_timer& timer : timers) cases.push_back({"a timer", Request(EventType::kTimer, 0, 0, &timer)});
  ExpectRefused(cases);
}

TEST(QueueTypesArguments, OfSignalsProcessesAndFutexesThatCannotBeAreRefused) {
  alignas(8) uint32_t words[2] = {};
  const futex_waitv wait = {};
  const auto* const askew = reinterpret_cast<const char*>(words) + 2;
  std::vector<Case> cases = {
      {"no process", Request(EventType::kProcess, 0, WEXITED, nullptr)},
      {"a group of processes", Request(EventType::kProcess, -getpid(), WEXITED, nullptr)},
      {"not to wait", Request(EventType::kProcess, getpid(), WEXITED | WNOHANG, nullptr)},
      {"what is left there, again and again",
       Request(EventType::kProcess, getpid(), WEXITED | WNOWAIT, nullptr, KEVENT_MULTI)},
      {"unaligned", Request(EventType::kFutex, 0, 0, askew)},
      {"flags of a futex of another size", Request(EventType::kFutex, 1, 0, words)},
      {"no flags of a futex", Request(EventType::kFutex, -1, 0, words)},
      {"none", Request(EventType::kFutexV, 0, 0, &wait)},
      {"a negative number", Request(EventType::kFutexV, 0, -1, &wait)},
      {"too many", Request(EventType::kFutexV, 0, FUTEX_WAITV_MAX + 1, &wait)},
  };
  for (const int signal : {-1, 0, SIGKILL, SIGSTOP, NSIG}) {
    cases.push_back({"no signal that can be waited for", Request(EventType::kSignal, signal, 0, nullptr)});
  }
  ExpectRefused(cases);
}

// What only the kernel knows to be wrong is the result of a record.
TEST(QueueTypesArguments, WhatTheKernelRefusesIsToldByARecord) {
  char byte = 0;
  const sockaddr address = {};
  const struct flock lock = {};
  kevent_io io = {.buffer = &byte, .size = 1, .offset = 0, .flags = 0};
  const kevent_msg message = {.message = &byte, .size = 1, .type = 0, .flags = 0, .send = 0};
  sembuf operation = {};
  const kevent_sem semaphore = {.operations = &operation, .count = 1};
  for (const bool fallbacks : {false, true}) {
    auto queue = MakeQueue(fallbacks);
    for (const Event& request :
         {Request(EventType::kPoll, -1, POLLIN, nullptr), Request(EventType::kAccept, -1, 0, nullptr),
          Request(EventType::kConnect, -1, sizeof(address), &address), Request(EventType::kReceive, -1, 0, &io),
          Request(EventType::kSend, -1, 0, &io), Request(EventType::kFileRead, -1, 0, &io),
          Request(EventType::kFileWrite, -1, 0, &io), Request(EventType::kInotify, -1, 0, &io),
          Request(EventType::kBind, -1, sizeof(address), &address), Request(EventType::kListen, -1, 1, nullptr),
          Request(EventType::kFlock, -1, LOCK_EX, nullptr), Request(EventType::kLock, -1, F_OFD_SETLKW, &lock)}) {
      EXPECT_EQ(Outcome(queue.get(), request), -EBADF) << EventTypeName(request.type);
    }
    EXPECT_EQ(Outcome(queue.get(), Request(EventType::kSysvMsg, -1, 0, &message)), -EINVAL);
    EXPECT_EQ(Outcome(queue.get(), Request(EventType::kSysvSem, -1, 0, &semaphore)), -EINVAL);
    const Pair pipe = Pair::Pipe();
    ASSERT_EQ(write(pipe.there(), "x", 1), 1);
    io.buffer = nullptr;
    EXPECT_EQ(Outcome(queue.get(), Request(EventType::kFileRead, pipe.here(), 0, &io)), -EFAULT);
    io.buffer = &byte;
  }
}

TEST(QueueTypesArguments, WithAllHelperThreadsInCallsThereIsNoneForAnother) {
  auto queue = MakeQueue(/*fallbacks=*/false, /*helper_threads_max=*/1);
  const int id = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
  ASSERT_GE(id, 0);
  sembuf down = {.sem_num = 0, .sem_op = -1, .sem_flg = 0};
  const kevent_sem argument = {.operations = &down, .count = 1};
  const Event request = Request(EventType::kSysvSem, id, 0, &argument);
  const int64_t number = queue->Submit(request);
  ASSERT_GT(number, 0);
  EXPECT_EQ(queue->Submit(request), -EAGAIN);
  EXPECT_EQ(queue->counters().submitted, 1u);
  EXPECT_EQ(queue->Cancel(number), 0);
  EXPECT_EQ(LastRecord(queue.get(), request).result, -ECANCELED);
  const Event other = Request(EventType::kFlock, -1, LOCK_EX, nullptr);
  EXPECT_EQ(Outcome(queue.get(), other), -EBADF) << "the thread is there for others again";
  EXPECT_EQ(semctl(id, 0, IPC_RMID), 0);
}

TEST(QueueTypesArguments, WithoutADescriptorASignalCannotBeWaitedFor) {
  auto queue = MakeQueue();
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const Event request = Request(EventType::kSignal, SIGRTMIN, 0, nullptr);
  const int64_t refused = queue->Submit(request);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(refused, -EMFILE);
  const int64_t number = queue->Submit(request);
  ASSERT_GT(number, 0);
  EXPECT_EQ(queue->Cancel(number), 0);
  EXPECT_EQ(LastRecord(queue.get(), request).result, -ECANCELED);
}

TEST(QueueTypesUser, IsWhatTheProgramHasPosted) {
  auto queue = MakeQueue();
  Event event = Request(EventType::kUser, -7, -8, nullptr);
  event.payload = 0xfedc'ba98'7654'3210;
  const int64_t number = queue->Submit(event);
  ASSERT_GT(number, 0);
  const Event record = LastRecord(queue.get(), event);
  EXPECT_EQ(record.result, -8);
  EXPECT_EQ(record.payload, event.payload);
  EXPECT_EQ(queue->Cancel(number), -ENOENT);
}

// It is there at once, but for a ring that has no room: then it stands in line, and a cancel takes it out.
TEST(QueueTypesUser, InLineIsCancelledAndTornDown) {
  auto queue = MakeQueue();
  Event event = Request(EventType::kUser, 0, 1, nullptr);
  int64_t last = 0;
  for (uint32_t i = 0; i < 2 * queue->entries(); ++i) last = queue->Submit(event);
  ASSERT_GT(last, 0);
  EXPECT_EQ(queue->Cancel(last), 0);
  for (uint32_t i = 1; i < 2 * queue->entries(); ++i) EXPECT_EQ(LastRecord(queue.get(), event).result, 1);
  EXPECT_EQ(LastRecord(queue.get(), event).result, -ECANCELED);
  for (uint32_t i = 0; i < 2 * queue->entries(); ++i) ASSERT_GT(queue->Submit(event), 0);
  queue.reset();
}

}  // namespace
}  // namespace evring::kevent
