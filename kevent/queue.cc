#include "kevent/queue.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "kevent/check.h"
#include "kevent/errors.h"
#include "kevent/sanitizer.h"

namespace evring::kevent {
namespace {

constexpr uint32_t kEntriesMin = 8;
constexpr uint32_t kEntriesMax = 65536;
constexpr uint32_t kSubmissionsMax = 512;
constexpr int64_t kDrainSliceNs = 20'000'000;

struct RingSleep {
  Ring* ring;
  unsigned to_submit;
  uint32_t min;
  const WaitArgs* wait;
};

EVRING_UNINSTRUMENTED int SleepInRing(void* argument) {
  const auto* sleep = static_cast<const RingSleep*>(argument);
  return sleep->ring->EnterShared(sleep->to_submit, sleep->min, *sleep->wait);
}

void LetOthersIn(std::unique_lock<std::mutex>* lock) {
  lock->unlock();
  sched_yield();
  lock->lock();
}

}  // namespace

// A thread in Next(): what it is at the turnstile it gives up when it leaves, also when it is cancelled.
class Queue::Place {
 public:
  Place(Queue* queue, bool masked)
      : queue_(queue), event_fd_(masked ? queue->BorrowEventFd() : -1), waiter_(event_fd_) {}
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() {
    if (marked_) queue_->returned_.Unmark();
    Standing standing = standing_;
    if (standing == Standing::kInLine) standing = queue_->turnstile_.Leave(&waiter_);
    if (standing == Standing::kLeads) {
      if (queue_->turnstile_.HandOn(&waiter_) && !released_) queue_->Wake(/*all=*/false);
    } else if (standing == Standing::kReleased) {
      queue_->Wake(/*all=*/false);  // it was let go, and does not get there
    }
    if (event_fd_ >= 0) queue_->ReturnEventFd(event_fd_);
  }

  bool has_event_fd() const { return event_fd_ >= 0; }
  QueueWaiter* waiter() { return &waiter_; }
  bool Join() {
    const bool leads = queue_->turnstile_.Join(&waiter_);
    standing_ = leads ? Standing::kLeads : Standing::kInLine;
    return leads;
  }
  Standing Leave() {
    const Standing standing = queue_->turnstile_.Leave(&waiter_);
    standing_ = standing == Standing::kLeads ? Standing::kLeads : Standing::kOutside;
    return standing;
  }
  // A leader that goes because it was released.
  bool TakeRelease() { return released_ = queue_->turnstile_.leader_is_released(); }
  bool Mark() { return marked_ = queue_->returned_.Mark(); }
  void Unmark() {
    queue_->returned_.Unmark();
    marked_ = false;
  }

 private:
  Queue* const queue_;
  const int event_fd_;
  QueueWaiter waiter_;
  Standing standing_ = Standing::kOutside;
  bool marked_ = false;
  bool released_ = false;
};

// --- Making and unmaking
// ----------------------------------------------------------------------------------------------

Queue::Queue(QueueOptions options) : options_(std::move(options)) { SetOnOverflow(std::move(options_.on_overflow)); }

absl::StatusOr<std::unique_ptr<Queue>> Queue::Create(QueueOptions options) {
  if (options.entries == 0 || options.entries > kEntriesMax) {
    return absl::InvalidArgumentError(absl::StrCat("QueueOptions: entries ", options.entries, ": 1 to ", kEntriesMax));
  }
  auto queue = absl::WrapUnique(new Queue(std::move(options)));
  if (absl::Status status = queue->Start(); !status.ok()) return status;
  return queue;
}

absl::Status Queue::Start() {
  RingOptions options;
  options.shared = true;
  options.cq_entries = std::max(options_.entries, kEntriesMin);
  options.sq_entries = std::min(options.cq_entries, kSubmissionsMax);
  absl::StatusOr<std::unique_ptr<Ring>> ring = Ring::Create(options_.kernel, options);
  if (!ring.ok()) return ring.status();
  ring_ = *std::move(ring);
  absl::StatusOr<Opcodes> opcodes = ProbeOpcodes(ring_.get());
  if (!opcodes.ok()) return opcodes.status();
  opcodes_ = *opcodes & ~options_.hidden;
  return absl::OkStatus();
}

Queue::~Queue() {
  if (ring_ == nullptr) return;
  closed_.store(true, std::memory_order_relaxed);
  calls_.reset();
  for (;;) {
    Event dropped;
    while (TryNext(&dropped)) Drop(dropped);
    {
      Lock lock(mutex_);
      TakeBack();
      while (line_first_ != nullptr) {
        Registration* const registration = line_first_;
        LeaveLine(registration);
        if (registration->posted) Drop(registration->event);
        registrations_.Free(registration);
      }
      if (armed_ == 0) break;
      if (io_uring_sqe* sqe = ring_->GetSqe(); sqe != nullptr) {
        io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY);
        sqe->user_data = kUserDataIgnore;
      }
      ring_->Submit();
    }
    WaitArgs wait;
    wait.deadline_ns = options_.kernel->NowNs() + kDrainSliceNs;
    ring_->EnterShared(0, 1, wait);
  }
  for (const int fd : event_fds_) close(fd);
}

// --- Registering
// ------------------------------------------------------------------------------------------------------

Registration* Queue::TakeRegistration(int* error) {
  TakeBack();
  if (registrations_.in_use() >= options_.registrations_max) {
    *error = ENOSPC;
    return nullptr;
  }
  Registration* const registration = registrations_.Take();
  if (registration == nullptr) *error = ENOMEM;
  return registration;
}

template <class F>
auto Queue::WithLock(F&& f) {
  const auto answer = [&] {
    Lock lock(mutex_);
    const auto rc = f(&lock);
    Leave(&lock);
    return rc;
  }();
  LookForOverflow();
  return answer;
}

int64_t Queue::Submit(const Event& event, Full full, int64_t deadline_ns, bool later) {
  return WithLock([&](Lock* lock) {
    const int64_t rc = SubmitLocked(event, full, deadline_ns, later, lock);
    if (rc >= 0) ++submitted_;
    return rc;
  });
}

int64_t Queue::SubmitLocked(const Event& event, Full full, int64_t deadline_ns, bool later, Lock* lock) {
  int error = 0;
  Registration* const registration = TakeRegistration(&error);
  if (registration == nullptr) return -error;
  int rc = Prepare(event, opcodes_, registration);
  if (rc == 0 && registration->helped) rc = Help(registration);
  if (rc < 0) {
    registrations_.Free(registration);
    return rc;
  }
  const int64_t number = registration->number();
  if (registration->helped) return number;
  if (registration->type == EventType::kSigevent) {
    registration->state = Registration::State::kArmed;  // nothing to wait for: its events are posted
    return number;
  }
  registration->later = later;
  StandInLine(registration);
  ArmLine();
  const auto stands = [&] {
    return registrations_.Find(number) == registration && registration->state == Registration::State::kStanding;
  };
  if (full == Full::kWait && stands()) {
    room_waiters_.fetch_add(1, std::memory_order_relaxed);  // shown by Announce()
    for (;;) {
      read_.Announce();
      Leave(lock);
      if (!stands() || closed_.load(std::memory_order_relaxed)) break;  // guarded by the lock: see Close()
      if (deadline_ns != kNoDeadline && options_.kernel->NowNs() >= deadline_ns) break;
      WaitForRoom(lock, deadline_ns);
    }
    room_waiters_.fetch_sub(1, std::memory_order_relaxed);
  }
  if (full == Full::kStandInLine || !stands()) return number;
  LeaveLine(registration);
  registrations_.Free(registration);
  return closed_.load(std::memory_order_relaxed) ? -ECANCELED : -EAGAIN;
}

void Queue::WaitForRoom(Lock* lock, int64_t deadline_ns) {
  const NotCancelled not_cancelled;
  if (deadline_ns == kNoDeadline) {
    room_.wait(*lock);
    return;
  }
  room_.wait_for(*lock, std::chrono::nanoseconds(std::max<int64_t>(deadline_ns - options_.kernel->NowNs(), 0)));
}

int32_t HelperCall::Run() noexcept { return CallBlocking(registration_); }

void HelperCall::Done(int32_t result) noexcept { queue_->EndCall(registration_, result); }

int Queue::Help(Registration* registration) {
  if (calls_ == nullptr) {
    BlockingCalls::Options options;
    options.threads_max = options_.helper_threads_max;
    absl::StatusOr<std::unique_ptr<BlockingCalls>> calls = BlockingCalls::Create(options);
    if (!calls.ok()) return -EINVAL;  // no such number of threads, or the program handles the signal itself
    calls_ = *std::move(calls);
  }
  registration->call.reset(new (std::nothrow) HelperCall(this, registration));
  if (registration->call == nullptr) return -ENOMEM;
  registration->state = Registration::State::kArmed;
  registration->called = true;
  const absl::Status status = calls_->Start(registration->call.get());
  return status.ok() ? 0 : -StatusErrno(status);
}

void Queue::EndCall(Registration* registration, int32_t result) {
  WithLock([&](Lock*) {
    registration->called = false;
    registration->call_result = result;
    StandInLine(registration);
    return 0;
  });
}

int Queue::Post(const Event& record) {
  return WithLock([&](Lock*) { return PostLocked(record); });
}

int Queue::Notify(int64_t number) {
  return WithLock([&](Lock*) {
    const Registration* const registration = registrations_.Find(number);
    if (registration == nullptr || registration->type != EventType::kSigevent ||
        registration->cancelled.load(std::memory_order_relaxed)) {
      return -ENOENT;
    }
    Event record;
    record.type = EventType::kSigevent;
    record.cookie = registration->cookie;
    record.flags = KEVENT_MORE;
    record.payload = registration->number();
    return PostLocked(record);
  });
}

int Queue::PostLocked(const Event& record) {
  int error = 0;
  Registration* const registration = TakeRegistration(&error);
  if (registration == nullptr) return -error;
  registration->posted = true;
  registration->event = record;
  StandInLine(registration);
  ++submitted_;
  return 0;
}

int Queue::Cancel(int64_t number) {
  return WithLock([&](Lock* lock) { return CancelLocked(number, lock); });
}

int Queue::CancelLocked(int64_t number, Lock* lock) {
  Registration* registration;
  io_uring_sqe* sqe = nullptr;
  for (;;) {
    TakeBack();
    registration = registrations_.Find(number);
    if (registration == nullptr) return -ENOENT;
    if (registration->cancelled.load(std::memory_order_relaxed)) return -EALREADY;
    const bool in_kernel = !registration->called && registration->state == Registration::State::kArmed &&
                           registration->type != EventType::kSigevent;
    if (!in_kernel || (sqe = ring_->GetSqe()) != nullptr) break;
    LetOthersIn(lock);  // the kernel has no memory now
  }
  if (sqe != nullptr) {
    io_uring_prep_cancel64(sqe, registration->user_data(), 0);
    sqe->user_data = kUserDataIgnore;
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    urgent_ = true;
  } else if (registration->called) {
    calls_->Cancel(registration->call.get());
  } else if (registration->state == Registration::State::kStanding) {
    // What stands there with a result keeps it.
    if (!registration->helped) registration->ending = true;
  } else {
    registration->ending = true;
    StandInLine(registration);
  }
  registration->cancelled.store(true, std::memory_order_relaxed);
  return 0;
}

// --- The line
// ---------------------------------------------------------------------------------------------------------

void Queue::StandInLine(Registration* registration) {
  registration->state = Registration::State::kStanding;
  registration->next = nullptr;
  (line_last_ != nullptr ? line_last_->next : line_first_) = registration;
  line_last_ = registration;
}

void Queue::LeaveLine(Registration* registration) {
  Registration* before = nullptr;
  for (Registration* r = line_first_; r != registration; r = r->next) before = r;
  (before != nullptr ? before->next : line_first_) = registration->next;
  if (line_last_ == registration) line_last_ = before;
}

void Queue::TakeBack() {
  // In the order in which they came back, so that the line is fair.
  Registration* first = nullptr;
  for (Registration* r = returned_.TakeAll(); r != nullptr;) {
    Registration* const next = std::exchange(r->next, first);
    first = std::exchange(r, next);
  }
  while (first != nullptr) {
    Registration* const registration = first;
    first = registration->next;
    --armed_;
    if (registration->again && !closed_.load(std::memory_order_relaxed)) {
      registration->later = false;
      registration->ending = registration->cancelled.load(std::memory_order_relaxed);
      StandInLine(registration);
    } else {
      ++ended_;
      registrations_.Free(registration);
    }
  }
}

void Queue::ArmLine() {
  TakeBack();
  bool armed = false;
  for (;;) {
    // What is armed may complete at once, also what another thread is about to submit. Counted in this order nothing is
    // missed: the kernel takes a request off the ring when its completion is there, if it completes at once.
    const uint32_t unsubmitted = ring_->Publish();
    const uint32_t there = unsubmitted + ready();
    // The kernel has the room that this counts: who has taken a record may not have come to show it.
    if (line_first_ != nullptr) read_.ShowTaken(ring_->read_index());
    for (uint32_t expected = there; line_first_ != nullptr && expected < limit(); ++expected) {
      io_uring_sqe* const sqe = ring_->GetSqe();
      if (sqe == nullptr) break;
      Registration* const registration = line_first_;
      line_first_ = registration->next;
      if (line_first_ == nullptr) line_last_ = nullptr;
      if (registration->ending || registration->posted || registration->helped) {
        io_uring_prep_nop(sqe);
      } else {
        Arm(registration, sqe);
      }
      sqe->user_data = registration->user_data();
      registration->state = Registration::State::kArmed;
      if (!registration->later) urgent_ = true;
      ++armed_;
      armed = true;
      HandOverRelease(registration);
    }
    const bool stands = line_first_ != nullptr;
    if (stands == line_stands_.load(std::memory_order_relaxed)) break;
    line_stands_.store(stands, std::memory_order_relaxed);
    if (!stands) break;
    read_.Announce();  // who takes a record from here on sees that something stands there; once more for the others
  }
  if (armed && room_waiters_.load(std::memory_order_relaxed) > 0) room_.notify_all();
}

unsigned Queue::Publish() {
  urgent_ = false;
  later_.store(false, std::memory_order_relaxed);
  return ring_->Publish();
}

void Queue::SubmitArmed(Lock* lock) {
  while (Publish() != 0) {
    const int rc = ring_->Submit();
    if (rc != -EAGAIN && rc != -ENOMEM) return;
    LetOthersIn(lock);
  }
}

void Queue::Leave(Lock* lock) {
  ArmLine();
  if (urgent_) {
    SubmitArmed(lock);
  } else if (ring_->unsubmitted() != 0) {
    later_.store(true, std::memory_order_relaxed);
  }
}

void Queue::Flush() {
  {
    Lock lock(mutex_);
    ArmLine();
    SubmitArmed(&lock);
  }
  LookForOverflow();
}

// --- Consuming
// --------------------------------------------------------------------------------------------------------

bool Queue::TryNext(Event* record) { return Take(record, /*leads=*/false); }

bool Queue::Take(Event* record, bool leads) {
  bool kicked = false;
  for (;;) {
    RawCompletion completion;
    const auto read = [&](uint64_t index) {
      completion = ring_->At(static_cast<uint32_t>(index));
      return !kicked || completion.user_data != kUserDataWake;  // the one put there below stays
    };
    const bool taken = read_.TryTake([this] { return ring_->state(); }, read, ring_->read_index());
    if (!taken) {
      if (kicked || !FlushOverflow()) return false;
      continue;
    }
    // Set before a claim that this one came after; see Announce().
    if (line_stands_.load(std::memory_order_relaxed)) TellOfRoom();
    if (completion.user_data > kUserDataLast) {
      if (ToRecord(completion.user_data, completion.result, record)) return true;
    } else if (completion.user_data == kUserDataWake && !leads && turnstile_.leader_is_released()) {
      Kick(1);  // it was for the leader, which may not have seen it
      kicked = true;
    }
    not_records_.fetch_add(1, std::memory_order_relaxed);
  }
}

void Queue::TellOfRoom() {
  if (room_waiters_.load(std::memory_order_relaxed) > 0) {
    const Lock lock(mutex_);
    room_.notify_all();
  }
  // While the leader sleeps, or is about to, nobody else may come by. It marks with the lock when nothing stands in
  // line, so the mark was there before what stands now.
  if (returned_.marked()) Flush();
}

bool Queue::ToRecord(uint64_t user_data, int32_t result, Event* record) {
  auto* const registration = reinterpret_cast<Registration*>(static_cast<uintptr_t>(user_data));
  HandOverAcquire(registration);
  const bool cancelled = registration->cancelled.load(std::memory_order_relaxed);
  bool told = true;
  registration->again = false;
  if (registration->helped) result = registration->call_result;
  if (registration->ending) result = -ECANCELED;
  if (registration->posted && !registration->ending) {
    *record = registration->event;
  } else {
    record->type = registration->type;
    record->descriptor = registration->descriptor;
    record->cookie = registration->cookie;
    record->flags = 0;
    record->payload = registration->number();
    if (result == -ECANCELED || result == -EINTR) {
      // Not by the program: the thread that submitted it has ended.
      if (!cancelled && !registration->helped) {
        registration->again = true;
        told = false;
      }
      record->result = -ECANCELED;
    } else if (Report(registration, result, record) && registration->goes_on) {
      registration->again = true;
      record->flags = KEVENT_MORE;
    }
  }
  GiveBack(registration);
  return told;
}

void Queue::GiveBack(Registration* registration) {
  if (returned_.Push(registration, registration->again)) Flush();
}

bool Queue::FlushOverflow() {
  LookForOverflow();
  if (!ring_->overflown()) return false;
  const uint32_t before = ring_->state();
  read_.ShowTaken(ring_->read_index());
  waits_.fetch_add(1, std::memory_order_relaxed);
  ring_->EnterShared(0, 0, WaitArgs());
  return ring_->state() != before;
}

void Queue::LookForOverflow() {
  if (ring_->overflown() == overflown_.load(std::memory_order_relaxed)) return;
  std::shared_ptr<const std::function<void()>> tell;
  {
    const std::lock_guard<std::mutex> lock(overflow_mutex_);
    // Looked at with the lock: what was seen before may be of an episode that has been told.
    const bool overflown = ring_->overflown();
    if (overflown == overflown_.load(std::memory_order_relaxed)) return;
    overflown_.store(overflown, std::memory_order_relaxed);
    if (!overflown || closed_.load(std::memory_order_relaxed)) return;
    overflows_.fetch_add(1, std::memory_order_relaxed);
    tell = on_overflow_;
  }
  if (tell == nullptr) return;
  const NotCancelled not_cancelled;
  (*tell)();
}

size_t Queue::TakeUpTo(std::span<Event> records, bool leads) {
  size_t n = 0;
  while (n < records.size() && Take(&records[n], leads)) ++n;
  return n;
}

// --- Waiting
// ----------------------------------------------------------------------------------------------------------

Queue::Waited Queue::Next(std::span<Event> records, size_t* taken, const WaitArgs& wait, const uint32_t* seen) {
  EVRING_CHECK(!records.empty(), "room for a record");
  *taken = 0;
  pthread_testcancel();  // also where there is always something to take
  if (closed_.load(std::memory_order_relaxed)) return Waited::kClosed;
  if (ready() >= min_events() || ring_->overflown()) *taken = TakeUpTo(records, /*leads=*/false);  // W1
  if (*taken > 0) return Waited::kRecords;
  if (seen != nullptr && state() != *seen) return Waited::kStateMoved;

  Place place(this, wait.sigmask != nullptr);
  if (wait.sigmask != nullptr && !place.has_event_fd()) return Waited::kNoMemory;
  if (!place.Join()) {                                    // W2
    if (later_.load(std::memory_order_relaxed)) Flush();  // the leader may sleep already
    const QueueWaiter::Slept slept = place.waiter()->Sleep(wait);
    wakes_.fetch_add(1, std::memory_order_relaxed);
    switch (place.Leave()) {
      case Standing::kReleased:
        return AtLast(Waited::kWoken, records, taken, /*leads=*/false);
      case Standing::kLeads:
        if (slept == QueueWaiter::Slept::kInterrupted) {
          return AtLast(Waited::kInterrupted, records, taken, /*leads=*/true);
        }
        break;
      default:
        return AtLast(slept == QueueWaiter::Slept::kDeadline ? Waited::kDeadline : Waited::kInterrupted, records, taken,
                      /*leads=*/false);
    }
  }
  return Lead(&place, records, taken, wait);
}

Queue::Waited Queue::Lead(Place* place, std::span<Event> records, size_t* taken, const WaitArgs& wait) {
  const auto at_last = [&](Waited otherwise) { return AtLast(otherwise, records, taken, /*leads=*/true); };
  const uint32_t min = min_events();
  for (;;) {
    if (closed_.load(std::memory_order_relaxed)) return Waited::kClosed;  // set before the turnstile is entered
    if (ready() >= min || ring_->overflown()) *taken = TakeUpTo(records, /*leads=*/true);  // W3
    if (*taken > 0) return Waited::kRecords;
    if (place->TakeRelease()) return at_last(Waited::kWoken);
    unsigned to_submit;
    bool stands;
    {
      Lock lock(mutex_);
      do {
        ArmLine();
        // A wait that submits as well does not tell that a signal has come: with a mask, it is what the wait is for.
        if (wait.sigmask != nullptr) SubmitArmed(&lock);
        to_submit = Publish();
        stands = line_first_ != nullptr;
      } while (!stands && !place->Mark());  // B2
    }
    const auto taken_before = static_cast<uint32_t>(read_.taken());
    read_.ShowTaken(ring_->read_index());
    int rc;
    if (stands) {
      // No sleep before all of the line is armed, or the ring has records.
      waits_.fetch_add(1, std::memory_order_relaxed);
      rc = ring_->EnterShared(to_submit, 0, WaitArgs());
    } else {
      rc = Sleep(to_submit, min, wait);
      place->Unmark();
      wakes_.fetch_add(1, std::memory_order_relaxed);
    }
    LookForOverflow();
    switch (rc) {
      case -ETIME:
        return at_last(Waited::kDeadline);
      case -EINTR:
        return at_last(Waited::kInterrupted);
      case -EAGAIN:
      case -ENOMEM:
      case -EBUSY:
        return at_last(Waited::kNoMemory);
      default:
        break;
    }
    // It has slept only if all was submitted.
    if (stands || rc != static_cast<int>(to_submit) || place->TakeRelease()) continue;
    const uint32_t tail = ring_->state();
    if (tail - taken_before < min && (to_submit != 0 || tail != taken_before)) {
      // Less came than it slept for: the deadline or a signal. The kernel does not say so if there was anything to
      // submit, or is anything to read.
      const bool late = wait.deadline_ns != kNoDeadline && options_.kernel->NowNs() >= wait.deadline_ns;
      return at_last(late ? Waited::kDeadline : Waited::kInterrupted);
    }
    // Nor does it if enough came with the signal, which others may have taken since.
    if (wait.sigmask != nullptr) return at_last(Waited::kInterrupted);
  }
}

Queue::Waited Queue::AtLast(Waited otherwise, std::span<Event> records, size_t* taken, bool leads) {
  if (closed_.load(std::memory_order_relaxed)) return Waited::kClosed;
  *taken = TakeUpTo(records, leads);
  return *taken > 0 ? Waited::kRecords : otherwise;
}

int Queue::Sleep(unsigned to_submit, uint32_t min, const WaitArgs& wait) {
  RingSleep sleep = {ring_.get(), to_submit, min, &wait};
  waits_.fetch_add(1, std::memory_order_relaxed);
  return AtCancellationPoint(SleepInRing, &sleep);
}

void Queue::Wake(bool all) {
  if (turnstile_.Release(all)) Kick(min_events());
}

void Queue::Kick(uint32_t n) {
  // A kick that does not get through would be a thread that never wakes: want of memory in the kernel passes.
  Lock lock(mutex_);
  for (; n > 0; --n) {
    io_uring_sqe* sqe;
    while ((sqe = ring_->GetSqe()) == nullptr) LetOthersIn(&lock);
    io_uring_prep_nop(sqe);
    sqe->user_data = kUserDataWake;
  }
  SubmitArmed(&lock);
}

void Queue::Close() {
  {
    const Lock lock(mutex_);
    closed_.store(true, std::memory_order_relaxed);
    room_.notify_all();
  }
  Wake(/*all=*/true);
}

int Queue::SetMinEvents(uint32_t n) {
  if (n == 0 || n > entries() / 4) return -EINVAL;
  const bool set = turnstile_.IfNobodyWaits([&] { min_events_.store(n, std::memory_order_relaxed); });
  return set ? 0 : -EBUSY;
}

void Queue::SetOnOverflow(std::function<void()> on_overflow) {
  std::shared_ptr<const std::function<void()>> tell;
  if (on_overflow) tell = std::make_shared<const std::function<void()>>(std::move(on_overflow));
  const std::lock_guard<std::mutex> lock(overflow_mutex_);
  on_overflow_.swap(tell);
}

void Queue::SetRegistrationsMax(uint32_t n) {
  const Lock lock(mutex_);
  options_.registrations_max = n;
}

QueueCounters Queue::counters() const {
  const Lock lock(mutex_);
  QueueCounters counters;
  counters.submitted = submitted_;
  counters.consumed = read_.taken() - not_records_.load(std::memory_order_relaxed);
  counters.ended = ended_;
  counters.enters = ring_->counters().enters + waits_.load(std::memory_order_relaxed);
  counters.overflows = overflows_.load(std::memory_order_relaxed);
  counters.wakes = wakes_.load(std::memory_order_relaxed);
  return counters;
}

int Queue::BorrowEventFd() {
  const Lock lock(mutex_);
  if (!event_fds_.empty()) {
    const int fd = event_fds_.back();
    event_fds_.pop_back();
    return fd;
  }
  event_fds_.reserve(event_fds_made_ + 1);  // so that giving it back needs no memory
  const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd >= 0) ++event_fds_made_;
  return fd;
}

void Queue::ReturnEventFd(int fd) {
  const Lock lock(mutex_);
  event_fds_.push_back(fd);
}

}  // namespace evring::kevent
