// locks_test.cc: locks of files as requests to the simulated kernel, where the comparison with the real one
// (queue_kinds_test.cc) cannot look: several that wait for the same lock, descriptors that are closed meanwhile.

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <sys/file.h>

#include <algorithm>
#include <array>

#include "gtest/gtest.h"
#include "kevent/opcodes.h"
#include "tests/sim/simulated_requests.h"

namespace evring::sim {
namespace {

struct flock Bytes(short type, off_t start, off_t size) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_start = start;
  lock.l_len = size;
  return lock;
}

class SimulatedLocks : public SimulatedRequests {
 protected:
  SimulatedLocks() {
    for (int& fd : files_) fd = Open();
  }
  ~SimulatedLocks() override {
    for (const int fd : files_) {
      if (fd >= 0) kernel_.Close(fd);
    }
    Run(kQuietNs);
    EXPECT_EQ(kernel_.open_descriptors(), 0);
  }

  int Open() {
    return Do([](io_uring_sqe* sqe) { io_uring_prep_openat(sqe, AT_FDCWD, "/data/file", O_RDWR | O_CREAT, 0600); });
  }
  void CloseFile(size_t i) {
    EXPECT_EQ(kernel_.Close(files_[i]), 0);
    files_[i] = -1;
  }

  static void PrepareFlock(io_uring_sqe* sqe, int fd, int operation) {
    io_uring_prep_rw(static_cast<int>(kevent::kOpFlock), sqe, fd, nullptr, static_cast<unsigned>(operation), 0);
  }
  static void PrepareLock(io_uring_sqe* sqe, int fd, int command, const struct flock* lock) {
    io_uring_prep_rw(static_cast<int>(kevent::kOpLock), sqe, fd, lock, static_cast<unsigned>(command), 0);
  }
  void StartFlock(Asked* request, int fd, int operation) {
    io_uring_sqe* sqe = Sqe();
    PrepareFlock(sqe, fd, operation);
    Start(request, sqe);
    Run(kQuietNs);
  }
  void StartLock(Asked* request, int fd, int command, const struct flock* lock) {
    io_uring_sqe* sqe = Sqe();
    PrepareLock(sqe, fd, command, lock);
    Start(request, sqe);
    Run(kQuietNs);
  }
  int32_t Flock(int fd, int operation) {
    return Do([&](io_uring_sqe* sqe) { PrepareFlock(sqe, fd, operation); });
  }
  int32_t Lock(int fd, int command, const struct flock& lock) {
    return Do([&](io_uring_sqe* sqe) { PrepareLock(sqe, fd, command, &lock); });
  }

  std::array<int, 4> files_;
};

TEST_F(SimulatedLocks, AllWhoShareGetItAtOnceAndOneOfThoseWhoDoNot) {
  EXPECT_EQ(Flock(files_[0], LOCK_EX), 0);
  Asked shared[2];
  StartFlock(&shared[0], files_[1], LOCK_SH);
  StartFlock(&shared[1], files_[2], LOCK_SH);
  EXPECT_TRUE(shared[0].in_flight() && shared[1].in_flight());
  EXPECT_EQ(Flock(files_[0], LOCK_UN), 0);
  for (const Asked& request : shared) EXPECT_EQ(request.results, Results{0});
  Asked alone[2];
  StartFlock(&alone[0], files_[0], LOCK_EX);
  StartFlock(&alone[1], files_[3], LOCK_EX);
  EXPECT_EQ(Flock(files_[1], LOCK_UN), 0);
  EXPECT_TRUE(alone[0].in_flight() && alone[1].in_flight()) << "another shares it still";
  EXPECT_EQ(Flock(files_[2], LOCK_UN), 0);
  EXPECT_NE(alone[0].in_flight(), alone[1].in_flight());
  EXPECT_EQ(Flock(alone[0].in_flight() ? files_[3] : files_[0], LOCK_UN), 0);
  for (const Asked& request : alone) EXPECT_EQ(request.results, Results{0});
}

TEST_F(SimulatedLocks, AChangeThatWaitsHasGivenUpTheOldLockAndACancelDoesNotBringItBack) {
  EXPECT_EQ(Flock(files_[0], LOCK_SH), 0);
  EXPECT_EQ(Flock(files_[1], LOCK_SH), 0);
  EXPECT_EQ(Flock(files_[2], LOCK_EX | LOCK_NB), -EAGAIN);
  Asked change;
  StartFlock(&change, files_[0], LOCK_EX);
  EXPECT_TRUE(change.in_flight());
  EXPECT_EQ(Cancel(change), 0);
  EXPECT_EQ(change.results, Results{-ECANCELED});
  EXPECT_EQ(Flock(files_[1], LOCK_UN), 0);
  EXPECT_EQ(Flock(files_[2], LOCK_EX | LOCK_NB), 0) << "nobody has it";
  EXPECT_EQ(Flock(files_[2], 0x77), -EINVAL);
}

TEST_F(SimulatedLocks, ADescriptionThatIsWaitedForLivesOnWithoutItsDescriptor) {
  EXPECT_EQ(Flock(files_[0], LOCK_EX), 0);
  Asked waits;
  StartFlock(&waits, files_[1], LOCK_EX);
  CloseFile(1);
  Run(kQuietNs);
  EXPECT_TRUE(waits.in_flight());
  CloseFile(0);
  Run(kQuietNs);
  EXPECT_EQ(waits.results, Results{0});
  EXPECT_EQ(Flock(files_[2], LOCK_EX | LOCK_NB), 0) << "with its request it has gone, and its lock";
}

TEST_F(SimulatedLocks, ALockOfTheProcessThatComesAfterTheCloseIsGivenUpAgain) {
  const struct flock ours = Bytes(F_WRLCK, 0, 10);
  EXPECT_EQ(Lock(files_[0], F_OFD_SETLKW, ours), 0);
  Asked waits;
  StartLock(&waits, files_[1], F_SETLKW, &ours);
  EXPECT_TRUE(waits.in_flight());
  CloseFile(1);
  EXPECT_EQ(Lock(files_[0], F_OFD_SETLKW, Bytes(F_UNLCK, 0, 10)), 0);
  EXPECT_EQ(waits.results, Results{-EBADF});
  EXPECT_EQ(Lock(files_[2], F_OFD_SETLKW, ours), 0) << "the process does not have it";
}

// As FileLock takes and gives them: calls, and no requests (kevent/descriptors.h).
TEST_F(SimulatedLocks, CallsThatDoNotWaitMeetRequests) {
  const struct flock all = Bytes(F_WRLCK, 0, 0);
  const struct flock none = Bytes(F_UNLCK, 0, 0);
  EXPECT_EQ(kernel_.SetLock(files_[0], &all), 0);
  EXPECT_EQ(kernel_.SetLock(files_[1], &all), -EAGAIN);
  Asked range;
  StartLock(&range, files_[1], F_OFD_SETLKW, &all);
  EXPECT_TRUE(range.in_flight());
  EXPECT_EQ(kernel_.SetLock(files_[0], &none), 0);
  Run(kQuietNs);
  EXPECT_EQ(range.results, Results{0});
  EXPECT_EQ(kernel_.SetLock(files_[0], &all), -EAGAIN);

  EXPECT_EQ(kernel_.Flock(files_[0], LOCK_SH), 0);
  EXPECT_EQ(kernel_.Flock(files_[1], LOCK_SH), 0);
  EXPECT_EQ(kernel_.Flock(files_[2], LOCK_EX), -EAGAIN) << "without LOCK_NB too";
  Asked whole;
  StartFlock(&whole, files_[2], LOCK_EX);
  EXPECT_EQ(kernel_.Flock(files_[0], LOCK_UN), 0);
  Run(kQuietNs);
  EXPECT_TRUE(whole.in_flight());
  EXPECT_EQ(kernel_.Flock(files_[1], LOCK_UN | LOCK_NB), 0);
  Run(kQuietNs);
  EXPECT_EQ(whole.results, Results{0});
}

TEST_F(SimulatedLocks, WhatCannotBeLockedIsRefused) {
  const int reader = Do([](io_uring_sqe* sqe) { io_uring_prep_openat(sqe, AT_FDCWD, "/data/file", O_RDONLY, 0); });
  const struct flock exclusive = Bytes(F_WRLCK, 0, 1);
  struct flock other = Bytes(F_RDLCK, -1, 1);
  EXPECT_EQ(kernel_.SetLock(reader, &exclusive), -EBADF);
  EXPECT_EQ(kernel_.SetLock(reader, &other), -EINVAL);
  other = Bytes(F_RDLCK, 0, 1);
  other.l_pid = 1;
  EXPECT_EQ(kernel_.SetLock(reader, &other), -EINVAL);
  EXPECT_EQ(kernel_.Flock(reader, 0), -EINVAL);
  EXPECT_EQ(kernel_.Close(reader), 0);
  other.l_pid = 0;
  EXPECT_EQ(kernel_.SetLock(reader, &other), -EBADF);
  EXPECT_EQ(kernel_.Flock(reader, LOCK_SH), -EBADF);
  EXPECT_EQ(kernel_.Dup(reader), -EBADF);
}

// A second descriptor of the same opening: its locks are the opening's, and go with the last of the two.
TEST_F(SimulatedLocks, ADuplicateKeepsTheLocksOfItsOpening) {
  const int duplicate = kernel_.Dup(files_[0]);
  ASSERT_GE(duplicate, 0);
  EXPECT_NE(duplicate, files_[0]);
  EXPECT_EQ(kernel_.Flock(files_[0], LOCK_EX), 0);
  EXPECT_EQ(kernel_.Flock(duplicate, LOCK_EX), 0) << "it has it";
  CloseFile(0);
  EXPECT_EQ(kernel_.Flock(files_[1], LOCK_SH), -EAGAIN);
  EXPECT_EQ(kernel_.Close(duplicate), 0);
  EXPECT_EQ(kernel_.Flock(files_[1], LOCK_SH), 0);

  // One that waits by a request, whose descriptor goes meanwhile.
  EXPECT_EQ(kernel_.Flock(files_[1], LOCK_UN), 0);
  const int of_waiter = kernel_.Dup(files_[2]);
  EXPECT_EQ(kernel_.Flock(files_[1], LOCK_EX), 0);
  Asked waits;
  StartFlock(&waits, of_waiter, LOCK_EX);
  EXPECT_EQ(kernel_.Close(of_waiter), 0);
  EXPECT_EQ(kernel_.Flock(files_[1], LOCK_UN), 0);
  Run(kQuietNs);
  EXPECT_EQ(waits.results, Results{0});
  EXPECT_EQ(kernel_.Flock(files_[3], LOCK_EX), -EAGAIN) << "its opening has the lock, and a descriptor";
  CloseFile(2);
  EXPECT_EQ(kernel_.Flock(files_[3], LOCK_EX), 0);
}

TEST_F(SimulatedLocks, ADuplicateKeepsAPipeOpen) {
  int ends[2];
  ASSERT_EQ(kernel_.Pipe2(ends, 0), 0);
  const int duplicate = kernel_.Dup(ends[1]);
  EXPECT_EQ(kernel_.Close(ends[1]), 0);
  EXPECT_EQ(kernel_.PollNow(ends[0], POLLIN), 0);
  EXPECT_EQ(kernel_.Close(duplicate), 0);
  EXPECT_EQ(kernel_.PollNow(ends[0], POLLIN), POLLHUP);
  EXPECT_EQ(kernel_.Close(ends[0]), 0);
  EXPECT_EQ(kernel_.Dup(ends[0]), -EBADF);
}

TEST_F(SimulatedLocks, RangesAreSplitAndOnlyWhatOverlapsWaits) {
  EXPECT_EQ(Lock(files_[0], F_OFD_SETLKW, Bytes(F_WRLCK, 0, 100)), 0);
  EXPECT_EQ(Lock(files_[0], F_OFD_SETLKW, Bytes(F_UNLCK, 40, 20)), 0);
  EXPECT_EQ(Lock(files_[1], F_OFD_SETLKW, Bytes(F_WRLCK, 40, 20)), 0);
  const struct flock before = Bytes(F_RDLCK, 39, 1);
  const struct flock behind = Bytes(F_RDLCK, 60, 1);
  Asked first;
  Asked last;
  StartLock(&first, files_[2], F_OFD_SETLKW, &before);
  StartLock(&last, files_[3], F_OFD_SETLKW, &behind);
  EXPECT_TRUE(first.in_flight() && last.in_flight());
  // From exclusive to shared in one step, which lets those in who share.
  EXPECT_EQ(Lock(files_[0], F_OFD_SETLKW, Bytes(F_RDLCK, 0, 40)), 0);
  EXPECT_EQ(first.results, Results{0});
  EXPECT_TRUE(last.in_flight());
  EXPECT_EQ(Lock(files_[0], F_OFD_SETLKW, Bytes(F_UNLCK, 50, 0)), 0);
  EXPECT_EQ(last.results, Results{0});
}

TEST_F(SimulatedLocks, OfOtherThingsThanFilesAreRefused) {
  int fds[2];
  ASSERT_EQ(kernel_.Pipe2(fds, O_CLOEXEC), 0);
  EXPECT_EQ(Flock(fds[0], LOCK_EX), -EINVAL);
  EXPECT_EQ(Flock(-1, LOCK_EX), -EBADF);
  EXPECT_EQ(Lock(files_[0], F_GETLK, Bytes(F_WRLCK, 0, 1)), -EINVAL);
  EXPECT_EQ(kernel_.PollNow(files_[0], POLLIN | POLLOUT), POLLIN | POLLOUT);
  for (const int fd : fds) kernel_.Close(fd);
}

}  // namespace
}  // namespace evring::sim
