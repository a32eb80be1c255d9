// file_watch_test.cc: what happens in a directory comes as events, in order, each once, with its names; also where a
// wait is stopped, where there are too many, and where a watch ends. And the parser on bytes that no kernel sends.
//
// On this machine's kernel and on simulated ones, without errors: what is lost among them is
// tests/sim/watches_scenario.h.

#include "runtime/os/file_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "runtime/os/file.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/testing.h"
#include "runtime/timeout.h"
#include "sim/simulation.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/os/scratch_directory.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

// Operations on files that both kinds of machines have.

Task<absl::Status> Touch(std::string path) {
  const absl::StatusOr<File> file = co_await File::Open(path, O_WRONLY | O_CREAT | O_TRUNC);
  if (!file.ok()) co_return file.status();
  co_return co_await file->WriteAt(std::as_bytes(std::span("x", 1)), 0);
}

// A byte of it.
Task<absl::Status> Modify(std::string path) {
  const absl::StatusOr<File> file = co_await File::Open(path, O_WRONLY);
  if (!file.ok()) co_return file.status();
  co_return co_await file->WriteAt(std::as_bytes(std::span("y", 1)), 0);
}

// A simulated one is there with what is in it.
Task<absl::Status> MakeDirectory(std::string path) {
  if (sim::Simulation::Current() == nullptr && mkdir(path.c_str(), 0755) != 0) {
    co_return kevent::ErrnoToStatus(errno, path);
  }
  co_return co_await Touch(path + "/.keep");
}

Task<> InDirectory(std::string path, Task<> task) {
  CO_ASSERT_OK(co_await MakeDirectory(path));
  co_await std::move(task);
}

class FileWatchTest : public EveryMachineWithDirectory {
 protected:
  void RunWatching(Task<> task) { Run(InDirectory(Watched(), std::move(task))); }
  std::string Watched() const { return Path("watched"); }
};
INSTANTIATE_TEST_SUITE_P(Machines, FileWatchTest, MachinesWithoutErrors({1, 2, 4}), MachineName);

// What is of this machine only, for the reasons that stand there.
class RealFileWatchTest : public FileWatchTest {};
INSTANTIATE_TEST_SUITE_P(Machines, RealFileWatchTest, RealMachines({1, 2, 4}), MachineName);

// --- The example of the header

Task<absl::Status> Follow(std::string directory, std::function<void(std::string)> reload) {
  absl::StatusOr<FileWatch> watch = FileWatch::Create();
  if (!watch.ok()) co_return watch.status();
  absl::StatusOr<int> number = co_await watch->Add(directory, IN_CLOSE_WRITE | IN_MOVED_TO);
  if (!number.ok()) co_return number.status();
  for (;;) {
    absl::StatusOr<FileEvent> event = co_await watch->Next();
    if (!event.ok()) co_return event.status();
    reload(event->overflow() ? directory : event->path + "/" + event->name);
  }
}

// What was told, in order; read after the end of who tells.
struct Reloaded {
  std::string last;
  std::vector<std::string> paths;
  std::atomic<bool> some{false};
  std::atomic<bool> all{false};

  void Reload(std::string path) {
    some = true;
    if (path == last) all = true;
    paths.push_back(std::move(path));
  }
};

Task<> Example(std::string directory) {
  Reloaded reloaded;
  reloaded.last = directory + "/b";
  std::function<void(std::string)> reload = [&reloaded](std::string path) { reloaded.Reload(std::move(path)); };
  JoinHandle<absl::Status> following = co_await Spawn(Follow(directory, reload));
  // Until it watches.
  for (int tries = 0; !reloaded.some; ++tries) {
    CO_ASSERT_LT(tries, 10'000);
    CO_ASSERT_OK(co_await Touch(directory + "/a"));
    co_await Yield();
  }
  CO_ASSERT_OK(co_await Rename(directory + "/a", directory + "/b"));
  CO_ASSERT_TRUE(co_await EventuallyInTask([&reloaded] { return reloaded.all.load(); }));
  following.RequestStop();
  const absl::Status ended = co_await std::move(following);
  EXPECT_TRUE(absl::IsCancelled(ended)) << ended;
  EXPECT_EQ(reloaded.paths.front(), directory + "/a");
  EXPECT_EQ(reloaded.paths.back(), directory + "/b");
}

TEST_P(FileWatchTest, TheExample) { RunWatching(Example(Watched())); }

// --- Events

Task<> Move(std::string directory) {
  CO_ASSERT_OK_AND_ASSIGN(FileWatch watch, FileWatch::Create());
  const std::string in = directory + "/in", out = directory + "/out";
  CO_ASSERT_OK(co_await MakeDirectory(in));
  CO_ASSERT_OK(co_await MakeDirectory(out));
  CO_ASSERT_OK(co_await Touch(out + "/file"));
  CO_ASSERT_OK_AND_ASSIGN(const int watch_in, co_await watch.Add(in, IN_MOVE | IN_CREATE));
  CO_ASSERT_OK_AND_ASSIGN(const int watch_out, co_await watch.Add(out, IN_MOVE));
  EXPECT_NE(watch_in, watch_out);
  CO_ASSERT_OK(co_await Rename(out + "/file", in + "/" + std::string(255, 'n')));
  CO_ASSERT_OK(co_await Touch(in + "/made"));
  CO_ASSERT_OK_AND_ASSIGN(const FileEvent from, co_await watch.Next());
  CO_ASSERT_OK_AND_ASSIGN(const FileEvent to, co_await watch.Next());
  CO_ASSERT_OK_AND_ASSIGN(const FileEvent made, co_await watch.Next());
  EXPECT_EQ(from.watch, watch_out);
  EXPECT_EQ(from.path, out);
  EXPECT_EQ(from.name, "file");
  EXPECT_EQ(from.mask, uint32_t{IN_MOVED_FROM});
  EXPECT_EQ(to.watch, watch_in);
  EXPECT_EQ(to.path, in);
  EXPECT_EQ(to.name, std::string(255, 'n'));
  EXPECT_EQ(to.mask, uint32_t{IN_MOVED_TO});
  EXPECT_EQ(to.cookie, from.cookie);
  EXPECT_NE(to.cookie, 0u);
  EXPECT_EQ(made.mask, uint32_t{IN_CREATE});
  EXPECT_EQ(made.name, "made");
  EXPECT_EQ(made.cookie, 0u);
  const auto more = co_await WithTimeout(absl::Milliseconds(5), watch.Next());
  EXPECT_TRUE(absl::IsDeadlineExceeded(more.status())) << "and nothing else";
}

TEST_P(FileWatchTest, AnEventSaysWhereWhatAndWhich) { RunWatching(Move(Watched())); }

Task<> OfDirectories(std::string directory) {
  CO_ASSERT_OK_AND_ASSIGN(FileWatch watch, FileWatch::Create());
  CO_ASSERT_OK_AND_ASSIGN(const int number, co_await watch.Add(directory, IN_CREATE));
  CO_ASSERT_OK(co_await MakeDirectory(directory + "/sub"));
  CO_ASSERT_OK_AND_ASSIGN(const FileEvent event, co_await watch.Next());
  EXPECT_EQ(event.watch, number);
  EXPECT_EQ(event.mask, uint32_t{IN_CREATE} | IN_ISDIR);
  EXPECT_EQ(event.name, "sub");
}

// No simulated directory is made.
TEST_P(RealFileWatchTest, AnEventSaysThatItIsAboutADirectory) { RunWatching(OfDirectories(Watched())); }

Task<> Many(std::string directory, int n) {
  CO_ASSERT_OK_AND_ASSIGN(FileWatch watch, FileWatch::Create());
  CO_ASSERT_OK(co_await watch.Add(directory, IN_CREATE));
  // More than one read takes; two of the same after each other would be one.
  for (int i = 0; i < n; ++i) CO_ASSERT_OK(co_await Touch(absl::StrCat(directory, "/", i)));
  for (int i = 0; i < n; ++i) {
    CO_ASSERT_OK_AND_ASSIGN(const FileEvent event, co_await watch.Next());
    CO_ASSERT_EQ(event.name, absl::StrCat(i));
  }
}

TEST_P(FileWatchTest, ManyComeInOrder) { RunWatching(Many(Watched(), machine().simulated() ? 600 : Rounds(2000))); }

Task<> Ends(std::string directory) {
  CO_ASSERT_OK_AND_ASSIGN(FileWatch watch, FileWatch::Create());
  const std::string a = directory + "/a", b = directory + "/b";
  CO_ASSERT_OK(co_await Touch(a));
  CO_ASSERT_OK(co_await Touch(b));
  CO_ASSERT_OK_AND_ASSIGN(const int number_a, co_await watch.Add(a, IN_MODIFY));
  CO_ASSERT_OK_AND_ASSIGN(const int number_b, co_await watch.Add(b, IN_MODIFY | IN_ONESHOT));
  CO_ASSERT_OK(co_await Modify(a));
  CO_ASSERT_OK(watch.Remove(number_a));
  EXPECT_EQ(kevent::StatusErrno(watch.Remove(number_a)), EINVAL);
  CO_ASSERT_OK(co_await Modify(b));
  CO_ASSERT_OK(co_await Modify(b));
  CO_ASSERT_OK_AND_ASSIGN(FileEvent event, co_await watch.Next());
  EXPECT_EQ(event.mask, uint32_t{IN_MODIFY}) << "what was before the end comes";
  EXPECT_EQ(event.path, a);
  EXPECT_EQ(event.name, "");
  EXPECT_FALSE(event.ended());
  CO_ASSERT_OK_AND_ASSIGN(event, co_await watch.Next());
  EXPECT_TRUE(event.ended());
  EXPECT_EQ(event.watch, number_a);
  EXPECT_EQ(event.path, a);
  CO_ASSERT_OK_AND_ASSIGN(event, co_await watch.Next());
  EXPECT_EQ(event.watch, number_b);
  EXPECT_EQ(event.mask, uint32_t{IN_MODIFY});
  CO_ASSERT_OK_AND_ASSIGN(event, co_await watch.Next());
  EXPECT_TRUE(event.ended());
  EXPECT_EQ(event.path, b);
  // What is gone can be watched again, as something else.
  CO_ASSERT_OK_AND_ASSIGN(const int again, co_await watch.Add(a, IN_DELETE_SELF | IN_ATTRIB));
  EXPECT_NE(again, number_a);
  CO_ASSERT_OK(co_await Unlink(a));
  do {
    CO_ASSERT_OK_AND_ASSIGN(event, co_await watch.Next());
    EXPECT_EQ(event.watch, again);
    EXPECT_EQ(event.path, a);
  } while (!event.ended());
}

TEST_P(FileWatchTest, TheEndOfAWatchIsAnEvent) { RunWatching(Ends(Watched())); }

Task<> AgainByAnotherPath(std::string directory) {
  CO_ASSERT_OK_AND_ASSIGN(FileWatch watch, FileWatch::Create());
  CO_ASSERT_OK_AND_ASSIGN(const int number, co_await watch.Add(directory, IN_CREATE));
  CO_ASSERT_OK_AND_ASSIGN(const int again, co_await watch.Add(directory + "/.", IN_DELETE));
  EXPECT_EQ(number, again);
  CO_ASSERT_OK(co_await Touch(directory + "/a"));
  CO_ASSERT_OK(co_await Unlink(directory + "/a"));
  CO_ASSERT_OK_AND_ASSIGN(const FileEvent event, co_await watch.Next());
  EXPECT_EQ(event.mask, uint32_t{IN_DELETE});
  EXPECT_EQ(event.path, directory + "/.");
}

TEST_P(FileWatchTest, WhatIsWatchedTwiceIsOneWatch) { RunWatching(AgainByAnotherPath(Watched())); }

Task<> Overflow(std::string directory) {
  int queued_max = 0;
  std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> queued_max;
  CO_ASSERT_TRUE(queued_max > 0 && queued_max < 1'000'000);
  CO_ASSERT_OK_AND_ASSIGN(FileWatch watch, FileWatch::Create());
  CO_ASSERT_OK(co_await Touch(directory + "/a"));
  CO_ASSERT_OK(co_await watch.Add(directory, IN_OPEN | IN_CLOSE_NOWRITE));
  for (int i = 0; i < queued_max / 2 + 10; ++i) close(open((directory + "/a").c_str(), O_RDONLY | O_CLOEXEC));
  int before = 0;
  FileEvent event;
  for (;; ++before) {
    CO_ASSERT_OK_AND_ASSIGN(event, co_await watch.Next());
    if (event.overflow()) break;
    CO_ASSERT_LT(before, queued_max);
  }
  EXPECT_EQ(before, queued_max);
  EXPECT_EQ(event.watch, -1);
  EXPECT_EQ(event.path, "");
  // And it goes on.
  close(open((directory + "/a").c_str(), O_RDONLY | O_CLOEXEC));
  CO_ASSERT_OK_AND_ASSIGN(event, co_await watch.Next());
  EXPECT_EQ(event.mask, uint32_t{IN_OPEN});
}

// Simulated, a queue is as long as the test says: tests/sim/inotify_test.cc.
TEST_P(RealFileWatchTest, ThatEventsWereLostIsAnEvent) {
  if (kSanitized && workers() != 1) GTEST_SKIP() << "once is enough where it takes seconds";
  RunWatching(Overflow(Watched()));
}

// --- Stops

Task<absl::StatusOr<FileEvent>> NextOf(FileWatch* watch) { co_return co_await watch->Next(); }

// Stops at all moments while files appear: each is seen once, in order.
Task<> StoppedOften(std::string directory, int n) {
  CO_ASSERT_OK_AND_ASSIGN(FileWatch watch, FileWatch::Create());
  CO_ASSERT_OK(co_await watch.Add(directory, IN_CREATE));
  int made = 0, seen = 0;
  while (seen < n) {
    JoinHandle<absl::StatusOr<FileEvent>> waiting = co_await Spawn(NextOf(&watch));
    if (made % 3 != 0) static_cast<void>(co_await Sleep(absl::Microseconds(made)));
    for (int i = 0; i < 2 && made < n; ++i) CO_ASSERT_OK(co_await Touch(absl::StrCat(directory, "/", made++)));
    if (made < n || seen % 2 == 0) waiting.RequestStop();
    const absl::StatusOr<FileEvent> event = co_await std::move(waiting);
    if (event.ok()) {
      CO_ASSERT_EQ(event->name, absl::StrCat(seen));
      ++seen;
    } else {
      CO_ASSERT_TRUE(absl::IsCancelled(event.status())) << event.status();
      if (made == n) {
        // They are all there: no stop, so that it ends.
        CO_ASSERT_OK_AND_ASSIGN(const FileEvent next, co_await watch.Next());
        CO_ASSERT_EQ(next.name, absl::StrCat(seen));
        ++seen;
      }
    }
  }
}

TEST_P(FileWatchTest, AStopLosesNoEvent) { RunWatching(StoppedOften(Watched(), Rounds(200))); }

Task<> TwoWait() {
  CO_ASSERT_OK_AND_ASSIGN(FileWatch watch, FileWatch::Create());
  JoinHandle<absl::StatusOr<FileEvent>> other = co_await Spawn(NextOf(&watch));
  static_cast<void>(co_await NextOf(&watch));
  static_cast<void>(co_await std::move(other));
}

TEST(FileWatchDeathTest, TwoTasksThatWaitAtOnceAreAFailedCheck) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_DEATH(RunOk(TwoWait(), WithWorkers(1)), "one task at a time waits for the events of a FileWatch");
}

Task<absl::Status> WatchOne(std::string directory) {
  absl::StatusOr<FileWatch> watch = FileWatch::Create();
  if (!watch.ok()) co_return watch.status();
  const absl::StatusOr<int> number = co_await watch->Add(directory, IN_CREATE | IN_DELETE);
  if (!number.ok()) co_return number.status();
  const auto none = co_await WithTimeout(absl::Milliseconds(5), watch->Next());
  if (!absl::IsDeadlineExceeded(none.status())) co_return none.status();
  absl::Status done = co_await Touch(directory + "/a");
  if (done.ok()) done = co_await Unlink(directory + "/a");
  if (!done.ok()) co_return done;
  const absl::StatusOr<FileEvent> event = co_await watch->Next();
  EXPECT_EQ(event.ok() ? event->name : "a", "a");
  co_return event.status();
}

Task<> Cancelled(std::string directory) {
  const absl::Status status = co_await StartCancelled(WatchOne(directory));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  std::function<Task<absl::Status>()> scenario = [directory] { return WatchOne(directory); };
  CO_ASSERT_OK_AND_ASSIGN(const int points, co_await CancelAtEverySuspension(scenario));
  EXPECT_GE(points, 4);
}

TEST_P(FileWatchTest, WhereverItIsCancelledItEnds) { RunWatching(Cancelled(Watched())); }

// --- Errors

Task<> Errors(std::string directory) {
  CO_ASSERT_OK_AND_ASSIGN(FileWatch watch, FileWatch::Create());
  absl::StatusOr<int> number = co_await watch.Add(directory + "/none", IN_CREATE);
  EXPECT_EQ(kevent::StatusErrno(number.status()), ENOENT) << number.status();
  EXPECT_NE(number.status().message().find("/none"), absl::string_view::npos) << number.status();
  number = co_await watch.Add(directory, 0);
  EXPECT_EQ(kevent::StatusErrno(number.status()), EINVAL) << number.status();
  number = co_await watch.Add(std::string("a\0b", 3), IN_CREATE);
  EXPECT_TRUE(absl::IsInvalidArgument(number.status())) << number.status();
  CO_ASSERT_OK(co_await Touch(directory + "/file"));
  number = co_await watch.Add(directory + "/file", IN_CREATE | IN_ONLYDIR);
  EXPECT_EQ(kevent::StatusErrno(number.status()), ENOTDIR) << number.status();
  CO_ASSERT_OK(co_await watch.Add(directory, IN_CREATE));
  number = co_await watch.Add(directory, IN_CREATE | IN_MASK_CREATE);
  EXPECT_EQ(kevent::StatusErrno(number.status()), EEXIST) << number.status();
  EXPECT_EQ(kevent::StatusErrno(watch.Remove(4711)), EINVAL);
}

TEST_P(FileWatchTest, WhatCannotBeWatchedIsRefused) { RunWatching(Errors(Watched())); }

Task<> NoDescriptors() {
  rlimit before;
  EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const absl::Status status = FileWatch::Create().status();
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(kevent::StatusErrno(status), EMFILE) << status;
  co_return;
}

// The limit is the process's. Simulated ones: tests/sim/inotify_test.cc.
TEST_P(RealFileWatchTest, ThereMayBeNoDescriptor) { Run(NoDescriptors()); }

// --- The parser

std::vector<std::byte> RawEvent(int wd, uint32_t mask, uint32_t length, const std::string& name) {
  inotify_event header = {};
  header.wd = wd;
  header.mask = mask;
  header.cookie = 5;
  header.len = length;
  std::vector<std::byte> bytes(sizeof(header));
  std::memcpy(bytes.data(), &header, sizeof(header));
  for (const char c : name) bytes.push_back(static_cast<std::byte>(c));
  return bytes;
}

TEST(TakeFileEvent, TakesOneAfterTheOther) {
  std::vector<std::byte> bytes = RawEvent(1, IN_OPEN, 0, "");
  const std::vector<std::byte> second = RawEvent(2, IN_CREATE, 8, std::string("abc\0\0\0\0\0", 8));
  bytes.insert(bytes.end(), second.begin(), second.end());
  std::span<const std::byte> rest(bytes);
  absl::StatusOr<FileEvent> event = internal::TakeFileEvent(&rest);
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(event->watch, 1);
  EXPECT_EQ(event->name, "");
  event = internal::TakeFileEvent(&rest);
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(event->watch, 2);
  EXPECT_EQ(event->mask, uint32_t{IN_CREATE});
  EXPECT_EQ(event->cookie, 5u);
  EXPECT_EQ(event->name, "abc");
  EXPECT_TRUE(rest.empty());
}

TEST(TakeFileEvent, RefusesWhatIsCutOffOrDoesNotEnd) {
  const std::vector<std::byte> whole = RawEvent(1, IN_CREATE, 8, std::string("abc\0\0\0\0\0", 8));
  for (size_t n = 0; n < whole.size(); ++n) {
    const std::vector<std::byte> cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(n));  // ASan sees its end
    std::span<const std::byte> rest(cut);
    EXPECT_TRUE(absl::IsDataLoss(internal::TakeFileEvent(&rest).status())) << n;
    EXPECT_TRUE(rest.empty()) << "no endless loop over it";
  }
  const std::vector<std::byte> huge = RawEvent(1, IN_CREATE, UINT32_MAX, "abc");
  std::span<const std::byte> rest(huge);
  EXPECT_TRUE(absl::IsDataLoss(internal::TakeFileEvent(&rest).status()));
  const std::vector<std::byte> endless = RawEvent(1, IN_CREATE, 4, "abcd");
  rest = endless;
  EXPECT_TRUE(absl::IsDataLoss(internal::TakeFileEvent(&rest).status()));
}

}  // namespace
}  // namespace evring
