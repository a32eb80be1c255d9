#include "kevent/blocking_calls.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <iterator>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "kevent/errors.h"

#ifndef sigev_notify_thread_id  // timer_create(2) names it so; glibc 2.36 has the field under this name only
#define sigev_notify_thread_id _sigev_un._tid
#endif

namespace evring::kevent {
namespace {

constexpr long kRepeatNs = 1'000'000;

// Reports of a fault of the thread itself: blocked, they would end the process without its handler.
constexpr int kFaultSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};

// To interrupt a system call is all that it is for.
void OnSignal(int) {}

absl::Status InstallHandler(int signal) {
  if (std::find(std::begin(kFaultSignals), std::end(kFaultSignals), signal) != std::end(kFaultSignals)) {
    return absl::InvalidArgumentError(absl::StrCat("signal ", signal, " reports faults"));
  }
  struct sigaction old;
  if (sigaction(signal, nullptr, &old) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("signal ", signal, " is no signal that can be handled"));
  }
  const bool plain = (old.sa_flags & SA_SIGINFO) == 0;
  if (plain && old.sa_handler == &OnSignal) return absl::OkStatus();
  if (!plain || (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN)) {
    return absl::FailedPreconditionError(
        absl::StrCat("signal ", signal, " has a handler already: choose another for the blocking calls"));
  }
  struct sigaction action;
  std::memset(&action, 0, sizeof(action));
  action.sa_handler = &OnSignal;
  sigemptyset(&action.sa_mask);
  if (sigaction(signal, &action, nullptr) != 0) {  // SIGKILL and SIGSTOP can be asked for, not set
    return absl::InvalidArgumentError(absl::StrCat("signal ", signal, " is no signal that can be handled"));
  }
  return absl::OkStatus();
}

void SetTimer(timer_t timer, long first_ns, long repeat_ns) {
  const itimerspec times = {.it_interval = {0, repeat_ns}, .it_value = {0, first_ns}};
  EVRING_CHECK(timer_settime(timer, 0, &times, nullptr) == 0, "a timer that exists takes any time");
}

}  // namespace

struct BlockingCalls::Thread {
  explicit Thread(BlockingCalls* pool) : pool(pool) {}

  // What sends the signal to this thread. 0, or -errno.
  int32_t MakeTimer() {
    sigevent event;
    std::memset(&event, 0, sizeof(event));
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = pool->options_.signal;
    event.sigev_notify_thread_id = gettid();
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) return -errno;
    has_timer = true;
    return 0;
  }

  BlockingCalls* const pool;
  std::list<Thread>::iterator place;  // these under the pool's lock
  pthread_t id{};
  Call* call = nullptr;
  bool interruptible = false;  // it has taken the call, and a signal finds it there
  bool armed = false;
  std::condition_variable given;  // a call, or the end of the pool

  bool has_timer = false;  // these its own; `timer` is constant while `interruptible`
  timer_t timer{};
};

absl::StatusOr<std::unique_ptr<BlockingCalls>> BlockingCalls::Create(const Options& options) {
  if (options.threads_max < 1) {
    return absl::InvalidArgumentError(absl::StrCat("threads_max is ", options.threads_max, ", must be at least 1"));
  }
  if (options.idle < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("idle is ", absl::FormatDuration(options.idle), ", is negative"));
  }
  if (absl::Status status = InstallHandler(options.signal); !status.ok()) return status;
  return absl::WrapUnique(new BlockingCalls(options));
}

BlockingCalls::BlockingCalls(const Options& options) : options_(options), process_(getpid()) {}

BlockingCalls::~BlockingCalls() {
  if (getpid() != process_) {
    // Threads that are not here seem to wait on these condition variables: glibc would wait for them to leave.
    static auto* const left = new std::list<Thread>;
    for (std::list<Thread>* list : {&busy_, &finishing_, &idle_, &ended_}) left->splice(left->end(), *list);
    return;
  }
  std::unique_lock lock(mutex_);
  for (const std::list<Thread>* list : {&busy_, &finishing_}) {
    for (const Thread& thread : *list) {
      EVRING_CHECK(pthread_equal(thread.id, pthread_self()) == 0, "a helper thread cannot wait for its own end");
    }
  }
  ending_ = true;
  for (Thread& thread : busy_) Interrupt(thread.call);
  for (Thread& thread : idle_) thread.given.notify_one();
  threads_gone_.wait(lock, [this] { return busy_.empty() && finishing_.empty() && idle_.empty(); });
  const std::list<Thread> ended = std::move(ended_);
  lock.unlock();
  for (const Thread& thread : ended) EVRING_CHECK(pthread_join(thread.id, nullptr) == 0, "a helper thread is joinable");
}

absl::Status BlockingCalls::Start(Call* call) {
  if (getpid() != process_) {
    return StatusWithErrno(ESRCH, absl::StatusCode::kFailedPrecondition,
                           "the helper threads of blocking calls belong to the parent process");
  }
  std::unique_lock lock(mutex_);
  EVRING_CHECK(call->thread_ == nullptr, "a call is started that has not ended");
  if (ending_) {
    return StatusWithErrno(ECANCELED, absl::StatusCode::kFailedPrecondition, "blocking calls are being shut down");
  }
  call->cancelled_.store(false, std::memory_order_relaxed);  // under the lock, as the store in Interrupt()
  ++started_;
  const auto give = [&](std::list<Thread>* from) {
    Thread* const thread = &from->back();
    busy_.splice(busy_.end(), *from, thread->place);
    thread->call = call;
    call->thread_ = thread;
    thread->given.notify_one();  // under the lock: the thread may end as soon as it is released
  };
  if (!idle_.empty()) {
    give(&idle_);
    return absl::OkStatus();
  }
  int error = 0;
  if (busy_.size() + finishing_.size() < static_cast<size_t>(options_.threads_max)) {
    Thread* const thread = &busy_.emplace_back(this);
    thread->place = std::prev(busy_.end());
    thread->call = call;
    call->thread_ = thread;
    lock.unlock();
    error = MakeThread(thread);
    if (error == 0) return absl::OkStatus();
    lock.lock();
    busy_.erase(thread->place);
    call->thread_ = nullptr;
  }
  if (!idle_.empty() || !finishing_.empty()) {
    give(idle_.empty() ? &finishing_ : &idle_);
    return absl::OkStatus();
  }
  --started_;
  WakeDestructor();
  if (error != 0) {
    return StatusWithErrno(EAGAIN, absl::StatusCode::kResourceExhausted,
                           absl::StrCat("no thread for a blocking call: ", std::strerror(error)));
  }
  return StatusWithErrno(EAGAIN, absl::StatusCode::kResourceExhausted,
                         absl::StrCat("all ", options_.threads_max, " threads are in blocking calls"));
}

void BlockingCalls::Cancel(Call* call) {
  if (getpid() != process_) return;
  std::lock_guard lock(mutex_);
  if (call->thread_ != nullptr) Interrupt(call);
}

BlockingCalls::Counters BlockingCalls::counters() const {
  std::lock_guard lock(mutex_);
  return {.threads = static_cast<int>(busy_.size() + finishing_.size() + idle_.size()),
          .idle = static_cast<int>(idle_.size()),
          .running = static_cast<int>(busy_.size()),
          .started = started_,
          .cancelled = cancelled_,
          .interrupts = interrupts_,
          .restarts = restarts_.load(std::memory_order_relaxed)};
}

// B3, under the lock.
void BlockingCalls::Interrupt(Call* call) {
  call->cancelled_.store(true,
                         std::memory_order_relaxed);  // read in RunToEnd(); one that reads too early is sent another
  Thread* const thread = call->thread_;
  if (!thread->interruptible || thread->armed) return;
  thread->armed = true;
  ++interrupts_;
  SetTimer(thread->timer, 1, kRepeatNs);
}

// 0, or the errno. The thread inherits its mask: an attribute for it exists, but AddressSanitizer overrules that.
int BlockingCalls::MakeThread(Thread* thread) {
  sigset_t mask, before;
  sigfillset(&mask);
  sigdelset(&mask, options_.signal);
  for (const int signal : kFaultSignals) sigdelset(&mask, signal);
  EVRING_CHECK(pthread_sigmask(SIG_SETMASK, &mask, &before) == 0, "a thread may set its own mask");
  pthread_t id;  // the thread notes it itself: it may have ended before we could
  const int error = pthread_create(&id, nullptr, &BlockingCalls::ThreadMain, thread);
  EVRING_CHECK(pthread_sigmask(SIG_SETMASK, &before, nullptr) == 0, "a mask that was set is restored");
  return error;
}

void* BlockingCalls::ThreadMain(void* thread) {
  pthread_setname_np(pthread_self(), "evring-call");  // 15 characters at most: cannot fail for ourselves
  Thread* const self = static_cast<Thread*>(thread);
  self->pool->Serve(self);
  return nullptr;
}

void BlockingCalls::Serve(Thread* self) {
  std::unique_lock lock(mutex_);
  self->id = pthread_self();
  const auto idle_time = absl::ToChronoNanoseconds(std::min(options_.idle, absl::Hours(24)));
  while (self->call != nullptr) {
    Call* const call = self->call;
    int32_t result = 0;
    if (!self->has_timer) {
      lock.unlock();
      result = self->MakeTimer();
      lock.lock();
    }
    self->interruptible = self->has_timer;  // B2
    lock.unlock();
    if (result == 0) result = RunToEnd(call);
    lock.lock();
    if (result == -ECANCELED && call->cancelled_.load(std::memory_order_relaxed)) ++cancelled_;
    call->thread_ = nullptr;  // B5
    self->call = nullptr;
    self->interruptible = false;
    const bool armed = std::exchange(self->armed, false);
    finishing_.splice(finishing_.end(), busy_, self->place);
    lock.unlock();
    if (armed) SetTimer(self->timer, 0, 0);
    call->Done(result);  // B6
    lock.lock();
    if (self->call != nullptr) continue;
    idle_.splice(idle_.end(), finishing_, self->place);
    self->given.wait_for(lock, idle_time, [&] { return self->call != nullptr || ending_; });
  }
  // Nobody finds this thread any more: it is taken out of the list of the idle under the lock that found it idle.
  std::list<Thread> ended = std::move(ended_);
  ended_.clear();
  ended_.splice(ended_.end(), idle_, self->place);
  // Under the lock: the destructor may free the pool as soon as it is released.
  if (self->has_timer) EVRING_CHECK(timer_delete(self->timer) == 0, "a thread's timer is its own");
  WakeDestructor();
  lock.unlock();
  for (const Thread& thread : ended) EVRING_CHECK(pthread_join(thread.id, nullptr) == 0, "a helper thread is joinable");
}

int32_t BlockingCalls::RunToEnd(Call* call) {
  for (;;) {
    if (call->cancelled_.load(std::memory_order_relaxed)) return -ECANCELED;  // B4; written in Interrupt()
    const int32_t result = call->Run();
    if (result != -EINTR) return result;
    if (!call->cancelled_.load(std::memory_order_relaxed)) restarts_.fetch_add(1, std::memory_order_relaxed);  // counts
  }
}

void BlockingCalls::WakeDestructor() {
  if (ending_ && busy_.empty() && finishing_.empty() && idle_.empty()) threads_gone_.notify_all();
}

}  // namespace evring::kevent
