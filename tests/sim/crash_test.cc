// crash_test.cc: power is lost, or the process dies, at every moment of a program that replaces a file, and the program
// starts again from what is left.

#include <fcntl.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "runtime/os/file.h"
#include "runtime/task.h"
#include "sim/faults.h"
#include "sim/simulation.h"

namespace evring::sim {
namespace {

constexpr char kPath[] = "/data/config";

// Version n of the content: several pages, so that it can be torn.
std::string Version(int n) { return n == 0 ? "" : std::string(9000, static_cast<char>('a' + n)); }

// What is at kPath; version 0, the empty text, if nothing is.
Task<absl::StatusOr<std::string>> Load() {
  absl::StatusOr<File> file = co_await File::Open(kPath, O_RDONLY);
  if (absl::IsNotFound(file.status())) co_return std::string();
  if (!file.ok()) co_return file.status();
  std::string text;
  std::array<std::byte, 4096> buffer;
  for (;;) {
    const absl::StatusOr<size_t> n = co_await file->ReadAt(buffer, text.size());
    if (!n.ok()) co_return n.status();
    if (*n == 0) co_return text;
    text.append(reinterpret_cast<const char*>(buffer.data()), *n);
  }
}

// Replaces the file three times; says at which call of the kernel each had been done.
Task<std::vector<uint64_t>> SaveThrice(Simulation* simulation) {
  std::vector<uint64_t> done;
  for (int n = 1; n <= 3; ++n) {
    const std::string text = Version(n);
    const absl::Status saved = co_await ReplaceFile(kPath, std::as_bytes(std::span(text)));
    EXPECT_TRUE(saved.ok()) << saved;
    done.push_back(simulation->calls());
  }
  co_return done;
}

// What the file holds on a machine that starts with this disk.
absl::StatusOr<std::string> FoundOn(std::shared_ptr<FileSystem> disk, uint64_t seed = 1) {
  SimulationOptions options;
  options.seed = seed;
  options.files = std::move(disk);
  Simulation restarted(options);
  return restarted.Run(Load());
}

// The version that is found after a crash at that call, -1: something else. `done`: the newest that had been saved.
int VersionAfterCrash(uint64_t seed, uint64_t call, int* done) {
  SimulationOptions options;
  options.seed = seed;
  options.faults = FaultRules::Everyday();
  options.crash_at_call = call;
  Simulation before(options);
  *done = 0;
  for (const uint64_t at : before.Run(SaveThrice(&before))) *done += at < call ? 1 : 0;

  const absl::StatusOr<std::string> found = FoundOn(before.report().after_crash, seed);
  EXPECT_TRUE(found.ok()) << found.status();
  for (int n = 0; n <= 3; ++n) {
    if (found.ok() && *found == Version(n)) return n;
  }
  return -1;
}

TEST(Crash, AReplacedFileIsWholeAndNoOlderThanTheNewestSaved) {
  std::array<int, 4> seen = {};
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    for (uint64_t call = 1; call <= 60; ++call) {
      int done = 0;
      const int version = VersionAfterCrash(seed, call, &done);
      EXPECT_GE(version, done) << "seed " << seed << ", call " << call;
      if (version >= 0) ++seen[static_cast<size_t>(version)];
    }
  }
  for (const int n : seen) EXPECT_GT(n, 0) << "crashes at all stages";
}

// How the same is done wrongly: no sync before the rename.
Task<absl::Status> ReplaceWithoutSync(int n) {
  const std::string text = Version(n);
  {
    absl::StatusOr<File> file = co_await File::Open("/data/config.new", O_WRONLY | O_CREAT | O_TRUNC);
    if (!file.ok()) co_return file.status();
    const absl::Status written = co_await file->WriteAt(std::as_bytes(std::span(text)), 0);
    if (!written.ok()) co_return written;
  }
  co_return co_await Rename("/data/config.new", kPath);
}

TEST(Crash, ARenameWithoutASyncIsCaught) {
  int torn = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SimulationOptions options;
    options.seed = seed;
    options.crash_at_call = 1'000'000;  // after the end
    Simulation before(options);
    EXPECT_TRUE(before.Run(ReplaceWithoutSync(1)).ok());
    const absl::StatusOr<std::string> found = FoundOn(before.report().after_crash);
    ASSERT_TRUE(found.ok()) << found.status();
    if (*found != Version(0) && *found != Version(1)) ++torn;
  }
  EXPECT_GT(torn, 0);
}

// The process alone dies at every moment of the same: without a sync all that was written is there.
TEST(Crash, WhatAProcessHasWrittenOutlivesItWithoutASync) {
  bool whole = false;
  for (uint64_t call = 1; call <= 60; ++call) {
    SimulationOptions options;
    options.seed = call;
    options.crash_at_call = call;
    options.crash = Crash::kProcess;
    Simulation before(options);
    EXPECT_TRUE(before.Run(ReplaceWithoutSync(1)).ok());
    const absl::StatusOr<std::string> found = FoundOn(before.report().after_crash);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_TRUE(*found == Version(0) || *found == Version(1)) << "call " << call;
    EXPECT_TRUE(!whole || *found == Version(1)) << "call " << call << ": what was there once stays";
    whole = *found == Version(1);
  }
  EXPECT_TRUE(whole);
}

Task<> Nothing() { co_return; }

// After the restart the content is in the page cache only: a loss of power may still take it.
TEST(Crash, ALossOfPowerAfterTheProcessHasDiedLosesWhatWasNotSynced) {
  int torn = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SimulationOptions options;
    options.seed = seed;
    options.crash_at_call = 1'000'000;  // after the end
    options.crash = Crash::kProcess;
    Simulation first(options);
    EXPECT_TRUE(first.Run(ReplaceWithoutSync(1)).ok());
    options.files = first.report().after_crash;
    options.crash = Crash::kPower;
    Simulation second(options);
    second.Run(Nothing());
    const absl::StatusOr<std::string> found = FoundOn(second.report().after_crash);
    ASSERT_TRUE(found.ok()) << found.status();
    if (*found != Version(0) && *found != Version(1)) ++torn;
  }
  EXPECT_GT(torn, 0);
}

Task<absl::Status> SaveOnce() {
  const std::string text = Version(1);
  co_return co_await ReplaceFile(kPath, std::as_bytes(std::span(text)));
}

TEST(Crash, ErrorsOfTheDiskAreReportedAndLeaveTheOldFileOrTheNew) {
  int failed = 0;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SimulationOptions options;
    options.seed = seed;
    options.files = std::make_shared<FileSystem>(1 << 20);
    options.faults[Fault::kFileError].ppm = 100'000;
    Simulation saving(options);
    const absl::Status saved = saving.Run(SaveOnce());
    EXPECT_EQ(saving.report().open_descriptors, 0);
    const absl::StatusOr<std::string> found = FoundOn(options.files);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_TRUE(*found == Version(1) || (!saved.ok() && *found == Version(0)));
    EXPECT_TRUE(options.files->List("/data").size() <= 1) << "nothing is left beside it";
    failed += saved.ok() ? 0 : 1;
  }
  EXPECT_GT(failed, 0);
}

}  // namespace
}  // namespace evring::sim
