// blocking_calls_test.cc: real calls that block (System V queues and semaphores, two kinds of file locks, msync), each
// finished and each cancelled; the races of a cancel with the entry into the call, with its result, and with the end.
//
// That a thread is blocked in a system call is read from /proc/self/task/TID/syscall. The races that matter are forced,
// not waited for: a call takes the first signal on purpose before it blocks, or comes to its result after the cancel.
// Queues and semaphores outlive a process: they have owners here, are all removed when something did not happen in time
// (which also ends the calls that a broken pool leaves blocked), and live in a namespace of the test where it may have
// one, so that they end with it in any case.

#include "kevent/blocking_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "kevent/sanitizer.h"

namespace evring::kevent {
namespace {

constexpr auto kPatience = std::chrono::seconds(30);  // for what is to happen; a test that waits it out has failed

int32_t OrErrno(int64_t result) { return result < 0 ? -errno : static_cast<int32_t>(result); }

void SleepMs(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

// The queues and semaphores that there are.
class SystemVObjects {
 public:
  using Remove = void (*)(int id);
  static void Add(int id, Remove remove) {
    std::lock_guard lock(mutex_);
    all_.emplace(id, remove);
  }
  static void RemoveOne(int id, Remove remove) {
    std::lock_guard lock(mutex_);
    if (all_.erase({id, remove}) == 1) remove(id);
  }
  static void RemoveAll() {
    std::lock_guard lock(mutex_);
    for (const auto& [id, remove] : all_) remove(id);
    all_.clear();
  }

 private:
  static inline std::mutex mutex_;
  static inline std::set<std::pair<int, Remove>> all_;
};

class OwnNamespace : public testing::Environment {
  void SetUp() override { (void)unshare(CLONE_NEWIPC); }  // needs a privilege; without it the owners have to do
};
[[maybe_unused]] testing::Environment* const own_namespace = testing::AddGlobalTestEnvironment(new OwnNamespace);

// False: it did not come true in kPatience.
bool Eventually(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) {
      SystemVObjects::RemoveAll();
      return false;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return true;
}

// True once thread `tid` of this process sleeps in system call `number`.
bool BlocksIn(pid_t tid, long number) {
  return Eventually([&] {
    std::ifstream file(absl::StrCat("/proc/self/task/", tid, "/syscall"));
    std::string word;  // a number, "running", or nothing if the thread is not there
    file >> word;
    return word == std::to_string(number);
  });
}

struct Message {
  long type;
  char text[8];
};

class MessageQueue {
 public:
  MessageQueue() : id_(msgget(IPC_PRIVATE, 0600)) {
    EXPECT_GE(id_, 0) << std::strerror(errno);
    SystemVObjects::Add(id_, &Remove);
  }
  ~MessageQueue() { SystemVObjects::RemoveOne(id_, &Remove); }
  MessageQueue(const MessageQueue&) = delete;
  MessageQueue& operator=(const MessageQueue&) = delete;

  int32_t Receive() const {
    Message message;
    return OrErrno(msgrcv(id_, &message, sizeof(message.text), 0, 0));
  }
  void Send() const {
    const Message message = {.type = 1, .text = "hello"};
    ASSERT_EQ(msgsnd(id_, &message, 5, IPC_NOWAIT), 0) << std::strerror(errno);
  }
  int size() const {
    msqid_ds state;
    EXPECT_EQ(msgctl(id_, IPC_STAT, &state), 0);
    return static_cast<int>(state.msg_qnum);
  }
  int id() const { return id_; }

 private:
  static void Remove(int id) { msgctl(id, IPC_RMID, nullptr); }

  const int id_;
};

class Semaphore {
 public:
  Semaphore() : id_(semget(IPC_PRIVATE, 1, 0600)) {
    EXPECT_GE(id_, 0) << std::strerror(errno);
    SystemVObjects::Add(id_, &Remove);
  }
  ~Semaphore() { SystemVObjects::RemoveOne(id_, &Remove); }
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;

  int32_t Add(short amount) const {
    sembuf operation = {.sem_num = 0, .sem_op = amount, .sem_flg = 0};
    return OrErrno(semop(id_, &operation, 1));
  }

 private:
  static void Remove(int id) { semctl(id, 0, IPC_RMID); }

  const int id_;
};

// A file that another open description can hold against us, by both kinds of locks.
class ContendedFile {
 public:
  ContendedFile()
      : fd_(open(testing::TempDir().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)),
        holder_(open(absl::StrCat("/proc/self/fd/", fd_).c_str(), O_RDWR | O_CLOEXEC)) {
    EXPECT_GE(fd_, 0) << std::strerror(errno);
    EXPECT_GE(holder_, 0) << std::strerror(errno);
  }
  ~ContendedFile() {
    close(holder_);
    close(fd_);
  }
  ContendedFile(const ContendedFile&) = delete;
  ContendedFile& operator=(const ContendedFile&) = delete;

  int32_t Flock() const { return OrErrno(flock(fd_, LOCK_EX)); }
  int32_t LockRange() const { return OrErrno(Range(fd_, F_OFD_SETLKW, F_WRLCK)); }
  void HoldFlock() const { ASSERT_EQ(flock(holder_, LOCK_EX | LOCK_NB), 0); }
  void LeaveFlock() const { ASSERT_EQ(flock(holder_, LOCK_UN), 0); }
  void HoldRange() const { ASSERT_EQ(Range(holder_, F_OFD_SETLK, F_WRLCK), 0); }
  void LeaveRange() const { ASSERT_EQ(Range(holder_, F_OFD_SETLK, F_UNLCK), 0); }
  int fd() const { return fd_; }

 private:
  static int Range(int fd, int command, short type) {
    struct flock range = {};
    range.l_type = type;
    range.l_whence = SEEK_SET;
    range.l_len = 100;
    return fcntl(fd, command, &range);
  }

  const int fd_;
  const int holder_;
};

// A call whose work is a function. What is known of it is shared: Done() may be the last to touch it.
class TestCall final : public BlockingCalls::Call {
 public:
  explicit TestCall(std::function<int32_t()> run, std::function<void(int32_t)> done = nullptr)
      : run_(std::move(run)), done_(std::move(done)) {}

  // The result of the `n`th Done().
  int32_t Result(int n = 1) const {
    const std::shared_ptr<State> state = state_;
    std::unique_lock lock(state->mutex);
    const auto ended = [&] { return state->dones >= n; };
    if (!state->changed.wait_for(lock, kPatience, ended)) {
      ADD_FAILURE() << "the call did not end";
      SystemVObjects::RemoveAll();
      state->changed.wait_for(lock, kPatience, ended);
    }
    return state->result;
  }
  // The thread that runs it, once it does.
  pid_t tid() const {
    const std::shared_ptr<State> state = state_;
    std::unique_lock lock(state->mutex);
    EXPECT_TRUE(state->changed.wait_for(lock, kPatience, [&] { return state->tid != 0; }));
    return state->tid;
  }
  int dones() const {
    std::lock_guard lock(state_->mutex);
    return state_->dones;
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    pid_t tid = 0;
    int dones = 0;
    int32_t result = 0;
  };

  int32_t Run() noexcept override {
    {
      std::lock_guard lock(state_->mutex);
      state_->tid = gettid();
      state_->changed.notify_all();
    }
    return run_();
  }
  void Done(int32_t result) noexcept override {
    const std::shared_ptr<State> state = state_;
    if (done_) done_(result);
    std::lock_guard lock(state->mutex);
    ++state->dones;
    state->result = result;
    state->changed.notify_all();
  }

  const std::function<int32_t()> run_;
  const std::function<void(int32_t)> done_;
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

std::unique_ptr<BlockingCalls> MakePool(const BlockingCalls::Options& options = {}) {
  auto pool = BlockingCalls::Create(options);
  EXPECT_TRUE(pool.ok()) << pool.status();
  return std::move(*pool);
}

// A handshake between a call and its test, without a system call that a signal could interrupt.
class Gate {
 public:
  void Open() { open_.store(true, std::memory_order_release); }  // pairs with Wait()
  void Wait() const {
    while (!open_.load(std::memory_order_acquire)) sched_yield();
  }

 private:
  std::atomic<bool> open_{false};
};

class BlockingCallsTest : public testing::Test {
 protected:
  std::unique_ptr<BlockingCalls> pool_ = MakePool();
};

// Each kind of call, on the objects of one test.
struct Kind {
  const char* name;
  long system_call;
  std::function<void(const class Objects&)> block;
  std::function<int32_t(const class Objects&)> run;
  std::function<void(const class Objects&)> release;
  int32_t result;

  friend void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }
};

class Objects {
 public:
  MessageQueue queue;
  MessageQueue full;
  Semaphore semaphore;
  ContendedFile file;
};

const Kind kKinds[] = {
    {"msgrcv", SYS_msgrcv, [](const Objects&) {}, [](const Objects& o) { return o.queue.Receive(); },
     [](const Objects& o) { o.queue.Send(); }, 5},
    {"msgsnd", SYS_msgsnd,
     [](const Objects& o) {
       const Message message = {.type = 1, .text = "filling"};
       while (msgsnd(o.full.id(), &message, sizeof(message.text), IPC_NOWAIT) == 0) {
       }
       ASSERT_EQ(errno, EAGAIN);
     },
     [](const Objects& o) {
       const Message message = {.type = 2, .text = "hello"};
       return OrErrno(msgsnd(o.full.id(), &message, sizeof(message.text), 0));
     },
     [](const Objects& o) { ASSERT_EQ(o.full.Receive(), 8); }, 0},
    {"semop", SYS_semtimedop,  // what glibc makes of it
     [](const Objects&) {}, [](const Objects& o) { return o.semaphore.Add(-1); },
     [](const Objects& o) { ASSERT_EQ(o.semaphore.Add(1), 0); }, 0},
    {"flock", SYS_flock, [](const Objects& o) { o.file.HoldFlock(); }, [](const Objects& o) { return o.file.Flock(); },
     [](const Objects& o) { o.file.LeaveFlock(); }, 0},
    {"F_OFD_SETLKW", SYS_fcntl, [](const Objects& o) { o.file.HoldRange(); },
     [](const Objects& o) { return o.file.LockRange(); }, [](const Objects& o) { o.file.LeaveRange(); }, 0},
};

class BlockingCallsKind : public testing::TestWithParam<Kind> {
 protected:
  std::unique_ptr<BlockingCalls> pool_ = MakePool();
  Objects objects_;
  const Kind& kind_ = GetParam();
  TestCall call_{[this] { return kind_.run(objects_); }};
};

TEST_P(BlockingCallsKind, EndsWithItsResult) {
  kind_.block(objects_);
  ASSERT_TRUE(pool_->Start(&call_).ok());
  ASSERT_TRUE(BlocksIn(call_.tid(), kind_.system_call));
  kind_.release(objects_);
  EXPECT_EQ(call_.Result(), kind_.result);
  EXPECT_EQ(pool_->counters().cancelled, 0u);
}

TEST_P(BlockingCallsKind, IsCancelledWhileItBlocks) {
  pool_ = MakePool({.threads_max = 1});
  kind_.block(objects_);
  ASSERT_TRUE(pool_->Start(&call_).ok());
  ASSERT_TRUE(BlocksIn(call_.tid(), kind_.system_call));
  pool_->Cancel(&call_);
  EXPECT_EQ(call_.Result(), -ECANCELED);
  // And the thread is good for the next.
  ASSERT_TRUE(pool_->Start(&call_).ok());
  kind_.release(objects_);
  EXPECT_EQ(call_.Result(2), kind_.result);
  EXPECT_EQ(pool_->counters().cancelled, 1u);
  EXPECT_EQ(pool_->counters().interrupts, 1u);
}

// Cancelled at any moment from Start() on: not yet taken, on the way into the system call, blocked in it.
TEST_P(BlockingCallsKind, IsCancelledOnItsWayIn) {
  kind_.block(objects_);
  std::minstd_rand random(1);
  constexpr int kRounds = 2000;
  for (int round = 1; round <= kRounds; ++round) {
    ASSERT_TRUE(pool_->Start(&call_).ok());
    for (unsigned spin = random() % 20'000; spin > 0; --spin) std::atomic_signal_fence(std::memory_order_seq_cst);
    pool_->Cancel(&call_);
    ASSERT_EQ(call_.Result(round), -ECANCELED) << "round " << round;
  }
  EXPECT_EQ(call_.dones(), kRounds);
  EXPECT_EQ(pool_->counters().cancelled, static_cast<uint64_t>(kRounds));
  EXPECT_EQ(pool_->counters().restarts, 0u);  // no signal came late, to the call after
}

INSTANTIATE_TEST_SUITE_P(, BlockingCallsKind, testing::ValuesIn(kKinds),
                         [](const testing::TestParamInfo<Kind>& kind) { return std::string(kind.param.name); });

// An msync sleeps where no signal reaches it on the file systems that we can count on: it comes to its result.
TEST_F(BlockingCallsTest, MsyncEndsAlsoIfCancelled) {
  ContendedFile file;
  constexpr size_t kSize = size_t{4} << 20;
  ASSERT_EQ(ftruncate(file.fd(), kSize), 0);
  void* const map = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd(), 0);
  ASSERT_NE(map, MAP_FAILED);
  TestCall call([&] { return OrErrno(msync(map, kSize, MS_SYNC)); });
  int dones = 0;
  for (const bool cancel : {false, true, true, true}) {
    std::memset(map, ++dones, kSize);
    EXPECT_TRUE(pool_->Start(&call).ok());
    if (cancel) pool_->Cancel(&call);
    const int32_t result = call.Result(dones);
    EXPECT_TRUE(result == 0 || (cancel && result == -ECANCELED)) << result;
  }
  munmap(map, kSize);
}

TEST_F(BlockingCallsTest, AnErrorOfTheCallIsItsResult) {
  TestCall call([] { return OrErrno(msync(nullptr, 4096, MS_SYNC | MS_ASYNC)); });
  ASSERT_TRUE(pool_->Start(&call).ok());
  EXPECT_EQ(call.Result(), -EINVAL);
}

// The signal that is lost: it comes before the system call blocks, with the flag already looked at.
TEST_F(BlockingCallsTest, ASignalBeforeTheEntryIsRepeated) {
  MessageQueue queue;
  Gate running, cancelled;
  TestCall call([&] {
    running.Open();
    cancelled.Wait();
    const timespec second = {.tv_sec = 1, .tv_nsec = 0};
    while (nanosleep(&second, nullptr) == 0) {  // until it has taken the first
    }
    return queue.Receive();
  });
  ASSERT_TRUE(pool_->Start(&call).ok());
  running.Wait();
  pool_->Cancel(&call);
  cancelled.Open();
  EXPECT_EQ(call.Result(), -ECANCELED);
  EXPECT_EQ(pool_->counters().interrupts, 1u);
}

TEST_F(BlockingCallsTest, ACancelThatComesTooLateLosesNothing) {
  MessageQueue queue;
  queue.Send();
  Gate running, cancelled;
  TestCall call([&] {
    running.Open();
    cancelled.Wait();
    return queue.Receive();
  });
  ASSERT_TRUE(pool_->Start(&call).ok());
  running.Wait();
  pool_->Cancel(&call);
  pool_->Cancel(&call);
  cancelled.Open();
  EXPECT_EQ(call.Result(), 5);
  EXPECT_EQ(queue.size(), 0);
  EXPECT_EQ(pool_->counters().cancelled, 0u);
  EXPECT_EQ(pool_->counters().interrupts, 1u);  // two cancels are one
}

// Done() is no part of the call: neither a cancel before it nor one in the middle of it interrupts what it does.
TEST_F(BlockingCallsTest, DoneIsNotInterrupted) {
  Gate running, cancelled, in_done, cancelled_again;
  int slept = -1;
  TestCall call(
      [&] {
        running.Open();
        cancelled.Wait();
        return 7;
      },
      [&](int32_t) {
        in_done.Open();
        cancelled_again.Wait();
        const timespec time = {.tv_sec = 0, .tv_nsec = 20'000'000};
        slept = OrErrno(nanosleep(&time, nullptr));
      });
  ASSERT_TRUE(pool_->Start(&call).ok());
  running.Wait();
  pool_->Cancel(&call);
  cancelled.Open();
  in_done.Wait();
  pool_->Cancel(&call);
  cancelled_again.Open();
  EXPECT_EQ(call.Result(), 7);
  EXPECT_EQ(slept, 0);
  EXPECT_EQ(pool_->counters().interrupts, 1u);
}

// A call that was given to a thread in a Done(), and cancelled there, does not interrupt that Done() either.
TEST_F(BlockingCallsTest, ACallThatWaitsForADoneIsCancelledWithoutRunning) {
  pool_ = MakePool({.threads_max = 1});
  Gate in_done, cancelled;
  int slept = -1;
  TestCall first([] { return 1; },
                 [&](int32_t) {
                   in_done.Open();
                   cancelled.Wait();
                   const timespec time = {.tv_sec = 0, .tv_nsec = 20'000'000};
                   slept = OrErrno(nanosleep(&time, nullptr));
                 });
  bool ran = false;
  TestCall second([&] {
    ran = true;
    return 2;
  });
  ASSERT_TRUE(pool_->Start(&first).ok());
  in_done.Wait();
  ASSERT_TRUE(pool_->Start(&second).ok());
  pool_->Cancel(&second);
  cancelled.Open();
  EXPECT_EQ(first.Result(), 1);
  EXPECT_EQ(second.Result(), -ECANCELED);
  EXPECT_EQ(slept, 0);
  EXPECT_FALSE(ran);
}

// Signals of others: of the process they do not come to helper threads at all; sent to one, they end no call.
TEST_F(BlockingCallsTest, ForeignSignalsEndNoCall) {
  static std::atomic<int> handled;
  handled = 0;
  struct sigaction action = {}, before;
  action.sa_handler = [](int) { handled.fetch_add(1); };
  ASSERT_EQ(sigaction(SIGUSR1, &action, &before), 0);
  MessageQueue queue;
  TestCall call([&] { return queue.Receive(); });
  ASSERT_TRUE(pool_->Start(&call).ok());
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(BlocksIn(call.tid(), SYS_msgrcv));
    ASSERT_EQ(syscall(SYS_tgkill, getpid(), call.tid(), BlockingCalls::Options().signal), 0);
    ASSERT_TRUE(Eventually([&] { return pool_->counters().restarts == static_cast<uint64_t>(i) + 1; }));
    ASSERT_EQ(kill(getpid(), SIGUSR1), 0);
    ASSERT_TRUE(Eventually([&] { return handled.load() == i + 1; }));
    ASSERT_EQ(syscall(SYS_tgkill, getpid(), call.tid(), SIGUSR1), 0);  // stays blocked
  }
  EXPECT_EQ(pool_->counters().restarts, 20u);
  EXPECT_EQ(handled.load(), 20);
  EXPECT_EQ(call.dones(), 0);
  queue.Send();
  EXPECT_EQ(call.Result(), 5);
  pool_.reset();  // with the SIGUSR1 that its thread was sent
  sigaction(SIGUSR1, &before, nullptr);
}

TEST_F(BlockingCallsTest, ThreadsBlockAllSignalsButTheirOwnAndFaults) {
  sigset_t mask;
  std::string name;
  TestCall call([&] {
    char buffer[16];
    pthread_getname_np(pthread_self(), buffer, sizeof(buffer));
    name = buffer;
    return pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  });
  ASSERT_TRUE(pool_->Start(&call).ok());
  ASSERT_EQ(call.Result(), 0);
  EXPECT_EQ(name, "evring-call");
  const std::set<int> open = {BlockingCalls::Options().signal, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
  for (int signal = 1; signal < NSIG; ++signal) {
    if (signal == SIGKILL || signal == SIGSTOP || (signal >= 32 && signal < SIGRTMIN))
      continue;  // kernel's and glibc's
    EXPECT_EQ(sigismember(&mask, signal), open.contains(signal) ? 0 : 1) << signal;
  }
}

TEST_F(BlockingCallsTest, AtTheLimitStartIsRefusedUntilACallEnds) {
  constexpr int kThreads = 3;
  pool_ = MakePool({.threads_max = kThreads});
  MessageQueue queue;
  std::vector<std::unique_ptr<TestCall>> calls;
  for (int i = 0; i <= kThreads; ++i) calls.push_back(std::make_unique<TestCall>([&] { return queue.Receive(); }));
  TestCall* const extra = calls.back().get();
  for (int i = 0; i < kThreads; ++i) ASSERT_TRUE(pool_->Start(calls[static_cast<size_t>(i)].get()).ok());
  for (int round = 1; round <= 200; ++round) {
    const absl::Status refused = pool_->Start(extra);
    ASSERT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
    ASSERT_EQ(StatusErrno(refused), EAGAIN) << refused;
    ASSERT_EQ(pool_->counters().running, kThreads);
    TestCall* const freed = calls[static_cast<size_t>(round % kThreads)].get();
    const int dones = freed->dones();
    pool_->Cancel(freed);
    ASSERT_EQ(freed->Result(dones + 1), -ECANCELED);
    ASSERT_TRUE(pool_->Start(freed).ok()) << "a call has ended";
  }
  EXPECT_EQ(extra->dones(), 0);
  EXPECT_EQ(pool_->counters().threads, kThreads);
  pool_.reset();
}

// With one thread, that very thread: it is free for the next call from Done() on.
TEST_F(BlockingCallsTest, DoneStartsItsCallAgain) {
  pool_ = MakePool({.threads_max = 1});
  constexpr int kRounds = 1000;
  std::atomic<int> refused{0};
  int runs = 0;
  TestCall* self = nullptr;
  TestCall call([&] { return ++runs; },
                [&](int32_t result) {
                  if (result < kRounds && !pool_->Start(self).ok()) ++refused;
                });
  self = &call;
  ASSERT_TRUE(pool_->Start(&call).ok());
  EXPECT_EQ(call.Result(kRounds), kRounds);
  EXPECT_EQ(refused.load(), 0);
  EXPECT_EQ(pool_->counters().threads, 1);
  EXPECT_EQ(pool_->counters().started, static_cast<uint64_t>(kRounds));
}

class FreedByDone final : public BlockingCalls::Call {
 public:
  explicit FreedByDone(std::atomic<int>* freed) : freed_(freed) {}

 private:
  ~FreedByDone() { freed_->fetch_add(1); }
  int32_t Run() noexcept override { return 0; }
  void Done(int32_t) noexcept override { delete this; }

  std::atomic<int>* const freed_;
};

TEST_F(BlockingCallsTest, DoneFreesItsCall) {
  std::atomic<int> freed{0};
  for (int i = 1; i <= 200; ++i) {
    ASSERT_TRUE(pool_->Start(new FreedByDone(&freed)).ok());
    ASSERT_TRUE(Eventually([&] { return freed.load() == i; }));
  }
}

TEST_F(BlockingCallsTest, WithoutAThreadStartIsRefused) {
  pthread_attr_t before, huge;
  ASSERT_EQ(pthread_getattr_default_np(&before), 0);
  ASSERT_EQ(pthread_getattr_default_np(&huge), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&huge, size_t{1} << 47), 0);  // all of the address space
  TestCall call([] { return 3; });
  ASSERT_EQ(pthread_setattr_default_np(&huge), 0);
  const absl::Status refused = pool_->Start(&call);
  ASSERT_EQ(pthread_setattr_default_np(&before), 0);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(StatusErrno(refused), EAGAIN) << refused;
  EXPECT_EQ(pool_->counters().threads, 0);
  EXPECT_EQ(pool_->counters().running, 0);
  EXPECT_EQ(pool_->counters().started, 0u);
  EXPECT_EQ(call.dones(), 0);
  ASSERT_TRUE(pool_->Start(&call).ok());
  EXPECT_EQ(call.Result(), 3);
  pthread_attr_destroy(&before);
  pthread_attr_destroy(&huge);
}

// No room for a signal of any kind: a new thread has no timer, but a call that runs is cancelled all the same.
TEST_F(BlockingCallsTest, AtTheLimitOfPendingSignals) {
  pool_ = MakePool({.threads_max = 2});
  MessageQueue queue;
  TestCall blocked([&] { return queue.Receive(); });
  ASSERT_TRUE(pool_->Start(&blocked).ok());
  ASSERT_TRUE(BlocksIn(blocked.tid(), SYS_msgrcv));
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_SIGPENDING, &before), 0);
  const rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
  bool ran = false;
  TestCall call([&] {
    ran = true;
    return 3;
  });
  ASSERT_EQ(setrlimit(RLIMIT_SIGPENDING, &none), 0);
  const absl::Status started = pool_->Start(&call);
  const int32_t without_timer = call.Result();
  const bool ran_without_timer = ran;
  pool_->Cancel(&blocked);
  const int32_t cancelled = blocked.Result();
  ASSERT_EQ(setrlimit(RLIMIT_SIGPENDING, &before), 0);
  EXPECT_TRUE(started.ok());
  EXPECT_EQ(without_timer, -EAGAIN);
  EXPECT_FALSE(ran_without_timer);
  EXPECT_EQ(cancelled, -ECANCELED);
  // The thread asks again.
  TestCall other([&] { return queue.Receive(); });
  ASSERT_TRUE(pool_->Start(&other).ok());
  ASSERT_TRUE(pool_->Start(&call).ok());
  EXPECT_EQ(call.Result(2), 3);
  queue.Send();
  EXPECT_EQ(other.Result(), 5);
}

TEST_F(BlockingCallsTest, TheEndCancelsWhatIsBlocked) {
  Objects objects;
  std::vector<std::unique_ptr<TestCall>> calls;
  std::vector<absl::Status> restarts;
  std::mutex mutex;
  for (const Kind& kind : kKinds) {
    kind.block(objects);
    calls.push_back(nullptr);
    const size_t index = calls.size() - 1;
    calls[index] = std::make_unique<TestCall>([&objects, &kind] { return kind.run(objects); },
                                              [&, index](int32_t) {
                                                std::lock_guard lock(mutex);
                                                restarts.push_back(pool_->Start(calls[index].get()));
                                              });
  }
  for (const auto& call : calls) ASSERT_TRUE(pool_->Start(call.get()).ok());
  for (size_t i = 0; i < calls.size(); ++i) ASSERT_TRUE(BlocksIn(calls[i]->tid(), kKinds[i].system_call));
  delete pool_.get();  // reset() would clear the address first, which Done() reads
  (void)pool_.release();
  for (const auto& call : calls) {
    EXPECT_EQ(call->dones(), 1);
    EXPECT_EQ(call->Result(), -ECANCELED);
  }
  ASSERT_EQ(restarts.size(), calls.size());
  for (const absl::Status& status : restarts) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(StatusErrno(status), ECANCELED) << status;
  }
}

// In every state of a thread: not yet there, on its way in, blocked, in Done(), idle.
TEST(BlockingCallsEnd, AtAnyMoment) {
  MessageQueue queue;
  std::minstd_rand random(1);
  for (int round = 0; round < 300; ++round) {
    std::atomic<int> dones{0};
    {
      TestCall blocked([&] { return queue.Receive(); }, [&](int32_t) { ++dones; });
      TestCall quick([] { return 0; }, [&](int32_t) { ++dones; });
      std::unique_ptr<BlockingCalls> pool = MakePool({.threads_max = 2});
      ASSERT_TRUE(pool->Start(&quick).ok());
      for (unsigned spin = random() % 50'000; spin > 0; --spin) std::atomic_signal_fence(std::memory_order_seq_cst);
      ASSERT_TRUE(pool->Start(&blocked).ok());
      for (unsigned spin = random() % 50'000; spin > 0; --spin) std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    ASSERT_EQ(dones.load(), 2) << "round " << round;
  }
}

TEST(BlockingCallsIdle, AThreadIsUsedAgain) {
  std::unique_ptr<BlockingCalls> pool = MakePool({.idle = absl::InfiniteDuration()});
  std::set<pid_t> tids;
  for (int i = 0; i < 50; ++i) {
    TestCall call([] { return 0; });
    ASSERT_TRUE(pool->Start(&call).ok());
    EXPECT_EQ(call.Result(), 0);
    tids.insert(call.tid());
    ASSERT_TRUE(Eventually([&] { return pool->counters().idle == 1; }));  // it has left Done()
  }
  EXPECT_EQ(tids.size(), 1u);
  EXPECT_EQ(pool->counters().threads, 1);
}

TEST(BlockingCallsIdle, ThreadsEndAndOthersAreMade) {
  std::unique_ptr<BlockingCalls> pool = MakePool({.idle = absl::Milliseconds(5)});
  MessageQueue queue;
  for (int round = 0; round < 3; ++round) {
    std::vector<std::unique_ptr<TestCall>> calls;
    for (int i = 0; i < 4; ++i) calls.push_back(std::make_unique<TestCall>([&] { return queue.Receive(); }));
    for (const auto& call : calls) ASSERT_TRUE(pool->Start(call.get()).ok());
    SleepMs(20);
    ASSERT_EQ(pool->counters().threads, 4);  // a call is no idle time
    for (int i = 0; i < 4; ++i) queue.Send();
    for (const auto& call : calls) EXPECT_EQ(call->Result(), 5);
    ASSERT_TRUE(Eventually([&] { return pool->counters().threads == 0; }));
  }
}

// A thread whose idle time ends meets the next Start(): each call is run once.
TEST(BlockingCallsIdle, TheEndOfAThreadMeetsAStart) {
  for (const absl::Duration idle : {absl::ZeroDuration(), absl::Microseconds(50)}) {
    std::unique_ptr<BlockingCalls> pool = MakePool({.threads_max = 2, .idle = idle});
    std::minstd_rand random(1);
    int runs = 0;
    TestCall call([&] { return ++runs; });
    for (int round = 1; round <= 2000; ++round) {
      ASSERT_TRUE(pool->Start(&call).ok());
      ASSERT_EQ(call.Result(round), round);
      for (unsigned spin = random() % 60'000; spin > 0; --spin) std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    EXPECT_EQ(call.dones(), 2000);
  }
}

TEST(BlockingCallsCreate, BadOptionsAreRefused) {
  for (const BlockingCalls::Options& options : {BlockingCalls::Options{.threads_max = 0},
                                                {.idle = absl::Seconds(-1)},
                                                {.signal = 0},
                                                {.signal = NSIG},
                                                {.signal = SIGKILL},
                                                {.signal = 33},  // glibc's own
                                                {.signal = SIGSEGV}}) {
    EXPECT_EQ(BlockingCalls::Create(options).status().code(), absl::StatusCode::kInvalidArgument)
        << BlockingCalls::Create(options).status() << " signal " << options.signal;
  }
}

TEST(BlockingCallsCreate, ASignalThatTheProgramHandlesIsRefused) {
  struct sigaction simple = {}, detailed = {}, before;
  simple.sa_handler = [](int) {};
  detailed.sa_sigaction = [](int, siginfo_t*, void*) {};
  detailed.sa_flags = SA_SIGINFO;
  for (const struct sigaction& action : {simple, detailed}) {
    ASSERT_EQ(sigaction(SIGUSR2, &action, &before), 0);
    EXPECT_EQ(BlockingCalls::Create({.signal = SIGUSR2}).status().code(), absl::StatusCode::kFailedPrecondition);
    struct sigaction kept;
    ASSERT_EQ(sigaction(SIGUSR2, &before, &kept), 0);
    EXPECT_EQ(kept.sa_handler, action.sa_handler);
  }
}

// Two pools share the handler; another signal, one that was ignored, is as good.
TEST(BlockingCallsCreate, PoolsShareASignalOrHaveTheirOwn) {
  struct sigaction ignore = {}, before;
  ignore.sa_handler = SIG_IGN;
  ASSERT_EQ(sigaction(SIGUSR2, &ignore, &before), 0);
  MessageQueue queue;
  std::unique_ptr<BlockingCalls> pools[] = {MakePool(), MakePool(), MakePool({.signal = SIGUSR2})};
  for (const auto& pool : pools) {
    TestCall call([&] { return queue.Receive(); });
    ASSERT_TRUE(pool->Start(&call).ok());
    ASSERT_TRUE(BlocksIn(call.tid(), SYS_msgrcv));
    pool->Cancel(&call);
    ASSERT_EQ(call.Result(), -ECANCELED);
  }
  for (auto& pool : pools) pool.reset();
  sigaction(SIGUSR2, &before, nullptr);
}

// The child has none of the threads: it is told so, and its copy of the pool goes without waiting for them.
TEST_F(BlockingCallsTest, AChildProcessCanOnlyLetGo) {
  MessageQueue queue;
  TestCall idle([] { return 0; }), blocked([&] { return queue.Receive(); });
  ASSERT_TRUE(pool_->Start(&blocked).ok());
  ASSERT_TRUE(BlocksIn(blocked.tid(), SYS_msgrcv));
  ASSERT_TRUE(pool_->Start(&idle).ok());
  ASSERT_TRUE(BlocksIn(idle.tid(), SYS_futex));
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(20);
    const absl::Status status = pool_->Start(&idle);
    const bool told = status.code() == absl::StatusCode::kFailedPrecondition && StatusErrno(status) == ESRCH;
    pool_->Cancel(&blocked);
    pool_.reset();
    _exit(told ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
  queue.Send();
  EXPECT_EQ(blocked.Result(), 5);
}

// Eight threads start calls of all kinds and cancel some: each ends once, and what ended is what was started.
TEST_F(BlockingCallsTest, ManyThreadsStartAndCancel) {
  constexpr int kThreads = 8;
  constexpr int kRounds = 1500;
  pool_ = MakePool({.threads_max = 6, .idle = absl::Microseconds(200)});
  MessageQueue empty;
  Semaphore semaphore;
  std::atomic<int> starts{0}, refusals{0}, results{0}, cancellations{0}, others{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::minstd_rand random(static_cast<unsigned>(t) + 1);
      for (int round = 0; round < kRounds; ++round) {
        const unsigned kind = random() % 3;
        const bool cancel = kind == 0 || random() % 2 == 0;  // nobody sends to the queue
        TestCall call([&] { return kind == 0 ? empty.Receive() : kind == 1 ? semaphore.Add(-1) : 0; });
        if (const absl::Status status = pool_->Start(&call); !status.ok()) {
          if (StatusErrno(status) != EAGAIN) ++others;
          ++refusals;
          std::this_thread::yield();
          continue;
        }
        ++starts;
        for (unsigned spin = random() % 3000; spin > 0; --spin) std::atomic_signal_fence(std::memory_order_seq_cst);
        // The semaphore is given what was taken from it by one that may be another's: each taker has its giver.
        bool given = false;
        if (kind == 1 && !cancel) given = semaphore.Add(1) == 0;
        if (cancel) pool_->Cancel(&call);
        const int32_t result = call.Result();
        if (result == -ECANCELED) {
          ++cancellations;
          if (!cancel) ++others;
        } else if (result == 0 && kind != 0) {
          ++results;
          if (kind == 1 && !given && semaphore.Add(1) != 0) ++others;  // it took another's
        } else {
          ++others;
        }
        if (call.dones() != 1) ++others;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(others.load(), 0);
  EXPECT_EQ(starts.load() + refusals.load(), kThreads * kRounds);
  EXPECT_EQ(results.load() + cancellations.load(), starts.load());
  EXPECT_GT(results.load(), 0);
  EXPECT_GT(cancellations.load(), 0);
  ASSERT_TRUE(Eventually([&] { return pool_->counters().threads == 0; }));
  const BlockingCalls::Counters counters = pool_->counters();
  EXPECT_EQ(counters.started, static_cast<uint64_t>(starts.load()));
  EXPECT_EQ(counters.cancelled, static_cast<uint64_t>(cancellations.load()));
  EXPECT_EQ(counters.restarts, 0u);
  EXPECT_EQ(counters.running, 0);
}

TEST(BlockingCallsDeathTest, ACallIsDestroyedBeforeItsEnd) {
#ifdef EVRING_TSAN
  GTEST_SKIP() << "ThreadSanitizer reports the race between the destructor and the thread before the check does";
#endif
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        std::unique_ptr<BlockingCalls> pool = MakePool();
        auto call = std::make_unique<TestCall>([] { return OrErrno(pause()); });
        if (pool->Start(call.get()).ok() && BlocksIn(call->tid(), SYS_pause)) call.reset();
      },
      "a call is destroyed that has not ended");
}

TEST(BlockingCallsDeathTest, ACallIsStartedTwice) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        std::unique_ptr<BlockingCalls> pool = MakePool();
        TestCall call([] { return OrErrno(pause()); });
        if (pool->Start(&call).ok()) (void)pool->Start(&call);
      },
      "a call is started that has not ended");
}

TEST(BlockingCallsDeathTest, ThePoolIsDestroyedByDone) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        std::unique_ptr<BlockingCalls> pool = MakePool();
        TestCall call([] { return 0; }, [&](int32_t) { pool.reset(); });
        if (pool->Start(&call).ok()) call.Result();
      },
      "a helper thread cannot wait for its own end");
}

}  // namespace
}  // namespace evring::kevent
