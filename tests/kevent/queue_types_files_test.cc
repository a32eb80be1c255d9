// Files through a queue, with real ones: reads and writes, syncs, locks, inotify and eventfd. DESIGN.md row K5.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "kevent/kevent.h"
#include "kevent/queue.h"
#include "tests/kevent/queue_types.h"

namespace evring::kevent {
namespace {

// A file of its own, gone at the end of the scope.
class File {
 public:
  File() : path_(::testing::TempDir() + "queue_types_XXXXXX"), fd_(mkstemp(path_.data())) {}
  ~File() { unlink(path_.c_str()); }
  int fd() const { return fd_.get(); }
  // Opened once more: locks of this one are somebody else's.
  Fd Again() const { return Fd(open(path_.c_str(), O_RDWR | O_CLOEXEC)); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  Fd fd_;
};

// A pipe that takes no more.
void FillUp(int fd) {
  ASSERT_EQ(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
  const std::string block(4096, 'x');
  while (write(fd, block.data(), block.size()) > 0) {
  }
  ASSERT_EQ(fcntl(fd, F_SETFL, 0), 0);
}

// --- Read and write
// ---------------------------------------------------------------------------------------------------

TEST(QueueTypesFile, IsWrittenAndReadAtAPlace) {
  auto queue = MakeQueue();
  const File file;
  char text[] = "hello";
  kevent_io io = {.buffer = text, .size = 5, .offset = 3, .flags = 0};
  EXPECT_EQ(Outcome(queue.get(), Request(EventType::kFileWrite, file.fd(), 0, &io)), 5);
  char got[16] = {};
  io = {.buffer = got, .size = sizeof(got), .offset = 4, .flags = 0};
  const Event read = Request(EventType::kFileRead, file.fd(), 0, &io);
  EXPECT_EQ(Outcome(queue.get(), read), 4);
  EXPECT_STREQ(got, "ello");
  EXPECT_EQ(lseek(file.fd(), 0, SEEK_CUR), 0) << "the file's own position is as it was";
  io.offset = 100;
  EXPECT_EQ(Outcome(queue.get(), read), 0) << "behind the end";
}

TEST(QueueTypesFile, HasAPositionOfItsOwn) {
  auto queue = MakeQueue();
  const File file;
  char text[] = "ab";
  kevent_io io = {.buffer = text, .size = 2, .offset = -1, .flags = 0};
  const Event write = Request(EventType::kFileWrite, file.fd(), 0, &io);
  EXPECT_EQ(Outcome(queue.get(), write), 2);
  EXPECT_EQ(Outcome(queue.get(), write), 2);
  EXPECT_EQ(lseek(file.fd(), 0, SEEK_CUR), 4);
  char got[8] = {};
  EXPECT_EQ(pread(file.fd(), got, sizeof(got), 0), 4);
  EXPECT_STREQ(got, "abab");
}

TEST(QueueTypesFile, APipeIsReadWhenItHasSomething) {
  auto queue = MakeQueue();
  for (const int64_t offset : {-1, 0}) {  // a pipe has no places
    for (const int flags : {0, O_NONBLOCK}) {
      Pair pipe = Pair::Pipe(flags);
      char got[8] = {};
      const kevent_io io = {.buffer = got, .size = sizeof(got), .offset = offset, .flags = 0};
      const Event request = Request(EventType::kFileRead, pipe.here(), 0, &io);
      ASSERT_GT(queue->Submit(request), 0);
      Event record;
      EXPECT_FALSE(queue->TryNext(&record));
      ASSERT_EQ(write(pipe.there(), "hi", 2), 2);
      EXPECT_EQ(LastRecord(queue.get(), request).result, 2);
      EXPECT_STREQ(got, "hi");
      pipe.CloseThere();
      EXPECT_EQ(Outcome(queue.get(), request), 0);
    }
  }
}

TEST(QueueTypesFile, APipeIsWrittenWhenItHasRoom) {
  auto queue = MakeQueue();
  Pair pipe = Pair::Pipe();
  FillUp(pipe.there());
  char byte = 'y';
  const kevent_io io = {.buffer = &byte, .size = 1, .offset = -1, .flags = 0};
  const Event request = Request(EventType::kFileWrite, pipe.there(), 0, &io);
  ASSERT_GT(queue->Submit(request), 0);
  Event record;
  EXPECT_FALSE(queue->TryNext(&record));
  char block[4096];
  ASSERT_GT(read(pipe.here(), block, sizeof(block)), 0);
  EXPECT_EQ(LastRecord(queue.get(), request).result, 1);
}

TEST(QueueTypesFile, ReadAndWriteAreCancelledAndTornDown) {
  Pair pipe = Pair::Pipe();
  char byte = 'y';
  const kevent_io io = {.buffer = &byte, .size = 1, .offset = -1, .flags = 0};
  ExpectCancelAndTearDown(Request(EventType::kFileRead, pipe.here(), 0, &io));
  FillUp(pipe.there());
  ExpectCancelAndTearDown(Request(EventType::kFileWrite, pipe.there(), 0, &io));
}

// --- Sync
// -------------------------------------------------------------------------------------------------------------

class Memory {
 public:
  explicit Memory(int fd) : address_(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) {
    EXPECT_NE(address_, MAP_FAILED);
  }
  ~Memory() { Unmap(); }
  void Unmap() {
    if (address_ != MAP_FAILED) munmap(std::exchange(address_, MAP_FAILED), kSize);
  }
  kevent_memory argument() const { return {.address = address_, .size = kSize}; }

 private:
  static constexpr size_t kSize = 4096;
  void* address_;
};

TEST(QueueTypesSync, TellsThatItIsDone) {
  auto queue = MakeQueue();
  const File file;
  ASSERT_EQ(ftruncate(file.fd(), 4096), 0);
  EXPECT_EQ(Outcome(queue.get(), Request(EventType::kSync, file.fd(), 0, nullptr)), 0);
  EXPECT_EQ(Outcome(queue.get(), Request(EventType::kDataSync, file.fd(), 0, nullptr)), 0);
  Memory memory(file.fd());
  const kevent_memory argument = memory.argument();
  std::memset(argument.address, 'm', 5);
  EXPECT_EQ(Outcome(queue.get(), Request(EventType::kMsync, 0, 0, &argument)), 0);
  EXPECT_EQ(Outcome(queue.get(), Request(EventType::kMsync, 0, MS_ASYNC | MS_INVALIDATE, &argument)), 0);
  char got[6] = {};
  EXPECT_EQ(pread(file.fd(), got, 5, 0), 5);
  EXPECT_STREQ(got, "mmmmm");
}

TEST(QueueTypesSync, TellsWhatIsWrong) {
  auto queue = MakeQueue();
  Pair pipe = Pair::Pipe();
  for (const EventType type : {EventType::kSync, EventType::kDataSync}) {
    EXPECT_EQ(Outcome(queue.get(), Request(type, pipe.here(), 0, nullptr)), -EINVAL) << "a pipe, fsync(2)";
    EXPECT_EQ(Outcome(queue.get(), Request(type, -1, 0, nullptr)), -EBADF);
  }
  const File file;
  ASSERT_EQ(ftruncate(file.fd(), 4096), 0);
  Memory memory(file.fd());
  const kevent_memory argument = memory.argument();
  EXPECT_EQ(Outcome(queue.get(), Request(EventType::kMsync, 0, MS_SYNC | MS_ASYNC, &argument)), -EINVAL);
  memory.Unmap();
  EXPECT_EQ(Outcome(queue.get(), Request(EventType::kMsync, 0, 0, &argument)), -ENOMEM);
}

// How long they take is the disk's affair: a cancel comes before or after their end.
TEST(QueueTypesSync, IsCancelledAndTornDown) {
  const File file;
  ASSERT_EQ(ftruncate(file.fd(), 4096), 0);
  const Memory memory(file.fd());
  const kevent_memory argument = memory.argument();
  for (const Event& request :
       {Request(EventType::kSync, file.fd(), 0, nullptr), Request(EventType::kDataSync, file.fd(), 0, nullptr),
        Request(EventType::kMsync, 0, 0, &argument)}) {
    auto queue = MakeQueue();
    const int64_t number = queue->Submit(request);
    ASSERT_GT(number, 0);
    EXPECT_EQ(queue->Cancel(number), 0);
    const int32_t result = LastRecord(queue.get(), request).result;
    EXPECT_TRUE(result == 0 || result == -ECANCELED) << result;
    ASSERT_GT(queue->Submit(request), 0);
    queue.reset();
  }
}

// --- Locks
// ------------------------------------------------------------------------------------------------------------

struct flock WholeFile(int16_t type) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}

// A process that has locked the file by fcntl(2), until it is killed.
class LockedByAnother {
 public:
  explicit LockedByAnother(const File& file) {
    const Pair pair;
    pid_ = fork();
    if (pid_ == 0) {
      struct flock lock = WholeFile(F_WRLCK);
      const char byte = fcntl(file.fd(), F_SETLKW, &lock) == 0 ? 'y' : 'n';
      if (write(pair.there(), &byte, 1) != 1) _exit(1);
      for (;;) pause();
    }
    char byte = 0;
    EXPECT_EQ(read(pair.here(), &byte, 1), 1);
    EXPECT_EQ(byte, 'y');
  }
  ~LockedByAnother() { End(); }
  void End() {
    if (pid_ <= 0) return;
    EXPECT_EQ(kill(pid_, SIGKILL), 0);
    EXPECT_GT(waitpid(std::exchange(pid_, -1), nullptr, 0), 0);
  }

 private:
  pid_t pid_;
};

TEST(QueueTypesFlock, IsGrantedWhenTheOtherLetsGo) {
  auto queue = MakeQueue();
  const File file;
  const Fd other = file.Again();
  EXPECT_EQ(Outcome(queue.get(), Request(EventType::kFlock, file.fd(), LOCK_EX, nullptr)), 0);
  EXPECT_EQ(flock(other.get(), LOCK_EX | LOCK_NB), -1);
  EXPECT_EQ(Outcome(queue.get(), Request(EventType::kFlock, other.get(), LOCK_SH | LOCK_NB, nullptr)), -EWOULDBLOCK);
  const Event request = Request(EventType::kFlock, other.get(), LOCK_EX, nullptr);
  ASSERT_GT(queue->Submit(request), 0);
  AwaitHelperIn({SYS_flock});
  Event record;
  EXPECT_FALSE(queue->TryNext(&record));
  EXPECT_EQ(flock(file.fd(), LOCK_UN), 0);
  EXPECT_EQ(LastRecord(queue.get(), request).result, 0);
  EXPECT_EQ(flock(file.fd(), LOCK_EX | LOCK_NB), -1) << "the other has it now";
  EXPECT_EQ(Outcome(queue.get(), Request(EventType::kFlock, -1, LOCK_EX, nullptr)), -EBADF);
}

TEST(QueueTypesFlock, IsCancelledAndTornDown) {
  const File file;
  const Fd other = file.Again();
  ASSERT_EQ(flock(other.get(), LOCK_EX), 0);
  ExpectCancelAndTearDown(Request(EventType::kFlock, file.fd(), LOCK_EX, nullptr), false, {SYS_flock});
  ASSERT_EQ(flock(other.get(), LOCK_UN), 0);
  const Fd third = file.Again();
  EXPECT_EQ(flock(third.get(), LOCK_EX | LOCK_NB), 0) << "what was cancelled has not locked it";
}

TEST(QueueTypesLock, OfAnOpenFileIsGrantedWhenTheOtherLetsGo) {
  auto queue = MakeQueue();
  const File file;
  const Fd other = file.Again();
  struct flock lock = WholeFile(F_WRLCK);
  ASSERT_EQ(fcntl(other.get(), F_OFD_SETLK, &lock), 0);
  const Event request = Request(EventType::kLock, file.fd(), F_OFD_SETLKW, &lock);
  ASSERT_GT(queue->Submit(request), 0);
  AwaitHelperIn({SYS_fcntl});
  Event record;
  EXPECT_FALSE(queue->TryNext(&record));
  lock.l_type = F_UNLCK;  // the queue has its copy
  ASSERT_EQ(fcntl(other.get(), F_OFD_SETLK, &lock), 0);
  EXPECT_EQ(LastRecord(queue.get(), request).result, 0);
  lock.l_type = F_RDLCK;
  EXPECT_EQ(fcntl(other.get(), F_OFD_SETLK, &lock), -1);
}

TEST(QueueTypesLock, OfTheProcessIsGrantedWhenTheOtherEnds) {
  auto queue = MakeQueue();
  const File file;
  LockedByAnother child(file);
  const struct flock lock = WholeFile(F_WRLCK);
  const Event request = Request(EventType::kLock, file.fd(), F_SETLKW, &lock);
  ASSERT_GT(queue->Submit(request), 0);
  AwaitHelperIn({SYS_fcntl});
  Event record;
  EXPECT_FALSE(queue->TryNext(&record));
  child.End();
  EXPECT_EQ(LastRecord(queue.get(), request).result, 0);
  const Fd again = file.Again();
  struct flock ours = lock;
  EXPECT_EQ(fcntl(again.get(), F_SETLK, &ours), 0) << "it belongs to the process, not to the open file";
  EXPECT_EQ(Outcome(queue.get(), Request(EventType::kLock, -1, F_SETLKW, &lock)), -EBADF);
}

TEST(QueueTypesLock, IsCancelledAndTornDown) {
  const File file;
  const LockedByAnother child(file);
  struct flock lock = WholeFile(F_WRLCK);
  ExpectCancelAndTearDown(Request(EventType::kLock, file.fd(), F_SETLKW, &lock), false, {SYS_fcntl});
  ExpectCancelAndTearDown(Request(EventType::kLock, file.fd(), F_OFD_SETLKW, &lock), false, {SYS_fcntl});
}

// --- Inotify
// ----------------------------------------------------------------------------------------------------------

TEST(QueueTypesInotify, TellsWhatHasHappenedEachTime) {
  for (const int flags : {0, int{IN_NONBLOCK}}) {
    auto queue = MakeQueue();
    const File file;
    const Fd watcher(inotify_init1(IN_CLOEXEC | flags));
    const int watch = inotify_add_watch(watcher.get(), file.path().c_str(), IN_MODIFY | IN_ATTRIB);
    ASSERT_GE(watch, 0);
    alignas(inotify_event) char buffer[4096];
    const kevent_io io = {.buffer = buffer, .size = sizeof(buffer), .offset = 0, .flags = 0};
    const Event request = Request(EventType::kInotify, watcher.get(), 0, &io, KEVENT_MULTI);
    const int64_t number = queue->Submit(request);
    Event record;
    EXPECT_FALSE(queue->TryNext(&record)) << record.result;
    for (const uint32_t expected : {IN_MODIFY, IN_ATTRIB}) {
      ASSERT_EQ(expected == IN_MODIFY ? ftruncate(file.fd(), 10) : fchmod(file.fd(), 0600), 0);
      record = NextRecord(queue.get());
      EXPECT_EQ(record.cookie, request.cookie);
      EXPECT_FALSE(record.last());
      ASSERT_EQ(record.result, static_cast<int32_t>(sizeof(inotify_event)));
      inotify_event event;
      std::memcpy(&event, buffer, sizeof(event));
      EXPECT_EQ(event.wd, watch);
      EXPECT_EQ(event.mask, expected);
    }
    EXPECT_EQ(queue->Cancel(number), 0);
    EXPECT_EQ(LastRecord(queue.get(), request).result, -ECANCELED);
  }
}

TEST(QueueTypesInotify, IsCancelledAndTornDown) {
  for (const int flags : {0, int{IN_NONBLOCK}}) {
    const Fd watcher(inotify_init1(IN_CLOEXEC | flags));
    alignas(inotify_event) char buffer[4096];
    const kevent_io io = {.buffer = buffer, .size = sizeof(buffer), .offset = 0, .flags = 0};
    ExpectCancelAndTearDown(Request(EventType::kInotify, watcher.get(), 0, &io));
    ExpectCancelAndTearDown(Request(EventType::kInotify, watcher.get(), 0, &io, KEVENT_MULTI));
  }
}

// --- Eventfd
// ----------------------------------------------------------------------------------------------------------

TEST(QueueTypesEventFd, CarriesTheCounter) {
  auto queue = MakeQueue();
  for (const int flags : {0, int{EFD_NONBLOCK}}) {
    const Fd fd(eventfd(3, EFD_CLOEXEC | flags));
    const Event request = Request(EventType::kEventFd, fd.get(), 0, nullptr, KEVENT_MULTI);
    const int64_t number = queue->Submit(request);
    for (const uint64_t expected : {uint64_t{3}, uint64_t{0xffff'ffff'ffff'fffe}}) {
      const Event record = NextRecord(queue.get());
      EXPECT_EQ(record.cookie, request.cookie);
      EXPECT_EQ(record.result, 8);
      EXPECT_EQ(record.payload, expected);
      EXPECT_FALSE(record.last());
      EXPECT_TRUE(expected != 3 || eventfd_write(fd.get(), 0xffff'ffff'ffff'fffe) == 0);
    }
    EXPECT_EQ(queue->Cancel(number), 0);
    EXPECT_EQ(LastRecord(queue.get(), request).result, -ECANCELED);
  }
  const Fd semaphore(eventfd(5, EFD_CLOEXEC | EFD_SEMAPHORE));
  const Event request = Request(EventType::kEventFd, semaphore.get(), 0, nullptr);
  ASSERT_GT(queue->Submit(request), 0);
  EXPECT_EQ(LastRecord(queue.get(), request).payload, 1u);
}

TEST(QueueTypesEventFd, IsCancelledAndTornDown) {
  const Fd fd(eventfd(0, EFD_CLOEXEC));
  ExpectCancelAndTearDown(Request(EventType::kEventFd, fd.get(), 0, nullptr));
  ExpectCancelAndTearDown(Request(EventType::kEventFd, fd.get(), 0, nullptr, KEVENT_MULTI));
  EXPECT_EQ(Outcome(MakeQueue().get(), Request(EventType::kEventFd, -1, 0, nullptr)), -EBADF);
}

}  // namespace
}  // namespace evring::kevent
