// kevent.cc: the C interface over Queue: arguments are checked, results become -1 and errno.
//
// No C++ exception leaves it: want of memory is ENOMEM. The cancellation of a thread, which is an exception of its own
// kind here, passes through the two calls that are cancellation points and is held back in the others.

#include "kevent/kevent.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "kevent/errors.h"
#include "kevent/queue.h"
#include "kevent/queue_table.h"
#include "kevent/queue_waiter.h"
#include "kevent/sigevent.h"
#include "kevent/timespec.h"

namespace evring::kevent {
namespace {

static_assert(sizeof(kevent_event) == sizeof(Event) && offsetof(kevent_event, type) == offsetof(Event, type) &&
                  offsetof(kevent_event, descriptor) == offsetof(Event, descriptor) &&
                  offsetof(kevent_event, cookie) == offsetof(Event, cookie) &&
                  offsetof(kevent_event, result) == offsetof(Event, result) &&
                  offsetof(kevent_event, flags) == offsetof(Event, flags) &&
                  offsetof(kevent_event, payload) == offsetof(Event, payload),
              "one record, in C and in C++");
static_assert(KEVENT_MORE == Event::kMore);

constexpr bool Same(int c, EventType cc) { return c == static_cast<int>(cc); }
static_assert(Same(KEVENT_EVENT_ACCEPT, EventType::kAccept) && Same(KEVENT_EVENT_CONNECT, EventType::kConnect) &&
              Same(KEVENT_EVENT_RECV, EventType::kReceive) && Same(KEVENT_EVENT_SEND, EventType::kSend) &&
              Same(KEVENT_EVENT_POLL, EventType::kPoll) && Same(KEVENT_EVENT_DELAY, EventType::kTimeout) &&
              Same(KEVENT_EVENT_READ, EventType::kFileRead) && Same(KEVENT_EVENT_WRITE, EventType::kFileWrite) &&
              Same(KEVENT_EVENT_FSYNC, EventType::kSync) && Same(KEVENT_EVENT_USER, EventType::kUser) &&
              Same(KEVENT_EVENT_TIMER, EventType::kTimer) && Same(KEVENT_EVENT_SIGNAL, EventType::kSignal) &&
              Same(KEVENT_EVENT_PROCESS, EventType::kProcess) && Same(KEVENT_EVENT_FUTEX, EventType::kFutex) &&
              Same(KEVENT_EVENT_FUTEXV, EventType::kFutexV) && Same(KEVENT_EVENT_MQ, EventType::kMq) &&
              Same(KEVENT_EVENT_SYSV_MSG, EventType::kSysvMsg) && Same(KEVENT_EVENT_SYSV_SEM, EventType::kSysvSem) &&
              Same(KEVENT_EVENT_BIND, EventType::kBind) && Same(KEVENT_EVENT_LISTEN, EventType::kListen) &&
              Same(KEVENT_EVENT_FLOCK, EventType::kFlock) && Same(KEVENT_EVENT_LOCK, EventType::kLock) &&
              Same(KEVENT_EVENT_FDATASYNC, EventType::kDataSync) && Same(KEVENT_EVENT_MSYNC, EventType::kMsync) &&
              Same(KEVENT_EVENT_INOTIFY, EventType::kInotify) && Same(KEVENT_EVENT_EVENTFD, EventType::kEventFd) &&
              Same(KEVENT_EVENT_SIGEVENT, EventType::kSigevent));

int Fail(int error) {
  errno = error;
  return -1;
}

// The calling thread is in callbacks of overflow, and so in calls of their queues.
thread_local int callbacks_of_thread = 0;

// The queue has a descriptor of its own and would serve a program that has closed the one it was given: a call that is
// going to enter the kernel anyway, or is rare, asks.
bool IsOpen(int kfd) { return fcntl(kfd, F_GETFD) >= 0; }

// Whether there is a queue, and the program has not closed it; else why not.
bool IsServed(const HeldEntry& entry, int kfd, int* error) {
  if (!entry) return false;  // the look-up has said why
  if (IsOpen(kfd)) return true;
  *error = EBADF;
  return false;
}

Event ToEvent(const kevent_event& c) {
  Event event;
  std::memcpy(static_cast<void*>(&event), &c, sizeof(event));
  return event;
}

void FromEvent(const Event& event, kevent_event* c) { std::memcpy(c, &event, sizeof(*c)); }

// The deadline of a timeout that begins now; false if it is none.
bool ToDeadline(const timespec* timeout, int64_t* deadline_ns) {
  *deadline_ns = kNoDeadline;
  if (timeout == nullptr) return true;
  if (!IsTime(*timeout)) return false;
  if (timeout->tv_sec < kFarthestS) *deadline_ns = SystemKernel()->NowNs() + ToNs(*timeout);
  return true;
}

// 0 for what a wait may end with that is no error.
int WaitError(Queue::Waited waited) {
  switch (waited) {
    case Queue::Waited::kRecords:
    case Queue::Waited::kWoken:
      return 0;
    case Queue::Waited::kStateMoved:
      return EWOULDBLOCK;
    case Queue::Waited::kDeadline:
      return ETIMEDOUT;
    case Queue::Waited::kInterrupted:
      return EINTR;
    case Queue::Waited::kNoMemory:
      return ENOMEM;
    case Queue::Waited::kClosed:
      return ECANCELED;
  }
  return EINVAL;
}

int Control(TableEntry* entry, int kfd, int cmd, va_list args) {
  Queue* const queue = entry->queue.get();
  switch (cmd) {
    case KEVENT_CTL_MIN_EVENTS:
      return -queue->SetMinEvents(va_arg(args, unsigned));
    case KEVENT_CTL_OVERFLOW_SIGNAL: {
      const int signo = va_arg(args, int);
      const sigval value = va_arg(args, sigval);
      if (signo == 0) {
        queue->SetOnOverflow(nullptr);
        return 0;
      }
      if (signo < SIGRTMIN || signo > SIGRTMAX) return EINVAL;
      // EAGAIN, too many signals are pending: then one is.
      queue->SetOnOverflow([signo, value] { static_cast<void>(sigqueue(getpid(), signo, value)); });
      return 0;
    }
    case KEVENT_CTL_OVERFLOW_CALLBACK: {
      using Callback = void (*)(int, void*);
      const auto callback = va_arg(args, Callback);
      void* const arg = va_arg(args, void*);
      if (callback == nullptr) {
        queue->SetOnOverflow(nullptr);
      } else {
        queue->SetOnOverflow([callback, kfd, arg] {
          ++callbacks_of_thread;
          callback(kfd, arg);
          --callbacks_of_thread;
        });
      }
      return 0;
    }
    case KEVENT_CTL_COUNTERS: {
      auto* const out = va_arg(args, kevent_counters*);
      if (out == nullptr) return EINVAL;
      const QueueCounters counters = queue->counters();
      *out = kevent_counters{counters.submitted, counters.consumed,  counters.ended,
                             counters.enters,    counters.overflows, counters.wakes};
      return 0;
    }
    case KEVENT_CTL_ENTRIES: {
      auto* const out = va_arg(args, unsigned*);
      if (out == nullptr) return EINVAL;
      *out = queue->entries();
      return 0;
    }
    case KEVENT_CTL_REGISTRATIONS_MAX: {
      const unsigned n = va_arg(args, unsigned);
      if (n == 0) return EINVAL;
      queue->SetRegistrationsMax(n);
      return 0;
    }
    default:
      return EINVAL;
  }
}

}  // namespace
}  // namespace evring::kevent

using evring::kevent::Event;
using evring::kevent::GivenRecords;
using evring::kevent::HeldEntry;
using evring::kevent::NotCancelled;
using evring::kevent::Queue;
using evring::kevent::QueueTable;

int kevent_init(int num) try {
  const NotCancelled scope;
  if (num <= 0) return evring::kevent::Fail(EINVAL);
  evring::kevent::QueueOptions options;
  options.entries = static_cast<uint32_t>(num);
  auto queue = Queue::Create(std::move(options));
  if (!queue.ok()) {
    const int error = evring::kevent::StatusErrno(queue.status());
    return evring::kevent::Fail(error != 0 ? error : EINVAL);
  }
  const int kfd = QueueTable::Get()->Add(*std::move(queue), static_cast<uint32_t>(num));
  return kfd >= 0 ? kfd : evring::kevent::Fail(-kfd);
} catch (const std::bad_alloc&) {
  return evring::kevent::Fail(ENOMEM);
}

kevent_ring* kevent_map_ringbuf(int kfd, size_t num) {
  int error = 0;
  const HeldEntry entry(kfd, &error);
  if (evring::kevent::IsServed(entry, kfd, &error)) {
    if (num > 0 && num <= entry->num) return &entry->ring;
    error = EINVAL;
  }
  errno = error;
  return nullptr;
}

unsigned kevent_ring_state(const kevent_ring* ring) {
  if (ring != nullptr) return ring->queue->state();
  errno = EINVAL;
  return 0;
}

int kevent_consume(kevent_ring* ring, kevent_event* ev) {
  if (ring == nullptr || ev == nullptr) return evring::kevent::Fail(EINVAL);
  if (ring->process != QueueTable::Process()) return evring::kevent::Fail(EPERM);
  Event record;
  if (!GivenRecords::OfThisThread()->Take(ring->serial, &record) && !ring->queue->TryNext(&record)) return 0;
  evring::kevent::FromEvent(record, ev);
  return 1;
}

int kevent_ctl(int kfd, int cmd, ...) try {
  int error = 0;
  const NotCancelled scope;
  const HeldEntry entry(kfd, &error);
  if (!evring::kevent::IsServed(entry, kfd, &error)) return evring::kevent::Fail(error);
  va_list args;
  va_start(args, cmd);
  error = evring::kevent::Control(entry.get(), kfd, cmd, args);
  va_end(args);
  return error == 0 ? 0 : evring::kevent::Fail(error);
} catch (const std::bad_alloc&) {
  return evring::kevent::Fail(ENOMEM);
}

int kevent_submit(int kfd, kevent_event* ev, int flags, const timespec* timeout) try {
  int error = 0;
  const NotCancelled scope;
  const HeldEntry entry(kfd, &error);
  if (!entry) return evring::kevent::Fail(error);
  if ((flags & KEVENT_LATER) == 0 && !evring::kevent::IsOpen(kfd)) return evring::kevent::Fail(EBADF);
  Queue* const queue = entry->queue.get();
  if (ev == nullptr) {
    if ((flags & ~KEVENT_WAKE_ALL) != 0) return evring::kevent::Fail(EINVAL);
    queue->Wake((flags & KEVENT_WAKE_ALL) != 0);
    return 0;
  }
  int64_t deadline_ns;
  if ((flags & ~(KEVENT_NOWAIT | KEVENT_WAIT | KEVENT_LATER)) != 0 ||
      (flags & (KEVENT_NOWAIT | KEVENT_WAIT)) == (KEVENT_NOWAIT | KEVENT_WAIT) || ev->type == KEVENT_EVENT_SIGEVENT ||
      !evring::kevent::ToDeadline(timeout, &deadline_ns)) {
    return evring::kevent::Fail(EINVAL);
  }
  Queue::Full full = Queue::Full::kStandInLine;
  if ((flags & KEVENT_NOWAIT) != 0) full = Queue::Full::kRefuse;
  if ((flags & KEVENT_WAIT) != 0) full = Queue::Full::kWait;
  const int64_t number = queue->Submit(evring::kevent::ToEvent(*ev), full, deadline_ns, (flags & KEVENT_LATER) != 0);
  if (number < 0) return evring::kevent::Fail(static_cast<int>(-number));
  ev->payload = static_cast<uint64_t>(number);
  return 0;
} catch (const std::bad_alloc&) {
  return evring::kevent::Fail(ENOMEM);
}

int kevent_cancel(int kfd, uint64_t number) {
  int error = 0;
  const NotCancelled scope;
  const HeldEntry entry(kfd, &error);
  if (!evring::kevent::IsServed(entry, kfd, &error)) return evring::kevent::Fail(error);
  if (number > INT64_MAX) return evring::kevent::Fail(ENOENT);
  evring::kevent::ForgetSigevent(entry->ring.serial, static_cast<int64_t>(number));
  const int rc = entry->queue->Cancel(static_cast<int64_t>(number));
  return rc == 0 ? 0 : evring::kevent::Fail(-rc);
}

int kevent_requeue(int kfd, const kevent_event* ev) try {
  int error = 0;
  const NotCancelled scope;
  const HeldEntry entry(kfd, &error);
  if (!evring::kevent::IsServed(entry, kfd, &error)) return evring::kevent::Fail(error);
  if (ev == nullptr) return evring::kevent::Fail(EINVAL);
  const int rc = entry->queue->Post(evring::kevent::ToEvent(*ev));
  return rc == 0 ? 0 : evring::kevent::Fail(-rc);
} catch (const std::bad_alloc&) {
  return evring::kevent::Fail(ENOMEM);
}

int kevent_wait(int kfd, unsigned ringstate, const timespec* timeout, const sigset_t* sigmask) try {
  pthread_testcancel();
  int error = 0;
  const HeldEntry entry(kfd, &error);
  if (!entry) return evring::kevent::Fail(error);
  evring::kevent::WaitArgs wait;
  if (!evring::kevent::ToDeadline(timeout, &wait.deadline_ns)) return evring::kevent::Fail(EINVAL);
  wait.sigmask = sigmask;
  GivenRecords* const given = GivenRecords::OfThisThread();
  if (given->Has(entry->ring.serial)) return 0;
  // It is going to sleep.
  if (ringstate == entry->queue->state() && !evring::kevent::IsOpen(kfd)) return evring::kevent::Fail(EBADF);
  given->MakeRoom();
  Event record;
  size_t taken = 0;
  const uint32_t seen = ringstate;
  const Queue::Waited waited = entry->queue->Next(std::span<Event>(&record, 1), &taken, wait, &seen);
  if (taken == 1) given->Keep(entry->ring.serial, record);
  error = evring::kevent::WaitError(waited);
  return error == 0 ? 0 : evring::kevent::Fail(error);
} catch (const std::bad_alloc&) {
  return evring::kevent::Fail(ENOMEM);
}

int kevent_get_events(int kfd, kevent_event* events, size_t min, size_t max, const timespec* timeout,
                      const sigset_t* sigmask) try {
  pthread_testcancel();
  int error = 0;
  const HeldEntry entry(kfd, &error);
  if (!entry) return evring::kevent::Fail(error);
  Queue* const queue = entry->queue.get();
  evring::kevent::WaitArgs wait;
  if (max == 0 || max > INT32_MAX || events == nullptr || min > max || (min != 0 && min != queue->min_events()) ||
      !evring::kevent::ToDeadline(timeout, &wait.deadline_ns)) {
    return evring::kevent::Fail(EINVAL);
  }
  if (min == 0) wait.deadline_ns = 0;
  wait.sigmask = sigmask;
  size_t taken = 0;
  const uint64_t serial = entry->ring.serial;
  for (Event record; taken < max && GivenRecords::OfThisThread()->Take(serial, &record);) {
    evring::kevent::FromEvent(record, &events[taken++]);
  }
  const auto take_the_rest = [&] {
    for (Event record; taken < max && queue->TryNext(&record);) evring::kevent::FromEvent(record, &events[taken++]);
  };
  if (taken > 0 || min <= 1) take_the_rest();
  if (taken > 0) return static_cast<int>(taken);
  if (!evring::kevent::IsOpen(kfd)) return evring::kevent::Fail(EBADF);
  Event batch[64];
  error =
      evring::kevent::WaitError(queue->Next(std::span<Event>(batch, std::min(max, std::size(batch))), &taken, wait));
  for (size_t i = 0; i < taken; ++i) evring::kevent::FromEvent(batch[i], &events[i]);
  if (taken == std::size(batch)) take_the_rest();
  return error == 0 || error == ETIMEDOUT ? static_cast<int>(taken) : evring::kevent::Fail(error);
} catch (const std::bad_alloc&) {
  return evring::kevent::Fail(ENOMEM);
}

int kevent_sigevent(int kfd, sigevent* sev, uint64_t cookie, uint64_t* number) try {
  int error = 0;
  const NotCancelled scope;
  const HeldEntry entry(kfd, &error);
  if (!evring::kevent::IsServed(entry, kfd, &error)) return evring::kevent::Fail(error);
  if (sev == nullptr || number == nullptr) return evring::kevent::Fail(EINVAL);
  Event event;
  event.type = evring::kevent::EventType::kSigevent;
  event.cookie = cookie;
  event.flags = KEVENT_MULTI;
  const uintptr_t key = evring::kevent::ReserveSigevent(entry->ring.serial);
  const int64_t rc = entry->queue->Submit(event);
  if (rc < 0) {
    evring::kevent::ReleaseSigevent(key);
    return evring::kevent::Fail(static_cast<int>(-rc));
  }
  evring::kevent::FillSigevent(key, rc, sev);
  *number = static_cast<uint64_t>(rc);
  return 0;
} catch (const std::bad_alloc&) {
  return evring::kevent::Fail(ENOMEM);
}

int kevent_destroy(int kfd, void* ringbuf, size_t num) {
  int error = 0;
  const NotCancelled scope;
  if (evring::kevent::callbacks_of_thread > 0) return evring::kevent::Fail(EDEADLK);
  const std::unique_ptr<evring::kevent::TableEntry> entry = QueueTable::Get()->Remove(kfd, ringbuf, num, &error);
  if (entry == nullptr) return evring::kevent::Fail(error);
  evring::kevent::ForgetSigevents(entry->ring.serial);
  return 0;
}
