// Signals and state changes of processes through a queue, with real ones: children of the test. DESIGN.md row K5.
// Processes run twice, on WAITID and on its fallbacks.

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <memory>

#include "gtest/gtest.h"
#include "kevent/kevent.h"
#include "kevent/queue.h"
#include "tests/kevent/queue_types.h"

namespace evring::kevent {
namespace {

// --- Signals
// ----------------------------------------------------------------------------------------------------------

Event SignalRequest(int signal, uint32_t flags = 0) {
  return Request(EventType::kSignal, signal, signal, nullptr, flags);
}

uint64_t SenderAndValue(pid_t pid, int value) {
  return uint64_t{static_cast<uint32_t>(pid)} << 32 | static_cast<uint32_t>(value);
}

// With the signals of the tests blocked, as for sigwait(3).
class QueueTypesSignal : public ::testing::Test {
 protected:
  void SetUp() override {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGUSR1, SIGUSR2, SIGRTMIN}) sigaddset(&set, signal);
    ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &set, &before_), 0);
  }
  void TearDown() override {
    EXPECT_FALSE(IsPending(SIGUSR1) || IsPending(SIGUSR2) || IsPending(SIGRTMIN)) << "the queue has taken each";
    ASSERT_EQ(pthread_sigmask(SIG_SETMASK, &before_, nullptr), 0);
  }
  static bool IsPending(int signal) {
    sigset_t set;
    EXPECT_EQ(sigpending(&set), 0);
    return sigismember(&set, signal) == 1;
  }

 private:
  sigset_t before_;
};

TEST_F(QueueTypesSignal, OfTheProcessIsTaken) {
  auto queue = MakeQueue();
  const Event request = SignalRequest(SIGUSR1);
  ASSERT_GT(queue->Submit(request), 0);
  Event record;
  EXPECT_FALSE(queue->TryNext(&record));
  ASSERT_EQ(kill(getpid(), SIGUSR2), 0) << "not this one";
  ASSERT_EQ(kill(getpid(), SIGUSR1), 0);
  record = LastRecord(queue.get(), request);
  EXPECT_EQ(record.result, SIGUSR1);
  EXPECT_EQ(record.payload, SenderAndValue(getpid(), 0));
  EXPECT_EQ(Outcome(queue.get(), SignalRequest(SIGUSR2)), SIGUSR2) << "pending before it was waited for";
}

TEST_F(QueueTypesSignal, CarriesItsValueAndKeepsItsOrder) {
  auto queue = MakeQueue();
  const Event request = SignalRequest(SIGRTMIN, KEVENT_MULTI);
  const int64_t number = queue->Submit(request);
  for (const int value : {7, -8, 9}) {
    sigval with;
    with.sival_int = value;
    ASSERT_EQ(sigqueue(getpid(), SIGRTMIN, with), 0);
  }
  for (const int value : {7, -8, 9}) {
    const Event record = NextRecord(queue.get());
    EXPECT_EQ(record.cookie, request.cookie);
    EXPECT_EQ(record.result, SIGRTMIN);
    EXPECT_EQ(record.payload, SenderAndValue(getpid(), value));
    EXPECT_FALSE(record.last());
  }
  EXPECT_EQ(queue->Cancel(number), 0);
  EXPECT_EQ(LastRecord(queue.get(), request).result, -ECANCELED);
}

// The thread that submitted the request is the one whose signals it takes.
TEST_F(QueueTypesSignal, OfTheSubmittingThreadIsTaken) {
  auto queue = MakeQueue();
  const Event request = SignalRequest(SIGUSR1);
  ASSERT_GT(queue->Submit(request), 0);
  ASSERT_EQ(pthread_kill(pthread_self(), SIGUSR1), 0);
  EXPECT_EQ(LastRecord(queue.get(), request).result, SIGUSR1);
}

void Ignore(int) {}

// A signal that a handler takes wakes who waits at a signalfd as well. After 128 of them io_uring's read goes on in a
// thread of the kernel's.
TEST_F(QueueTypesSignal, IsAwaitedHoweverManyOthersAreHandledMeanwhile) {
  struct sigaction handler = {}, before;
  handler.sa_handler = &Ignore;
  ASSERT_EQ(sigaction(SIGHUP, &handler, &before), 0);
  auto queue = MakeQueue();
  const Event awaited = SignalRequest(SIGUSR1), cancelled = SignalRequest(SIGUSR2);
  ASSERT_GT(queue->Submit(awaited), 0);
  const int64_t number = queue->Submit(cancelled);
  ASSERT_GT(number, 0);
  Event record;
  for (int i = 0; i < 300; ++i) {
    ASSERT_EQ(raise(SIGHUP), 0);
    ASSERT_FALSE(queue->TryNext(&record)) << i << ": " << record.result;
  }
  EXPECT_EQ(sigaction(SIGHUP, &before, nullptr), 0);
  ASSERT_EQ(queue->Cancel(number), 0);
  EXPECT_EQ(LastRecord(queue.get(), cancelled).result, -ECANCELED);
  ASSERT_EQ(kill(getpid(), SIGUSR1), 0);
  EXPECT_EQ(LastRecord(queue.get(), awaited).result, SIGUSR1);
}

TEST_F(QueueTypesSignal, IsCancelledAndTornDown) {
  ExpectCancelAndTearDown(SignalRequest(SIGUSR1));
  ExpectCancelAndTearDown(SignalRequest(SIGUSR1, KEVENT_MULTI));
  auto queue = MakeQueue();
  ASSERT_EQ(kill(getpid(), SIGUSR1), 0);
  EXPECT_EQ(Outcome(queue.get(), SignalRequest(SIGUSR1)), SIGUSR1) << "a request that is gone takes no signal";
}

// --- Processes
// --------------------------------------------------------------------------------------------------------

// A process that sleeps until it is told to exit, or killed. Reaped at the end, if nobody has done that.
class Child {
 public:
  Child() : told_(Pair::Pipe()) {
    pid_ = fork();
    if (pid_ == 0) {
      told_.CloseThere();
      char code = 0;
      _exit(read(told_.here(), &code, 1) == 1 ? code : 127);
    }
    EXPECT_GT(pid_, 0);
  }
  ~Child() {
    if (waitpid(pid_, nullptr, WNOHANG) != 0) return;  // it has been reaped, or is now
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  pid_t pid() const { return pid_; }
  void Exit(char code) { EXPECT_EQ(write(told_.there(), &code, 1), 1); }
  void Kill(int signal) { EXPECT_EQ(kill(pid_, signal), 0); }
  bool Reaped() const { return waitpid(pid_, nullptr, WNOHANG) < 0 && errno == ECHILD; }

 private:
  Pair told_;
  pid_t pid_;
};

Event ProcessRequest(pid_t pid, int options, uint32_t flags = 0) {
  return Request(EventType::kProcess, pid, options, nullptr, flags);
}

uint64_t How(int code, pid_t pid) { return uint64_t{static_cast<uint32_t>(code)} << 32 | static_cast<uint32_t>(pid); }

class QueueTypesProcess : public WithAndWithoutOperations {};
INSTANTIATE_TEST_SUITE_P(Forms, QueueTypesProcess, ::testing::Bool(), FormName);

TEST_P(QueueTypesProcess, ThatExitsIsReaped) {
  auto queue = Make();
  Child child;
  const Event request = ProcessRequest(child.pid(), WEXITED);
  ASSERT_GT(queue->Submit(request), 0);
  Event record;
  EXPECT_FALSE(queue->TryNext(&record));
  child.Exit(7);
  record = LastRecord(queue.get(), request);
  EXPECT_EQ(record.result, 7);
  EXPECT_EQ(record.payload, How(CLD_EXITED, child.pid()));
  EXPECT_TRUE(child.Reaped());
  EXPECT_EQ(Outcome(queue.get(), request), -ECHILD) << "there is no such child any more";
}

TEST_P(QueueTypesProcess, ThatIsKilledTellsTheSignal) {
  auto queue = Make();
  Child child;
  const Event request = ProcessRequest(child.pid(), 0, KEVENT_MULTI);  // 0: its end
  ASSERT_GT(queue->Submit(request), 0);
  child.Kill(SIGKILL);
  const Event record = LastRecord(queue.get(), request);
  EXPECT_EQ(record.result, SIGKILL);
  EXPECT_EQ(record.payload, How(CLD_KILLED, child.pid()));
}

TEST_P(QueueTypesProcess, MayBeLeftToBeReaped) {
  auto queue = Make();
  Child child;
  child.Exit(3);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(Outcome(queue.get(), ProcessRequest(child.pid(), WEXITED | WNOWAIT)), 3);
  int status = 0;
  EXPECT_EQ(waitpid(child.pid(), &status, 0), child.pid());
  EXPECT_EQ(WEXITSTATUS(status), 3);
}

TEST_P(QueueTypesProcess, ThatIsNoChildIsAnError) {
  auto queue = Make();
  EXPECT_EQ(Outcome(queue.get(), ProcessRequest(getppid(), WEXITED)), -ECHILD);
}

TEST_P(QueueTypesProcess, StopsAndContinues) {
  auto queue = Make();
  Child child;
  Event request = ProcessRequest(child.pid(), WSTOPPED);
  ASSERT_GT(queue->Submit(request), 0);
  child.Kill(SIGSTOP);
  Event record = LastRecord(queue.get(), request);
  EXPECT_EQ(record.result, SIGSTOP);
  EXPECT_EQ(record.payload, How(CLD_STOPPED, child.pid()));
  request = ProcessRequest(child.pid(), WCONTINUED);
  ASSERT_GT(queue->Submit(request), 0);
  child.Kill(SIGCONT);
  record = LastRecord(queue.get(), request);
  EXPECT_EQ(record.result, SIGCONT);
  EXPECT_EQ(record.payload, How(CLD_CONTINUED, child.pid()));
}

TEST_P(QueueTypesProcess, TellsEachChangeUntilItsEnd) {
  auto queue = Make();
  Child child;
  const Event request = ProcessRequest(child.pid(), WSTOPPED | WCONTINUED | WEXITED, KEVENT_MULTI);
  const int64_t number = queue->Submit(request);
  if (GetParam()) {
    EXPECT_EQ(number, -ENOSYS) << "without WAITID nothing tells more than one";
    return;
  }
  for (const int signal : {SIGSTOP, SIGCONT, SIGSTOP, SIGCONT}) {
    child.Kill(signal);
    const Event record = NextRecord(queue.get());
    EXPECT_EQ(record.cookie, request.cookie);
    EXPECT_EQ(record.result, signal);
    EXPECT_FALSE(record.last());
  }
  child.Exit(0);
  const Event record = LastRecord(queue.get(), request);
  EXPECT_EQ(record.result, 0);
  EXPECT_EQ(record.payload, How(CLD_EXITED, child.pid()));
}

TEST_P(QueueTypesProcess, IsCancelledAndTornDown) {
  Child child;
  ExpectCancelAndTearDown(ProcessRequest(child.pid(), WEXITED), GetParam());
  ExpectCancelAndTearDown(ProcessRequest(child.pid(), WEXITED, KEVENT_MULTI), GetParam());
  const Event changes = ProcessRequest(child.pid(), WSTOPPED | WEXITED);
  if (GetParam()) {
    ExpectCancelAndTearDown(changes, true, {SYS_waitid});
  } else {
    ExpectCancelAndTearDown(changes);
  }
  EXPECT_FALSE(child.Reaped());
}

}  // namespace
}  // namespace evring::kevent
