// directory_test.cc: trees of the real file system, walked and removed: against what the standard library sees, and
// with what changes meanwhile: between two entries the test removes, replaces and moves what the walk is in. Trees
// deeper than there are descriptors, or than a path may be long.

#include "runtime/os/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "runtime/os/internal/tree_remover.h"
#include "runtime/os/internal/tree_walker.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/testing.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/os/scratch_directory.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;
namespace fs = std::filesystem;

using Strings = std::vector<std::string>;

class DirectoryTest : public EveryMachineWithDirectory {
 protected:
  // `levels` directories named d, one in the other, and in each, if so wanted, a file z, which comes behind d.
  void MakeDeep(const std::string& name, int levels, bool with_files = true) const {
    int at = open(directory().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    std::string next = name;
    for (int i = 0; i < levels; ++i) {
      ASSERT_EQ(mkdirat(at, next.c_str(), 0755), 0) << i;
      const int below = openat(at, next.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      ASSERT_GE(below, 0);
      close(at);
      at = below;
      if (with_files) close(openat(at, "z", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
      next = "d";
    }
    close(at);
  }
};
INSTANTIATE_TEST_SUITE_P(Workers, DirectoryTest, RealMachines({1, 2, 4}), MachineName);

// Thousands of names take seconds to make.
class LargeTreeTest : public DirectoryTest {};
INSTANTIATE_TEST_SUITE_P(Workers, LargeTreeTest, RealMachines({2}), MachineName);

Task<absl::Status> MoveOut(Strings* paths) {
  AsyncGenerator<TreeEntry, absl::Status> tree = WalkTree("source");
  while (const TreeEntry* entry = co_await tree.Next()) {
    if (!entry->status.ok()) co_return entry->status;
    if (entry->type == FileType::kRegular) paths->push_back(entry->path);
  }
  if (!tree.status().ok()) co_return tree.status();
  co_return co_await RemoveTree("source");
}

Task<> MovesOut(std::string directory, Strings* paths) {
  const int before = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  EXPECT_EQ(chdir(directory.c_str()), 0);
  const absl::Status status = co_await MoveOut(paths);
  EXPECT_EQ(fchdir(before), 0);
  close(before);
  CO_ASSERT_OK(status);
}

TEST_P(DirectoryTest, ATreeIsWalkedAndRemoved) {
  MakeDirectory("source");
  MakeDirectory("source/d");
  Make("source/a");
  Make("source/d/b");
  Strings paths;
  Run(MovesOut(directory(), &paths));
  std::sort(paths.begin(), paths.end());
  EXPECT_EQ(paths, (Strings{"source/a", "source/d/b"}));
  EXPECT_FALSE(Exists("source"));
}

// --- One directory

Task<> NamesIn(std::string path, Strings* names) {
  AsyncGenerator<DirectoryEntry, absl::Status> entries = ReadDirectory(path);
  while (DirectoryEntry* entry = co_await entries.Next()) {
    struct stat info;
    EXPECT_EQ(lstat((path + "/" + entry->name).c_str(), &info), 0);
    EXPECT_EQ(entry->inode, info.st_ino);
    EXPECT_EQ(entry->type, FileTypeOfMode(info.st_mode)) << entry->name;
    names->push_back(std::move(entry->name));
  }
  CO_ASSERT_OK(entries.status());
}

TEST_P(LargeTreeTest, ADirectoryIsReadHoweverManyAreInIt) {
  Strings expected = {"directory", "fifo", "link", std::string(255, 'n')};
  MakeDirectory("directory");
  Make(expected.back());
  ASSERT_EQ(mkfifo(Path("fifo").c_str(), 0600), 0);
  ASSERT_EQ(symlink("nowhere", Path("link").c_str()), 0);
  for (int i = 0; i < 2'500; ++i) {
    expected.push_back(absl::StrCat("file", i));
    Make(expected.back());
  }
  Strings names;
  Run(NamesIn(directory(), &names));
  std::sort(names.begin(), names.end());
  std::sort(expected.begin(), expected.end());
  EXPECT_TRUE(names == expected) << names.size();
}

// --- Trees

using EachEntry = std::function<void(TreeEntry*)>;

Task<absl::Status> Walk(std::string path, WalkOptions options, EachEntry each) {
  AsyncGenerator<TreeEntry, absl::Status> tree = WalkTree(path, options);
  while (TreeEntry* entry = co_await tree.Next()) each(entry);
  co_return tree.status();
}

Task<> WalkOk(std::string path, WalkOptions options, EachEntry each) {
  CO_ASSERT_OK(co_await Walk(path, options, each));
}

Task<> WalkFails(std::string path, absl::StatusCode code, int error) {
  const absl::Status status = co_await Walk(path, WalkOptions(), [](TreeEntry*) {});
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_EQ(kevent::StatusErrno(status), error) << status;
}

WalkOptions Sorted() {
  WalkOptions options;
  options.sorted = true;
  return options;
}

TEST_P(DirectoryTest, AWalkSeesWhatTheStandardLibrarySees) {
  std::mt19937 random(7);
  Strings directories = {""};
  for (int i = 0; i < 300; ++i) {
    const std::string name = absl::StrCat(directories[random() % directories.size()], "/", random() % 1'000, "n", i);
    if (random() % 3 == 0) {
      MakeDirectory(name);
      directories.push_back(name);
    } else if (random() % 4 == 0) {
      ASSERT_EQ(symlink(directory().c_str(), Path(name).c_str()), 0);
    } else {
      Make(name);
    }
  }
  Strings expected;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(directory())) {
    const int depth = static_cast<int>(std::count(entry.path().native().begin(), entry.path().native().end(), '/') -
                                       std::count(directory().begin(), directory().end(), '/'));
    const bool is_link = entry.is_symlink();
    expected.push_back(absl::StrCat(entry.path().native(), " ", depth, " ",
                                    is_link                ? "symbolic link"
                                    : entry.is_directory() ? "directory"
                                                           : "regular"));
  }
  for (const bool sorted : {false, true}) {
    Strings seen;
    WalkOptions options;
    options.sorted = sorted;
    Run(WalkOk(directory(), options, [&](TreeEntry* entry) {
      EXPECT_TRUE(entry->status.ok()) << entry->status;
      seen.push_back(absl::StrCat(entry->path, " ", entry->depth, " ", FileTypeName(entry->type)));
    }));
    std::sort(seen.begin(), seen.end());
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(seen, expected);
  }
}

TEST_P(DirectoryTest, ASortedWalkIsInOrderAndAsDeepAsWanted) {
  for (const char* name : {"b", "b/d", "b/d/e", "c", "a"}) MakeDirectory(name);
  for (const char* name : {"b/c", "b/d/e/f", "c/x", "z"}) Make(name);
  const std::string root = directory() + "/";
  const auto names = [&](WalkOptions options, const std::string& leave_out) {
    Strings seen;
    Run(WalkOk(root, options, [&](TreeEntry* entry) {
      seen.push_back(entry->path.substr(root.size()));
      entry->descend = entry->path != root + leave_out;
    }));
    return seen;
  };
  WalkOptions options = Sorted();
  EXPECT_EQ(names(options, ""), (Strings{"a", "b", "b/c", "b/d", "b/d/e", "b/d/e/f", "c", "c/x", "z"}));
  EXPECT_EQ(names(options, "b/d"), (Strings{"a", "b", "b/c", "b/d", "c", "c/x", "z"}));
  options.depth_max = 1;
  EXPECT_EQ(names(options, ""), (Strings{"a", "b", "c", "z"}));
  options.depth_max = 2;
  EXPECT_EQ(names(options, ""), (Strings{"a", "b", "b/c", "b/d", "c", "c/x", "z"}));
  options.depth_max = 0;
  EXPECT_EQ(names(options, ""), (Strings{"a", "b", "c", "z"})) << "as 1: the root is opened all the same";
}

TEST_P(DirectoryTest, LinksAreFollowedOnRequestAndLoopsAreFound) {
  MakeDirectory("tree");
  MakeDirectory("tree/a");
  MakeDirectory("outside");
  Make("outside/file");
  ASSERT_EQ(symlink("../../tree", Path("tree/a/up").c_str()), 0);
  ASSERT_EQ(symlink("../outside", Path("tree/out").c_str()), 0);
  ASSERT_EQ(symlink("../outside/file", Path("tree/to_file").c_str()), 0);
  ASSERT_EQ(symlink("none", Path("tree/nowhere").c_str()), 0);
  ASSERT_EQ(symlink("itself", Path("tree/itself").c_str()), 0);
  const auto walk = [&](bool follow) {
    Strings seen;
    WalkOptions options = Sorted();
    options.follow_links = follow;
    Run(WalkOk(Path("tree"), options, [&](TreeEntry* entry) {
      seen.push_back(absl::StrCat(entry->path.substr(Path("tree/").size()), ":", FileTypeName(entry->type), ":",
                                  kevent::StatusErrno(entry->status)));
    }));
    return seen;
  };
  EXPECT_EQ(walk(false), (Strings{"a:directory:0", "a/up:symbolic link:0", "itself:symbolic link:0",
                                  "nowhere:symbolic link:0", "out:symbolic link:0", "to_file:symbolic link:0"}));
  const std::string loop = absl::StrCat(ELOOP);
  EXPECT_EQ(walk(true),
            (Strings{"a:directory:0", "a/up:directory:" + loop, "itself:symbolic link:" + loop,
                     "nowhere:symbolic link:0", "out:directory:0", "out/file:regular:0", "to_file:regular:0"}));
}

TEST_P(DirectoryTest, AWalkOfWhatIsNoDirectoryIsRefused) {
  Make("file");
  Run(WalkFails(Path("none"), absl::StatusCode::kNotFound, ENOENT));
  Run(WalkFails(Path("file"), absl::StatusCode::kInvalidArgument, ENOTDIR));
  Run(WalkFails(std::string("a\0b", 3), absl::StatusCode::kInvalidArgument, 0));
}

// --- What changes during a walk

TEST_P(DirectoryTest, WhatVanishesOrIsReplacedIsWhatItIsByThen) {
  for (const char* name : {"b", "c", "d", "outside"}) MakeDirectory(name);
  for (const char* name : {"a", "b/x", "c/x", "d/x", "outside/secret"}) Make(name);
  Strings seen;
  Run(WalkOk(directory(), Sorted(), [&](TreeEntry* entry) {
    EXPECT_TRUE(entry->status.ok()) << entry->status;
    seen.push_back(absl::StrCat(entry->path.substr(directory().size() + 1), ":", FileTypeName(entry->type)));
    if (seen.size() > 1) return;
    fs::remove_all(Path("b"));
    fs::remove_all(Path("c"));
    Make("c");
    fs::remove_all(Path("d"));
    EXPECT_EQ(symlink("outside", Path("d").c_str()), 0);
  }));
  EXPECT_EQ(seen,
            (Strings{"a:regular", "c:regular", "d:symbolic link", "outside:directory", "outside/secret:regular"}));
}

// Each name that is a link is looked at, which fails for those that have gone; the next one has no part in that.
TEST_P(DirectoryTest, WhatHasVanishedIsNoErrorOfTheNextOne) {
  for (const char* name : {"a", "c", "e", "g"}) Make(name);
  for (const char* name : {"b", "d", "f"}) EXPECT_EQ(symlink("a", Path(name).c_str()), 0);
  WalkOptions options = Sorted();
  options.follow_links = true;
  Strings seen;
  Run(WalkOk(directory(), options, [&](TreeEntry* entry) {
    EXPECT_TRUE(entry->status.ok()) << entry->status;
    seen.push_back(entry->path.substr(directory().size() + 1));
    for (const char* name : {"b", "d", "f"}) fs::remove(Path(name));
  }));
  EXPECT_EQ(seen, (Strings{"a", "c", "e", "g"}));
}

TEST_P(DirectoryTest, AWalkDoesNotGetOutByWhatIsRenamed) {
  for (const char* name : {"tree", "tree/a", "tree/a/b", "outside", "outside/b"}) MakeDirectory(name);
  for (const char* name : {"tree/a/a", "tree/a/b/inside", "tree/a/c", "outside/b/secret", "outside/secret"}) Make(name);
  Strings seen;
  Run(WalkOk(Path("tree"), Sorted(), [&](TreeEntry* entry) {
    EXPECT_TRUE(entry->status.ok()) << entry->status;
    seen.push_back(entry->path.substr(Path("tree/").size()));
    if (seen.back() != "a/a") return;
    fs::rename(Path("tree/a"), Path("moved"));
    EXPECT_EQ(symlink("../outside", Path("tree/a").c_str()), 0);
  }));
  EXPECT_EQ(seen, (Strings{"a", "a/a", "a/b", "a/b/inside", "a/c"}));
}

TEST_P(DirectoryTest, ADirectoryThatCannotBeOpenedIsReportedAndTheRestIsWalked) {
  for (const char* name : {"b", "d"}) MakeDirectory(name);
  for (const char* name : {"a", "b/x", "c", "d/x"}) Make(name);
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  Strings seen;
  Run(WalkOk(directory(), Sorted(), [&](TreeEntry* entry) {
    seen.push_back(absl::StrCat(entry->path.substr(directory().size() + 1), ":", kevent::StatusErrno(entry->status)));
    rlimit now = before;
    if (seen.back() == "a:0") now.rlim_cur = 3;  // as if all were in use
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &now), 0);
    if (entry->status.ok()) return;
    EXPECT_TRUE(absl::IsResourceExhausted(entry->status)) << entry->status;
    EXPECT_NE(std::string(entry->status.message()).find("open directory " + Path("b")), std::string::npos)
        << entry->status;
  }));
  EXPECT_EQ(seen, (Strings{"a:0", absl::StrCat("b:", EMFILE), "c:0", "d:0", "d/x:0"}));
}

// --- Deep trees

TEST_P(LargeTreeTest, ATreeDeeperThanThereAreDescriptorsIsWalkedToItsEnd) {
  constexpr int kLevels = 300;
  MakeDeep("deep", kLevels);
  const int before = CountIn("fd");
  int files = 0, directories = 0, descriptors = 0;
  // Also levels that are read in several pieces, and closed in between.
  for (int i = 0; i < 2'200; ++i) Make(absl::StrCat("deep/", i));
  WalkOptions unsorted;
  for (const WalkOptions& options : {Sorted(), unsorted}) {
    files = directories = descriptors = 0;
    Run(WalkOk(directory(), options, [&](TreeEntry* entry) {
      EXPECT_TRUE(entry->status.ok()) << entry->status;
      ++(entry->type == FileType::kDirectory ? directories : files);
      if (entry->depth == kLevels) descriptors = std::max(descriptors, CountIn("fd") - before);
    }));
    EXPECT_EQ(directories, kLevels);
    EXPECT_EQ(files, kLevels + 2'200);
    EXPECT_LT(descriptors, static_cast<int>(internal::TreeWalker::kOpenMax) + 20) << "and those of the runtime";
  }
}

Task<> WalkIsLost(std::string path, std::string level, std::string elsewhere) {
  bool moved = false;
  int behind = 0;
  const absl::Status status = co_await Walk(path, Sorted(), [&](TreeEntry* entry) {
    EXPECT_EQ(entry->path.find("secret"), std::string::npos);
    if (entry->depth == 200 && !moved) {
      fs::rename(level, elsewhere);
      moved = true;
    } else if (moved) {
      ++behind;
    }
  });
  EXPECT_TRUE(moved);
  EXPECT_GT(behind, 100) << "what is open is walked on";
  EXPECT_TRUE(absl::IsAborted(status)) << status;
  EXPECT_EQ(kevent::StatusErrno(status), ESTALE);
}

TEST_P(DirectoryTest, AWayBackThatWasMovedEndsTheWalk) {
  MakeDeep("tree", 200);
  MakeDirectory("outside");
  Make("outside/secret");
  std::string level = Path("tree");
  for (int i = 1; i < 50; ++i) level += "/d";
  Run(WalkIsLost(Path("tree"), level, Path("outside/d")));
}

// --- Ends and stops

Task<> WalkInPart(std::string path) {
  AsyncGenerator<TreeEntry, absl::Status> tree = WalkTree(path);
  for (int i = 0; i < 5; ++i) {
    const TreeEntry* entry = co_await tree.Next();
    CO_ASSERT_NE(entry, nullptr);
  }
}

TEST_P(DirectoryTest, AWalkThatIsGivenUpLeavesNothingOpen) {
  MakeDeep("deep", 10);
  Run(WalkInPart(directory()));
}

Task<absl::Status> WalkAndRemove(std::string path) {
  for (const char* name : {"/t", "/t/a", "/t/b"}) {
    EXPECT_TRUE(mkdir((path + name).c_str(), 0755) == 0 || errno == EEXIST);
  }
  absl::Status status = co_await Walk(path, WalkOptions(), [](TreeEntry* entry) { EXPECT_TRUE(entry->status.ok()); });
  if (!status.ok()) co_return status;
  Strings names;
  AsyncGenerator<DirectoryEntry, absl::Status> entries = ReadDirectory(path + "/t");
  while (DirectoryEntry* entry = co_await entries.Next()) names.push_back(entry->name);
  if (!entries.status().ok()) co_return entries.status();
  EXPECT_EQ(names.size(), 2u);
  co_return co_await RemoveTree(path + "/t");
}

Task<> StopEverywhere(std::string path) {
  const absl::Status status = co_await StartCancelled(WalkAndRemove(path));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  const std::function<Task<absl::Status>()> scenario = [path] { return WalkAndRemove(path); };
  CO_ASSERT_OK_AND_ASSIGN(const int suspensions, co_await CancelAtEverySuspension(scenario));
  EXPECT_GE(suspensions, 6);
}

TEST_P(DirectoryTest, AStopAnywhereEndsAWalkOrARemoval) { Run(StopEverywhere(directory())); }

// --- Removing

Task<> RemoveOk(std::string path) { CO_ASSERT_OK(co_await RemoveTree(path)); }

TEST_P(LargeTreeTest, ATreeIsRemovedHoweverDeepAndWide) {
  // A path longer than a call takes (PATH_MAX), and more names than are read at once.
  MakeDeep("deep", 2'200, /*with_files=*/false);
  for (int i = 0; i < 1'500; ++i) Make(absl::StrCat("deep/", i));
  Make("stays");
  Run(RemoveOk(Path("deep")));
  EXPECT_FALSE(Exists("deep"));
  EXPECT_TRUE(Exists("stays"));
}

TEST_P(DirectoryTest, OnlyTheTreeIsRemoved) {
  for (const char* name : {"tree", "outside", "outside/d"}) MakeDirectory(name);
  Make("outside/d/file");
  ASSERT_EQ(symlink("../outside", Path("tree/link").c_str()), 0);
  ASSERT_EQ(symlink("outside", Path("link").c_str()), 0);
  ASSERT_EQ(link(Path("outside/d/file").c_str(), Path("tree/file").c_str()), 0);
  Run(RemoveOk(Path("tree")));
  EXPECT_FALSE(Exists("tree"));
  Run(RemoveOk(Path("link")));
  EXPECT_FALSE(Exists("link")) << "a link is removed itself";
  EXPECT_TRUE(Exists("outside/d/file"));
  Run(RemoveOk(Path("outside/d/file")));
  EXPECT_FALSE(Exists("outside/d/file")) << "a file too";
  Run(RemoveOk(Path("outside")));
  Run(RemoveOk(Path("outside")));  // nothing is there
  EXPECT_FALSE(Exists("outside"));
}

Task<> RemoveTogether(std::string path) {
  std::vector<JoinHandle<absl::Status>> all;
  for (int i = 0; i < 4; ++i) {
    JoinHandle<absl::Status> one = co_await Spawn(RemoveTree(path));
    all.push_back(std::move(one));
  }
  for (JoinHandle<absl::Status>& one : all) CO_ASSERT_OK(co_await std::move(one));
}

TEST_P(DirectoryTest, SeveralMayRemoveTheSameTree) {
  for (int i = 0; i < 300; ++i) {
    if (i % 30 == 0) MakeDirectory(absl::StrCat(i / 30));
    if (i % 6 == 0) MakeDirectory(absl::StrCat(i / 30, "/", i / 6));
    Make(absl::StrCat(i / 30, "/", i / 6, "/", i));
  }
  MakeDirectory("tree");
  for (int i = 0; i < 10; ++i) fs::rename(Path(absl::StrCat(i)), Path(absl::StrCat("tree/", i)));
  Run(RemoveTogether(Path("tree")));
  EXPECT_FALSE(Exists("tree"));
}

Task<> RemoveFails(std::string path, int error, std::string message) {
  rlimit before;
  EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = 3;
  if (error != EMFILE) few = before;
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  const absl::Status status = co_await RemoveTree(path);
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(kevent::StatusErrno(status), error) << status;
  EXPECT_NE(std::string(status.message()).find(message), std::string::npos) << status;
}

TEST_P(DirectoryTest, ARemovalEndsAtAnError) {
  MakeDeep("deep", 5);
  Run(RemoveFails(Path("deep"), EMFILE, "open directory " + Path("deep")));
  EXPECT_TRUE(Exists("deep/d/d/d/d"));
  Run(RemoveFails("/proc/self", EPERM, "remove /proc/self"));
  Run(RemoveFails(std::string("a\0b", 3), 0, "NUL"));
}

// A step at a time: when it is below more levels than it has open, one of those is moved out of the tree.
TEST_P(DirectoryTest, ARemovalDoesNotGetOutByWhatIsMoved) {
  constexpr int kLevels = static_cast<int>(internal::TreeRemover::kOpenMax) + 20;
  MakeDeep("tree", kLevels);
  MakeDirectory("outside");
  Make("outside/precious");
  std::string deepest = "tree", level = "tree";
  for (int i = 1; i < kLevels; ++i) deepest += "/d";
  for (int i = 1; i < 10; ++i) level += "/d";
  for (int i = 0; i < 1'000; ++i) Make(absl::StrCat(deepest, "/", i));
  internal::TreeRemover remover(Path("tree"));
  absl::StatusOr<bool> done = remover.Step();
  ASSERT_TRUE(done.ok()) << done.status();
  ASSERT_FALSE(*done);
  fs::rename(Path(level), Path("outside/d"));
  for (int i = 0; i < 100 && done.ok() && !*done; ++i) done = remover.Step();
  EXPECT_TRUE(absl::IsAborted(done.status())) << done.status();
  EXPECT_EQ(kevent::StatusErrno(done.status()), ESTALE);
  EXPECT_TRUE(Exists("outside/precious"));
  EXPECT_TRUE(Exists("tree"));
}

// It is filled again between the steps.
TEST_P(DirectoryTest, ARemovalEndsThoughOthersKeepOnFilling) {
  MakeDirectory("tree");
  MakeDirectory("tree/filled");
  internal::TreeRemover remover(Path("tree"));
  absl::StatusOr<bool> done = false;
  for (int step = 0; step < 1'000 && done.ok() && !*done; ++step) {
    for (int i = 0; i < 6; ++i) Make(absl::StrCat("tree/filled/", i));
    done = remover.Step(/*names_max=*/4);
  }
  EXPECT_TRUE(absl::IsFailedPrecondition(done.status())) << done.status();
  EXPECT_EQ(kevent::StatusErrno(done.status()), ENOTEMPTY);
  EXPECT_NE(std::string(done.status().message()).find("rmdir " + Path("tree/filled")), std::string::npos)
      << done.status();
  EXPECT_TRUE(RemoveTreeBlocking(Path("tree")).ok()) << "when nobody fills it any more";
}

// So many, of such long names, that they are read in more parts than a removal makes rounds; in memory, if that can be
// had.
TEST(LargeDirectory, IsRemovedInOneRound) {
  std::string path = "/dev/shm/directory_test.XXXXXX";
  if (mkdtemp(path.data()) == nullptr) {
    path = ::testing::TempDir() + "/directory_test.XXXXXX";
    ASSERT_NE(mkdtemp(path.data()), nullptr);
  }
  const std::string prefix = path + "/" + std::string(230, 'x');
  for (int i = 0; i < 30'000; ++i) {
    const int fd = open(absl::StrCat(prefix, i).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_GE(fd, 0);
    close(fd);
  }
  const absl::Status status = RemoveTreeBlocking(path);
  EXPECT_TRUE(status.ok()) << status;
}

TEST_P(DirectoryTest, ATreeIsRemovedWithoutATaskToo) {
  MakeDeep("deep", 100);
  EXPECT_TRUE(RemoveTreeBlocking(Path("deep")).ok());
  EXPECT_FALSE(Exists("deep"));
  const absl::Status status = RemoveTreeBlocking("/proc/self");
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
}

// --- Simulated

Task<> RefusedWhenSimulated(std::string path) {
  absl::Status status = co_await Walk(path, WalkOptions(), [](TreeEntry*) { ADD_FAILURE(); });
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
  AsyncGenerator<DirectoryEntry, absl::Status> entries = ReadDirectory(path);
  const DirectoryEntry* const entry = co_await entries.Next();
  EXPECT_EQ(entry, nullptr);
  EXPECT_TRUE(absl::IsUnimplemented(entries.status())) << entries.status();
  status = co_await RemoveTree(path);
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
  EXPECT_EQ(kevent::StatusErrno(status), ENOSYS);
}

TEST_P(DirectoryTest, TheMachinesTreesAreNotASimulatedOnes) {
  MakeDirectory("d");
  RunSimulated(RefusedWhenSimulated(directory()), CalmMachine(workers()), RuntimeOptions());
  EXPECT_TRUE(Exists("d"));
}

}  // namespace
}  // namespace evring
