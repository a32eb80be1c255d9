// kinds_scenario.h: tasks of several workers that wait for locks of a file, counters, words of memory and names of
// sockets (WaitForEvent), and are stopped now and then while they do.
//
// What must hold whatever goes wrong: one task at a time has the lock; what is added to a counter is counted once; who
// waits for a word sees it change; a name that was given connects. A wake-up that is lost shows as a run in which
// nothing can happen any more.

#ifndef EVRING_TESTS_SIM_KINDS_SCENARIO_H_
#define EVRING_TESTS_SIM_KINDS_SCENARIO_H_

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "kevent/event.h"
#include "kevent/kernel.h"
#include "kevent/kevent.h"
#include "runtime/os/event_wait.h"
#include "runtime/os/file.h"
#include "runtime/sleep.h"
#include "runtime/task.h"
#include "runtime/task_group.h"
#include "runtime/timeout.h"
#include "sim/random.h"
#include "sim/simulation.h"

namespace evring::sim {

class Kinds {
 public:
  explicit Kinds(Random* random) : random_(random) {}
  Kinds(const Kinds&) = delete;
  Kinds& operator=(const Kinds&) = delete;

  Task<> Run() {
    counter_ = Kernel()->EventFd(0, EFD_CLOEXEC);
    EXPECT_GE(counter_, 0);
    {
      TaskGroup group;
      for (int i = 0; i < kLockers; ++i) co_await group.Spawn(HoldLocks(this, i));
      for (int i = 0; i < kAdders; ++i) co_await group.Spawn(Add(this));
      co_await group.Spawn(Count(this));
      for (uint32_t i = 0; i < kPlayers; ++i) co_await group.Spawn(TakeTurns(this, i));
      co_await group.Spawn(WatchWords(this));
      co_await group.Spawn(Connect(this));
      const absl::Status joined = co_await group.Join();
      EXPECT_TRUE(joined.ok()) << joined;
    }
    EXPECT_EQ(turn_.load(), kPlayers * kTurns);
    EXPECT_EQ(counted_, added_);
    EXPECT_GT(locked_, 0);
    Kernel()->Close(counter_);
  }

 private:
  static constexpr int kLockers = 3;
  static constexpr int kRounds = 6;
  static constexpr int kAdders = 2;
  static constexpr uint32_t kPlayers = 3;
  static constexpr uint32_t kTurns = 5;

  using Waited = absl::StatusOr<kevent::Event>;

  static kevent::Kernel* Kernel() { return kevent::Kernel::Current(); }

  static kevent::Event About(kevent::EventType type, int descriptor, int32_t argument, const void* payload) {
    kevent::Event event;
    event.type = type;
    event.descriptor = descriptor;
    event.result = argument;
    event.payload = reinterpret_cast<uintptr_t>(payload);
    return event;
  }
  absl::Duration Soon() { return absl::Microseconds(static_cast<int64_t>(random_->Below(2'000))); }

  // As often as it takes: `passing` are the errors that are gone the next time.
  static Task<Waited> Persist(kevent::Event event, const std::set<int>* passing) {
    for (;;) {
      Waited waited = co_await WaitForEvent(event);
      if (waited.ok() || !passing->contains(kevent::StatusErrno(waited.status()))) co_return waited;
    }
  }

  static Task<File> OpenLocked() {
    for (;;) {
      absl::StatusOr<File> file = co_await File::Open("/data/lock", O_RDWR | O_CREAT);
      if (file.ok()) co_return *std::move(file);
    }
  }

  // Every second round a range of it, which knows nothing of the whole.
  static Task<> HoldLocks(Kinds* self, int which) {
    const File file = co_await OpenLocked();
    for (int round = 0; round < kRounds; ++round) {
      const bool whole = round % 2 == 0;
      struct flock range = {};
      range.l_type = F_WRLCK;
      range.l_len = which + 1;  // they overlap in the first byte
      int& holders = whole ? self->whole_holders_ : self->range_holders_;
      const kevent::Event lock = whole ? About(kevent::EventType::kFlock, file.fd(), LOCK_EX, nullptr)
                                       : About(kevent::EventType::kLock, file.fd(), F_OFD_SETLKW, &range);
      const absl::Duration patience = self->Soon();
      const Waited locked = co_await WithTimeout(patience, WaitForEvent(lock));
      if (!locked.ok()) {
        const int error = kevent::StatusErrno(locked.status());
        EXPECT_TRUE(absl::IsDeadlineExceeded(locked.status()) || error == ENOLCK) << locked.status();
        continue;
      }
      ++self->locked_;
      EXPECT_EQ(++holders, 1) << "one at a time";
      const absl::Duration held = self->Soon();
      static_cast<void>(co_await Sleep(held));
      --holders;
      range.l_type = F_UNLCK;
      const kevent::Event unlock = whole ? About(kevent::EventType::kFlock, file.fd(), LOCK_UN, nullptr)
                                         : About(kevent::EventType::kLock, file.fd(), F_OFD_SETLKW, &range);
      const Waited unlocked = co_await WaitForEvent(unlock);
      EXPECT_TRUE(unlocked.ok()) << unlocked.status();
    }
  }

  static Task<> Add(Kinds* self) {
    for (int round = 0; round < kRounds; ++round) {
      const uint64_t more = 1 + self->random_->Below(9);
      kevent_io io = {const_cast<uint64_t*>(&more), sizeof(more), 0, 0};
      const Waited written = co_await WaitForEvent(About(kevent::EventType::kFileWrite, self->counter_, 0, &io));
      EXPECT_TRUE(written.ok()) << written.status();
      if (written.ok()) self->added_ += more;
      const absl::Duration pause = self->Soon();
      static_cast<void>(co_await Sleep(pause));
    }
    ++self->adders_done_;
  }

  static Task<> Count(Kinds* self) {
    while (self->adders_done_ < kAdders || self->counted_ < self->added_) {
      const absl::Duration patience = self->Soon();
      const Waited read =
          co_await WithTimeout(patience, WaitForEvent(About(kevent::EventType::kEventFd, self->counter_, 0, nullptr)));
      EXPECT_TRUE(read.ok() || absl::IsDeadlineExceeded(read.status())) << read.status();
      if (read.ok()) self->counted_ += read->payload;
    }
  }

  // The word says whose turn it is.
  static Task<> TakeTurns(Kinds* self, uint32_t player) {
    const auto* word = reinterpret_cast<const uint32_t*>(&self->turn_);
    for (;;) {
      const uint32_t now = self->turn_.load();
      if (now == kPlayers * kTurns) co_return;
      if (now % kPlayers == player) {
        self->turn_.store(now + 1);
        Kernel()->FutexWake(word, kPlayers + 1, /*is_private=*/true);
        continue;
      }
      const kevent::Event wait =
          About(kevent::EventType::kFutex, KEVENT_FUTEX_PRIVATE, static_cast<int32_t>(now), &self->turn_);
      const bool bounded = self->random_->OneIn(3);
      const absl::Duration patience = bounded ? self->Soon() : absl::InfiniteDuration();
      const Waited woken = co_await WithTimeout(patience, WaitForEvent(wait));
      const int error = woken.ok() ? 0 : kevent::StatusErrno(woken.status());
      EXPECT_TRUE(woken.ok() || error == EAGAIN || error == ENOMEM || absl::IsDeadlineExceeded(woken.status()))
          << woken.status();
    }
  }

  // Two words, of which one never changes.
  static Task<> WatchWords(Kinds* self) {
    for (uint32_t now = self->turn_.load(); now != kPlayers * kTurns; now = self->turn_.load()) {
      futex_waitv words[2] = {};
      words[0].uaddr = reinterpret_cast<uintptr_t>(&self->still_);
      words[1].uaddr = reinterpret_cast<uintptr_t>(&self->turn_);
      words[1].val = now;
      for (futex_waitv& word : words) word.flags = 0x02 | KEVENT_FUTEX_PRIVATE;
      const Waited woken = co_await WaitForEvent(About(kevent::EventType::kFutexV, 0, 2, words));
      const int error = woken.ok() ? 0 : kevent::StatusErrno(woken.status());
      EXPECT_TRUE(woken.ok() || error == EAGAIN || error == ENOMEM) << woken.status();
      EXPECT_TRUE(!woken.ok() || woken->result < 2) << woken->result;
    }
  }

  static Task<> Connect(Kinds* self) {
    const std::set<int> bind_errors = {EADDRINUSE, ENOMEM};
    const std::set<int> connect_errors = {EACCES, EPERM, ECONNREFUSED};
    const std::set<int> accept_errors = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
    for (int round = 0; round < kRounds; ++round) {
      sockaddr_un name = {};
      name.sun_family = AF_UNIX;
      std::memcpy(name.sun_path + 1, "kinds", 5);
      constexpr auto kSize = static_cast<int32_t>(offsetof(sockaddr_un, sun_path) + 6);
      const int listener = Kernel()->Socket(AF_UNIX, SOCK_STREAM, 0);
      const int client = Kernel()->Socket(AF_UNIX, SOCK_STREAM, 0);
      const Waited bound = co_await Persist(About(kevent::EventType::kBind, listener, kSize, &name), &bind_errors);
      EXPECT_TRUE(bound.ok()) << bound.status();
      const Waited listens = co_await WaitForEvent(About(kevent::EventType::kListen, listener, 1, nullptr));
      EXPECT_TRUE(listens.ok()) << listens.status();
      const Waited connected =
          co_await Persist(About(kevent::EventType::kConnect, client, kSize, &name), &connect_errors);
      EXPECT_TRUE(connected.ok()) << connected.status();
      const Waited accepted = co_await Persist(About(kevent::EventType::kAccept, listener, 0, nullptr), &accept_errors);
      EXPECT_TRUE(accepted.ok()) << accepted.status();
      if (accepted.ok()) Kernel()->Close(accepted->result);
      Kernel()->Close(listener);
      Kernel()->Close(client);
      const absl::Duration pause = self->Soon();
      static_cast<void>(co_await Sleep(pause));
    }
  }

  Random* const random_;
  int counter_ = -1;
  int whole_holders_ = 0;
  int range_holders_ = 0;
  int locked_ = 0;
  int adders_done_ = 0;
  uint64_t added_ = 0;
  uint64_t counted_ = 0;
  alignas(8) std::atomic<uint32_t> turn_{0};
  alignas(8) uint32_t still_ = 0;
};

inline Task<> KindsScenario() {
  Kinds kinds(Simulation::Current()->random());
  co_await kinds.Run();
}

}  // namespace evring::sim

#endif  // EVRING_TESTS_SIM_KINDS_SCENARIO_H_
