#include "kevent/queue.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
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

absl::StatusOr<Opcodes> Probe(Ring* ring);

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

Queue::Queue(QueueOptions options) : options_(std::move(options)) {}

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
  absl::StatusOr<Opcodes> opcodes = Probe(ring_.get());
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

int64_t Queue::Submit(const Event& event, Full full, int64_t deadline_ns, bool later) {
  int64_t number;
  {
    Lock lock(mutex_);
    int error = 0;
    Registration* const registration = TakeRegistration(&error);
    if (registration == nullptr) return -error;
    if (const int rc = Prepare(event, opcodes_, registration); rc < 0) {
      registrations_.Free(registration);
      return rc;
    }
    number = registration->number();
    if (registration->helped) {
      if (const int rc = Help(registration); rc < 0) {
        registrations_.Free(registration);
        return rc;
      }
    } else if (registration->type == EventType::kSigevent) {
      registration->state = Registration::State::kArmed;  // nothing to wait for: its events are posted
    } else {
      StandInLine(registration);
      ArmLine();
      const auto stands = [&] {
        return registrations_.Find(number) == registration && registration->state == Registration::State::kStanding;
      };
      if (full == Full::kWait && stands()) {
        room_waiters_.fetch_add(1, std::memory_order_relaxed);  // shown by AnnounceAndCount()
        while (stands()) {
          read_.AnnounceAndCount();
          ArmLine();
          if (!stands()) break;
          if (deadline_ns != kNoDeadline && options_.kernel->NowNs() >= deadline_ns) break;
          WaitForRoom(&lock, deadline_ns);
        }
        room_waiters_.fetch_sub(1, std::memory_order_relaxed);
      }
      if (full != Full::kStandInLine && stands()) {
        LeaveLine(registration);
        registrations_.Free(registration);
        return -EAGAIN;
      }
      if (!later) ring_->Submit();
    }
    ++submitted_;
  }
  LookForOverflow();
  return number;
}

void Queue::WaitForRoom(Lock* lock, int64_t deadline_ns) {
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
    if (!calls.ok()) return -std::max(StatusErrno(calls.status()), EINVAL);
    calls_ = *std::move(calls);
  }
  registration->call = std::make_unique<HelperCall>(this, registration);
  registration->state = Registration::State::kArmed;
  registration->called = true;
  const absl::Status status = calls_->Start(registration->call.get());
  return status.ok() ? 0 : -StatusErrno(status);
}

void Queue::EndCall(Registration* registration, int32_t result) {
  {
    Lock lock(mutex_);
    registration->called = false;
    registration->call_result = result;
    StandInLine(registration);
    ArmLine();
    ring_->Submit();
  }
  LookForOverflow();
}

int Queue::Post(const Event& record) {
  int rc;
  {
    Lock lock(mutex_);
    rc = PostLocked(record);
  }
  LookForOverflow();
  return rc;
}

int Queue::Notify(int64_t number) {
  int rc;
  {
    Lock lock(mutex_);
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
    rc = PostLocked(record);
  }
  LookForOverflow();
  return rc;
}

int Queue::PostLocked(const Event& record) {
  int error = 0;
  Registration* const registration = TakeRegistration(&error);
  if (registration == nullptr) return -error;
  registration->posted = true;
  registration->event = record;
  StandInLine(registration);
  ArmLine();
  ring_->Submit();
  ++submitted_;
  return 0;
}

int Queue::Cancel(int64_t number) {
  Lock lock(mutex_);
  TakeBack();
  Registration* const registration = registrations_.Find(number);
  if (registration == nullptr) return -ENOENT;
  if (registration->cancelled.load(std::memory_order_relaxed)) return -EALREADY;
  if (registration->called) {
    calls_->Cancel(registration->call.get());
  } else if (registration->state == Registration::State::kStanding) {
    // What stands there with a result keeps it.
    if (!registration->helped) registration->ending = true;
  } else if (registration->type == EventType::kSigevent) {
    registration->ending = true;
    StandInLine(registration);
  } else {
    io_uring_sqe* const sqe = ring_->GetSqe();
    if (sqe == nullptr) return -EAGAIN;
    io_uring_prep_cancel64(sqe, registration->user_data(), 0);
    sqe->user_data = kUserDataIgnore;
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
  }
  registration->cancelled.store(true, std::memory_order_relaxed);
  ArmLine();
  ring_->Submit();
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
  // What is armed may complete at once.
  for (uint32_t expected = ready(); line_first_ != nullptr && expected < limit(); ++expected) {
    io_uring_sqe* const sqe = ring_->GetSqe();
    if (sqe == nullptr) return;
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
    ++armed_;
    HandOverRelease(registration);
  }
}

void Queue::Flush() {
  {
    Lock lock(mutex_);
    ArmLine();
    ring_->Submit();
  }
  LookForOverflow();
}

// --- Consuming
// --------------------------------------------------------------------------------------------------------

bool Queue::TryNext(Event* record) { return Take(record, /*leads=*/false); }

bool Queue::Take(Event* record, bool leads) {
  for (;;) {
    RawCompletion completion;
    const bool taken = read_.TryTake([this] { return ring_->state(); },
                                     [&](uint64_t index) { completion = ring_->At(static_cast<uint32_t>(index)); },
                                     ring_->read_index());
    if (!taken) {
      if (!FlushOverflow()) return false;
      continue;
    }
    if (room_waiters_.load(std::memory_order_relaxed) > 0) {  // after the claim; see AnnounceAndCount()
      const Lock lock(mutex_);
      room_.notify_all();
    }
    if (completion.user_data > kUserDataLast) {
      if (ToRecord(completion.user_data, completion.result, record)) return true;
    } else if (completion.user_data == kUserDataWake && !leads && turnstile_.leader_is_released()) {
      Kick();  // it was for the leader, which may not have seen it
    }
    not_records_.fetch_add(1, std::memory_order_relaxed);
  }
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
  const bool overflown = ring_->overflown() && !closed_.load(std::memory_order_relaxed);
  if (overflown == overflown_.load(std::memory_order_relaxed)) return;
  if (overflown_.exchange(overflown, std::memory_order_relaxed) == overflown || !overflown) return;
  overflows_.fetch_add(1, std::memory_order_relaxed);
  std::function<void()> tell;
  {
    const std::lock_guard<std::mutex> lock(overflow_mutex_);
    tell = options_.on_overflow;
  }
  if (tell) tell();
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
  if (closed_.load(std::memory_order_relaxed)) return Waited::kClosed;
  if (ready() >= min_events() || ring_->overflown()) *taken = TakeUpTo(records, /*leads=*/false);  // W1
  if (*taken > 0) return Waited::kRecords;
  if (seen != nullptr && state() != *seen) return Waited::kStateMoved;

  Place place(this, wait.sigmask != nullptr);
  if (wait.sigmask != nullptr && !place.has_event_fd()) return Waited::kNoMemory;
  if (!place.Join()) {  // W2
    const QueueWaiter::Slept slept = place.waiter()->Sleep(wait);
    wakes_.fetch_add(1, std::memory_order_relaxed);
    switch (place.Leave()) {
      case Standing::kReleased:
        return AtLast(Waited::kWoken, records, taken);
      case Standing::kLeads:
        if (slept == QueueWaiter::Slept::kInterrupted) return AtLast(Waited::kInterrupted, records, taken);
        break;
      default:
        return AtLast(slept == QueueWaiter::Slept::kDeadline ? Waited::kDeadline : Waited::kInterrupted, records,
                      taken);
    }
  }
  return Lead(&place, records, taken, wait);
}

Queue::Waited Queue::Lead(Place* place, std::span<Event> records, size_t* taken, const WaitArgs& wait) {
  for (;;) {
    if (closed_.load(std::memory_order_relaxed)) return Waited::kClosed;  // set before the turnstile is entered
    const uint32_t min = min_events();
    if (ready() >= min || ring_->overflown()) *taken = TakeUpTo(records, /*leads=*/true);  // W3
    if (*taken > 0) return Waited::kRecords;
    if (place->TakeRelease()) return AtLast(Waited::kWoken, records, taken);
    unsigned to_submit;
    bool stands;
    {
      Lock lock(mutex_);
      ArmLine();
      // A wait that submits as well does not tell that a signal has come: with a mask, it is what the wait is for.
      if (wait.sigmask != nullptr) ring_->Submit();
      to_submit = ring_->Publish();
      stands = line_first_ != nullptr;
    }
    read_.ShowTaken(ring_->read_index());
    const uint32_t before = ring_->state();
    int rc;
    if (stands) {
      // No sleep before all of the line is armed, or the ring has records.
      waits_.fetch_add(1, std::memory_order_relaxed);
      rc = ring_->EnterShared(to_submit, 0, WaitArgs());
    } else {
      if (!place->Mark()) continue;  // B2
      rc = Sleep(to_submit, min, wait);
      place->Unmark();
      wakes_.fetch_add(1, std::memory_order_relaxed);
    }
    LookForOverflow();
    switch (rc) {
      case -ETIME:
        return AtLast(Waited::kDeadline, records, taken);
      case -EINTR:
        return AtLast(Waited::kInterrupted, records, taken);
      case -EAGAIN:
      case -ENOMEM:
      case -EBUSY:
        return AtLast(Waited::kNoMemory, records, taken);
      default:
        break;
    }
    // Why a wait that submitted has ended, it does not say. Nothing has come: the deadline, or a signal.
    if (!stands && to_submit != 0 && rc == static_cast<int>(to_submit) && ring_->state() == before &&
        !place->TakeRelease()) {
      const bool late = wait.deadline_ns != kNoDeadline && options_.kernel->NowNs() >= wait.deadline_ns;
      return AtLast(late ? Waited::kDeadline : Waited::kInterrupted, records, taken);
    }
  }
}

Queue::Waited Queue::AtLast(Waited otherwise, std::span<Event> records, size_t* taken) {
  if (closed_.load(std::memory_order_relaxed)) return Waited::kClosed;
  *taken = TakeUpTo(records, /*leads=*/false);
  return *taken > 0 ? Waited::kRecords : otherwise;
}

int Queue::Sleep(unsigned to_submit, uint32_t min, const WaitArgs& wait) {
  struct Call {
    Ring* ring;
    unsigned to_submit;
    uint32_t min;
    const WaitArgs* wait;
  } call = {ring_.get(), to_submit, min, &wait};
  waits_.fetch_add(1, std::memory_order_relaxed);
  return AtCancellationPoint(
      [](void* argument) {
        const auto* c = static_cast<const Call*>(argument);
        return c->ring->EnterShared(c->to_submit, c->min, *c->wait);
      },
      &call);
}

void Queue::Wake(bool all) {
  if (turnstile_.Release(all)) Kick();
}

void Queue::Kick() {
  // A kick that does not get through would be a thread that never wakes: want of memory in the kernel passes.
  Lock lock(mutex_);
  io_uring_sqe* sqe;
  while ((sqe = ring_->GetSqe()) == nullptr) LetOthersIn(&lock);
  io_uring_prep_nop(sqe);
  sqe->user_data = kUserDataWake;
  while (ring_->Submit() < 0 && ring_->unsubmitted() != 0) LetOthersIn(&lock);
}

void Queue::Close() {
  closed_.store(true, std::memory_order_relaxed);
  Wake(/*all=*/true);
}

int Queue::SetMinEvents(uint32_t n) {
  if (n == 0 || n > entries() / 4) return -EINVAL;
  if (turnstile_.anybody()) return -EBUSY;
  min_events_.store(n, std::memory_order_relaxed);
  return 0;
}

void Queue::SetOnOverflow(std::function<void()> on_overflow) {
  const std::lock_guard<std::mutex> lock(overflow_mutex_);
  options_.on_overflow = std::move(on_overflow);
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
  if (event_fds_.empty()) return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const int fd = event_fds_.back();
  event_fds_.pop_back();
  return fd;
}

void Queue::ReturnEventFd(int fd) {
  const Lock lock(mutex_);
  event_fds_.push_back(fd);
}

namespace {

absl::StatusOr<Opcodes> Probe(Ring* ring) {
  constexpr unsigned kOps = 256;
  alignas(io_uring_probe) char memory[sizeof(io_uring_probe) + kOps * sizeof(io_uring_probe_op)] = {};
  auto* const probe = reinterpret_cast<io_uring_probe*>(memory);
  const int rc = ring->Probe(probe, kOps);
  if (rc < 0) return ErrnoToStatus(rc, "io_uring_register(IORING_REGISTER_PROBE)");
  Opcodes opcodes;
  for (unsigned i = 0; i < probe->ops_len; ++i) {
    if ((probe->ops[i].flags & IO_URING_OP_SUPPORTED) != 0) opcodes.set(probe->ops[i].op);
  }
  return opcodes;
}

}  // namespace
}  // namespace evring::kevent
