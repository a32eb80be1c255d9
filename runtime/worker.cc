#include "runtime/worker.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include "kevent/canary.h"
#include "kevent/check.h"
#include "runtime/scheduler.h"
#include "runtime/transfer.h"

namespace evring {

constinit thread_local Worker* Worker::current_ = nullptr;

WorkerCounters& WorkerCounters::operator+=(const WorkerCounters& other) {
  tasks_run += other.tasks_run;
  polls += other.polls;
  parks += other.parks;
  searches += other.searches;
  steals += other.steals;
  wakes_sent += other.wakes_sent;
  spurious_wakes += other.spurious_wakes;
  timers_fired += other.timers_fired;
  rescues += other.rescues;
  rescued_events += other.rescued_events;
  enters += other.enters;
  completions += other.completions;
  overflow_episodes += other.overflow_episodes;
  return *this;
}

Worker::Worker(Scheduler* scheduler, int index)
    : scheduler_(scheduler),
      index_(index),
      random_(0x9e3779b97f4a7c15u * (static_cast<uint64_t>(index) + 1)),
      timers_(scheduler->options().kernel->NowNs()) {}

Worker::~Worker() { EVRING_CHECK(ring_ == nullptr, "a worker is closed on its own thread"); }

size_t Worker::NewLocalSlot() {
  static std::atomic<size_t> next{0};
  const size_t slot = next.fetch_add(1, std::memory_order_relaxed);
  EVRING_CHECK(slot < kMaxLocals, "too many types for Worker::Local");
  return slot;
}

// --- Life
// --------------------------------------------------------------------------------------------------------------

absl::Status Worker::Start() {
  alone_ = scheduler_->worker_count() == 1;
  thread_id_ = gettid();
  const RuntimeOptions& options = scheduler_->options();
  kevent::RingOptions ring_options = options.ring;
  ring_options.owner = index_;
  auto ring = kevent::Ring::Create(options.kernel, ring_options);
  if (!ring.ok()) return ring.status();
  ring_ = *std::move(ring);
  auto buffers = kevent::BufferRing::Create(ring_.get(), options.buffers);
  if (!buffers.ok()) {
    ring_.reset();
    return buffers.status();
  }
  buffers_ = *std::move(buffers);
  now_ns_ = NowNs();
  current_ = this;
  kevent::Kernel::SetCurrent(options.kernel);
  return absl::OkStatus();
}

void Worker::Run() {
  ring_->Begin();
  if (scheduler_->has_watchdog()) Watchdog::UnblockSignal(scheduler_->options().rescue_signal);
  for (;;) {
    if (TaskContext* task = NextTask(); task != nullptr) {
      RunTask(task);
      if (++tick_ == paced_tick_) Pace();
      continue;
    }
    // A single worker submits and sleeps in one system call; with several, what was prepared goes out before the
    // search.
    if (!alone_ && ring_->NeedsEnter() && Poll()) continue;
    if (scheduler_->draining()) return;
    if (!Search()) Park();
  }
}

// Visits the ring when it is due. How long a task runs is not known before, so the clock is looked at every few tasks;
// after each one, once they were found to be long: at worst kPaceTasks long tasks delay what has arrived, and that
// once.
void Worker::Pace() {
  const uint32_t n = tick_ - polled_tick_;
  const int64_t elapsed = NowNs() - now_ns_;
  const bool are_long = elapsed * kPaceTasks >= kPollNs * n;
  if (n >= kPollInterval || elapsed >= kPollNs) Poll();
  paced_tick_ = tick_ + (are_long ? 1 : kPaceTasks);
}

TaskContext* Worker::NextTask() {
  if (tick_ % kInjectInterval == 0) {
    if (TaskContext* task = scheduler_->inject_.Pop(); task != nullptr) return task;
  }
  if (tick_ % 2 == 0 && !pinned_.EmptyApprox()) [[unlikely]] {
    if (TaskContext* task = NextPinned(); task != nullptr) return task;
  }
  if (lifo_streak_ < kLifoCap) {
    if (TaskContext* task = lifo_.Pop(); task != nullptr) {
      ++lifo_streak_;
      return task;
    }
  }
  lifo_streak_ = 0;
  TaskContext* task = alone_ ? queue_.PopUnshared() : queue_.Pop();
  if (task == nullptr) task = lifo_.Pop();
  return task != nullptr ? task : pinned_.Pop();
}

// nullptr: the others' turn lasts. About as many of them run between two pinned ones as there are others for each
// pinned one, and one at least, as this is asked every other time.
TaskContext* Worker::NextPinned() {
  constexpr size_t kTurnMax = 256;
  // What is farther ahead lies in the past: ticks come round.
  if (const uint32_t ahead = pinned_tick_ - tick_; ahead != 0 && ahead <= kTurnMax + 1) return nullptr;
  const size_t pinned = std::max<size_t>(pinned_.SizeApprox(), 1);
  pinned_tick_ = tick_ + 1 + static_cast<uint32_t>(std::min(queue_.SizeApprox() / pinned, kTurnMax));
  return pinned_.Pop();
}

void Worker::RunTask(TaskContext* context) {
  if (searching_) FoundWork();
  budget_ = kTaskBudget;
  tasks_run_.Add(1);
  has_requests_.store(ring_->in_flight() != 0 || ring_->unsubmitted() != 0, std::memory_order_relaxed);
  ring_->Seal();
  const uint64_t epoch = epoch_.load(std::memory_order_relaxed);
  epoch_.store(epoch + 1, std::memory_order_release);  // odd: the rescue handler may act; pairs with the watchdog
  std::atomic_signal_fence(std::memory_order_seq_cst);
  ResumeAll(context->ResumeHere());
  std::atomic_signal_fence(std::memory_order_seq_cst);
  epoch_.store(epoch + 2, std::memory_order_release);
}

void Worker::Drain() {
  scheduler_->AwaitAllLeft();
  while (ring_->in_flight() != 0 || !mailbox_.empty() || !backlog_.empty() ||
         inbox_.load(std::memory_order_relaxed) != nullptr) {
    // What is in flight now belongs to nobody that waits: multishots of streams that were let go.
    io_uring_sqe* sqe = PrepareSqe();
    io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
    sqe->user_data = kevent::kUserDataIgnore;
    Poll();
    if (ring_->in_flight() != 0) ring_->Wait(ring_->state(), {.deadline_ns = NowNs() + 10'000'000});
  }
}

void Worker::Close() {
  EVRING_CHECK(queue_.EmptyApprox() && lifo_.Pop() == nullptr && pinned_.EmptyApprox(),
               "a worker ends with no task left");
  for (auto& local : locals_) local.reset();
  TakeRingCounters();
  buffers_.reset();
  ring_.reset();
  current_ = nullptr;
  kevent::Kernel::SetCurrent(nullptr);
}

// --- Ready tasks
// -------------------------------------------------------------------------------------------------------

void Worker::PostPinned(TaskContext* context) {
  pinned_.Push(context);
  if (current_ != this) scheduler_->WakeIfParked(index_);
}

// True: the task is pinned to a worker, and is there now.
inline bool Worker::SentToItsWorker(TaskContext* context) {
  if (context->pinned_to() < 0) [[likely]]
    return false;
  scheduler_->worker(context->pinned_to())->PostPinned(context);
  return true;
}

void Worker::PushNext(TaskContext* context) {
  if (SentToItsWorker(context)) return;
  if (!pinned_.EmptyApprox()) [[unlikely]] {  // it is not alone, and nobody else can take those
    Enqueue(context);
    if (!alone_) scheduler_->NotifyOne();
    return;
  }
  TaskContext* displaced = lifo_.Push(context);
  if (displaced == nullptr) return;
  Enqueue(displaced);
  if (!alone_) scheduler_->NotifyOne();  // there are two, and the running task is not about to give way
}

void Worker::PushBack(TaskContext* context) {
  if (SentToItsWorker(context)) return;
  // Behind two others it needs no announcement of its own: theirs is not over before the queue is empty, for each
  // searcher that finds something there sees to it that the rest is found (hand-on, idle.h).
  const bool announced = queue_.SizeApprox() > 1;
  Enqueue(context);
  if (!announced) NotifyOfMore();
}

void Worker::Enqueue(TaskContext* context) {
  queue_.Push(context, [this](TaskContext** items, size_t n) { scheduler_->inject_.PushBatch(items, n); });
}

// Wakes another worker if there is more here than one task, which this worker runs itself.
void Worker::NotifyOfMore() {
  if (alone_) return;
  const size_t n = queue_.SizeApprox() + (lifo_.EmptyApprox() ? 0 : 1);
  if (n > 1 || (n == 1 && !pinned_.EmptyApprox())) scheduler_->NotifyOne();
}

void Worker::PushReaped(TaskContext* context) {
  if (SentToItsWorker(context)) return;
  queue_.PushUnpublished(context, [this](TaskContext** items, size_t n) { scheduler_->inject_.PushBatch(items, n); });
  ++reaped_;
}

// Shows what PushReaped() has put into the queue. True if this worker has something to run. A handler that carries out
// a stop makes tasks ready by PushNext().
bool Worker::PublishReaped() {
  const uint32_t n = std::exchange(reaped_, 0);
  if (n != 0) queue_.Publish();
  if (n != 0 || !lifo_.EmptyApprox()) NotifyOfMore();
  return n != 0 || !lifo_.EmptyApprox() || !queue_.EmptyApprox() || !pinned_.EmptyApprox();
}

void Worker::FoundWork() {
  searching_ = false;
  if (scheduler_->idle_.EndSearchFound() && scheduler_->AnyWork()) scheduler_->NotifyOne();
}

// --- The ring
// ----------------------------------------------------------------------------------------------------------

io_uring_sqe* Worker::BacklogSqe() {
  // A deque does not move its elements, so the entry stays where it is until it is copied into the ring.
  return &backlog_.emplace_back();
}

void Worker::FlushBacklog() {
  while (!backlog_.empty()) {
    io_uring_sqe* sqe = ring_->GetSqe();
    if (sqe == nullptr) return;
    *sqe = backlog_.front();
    backlog_.pop_front();
  }
}

namespace {

// Handlers make tasks ready (PushReaped); they never run them.
void Deliver(kevent::Kevent* kevent, const kevent::Event& event) { kevent->Deliver(event); }

int DeliverCopied(const kevent::RawCompletion& completion) { return kevent::Ring::Dispatch(completion, Deliver); }

}  // namespace

// One visit to the ring without sleeping. True if a task became ready.
bool Worker::Poll() {
  ring_->kernel()->Yield();  // who always has something to run gives the others a turn here
  if (!backlog_.empty()) FlushBacklog();
  if (ring_->NeedsEnter()) ring_->Enter();  // a refusal leaves the requests queued for the next visit
  return Reap();
}

// Takes what has arrived: completions, requests of other workers, timers. True if a task became ready.
bool Worker::Reap() {
  polls_.Add(1);
  buffers_->Reclaim();
  RunInbox();
  if (mailbox_.empty() || Settle()) ring_->Consume(kReapMax, Deliver);
  now_ns_ = NowNs();
  polled_tick_ = tick_;
  FireTimers(this);
  return PublishReaped();
}

// Completions that were copied out for other workers come before those in the ring. False: one is delivering them now.
bool Worker::Settle() {
  mailbox_.TryTake(DeliverCopied);
  int64_t ended = 0;
  if (!mailbox_.TrySettle(&ended)) {
    sched_yield();  // the one that delivers may have been preempted
    return false;
  }
  ring_->ForgetInFlight(ended);
  return true;
}

void Worker::TakeRingCounters() {
  const kevent::RingCounters& counters = ring_->counters();
  enters_.Add(counters.enters - enters_.get());
  completions_.Add(counters.completions - completions_.get());
  overflow_episodes_.Add(counters.overflow_episodes - overflow_episodes_.get());
}

// --- Timers
// ------------------------------------------------------------------------------------------------------------

bool Worker::ArmTimer(Timer* timer, int64_t deadline_ns) {
  {
    std::lock_guard lock(timers_lock_);
    timer->worker_ = this;
    if (timer->revoked_) return false;
    timers_.Arm(timer, deadline_ns);
  }
  // The owner looks at its wheel before it parks; if it has parked already, it looks again.
  if (current_ != this) scheduler_->WakeIfParked(index_);
  return true;
}

bool Worker::CancelTimer(Timer* timer) {
  std::lock_guard lock(timers_lock_);
  if (timer->worker_ == nullptr) {
    timer->revoked_ = true;
    return true;
  }
  return timers_.Cancel(timer);
}

void Worker::FireTimers(Worker* of) {
  std::array<Timer*, kFireMax> due;
  size_t n = 0;
  {
    std::lock_guard lock(of->timers_lock_);
    if (of->timers_.NextDeadline() > now_ns_) return;
    of->timers_.Advance(now_ns_, [&](TimerNode* node) { due[n++] = static_cast<Timer*>(node); }, due.size());
  }
  for (size_t i = 0; i < n; ++i) due[i]->fire_(due[i]);
  timers_fired_.Add(n);
}

// --- Other workers
// -----------------------------------------------------------------------------------------------------

void Worker::Post(RemoteRequest* request) {
  RemoteRequest* head = inbox_.load(std::memory_order_relaxed);
  do {
    request->next_ = head;
  } while (!inbox_.compare_exchange_weak(head, request, std::memory_order_release,  // pairs with RunInbox()
                                         std::memory_order_relaxed));
  // The owner takes the whole list at once, so only the first of it has to see to the wake.
  if (head == nullptr && current_ != this) scheduler_->WakeIfParked(index_);
}

// Takes the whole list, oldest first.
RemoteRequest* Worker::TakeInbox() {
  if (inbox_.load(std::memory_order_relaxed) == nullptr) return nullptr;
  RemoteRequest* list = inbox_.exchange(nullptr, std::memory_order_acquire);  // pairs with Post()
  RemoteRequest* in_order = nullptr;
  while (list != nullptr) {
    RemoteRequest* next = std::exchange(list->next_, in_order);
    in_order = std::exchange(list, next);
  }
  return in_order;
}

void Worker::RunInbox() {
  RemoteRequest* list = TakeInbox();
  while (list != nullptr) {
    RemoteRequest* request = std::exchange(list, list->next_);
    request->run_(request, this);
  }
}

// Runs what is in the inbox of a worker that is stuck and need not be run by it; puts back the rest.
void Worker::RunInboxOf(Worker* stuck) {
  RemoteRequest* list = stuck->TakeInbox();
  while (list != nullptr) {
    RemoteRequest* request = std::exchange(list, list->next_);
    if (request->by_ == RemoteRequest::By::kAnyWorker) {
      request->run_(request, this);
    } else {
      stuck->Post(request);
    }
  }
}

// For a worker that has no ready task.
void Worker::PutFirst(TaskContext* task) {
  EVRING_CHECK(lifo_.Push(task) == nullptr, "a worker that searches has nothing to run");
}

// Looks for work that other workers can give. True: there is something to run now.
bool Worker::Search() {
  if (!searching_) {
    if (!scheduler_->idle_.TryBeginSearch()) return false;
    searching_ = true;
  }
  searches_.Add(1);
  ring_->kernel()->Yield();
  if (TaskContext* task = scheduler_->inject_.Pop(); task != nullptr) {
    PutFirst(task);
    return true;
  }
  if (alone_) return false;
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  const int n = scheduler_->worker_count();
  const int start = static_cast<int>(random_ % static_cast<uint64_t>(n));
  for (int i = 0; i < n; ++i) {
    Worker* victim = scheduler_->worker((start + i) % n);
    if (victim != this && Help(victim)) return true;
  }
  return false;
}

// Takes what one other worker has: ready tasks, or what is stuck behind the task that it runs.
bool Worker::Help(Worker* victim) {
  if (TaskContext* task = victim->queue_.StealInto(queue_); task != nullptr) {
    steals_.Add(1);
    PutFirst(task);
    return true;
  }
  if (victim->mailbox_.full()) {
    if (const unsigned n = victim->mailbox_.TryTake(DeliverCopied); n != 0) {
      rescues_.Add(1);
      rescued_events_.Add(n);
    }
  }
  const uint64_t epoch = victim->epoch_.load(std::memory_order_relaxed);
  if ((epoch & 1) != 0 && victim->stuck_epoch_.load(std::memory_order_relaxed) == epoch) {
    if (TaskContext* task = victim->lifo_.Steal(); task != nullptr) PushReaped(task);
    RunInboxOf(victim);
    now_ns_ = NowNs();
    FireTimers(victim);
  }
  return PublishReaped();
}

// For the watchdog, about a worker that is stuck: whether another could run or deliver something of it.
bool Worker::HasStealable(int64_t now_ns) {
  if (!queue_.EmptyApprox() || !lifo_.EmptyApprox()) return true;
  if (inbox_.load(std::memory_order_relaxed) != nullptr) return true;
  std::lock_guard lock(timers_lock_);
  return timers_.NextDeadline() <= now_ns;
}

void Worker::Park() {
  if (!backlog_.empty()) FlushBacklog();
  const uint32_t seen = ring_->state();
  const bool last = scheduler_->idle_.Park(index_, std::exchange(searching_, false));
  // Published as parked: whatever is put anywhere from here on sends a message. What was put before is looked for now:
  // tasks, requests of other workers, timers that they armed here. A backlog that the kernel does not take yet waits
  // for no event.
  ring_->kernel()->Yield();
  const bool work = last && scheduler_->AnyWork();
  const bool stay = work || (inbox_.load(std::memory_order_relaxed) != nullptr && !EVRING_CANARY(kInboxNotLookedAt)) ||
                    !pinned_.EmptyApprox() || !mailbox_.empty() || ring_->ready() != 0 || !backlog_.empty() ||
                    scheduler_->draining();
  if (!stay) {
    int64_t deadline;
    {
      std::lock_guard lock(timers_lock_);
      deadline = timers_.NextDeadline();
    }
    // A deadline that has passed is not waited for: setting up the timer costs more than the rest of the visit.
    if (deadline == kevent::kNoDeadline || deadline > NowNs()) {
      parks_.Add(1);
      const kevent::WaitResult result = ring_->Wait(seen, {.deadline_ns = deadline, .sigmask = nullptr});
      if (result == kevent::WaitResult::kNoMemory) sched_yield();
    } else if (ring_->NeedsEnter()) {
      ring_->Enter();  // a refusal leaves the requests queued for the next visit
    }
  }
  if (work) scheduler_->idle_.SearchOn(index_);
  searching_ = !scheduler_->idle_.Unpark(index_);  // chosen, or searching on
  const bool chosen = searching_ && !work;
  if (scheduler_->watchdog_asleep()) scheduler_->WakeWatchdog();  // after Unpark(): see Watchdog::Run()
  const bool found = Reap();
  if (chosen && !found && !scheduler_->AnyWork()) spurious_wakes_.Add(1);
  TakeRingCounters();
}

WorkerCounters Worker::counters() const {
  WorkerCounters c;
  c.tasks_run = tasks_run_.get();
  c.polls = polls_.get();
  c.parks = parks_.get();
  c.searches = searches_.get();
  c.steals = steals_.get();
  c.wakes_sent = wakes_sent_.get();
  c.spurious_wakes = spurious_wakes_.get();
  c.timers_fired = timers_fired_.get();
  c.rescues = rescues_.get();
  c.rescued_events = rescued_events_.get();
  c.enters = enters_.get();
  c.completions = completions_.get();
  c.overflow_episodes = overflow_episodes_.get();
  return c;
}

}  // namespace evring
