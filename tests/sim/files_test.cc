// files_test.cc: the simulated file system: what programs see, what a crash may leave of it, and that the classical
// mistake, a rename without a sync before it, is found.

#include "sim/files.h"

#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "sim/random.h"

namespace evring::sim {
namespace {

constexpr uint64_t kPlenty = 1 << 30;

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string All(const FileSystem& files, const FileSystem::Handle& file) {
  std::string text(file->size(), '?');
  EXPECT_EQ(files.Read(file, 0, std::as_writable_bytes(std::span(text))), static_cast<int>(text.size()));
  return text;
}

void Put(FileSystem* files, const std::string& path, const std::string& text, bool sync) {
  FileSystem::Handle file;
  ASSERT_EQ(files->Open(path, O_CREAT | O_TRUNC, &file), 0);
  ASSERT_EQ(files->Write(file, 0, Bytes(text)), static_cast<int>(text.size()));
  if (sync) {
    ASSERT_EQ(files->Sync(file), 0);
  }
}

// What is at `path`; "-": nothing.
std::string Get(FileSystem* files, const std::string& path) {
  FileSystem::Handle file;
  const int rc = files->Open(path, 0, &file);
  if (rc == -ENOENT) return "-";
  EXPECT_EQ(rc, 0);
  return All(*files, file);
}

TEST(FileSystem, SeesWhatWasWritten) {
  FileSystem files(kPlenty);
  FileSystem::Handle file;
  EXPECT_EQ(files.Open("/a", 0, &file), -ENOENT);
  ASSERT_EQ(files.Open("/a", O_CREAT, &file), 0);
  EXPECT_EQ(files.Write(file, 3, Bytes("def")), 3);
  EXPECT_EQ(files.Write(file, 0, Bytes("abc")), 3);
  EXPECT_EQ(All(files, file), "abcdef");
  std::string past(4, '?');
  EXPECT_EQ(files.Read(file, 4, std::as_writable_bytes(std::span(past))), 2);
  EXPECT_EQ(files.Read(file, 6, std::as_writable_bytes(std::span(past))), 0);
  EXPECT_EQ(files.Truncate(file, 2), 0);
  EXPECT_EQ(All(files, file), "ab");
  EXPECT_EQ(files.Truncate(file, 3), 0);
  EXPECT_EQ(All(files, file), std::string("ab\0", 3));
}

TEST(FileSystem, NamesAreMadeMovedAndRemoved) {
  FileSystem files(kPlenty);
  FileSystem::Handle file, again;
  ASSERT_EQ(files.Open("/d/a", O_CREAT | O_EXCL, &file), 0);
  EXPECT_EQ(files.Open("/d/a", O_CREAT | O_EXCL, &again), -EEXIST);
  EXPECT_EQ(files.Rename("/d/none", "/d/b"), -ENOENT);
  EXPECT_EQ(files.Rename("/d/a", "/d/b"), 0);
  EXPECT_EQ(files.Open("/d/a", 0, &again), -ENOENT);
  ASSERT_EQ(files.Open("/d/b", 0, &again), 0);
  EXPECT_EQ(file, again);
  ASSERT_EQ(files.Open("/d/e/f", O_CREAT, &again), 0);
  EXPECT_EQ(files.List("/d"), (std::vector<std::string>{"b", "e"}));
  EXPECT_EQ(files.Unlink("/d/b"), 0);
  EXPECT_EQ(files.Unlink("/d/b"), -ENOENT);
  EXPECT_EQ(files.Write(file, 0, Bytes("x")), 1) << "an open file outlives its name";
  EXPECT_EQ(files.Open("a", O_CREAT, &again), -EINVAL);
  EXPECT_EQ(files.Open("", O_CREAT, &again), -ENOENT);
}

TEST(FileSystem, FillsUp) {
  FileSystem files(10);
  FileSystem::Handle file;
  ASSERT_EQ(files.Open("/a", O_CREAT, &file), 0);
  EXPECT_EQ(files.Write(file, 0, Bytes("0123456789")), 10);
  EXPECT_EQ(files.Write(file, 10, Bytes("x")), -ENOSPC);
  EXPECT_EQ(files.Write(file, 9, Bytes("x")), 1) << "no new place needed";
  EXPECT_EQ(files.Truncate(file, 11), -ENOSPC);
}

TEST(FileSystem, ASyncedFileSurvivesEveryCrash) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    FileSystem files(kPlenty);
    const std::string text(10'000, 'x');
    Put(&files, "/a", text, /*sync=*/true);
    Put(&files, "/b", "not synced", /*sync=*/false);
    Random random(seed);
    EXPECT_EQ(Get(files.AfterCrash(&random).get(), "/a"), text);
  }
}

TEST(FileSystem, WhatWasNotSyncedMayBeOldNewOrTorn) {
  std::set<std::string> kinds;
  for (uint64_t seed = 0; seed < 500; ++seed) {
    FileSystem files(kPlenty);
    Put(&files, "/a", std::string(3 * FileSystem::kPage, 'o'), /*sync=*/true);
    FileSystem::Handle file;
    ASSERT_EQ(files.Open("/a", 0, &file), 0);
    ASSERT_EQ(files.Write(file, 0, Bytes(std::string(3 * FileSystem::kPage, 'n'))), 3 * 4096);
    Random random(seed);
    const std::string after = Get(files.AfterCrash(&random).get(), "/a");
    ASSERT_EQ(after.size(), 3 * FileSystem::kPage);
    for (size_t sector = 0; sector < after.size(); sector += FileSystem::kSector) {
      const char first = after[sector];
      EXPECT_TRUE(first == 'o' || first == 'n');
      EXPECT_EQ(after.substr(sector, FileSystem::kSector), std::string(FileSystem::kSector, first)) << "a whole sector";
    }
    const bool has_old = after.find('o') != std::string::npos;
    const bool has_new = after.find('n') != std::string::npos;
    kinds.insert(has_old && has_new ? "torn" : has_old ? "old" : "new");
  }
  EXPECT_EQ(kinds, (std::set<std::string>{"new", "old", "torn"}));
}

TEST(FileSystem, NamesReachTheDiskInOrder) {
  std::set<std::string> states;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    FileSystem files(kPlenty);
    Put(&files, "/a", "a", /*sync=*/true);
    ASSERT_EQ(files.Rename("/a", "/b"), 0);
    ASSERT_EQ(files.Rename("/b", "/c"), 0);
    Random random(seed);
    std::string names;
    for (const std::string& name : files.AfterCrash(&random)->List("/")) names += name;
    states.insert(names);
  }
  EXPECT_EQ(states, (std::set<std::string>{"a", "b", "c"}));
}

TEST(FileSystem, AFailedSyncIsNotRepairedByASecond) {
  int lost = 0;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    FileSystem files(kPlenty);
    Put(&files, "/a", std::string(3 * FileSystem::kPage, 'o'), /*sync=*/true);
    FileSystem::Handle file;
    ASSERT_EQ(files.Open("/a", 0, &file), 0);
    const std::string text(3 * FileSystem::kPage, 'n');
    ASSERT_EQ(files.Write(file, 0, Bytes(text)), 3 * 4096);
    Random random(seed);
    files.FailSync(file, &random);
    ASSERT_EQ(files.Sync(file), 0);
    EXPECT_EQ(All(files, file), text);
    if (Get(files.AfterCrash(&random).get(), "/a") != text) ++lost;
    ASSERT_EQ(files.Write(file, 0, Bytes(text)), 3 * 4096);
    ASSERT_EQ(files.Sync(file), 0);
    EXPECT_EQ(Get(files.AfterCrash(&random).get(), "/a"), text) << "written again, it is there";
  }
  EXPECT_GT(lost, 0);
}

// Replaces a file by writing a new one and renaming it. Answers how many of the crashes leave neither the old content
// nor the new.
int Losses(bool sync_file, bool sync_directory) {
  int losses = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    FileSystem files(kPlenty);
    Put(&files, "/config", "old", /*sync=*/true);
    Put(&files, "/config.new", "new", sync_file);
    EXPECT_EQ(files.Rename("/config.new", "/config"), 0);
    if (sync_directory) {
      EXPECT_EQ(files.SyncDirectory(), 0);
    }
    Random random(seed);
    const std::string after = Get(files.AfterCrash(&random).get(), "/config");
    if (sync_directory ? after != "new" : after != "old" && after != "new") ++losses;
  }
  return losses;
}

TEST(FileSystem, ARenameWithoutASyncBeforeItLosesTheFile) {
  EXPECT_GT(Losses(/*sync_file=*/false, /*sync_directory=*/true), 0);
  EXPECT_GT(Losses(/*sync_file=*/false, /*sync_directory=*/false), 0);
  EXPECT_EQ(Losses(/*sync_file=*/true, /*sync_directory=*/false), 0);
  EXPECT_EQ(Losses(/*sync_file=*/true, /*sync_directory=*/true), 0);
}

}  // namespace
}  // namespace evring::sim
