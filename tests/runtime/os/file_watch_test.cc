// file_watch_test.cc: what happens in a directory comes as events, in order, each once, with its names; also where a
// wait is stopped, where there are too many, and where a watch ends. And the parser on bytes that no kernel sends.

#include "runtime/os/file_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
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
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/testing.h"
#include "runtime/timeout.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

class FileWatchTest : public ::testing::TestWithParam<int> {
 protected:
  FileWatchTest() : descriptors_(CountIn("fd")) {
    std::string pattern = ::testing::TempDir() + "/file_watch.XXXXXX";
    EVRING_CHECK(mkdtemp(pattern.data()) != nullptr, "the test needs a directory");
    directory_ = pattern;
  }
  ~FileWatchTest() override {
    EXPECT_EQ(CountIn("fd"), descriptors_);
    EXPECT_EQ(std::system(("rm -rf '" + directory_ + "'").c_str()), 0);
  }
  static void Run(Task<> task) { RunOk(std::move(task), WithWorkers(GetParam())); }
  const std::string& directory() const { return directory_; }

 private:
  const int descriptors_;
  std::string directory_;
};
INSTANTIATE_TEST_SUITE_P(Workers, FileWatchTest, ::testing::Values(1, 2, 4));

void Touch(const std::string& path) { std::ofstream(path) << "x"; }

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
  CO_ASSERT_TRUE(co_await EventuallyInTask([&reloaded, &directory] {
    Touch(directory + "/a");
    return reloaded.some.load();
  }));
  EXPECT_EQ(rename((directory + "/a").c_str(), (directory + "/b").c_str()), 0);
  CO_ASSERT_TRUE(co_await EventuallyInTask([&reloaded] { return reloaded.all.load(); }));
  following.RequestStop();
  const absl::Status ended = co_await std::move(following);
  EXPECT_TRUE(absl::IsCancelled(ended)) << ended;
  EXPECT_EQ(reloaded.paths.front(), directory + "/a");
  EXPECT_EQ(reloaded.paths.back(), directory + "/b");
}

TEST_P(FileWatchTest, TheExample) { Run(Example(directory())); }

// --- Events

Task<> Rename(std::string directory) {
  CO_ASSERT_OK_AND_ASSIGN(FileWatch watch, FileWatch::Create());
  const std::string in = directory + "/in", out = directory + "/out";
  EXPECT_EQ(mkdir(in.c_str(), 0755), 0);
  EXPECT_EQ(mkdir(out.c_str(), 0755), 0);
  Touch(out + "/file");
  CO_ASSERT_OK_AND_ASSIGN(const int watch_in, co_await watch.Add(in, IN_MOVE | IN_CREATE));
  CO_ASSERT_OK_AND_ASSIGN(const int watch_out, co_await watch.Add(out, IN_MOVE));
  EXPECT_NE(watch_in, watch_out);
  EXPECT_EQ(rename((out + "/file").c_str(), (in + "/" + std::string(255, 'n')).c_str()), 0);
  EXPECT_EQ(mkdir((in + "/sub").c_str(), 0755), 0);
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
  EXPECT_EQ(made.mask, uint32_t{IN_CREATE} | IN_ISDIR);
  EXPECT_EQ(made.cookie, 0u);
  const auto more = co_await WithTimeout(absl::Milliseconds(5), watch.Next());
  EXPECT_TRUE(absl::IsDeadlineExceeded(more.status())) << "and nothing else";
}

TEST_P(FileWatchTest, AnEventSaysWhereWhatAndWhich) { Run(Rename(directory())); }

Task<> Many(std::string directory) {
  CO_ASSERT_OK_AND_ASSIGN(FileWatch watch, FileWatch::Create());
  CO_ASSERT_OK(co_await watch.Add(directory, IN_CREATE));
  // More than one read takes; two of the same after each other would be one.
  const int n = Scaled(2000);
  for (int i = 0; i < n; ++i) Touch(absl::StrCat(directory, "/", i));
  for (int i = 0; i < n; ++i) {
    CO_ASSERT_OK_AND_ASSIGN(const FileEvent event, co_await watch.Next());
    CO_ASSERT_EQ(event.name, absl::StrCat(i));
  }
}

TEST_P(FileWatchTest, ManyComeInOrder) { Run(Many(directory())); }

Task<> Ends(std::string directory) {
  CO_ASSERT_OK_AND_ASSIGN(FileWatch watch, FileWatch::Create());
  const std::string a = directory + "/a", b = directory + "/b";
  Touch(a);
  Touch(b);
  CO_ASSERT_OK_AND_ASSIGN(const int number_a, co_await watch.Add(a, IN_ATTRIB));
  CO_ASSERT_OK_AND_ASSIGN(const int number_b, co_await watch.Add(b, IN_ATTRIB | IN_ONESHOT));
  EXPECT_EQ(chmod(a.c_str(), 0600), 0);
  CO_ASSERT_OK(watch.Remove(number_a));
  EXPECT_EQ(kevent::StatusErrno(watch.Remove(number_a)), EINVAL);
  EXPECT_EQ(chmod(b.c_str(), 0600), 0);
  EXPECT_EQ(chmod(b.c_str(), 0640), 0);
  CO_ASSERT_OK_AND_ASSIGN(FileEvent event, co_await watch.Next());
  EXPECT_EQ(event.mask, uint32_t{IN_ATTRIB}) << "what was before the end comes";
  EXPECT_EQ(event.path, a);
  EXPECT_EQ(event.name, "");
  EXPECT_FALSE(event.ended());
  CO_ASSERT_OK_AND_ASSIGN(event, co_await watch.Next());
  EXPECT_TRUE(event.ended());
  EXPECT_EQ(event.watch, number_a);
  EXPECT_EQ(event.path, a);
  CO_ASSERT_OK_AND_ASSIGN(event, co_await watch.Next());
  EXPECT_EQ(event.watch, number_b);
  EXPECT_EQ(event.mask, uint32_t{IN_ATTRIB});
  CO_ASSERT_OK_AND_ASSIGN(event, co_await watch.Next());
  EXPECT_TRUE(event.ended());
  EXPECT_EQ(event.path, b);
  // What is gone can be watched again, as something else.
  CO_ASSERT_OK_AND_ASSIGN(const int again, co_await watch.Add(a, IN_DELETE_SELF | IN_ATTRIB));
  EXPECT_NE(again, number_a);
  EXPECT_EQ(unlink(a.c_str()), 0);
  do {
    CO_ASSERT_OK_AND_ASSIGN(event, co_await watch.Next());
    EXPECT_EQ(event.watch, again);
    EXPECT_EQ(event.path, a);
  } while (!event.ended());
}

TEST_P(FileWatchTest, TheEndOfAWatchIsAnEvent) { Run(Ends(directory())); }

Task<> AgainByAnotherPath(std::string directory) {
  CO_ASSERT_OK_AND_ASSIGN(FileWatch watch, FileWatch::Create());
  CO_ASSERT_OK_AND_ASSIGN(const int number, co_await watch.Add(directory, IN_CREATE));
  CO_ASSERT_OK_AND_ASSIGN(const int again, co_await watch.Add(directory + "/.", IN_DELETE));
  EXPECT_EQ(number, again);
  Touch(directory + "/a");
  EXPECT_EQ(unlink((directory + "/a").c_str()), 0);
  CO_ASSERT_OK_AND_ASSIGN(const FileEvent event, co_await watch.Next());
  EXPECT_EQ(event.mask, uint32_t{IN_DELETE});
  EXPECT_EQ(event.path, directory + "/.");
}

TEST_P(FileWatchTest, WhatIsWatchedTwiceIsOneWatch) { Run(AgainByAnotherPath(directory())); }

Task<> Overflow(std::string directory) {
  int queued_max = 0;
  std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> queued_max;
  CO_ASSERT_TRUE(queued_max > 0 && queued_max < 1'000'000);
  CO_ASSERT_OK_AND_ASSIGN(FileWatch watch, FileWatch::Create());
  Touch(directory + "/a");
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

TEST_P(FileWatchTest, ThatEventsWereLostIsAnEvent) {
  if (kSanitized && GetParam() != 1) GTEST_SKIP() << "once is enough where it takes seconds";
  Run(Overflow(directory()));
}

// --- Stops

Task<absl::StatusOr<FileEvent>> NextOf(FileWatch* watch) { co_return co_await watch->Next(); }

// Stops at all moments while files appear: each is seen once, in order.
Task<> StoppedOften(std::string directory) {
  CO_ASSERT_OK_AND_ASSIGN(FileWatch watch, FileWatch::Create());
  CO_ASSERT_OK(co_await watch.Add(directory, IN_CREATE));
  const int n = Scaled(200);
  int made = 0, seen = 0;
  while (seen < n) {
    JoinHandle<absl::StatusOr<FileEvent>> waiting = co_await Spawn(NextOf(&watch));
    if (made % 3 != 0) static_cast<void>(co_await Sleep(absl::Microseconds(made)));
    for (int i = 0; i < 2 && made < n; ++i) Touch(absl::StrCat(directory, "/", made++));
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

TEST_P(FileWatchTest, AStopLosesNoEvent) { Run(StoppedOften(directory())); }

Task<absl::Status> WatchOne(std::string directory) {
  absl::StatusOr<FileWatch> watch = FileWatch::Create();
  if (!watch.ok()) co_return watch.status();
  const absl::StatusOr<int> number = co_await watch->Add(directory, IN_CREATE | IN_DELETE);
  if (!number.ok()) co_return number.status();
  const auto none = co_await WithTimeout(absl::Milliseconds(5), watch->Next());
  if (!absl::IsDeadlineExceeded(none.status())) co_return none.status();
  Touch(directory + "/a");
  EXPECT_EQ(unlink((directory + "/a").c_str()), 0);
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

TEST_P(FileWatchTest, WhereverItIsCancelledItEnds) { Run(Cancelled(directory())); }

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
  Touch(directory + "/file");
  number = co_await watch.Add(directory + "/file", IN_CREATE | IN_ONLYDIR);
  EXPECT_EQ(kevent::StatusErrno(number.status()), ENOTDIR) << number.status();
  CO_ASSERT_OK(co_await watch.Add(directory, IN_CREATE));
  number = co_await watch.Add(directory, IN_CREATE | IN_MASK_CREATE);
  EXPECT_EQ(kevent::StatusErrno(number.status()), EEXIST) << number.status();
  EXPECT_EQ(kevent::StatusErrno(watch.Remove(4711)), EINVAL);
  rlimit before;
  EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const absl::Status status = FileWatch::Create().status();
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(kevent::StatusErrno(status), EMFILE) << status;
}

TEST_P(FileWatchTest, WhatCannotBeWatchedIsRefused) { Run(Errors(directory())); }

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

// --- Elsewhere

Task<> CreateSimulated() {
  const absl::StatusOr<FileWatch> watch = FileWatch::Create();
  EXPECT_EQ(kevent::StatusErrno(watch.status()), ENOSYS) << watch.status();
  co_return;
}

class SimulatedFileWatchTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, SimulatedFileWatchTest,
                         MachinesWith({}, Simulated(/*errors=*/false, /*workers=*/0, /*seeds=*/2)), MachineName);

TEST_P(SimulatedFileWatchTest, ASimulatedMachineHasNone) { RunOk(CreateSimulated()); }

}  // namespace
}  // namespace evring
