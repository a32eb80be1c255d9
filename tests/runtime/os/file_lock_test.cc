// file_lock_test.cc: locks of files: who excludes whom, waiting and being stopped, giving up; on this machine with
// files of their own, in this process and against a child, and on simulated ones.

#include "runtime/os/file_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "runtime/os/file.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/testing.h"
#include "runtime/timeout.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;
using Kind = FileLock::Kind;
using Range = FileLock::Range;

class FileLockTest : public EveryMachine {
 protected:
  FileLockTest() : descriptors_(CountIn("fd")), path_(::testing::TempDir() + "/file_lock.XXXXXX") {
    const int fd = mkstemp(path_.data());
    EVRING_CHECK(fd >= 0, "a file");
    close(fd);
  }
  ~FileLockTest() override {
    EXPECT_EQ(CountIn("fd"), descriptors_);
    unlink(path_.c_str());
  }
  static void Run(Task<> task) { RunOk(std::move(task)); }
  // Simulated machines begin with an empty disk: it is made where it is opened.
  const std::string& path() const { return path_; }

 private:
  const int descriptors_;
  std::string path_;
};
INSTANTIATE_TEST_SUITE_P(Machines, FileLockTest, MachinesWithoutErrors({1, 2, 4}), MachineName);

// Against another process.
class FileLockOfThisMachine : public FileLockTest {};
INSTANTIATE_TEST_SUITE_P(Machines, FileLockOfThisMachine, RealMachines({1, 2, 4}), MachineName);

bool Busy(const absl::StatusOr<FileLock>& lock) { return kevent::StatusErrno(lock.status()) == EAGAIN; }

// --- The example of the header

Task<absl::Status> Example(std::string path, int* inside) {
  absl::StatusOr<File> file = co_await File::Open(path, O_RDWR | O_CREAT);
  if (!file.ok()) co_return file.status();
  absl::StatusOr<FileLock> lock = co_await FileLock::Lock(*file, FileLock::Kind::kExclusive);
  if (!lock.ok()) co_return lock.status();
  EXPECT_EQ(++*inside, 1);  // no atomic: the lock is what keeps the others out
  static_cast<void>(co_await Sleep(absl::Milliseconds(1)));
  --*inside;
  co_return absl::OkStatus();
}

// TSan does not see that a lock of the kernel orders who holds it.
Task<> Examples(std::string path) {
  int inside = 0;
  std::vector<JoinHandle<absl::Status>> handles;
  for (int i = 0; i < (kSanitized ? 1 : 20); ++i) handles.push_back(co_await Spawn(Example(path, &inside)));
  for (auto& handle : handles) {
    const absl::Status status = co_await std::move(handle);
    EXPECT_TRUE(status.ok()) << status;
  }
}

TEST_P(FileLockTest, TheExampleKeepsOthersOut) { Run(Examples(path())); }

// --- Who excludes whom

Task<> Conflicts(std::string path) {
  CO_ASSERT_OK_AND_ASSIGN(const File a, co_await File::Open(path, O_RDWR | O_CREAT));
  CO_ASSERT_OK_AND_ASSIGN(const File b, co_await File::Open(path, O_RDWR | O_CREAT));
  {
    CO_ASSERT_OK_AND_ASSIGN(const FileLock shared, co_await FileLock::Lock(a, Kind::kShared));
    CO_ASSERT_OK_AND_ASSIGN(const FileLock too, co_await FileLock::Lock(b, Kind::kShared));
    EXPECT_TRUE(shared.held() && too.held());
    EXPECT_TRUE(Busy(FileLock::TryLock(b, Kind::kExclusive)));
  }
  {
    CO_ASSERT_OK_AND_ASSIGN(FileLock exclusive, co_await FileLock::Lock(a, Kind::kExclusive));
    EXPECT_TRUE(Busy(FileLock::TryLock(b, Kind::kShared)));
    EXPECT_TRUE(FileLock::TryLock(a, Kind::kShared).ok()) << "the same opening conflicts with nothing";
  }
  {
    CO_ASSERT_OK_AND_ASSIGN(FileLock first, co_await FileLock::Lock(a, Kind::kExclusive, Range(0, 10)));
    EXPECT_TRUE(Busy(FileLock::TryLock(b, Kind::kExclusive, Range(9, 1))));
    EXPECT_TRUE(Busy(FileLock::TryLock(b, Kind::kShared)));
    CO_ASSERT_OK(FileLock::TryLock(b, Kind::kExclusive, Range(10, 0)).status());
    CO_ASSERT_OK_AND_ASSIGN(FileLock rest, co_await FileLock::Lock(b, Kind::kExclusive, Range(10, 0)));
    EXPECT_TRUE(Busy(FileLock::TryLock(a, Kind::kShared, Range(uint64_t{1} << 40, 1)))) << "to the end, wherever it is";
    first.Unlock();
    EXPECT_FALSE(first.held());
    first.Unlock();
    CO_ASSERT_OK(FileLock::TryLock(b, Kind::kExclusive, Range(0, 10)).status());
    rest = *FileLock::TryLock(b, Kind::kExclusive, Range(0, 1));
    CO_ASSERT_OK(FileLock::TryLock(a, Kind::kExclusive, Range(20, 1)).status());
    FileLock moved = std::move(rest);
    EXPECT_FALSE(rest.held());
    EXPECT_TRUE(Busy(FileLock::TryLock(a, Kind::kExclusive, Range(0, 1))));
  }
  {
    CO_ASSERT_OK_AND_ASSIGN(const FileLock whole, co_await FileLock::LockWhole(a, Kind::kExclusive));
    EXPECT_TRUE(Busy(FileLock::TryLockWhole(b, Kind::kShared)));
    CO_ASSERT_OK(FileLock::TryLock(b, Kind::kExclusive).status());
  }
  CO_ASSERT_OK(FileLock::TryLockWhole(b, Kind::kExclusive).status());
}

TEST_P(FileLockTest, LocksThatConflictExcludeEachOther) { Run(Conflicts(path())); }

Task<> Outlives(std::string path) {
  CO_ASSERT_OK_AND_ASSIGN(File a, co_await File::Open(path, O_RDWR | O_CREAT));
  CO_ASSERT_OK_AND_ASSIGN(const File b, co_await File::Open(path, O_RDWR | O_CREAT));
  {
    CO_ASSERT_OK_AND_ASSIGN(const FileLock lock, co_await FileLock::Lock(a, Kind::kExclusive));
    a.Close();
    EXPECT_TRUE(Busy(FileLock::TryLock(b, Kind::kShared)));
  }
  CO_ASSERT_OK(FileLock::TryLock(b, Kind::kShared).status());
}

TEST_P(FileLockTest, ALockOutlivesItsFile) { Run(Outlives(path())); }

// --- Waiting

Task<absl::Status> Hold(const File* file, bool whole, std::atomic<int>* had) {
  Task<absl::StatusOr<FileLock>> locking =
      whole ? FileLock::LockWhole(*file, Kind::kExclusive) : FileLock::Lock(*file, Kind::kExclusive);
  const absl::StatusOr<FileLock> lock = co_await std::move(locking);
  if (lock.ok()) ++*had;
  co_return lock.status();
}

Task<> Handover(std::string path, bool whole) {
  CO_ASSERT_OK_AND_ASSIGN(const File a, co_await File::Open(path, O_RDWR | O_CREAT));
  CO_ASSERT_OK_AND_ASSIGN(const File b, co_await File::Open(path, O_RDWR | O_CREAT));
  absl::StatusOr<FileLock> lock =
      whole ? FileLock::TryLockWhole(a, Kind::kExclusive) : FileLock::TryLock(a, Kind::kExclusive);
  CO_ASSERT_OK(lock);
  std::atomic<int> had{0};
  JoinHandle<absl::Status> waiting = co_await Spawn(Hold(&b, whole, &had));
  // The only worker goes on meanwhile.
  static_cast<void>(co_await Sleep(absl::Milliseconds(5)));
  EXPECT_EQ(had, 0);
  lock->Unlock();
  CO_ASSERT_OK(co_await std::move(waiting));
  EXPECT_EQ(had, 1);
}

TEST_P(FileLockTest, WhoWaitsGetsItAndNoWorkerIsHeldUp) {
  Run(Handover(path(), false));
  Run(Handover(path(), true));
}

// Waits in vain, a while.
Task<absl::Status> HoldShortly(const File* file, bool whole, std::atomic<int>* had) {
  const absl::Status status = co_await WithTimeout(absl::Milliseconds(20), Hold(file, whole, had));
  co_return absl::IsDeadlineExceeded(status) ? absl::OkStatus() : status;
}

Task<> Stopped(std::string path, bool whole) {
  CO_ASSERT_OK_AND_ASSIGN(const File a, co_await File::Open(path, O_RDWR | O_CREAT));
  CO_ASSERT_OK_AND_ASSIGN(const File b, co_await File::Open(path, O_RDWR | O_CREAT));
  std::atomic<int> had{0};
  absl::Status status = co_await StartCancelled(Hold(&b, whole, &had));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  {
    const absl::StatusOr<FileLock> lock =
        whole ? FileLock::TryLockWhole(a, Kind::kExclusive) : FileLock::TryLock(a, Kind::kExclusive);
    CO_ASSERT_OK(lock);
    for (const int us : {1, 100, 3000}) {
      status = co_await WithTimeout(absl::Microseconds(us), Hold(&b, whole, &had));
      EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
    }
    std::function<Task<absl::Status>()> scenario = [&b, whole, &had] { return HoldShortly(&b, whole, &had); };
    CO_ASSERT_OK_AND_ASSIGN(const int points, co_await CancelAtEverySuspension(scenario));
    EXPECT_GE(points, 1);
    EXPECT_EQ(had, 0);
  }
  // Nobody has kept it.
  CO_ASSERT_OK(FileLock::TryLock(a, Kind::kExclusive).status());
  CO_ASSERT_OK(FileLock::TryLockWhole(a, Kind::kExclusive).status());
}

Task<absl::Status> Race(const File* a, const File* b, bool whole, int us) {
  absl::StatusOr<FileLock> lock =
      whole ? FileLock::TryLockWhole(*a, Kind::kExclusive) : FileLock::TryLock(*a, Kind::kExclusive);
  if (!lock.ok()) co_return lock.status();
  std::atomic<int> had{0};
  JoinHandle<absl::Status> waiting = co_await Spawn(Hold(b, whole, &had));
  static_cast<void>(co_await Sleep(absl::Microseconds(us)));
  lock->Unlock();
  waiting.RequestStop();
  const absl::Status status = co_await std::move(waiting);
  EXPECT_EQ(status.ok(), had == 1) << status;
  co_return status;
}

Task<> Races(std::string path, bool whole, int rounds) {
  CO_ASSERT_OK_AND_ASSIGN(const File a, co_await File::Open(path, O_RDWR | O_CREAT));
  CO_ASSERT_OK_AND_ASSIGN(const File b, co_await File::Open(path, O_RDWR | O_CREAT));
  for (int i = 0; i < rounds; ++i) {
    const absl::Status status = co_await Race(&a, &b, whole, i);
    EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
    // Whatever it was, it is nobody's now.
    CO_ASSERT_OK(FileLock::TryLock(a, Kind::kExclusive).status());
    CO_ASSERT_OK(FileLock::TryLockWhole(a, Kind::kExclusive).status());
  }
}

TEST_P(FileLockTest, AStopThatRacesWithTheLockLeavesNoLock) {
  const int rounds = machine().simulated() ? 30 : Scaled(200);
  Run(Races(path(), false, rounds));
  Run(Races(path(), true, rounds));
}

TEST_P(FileLockTest, AStopEndsTheWait) {
  Run(Stopped(path(), false));
  Run(Stopped(path(), true));
}

// --- Other processes

Task<> OfAnother(std::string path) {
  CO_ASSERT_OK_AND_ASSIGN(const File file, co_await File::Open(path, O_RDWR | O_CREAT));
  EXPECT_TRUE(Busy(FileLock::TryLockWhole(file, Kind::kExclusive)));
  // It goes with the process that has it.
  CO_ASSERT_OK(co_await FileLock::LockWhole(file, Kind::kExclusive));
}

TEST_P(FileLockOfThisMachine, ALockOfAnotherProcessIsWaitedFor) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const int fd = open(path().c_str(), O_RDWR);
    if (flock(fd, LOCK_EX) != 0 || write(ready[1], "x", 1) != 1) _exit(1);
    usleep(20'000);
    _exit(0);
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  close(ready[1]);
  Run(OfAnother(path()));
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// --- Errors

Task<> Errors(std::string path) {
  CO_ASSERT_OK_AND_ASSIGN(const File reader, co_await File::Open(path, O_RDONLY | O_CREAT));
  absl::StatusOr<FileLock> lock = co_await FileLock::Lock(reader, Kind::kExclusive);
  EXPECT_EQ(kevent::StatusErrno(lock.status()), EBADF) << lock.status();
  lock = FileLock::TryLock(reader, Kind::kExclusive);
  EXPECT_EQ(kevent::StatusErrno(lock.status()), EBADF) << lock.status();
  lock = co_await FileLock::Lock(reader, Kind::kShared, Range(uint64_t{1} << 63, 0));
  EXPECT_EQ(kevent::StatusErrno(lock.status()), EINVAL) << lock.status();
  lock = FileLock::TryLock(reader, Kind::kShared, Range(1, INT64_MAX));
  EXPECT_EQ(kevent::StatusErrno(lock.status()), EINVAL) << lock.status();
  lock = co_await FileLock::Lock(File(), Kind::kShared);
  EXPECT_EQ(kevent::StatusErrno(lock.status()), EBADF) << lock.status();
  lock = FileLock::TryLockWhole(File(), Kind::kShared);
  EXPECT_EQ(kevent::StatusErrno(lock.status()), EBADF) << lock.status();
  EXPECT_NE(lock.status().message().find("lock"), absl::string_view::npos) << lock.status();
}

TEST_P(FileLockTest, WhatCannotBeLockedIsRefused) { Run(Errors(path())); }

}  // namespace
}  // namespace evring
