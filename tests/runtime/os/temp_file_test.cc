// temp_file_test.cc: temporary files and directories of the real file system: nobody else sees them, they get a name or
// go, whatever ends them; and a file system that has no files without names.

#include "runtime/os/temp_file.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "runtime/os/directory.h"
#include "runtime/task.h"
#include "runtime/testing.h"
#include "runtime/worker.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/os/other_kernels.h"
#include "tests/runtime/os/scratch_directory.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;
namespace fs = std::filesystem;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

// Files without names are asked for where there are none.
void WithoutNamelessFiles(io_uring_sqe* sqe) {
  if (sqe->opcode != IORING_OP_OPENAT || (sqe->open_flags & O_TMPFILE) != O_TMPFILE) return;
  sqe->addr = reinterpret_cast<uintptr_t>("/proc");
}

class TempFileTest : public EveryMachineWithDirectory {
 protected:
  int Entries() const {
    int n = 0;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator(directory())) ++n;
    return n;
  }
  void RunWithoutNamelessFiles(Task<> task) {
    AlteringKernel kernel(&WithoutNamelessFiles);
    RuntimeOptions options;
    options.kernel = &kernel;
    Run(std::move(task), options);
  }
};
INSTANTIATE_TEST_SUITE_P(Workers, TempFileTest, RealMachines({1, 2, 4}), MachineName);

Task<absl::Status> Download(std::span<const std::byte> content) {
  absl::StatusOr<TempFile> part = co_await TempFile::Create("downloads");
  if (!part.ok()) co_return part.status();
  absl::Status status = co_await part->file().WriteAt(content, 0);
  if (status.ok()) status = co_await part->file().SyncToDisk();
  if (status.ok()) status = co_await part->LinkTo("downloads/whole");
  if (!status.ok()) co_return status;
  absl::StatusOr<TempDirectory> scratch = co_await TempDirectory::Create();
  if (!scratch.ok()) co_return scratch.status();
  status = co_await ReplaceFile(scratch->path() + "/notes", content);
  if (!status.ok()) co_return status;
  co_return co_await scratch->Remove();
}

Task<> DownloadsInto(std::string directory) {
  const int before = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  EXPECT_EQ(chdir(directory.c_str()), 0);
  const absl::Status status = co_await Download(Bytes("all of it"));
  EXPECT_EQ(fchdir(before), 0);
  close(before);
  CO_ASSERT_OK(status);
  CO_ASSERT_OK_AND_ASSIGN(const std::string whole, co_await ReadFile(directory + "/downloads/whole", 100));
  EXPECT_EQ(whole, "all of it");
}

TEST_P(TempFileTest, AFileGetsItsNameWhenItIsWhole) {
  MakeDirectory("downloads");
  Run(DownloadsInto(directory()));
  EXPECT_EQ(Entries(), 1);
}

// --- Files

Task<> OneFile(std::string directory, bool has_name) {
  CO_ASSERT_OK_AND_ASSIGN(const TempFile temp, co_await TempFile::Create(directory));
  EXPECT_EQ(temp.has_name(), has_name);
  EXPECT_EQ(fcntl(temp.file().fd(), F_GETFD), FD_CLOEXEC);
  CO_ASSERT_OK_AND_ASSIGN(const FileInfo info, co_await temp.file().Info());
  EXPECT_EQ(info.permissions, 0600u);
  EXPECT_EQ(info.links, has_name ? 1u : 0u);
  EXPECT_EQ(fs::is_empty(directory), !has_name);
  CO_ASSERT_OK(co_await temp.file().WriteAt(Bytes("123"), 0));
  std::array<std::byte, 3> bytes;
  CO_ASSERT_OK_AND_ASSIGN(const size_t n, co_await temp.file().ReadAt(bytes, 0));
  EXPECT_EQ(n, 3u);
}

TEST_P(TempFileTest, AFileHasNoNameAndGoesWithItsOwner) {
  Run(OneFile(directory(), /*has_name=*/false));
  EXPECT_EQ(Entries(), 0);
}

TEST_P(TempFileTest, AFileGoesWithItsOwnerWhereFilesHaveNames) {
  RunWithoutNamelessFiles(OneFile(directory(), /*has_name=*/true));
  EXPECT_EQ(Entries(), 0);
}

// One that counts what is removed, and by whom.
class RemovalKernel : public AlteringKernel {
 public:
  RemovalKernel() : AlteringKernel(&WithoutNamelessFiles) {}

  int Remove(const char* path) override {
    ++(Worker::Current() == nullptr ? elsewhere : by_workers);
    // The runtime may end meanwhile.
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return AlteringKernel::Remove(path);
  }

  std::atomic<int> by_workers{0};
  std::atomic<int> elsewhere{0};
};

TEST_P(TempFileTest, NoWorkerWaitsForANameToBeRemovedButTheRuntimeDoes) {
  RemovalKernel kernel;
  RuntimeOptions options;
  options.kernel = &kernel;
  options.blocking_threads_max = 1;
  const auto two = [](std::string directory) -> Task<> {
    co_await OneFile(directory + "/a", /*has_name=*/true);
    co_await OneFile(directory + "/b", /*has_name=*/true);
  };
  for (const char* name : {"a", "b"}) MakeDirectory(name);
  Run(two(directory()), options);
  EXPECT_EQ(kernel.by_workers, 0);
  EXPECT_EQ(kernel.elsewhere, 2);
  EXPECT_TRUE(fs::is_empty(Path("a")));
  EXPECT_TRUE(fs::is_empty(Path("b")));
}

Task<> Linked(std::string directory) {
  const std::string path = directory + "/linked";
  {
    CO_ASSERT_OK_AND_ASSIGN(TempFile first, co_await TempFile::Create(directory));
    CO_ASSERT_OK(co_await first.file().WriteAt(Bytes("first"), 0));
    CO_ASSERT_OK(co_await first.LinkTo(path));
    CO_ASSERT_OK_AND_ASSIGN(TempFile second, co_await TempFile::Create(directory));
    absl::Status status = co_await second.LinkTo(path);
    EXPECT_TRUE(absl::IsAlreadyExists(status)) << status;
    EXPECT_NE(std::string(status.message()).find(path), std::string::npos) << status;
    status = co_await second.LinkTo(directory + "/none/x");
    EXPECT_TRUE(absl::IsNotFound(status)) << status;
    status = co_await second.LinkTo(std::string("a\0b", 3));
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    // One that is moved is one still.
    TempFile third = std::move(second);
    CO_ASSERT_OK(co_await third.LinkTo(directory + "/moved"));
    std::swap(first, third);
  }
  CO_ASSERT_OK_AND_ASSIGN(const std::string content, co_await ReadFile(path, 100));
  EXPECT_EQ(content, "first");
}

TEST_P(TempFileTest, AFileThatWasGivenANameKeepsItAndReplacesNothing) {
  Run(Linked(directory()));
  EXPECT_EQ(Entries(), 2);
}

TEST_P(TempFileTest, TheSameWhereFilesHaveNames) {
  RunWithoutNamelessFiles(Linked(directory()));
  EXPECT_EQ(Entries(), 2);
}

TEST_P(TempFileTest, TheSameWhereARenameCannotBeToldToReplaceNothing) {
  std::atomic<int> renames{0};
  AlteringKernel kernel([&renames](io_uring_sqe* sqe) {
    WithoutNamelessFiles(sqe);
    if (sqe->opcode != IORING_OP_RENAMEAT) return;
    sqe->rename_flags = 1u << 30;  // unknown
    ++renames;
  });
  RuntimeOptions options;
  options.kernel = &kernel;
  Run(Linked(directory()), options);
  EXPECT_EQ(Entries(), 2);
  EXPECT_GE(renames, 4);
}

Task<> FileErrors(std::string directory) {
  absl::StatusOr<TempFile> temp = co_await TempFile::Create(directory + "/none");
  EXPECT_TRUE(absl::IsNotFound(temp.status())) << temp.status();
  temp = co_await TempFile::Create(directory + "/file");
  EXPECT_EQ(kevent::StatusErrno(temp.status()), ENOTDIR) << temp.status();
  temp = co_await TempFile::Create(std::string("a\0b", 3));
  EXPECT_TRUE(absl::IsInvalidArgument(temp.status())) << temp.status();
  temp = co_await TempFile::Create("/proc");
  EXPECT_FALSE(temp.ok());
  absl::StatusOr<TempDirectory> made = co_await TempDirectory::Create(directory + "/none");
  EXPECT_TRUE(absl::IsNotFound(made.status())) << made.status();
  made = co_await TempDirectory::Create(std::string("a\0b", 3));
  EXPECT_TRUE(absl::IsInvalidArgument(made.status())) << made.status();
}

TEST_P(TempFileTest, ErrorsAreTheSystems) {
  Make("file");
  Run(FileErrors(directory()));
}

// --- Directories

// What the environment says, for as long as it lives.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    if (const char* before = std::getenv(name); before != nullptr) before_ = before;
    EXPECT_EQ(setenv(name, value.c_str(), 1), 0);
  }
  ~Environment() { EXPECT_EQ(before_.has_value() ? setenv(name_, before_->c_str(), 1) : unsetenv(name_), 0); }

 private:
  const char* const name_;
  std::optional<std::string> before_;
};

Task<> OneDirectory(std::string parent, std::string expected_parent) {
  std::string path, kept;
  {
    CO_ASSERT_OK_AND_ASSIGN(TempDirectory temp, co_await TempDirectory::Create(parent));
    path = temp.path();
    EXPECT_EQ(fs::path(path).parent_path(), expected_parent);
    struct stat info;
    CO_ASSERT_EQ(stat(path.c_str(), &info), 0);
    EXPECT_TRUE(S_ISDIR(info.st_mode));
    EXPECT_EQ(info.st_mode & 0777, 0700u);
    fs::create_directories(path + "/a/b/c");
    CO_ASSERT_OK(co_await ReplaceFile(path + "/a/file", Bytes("x")));
    CO_ASSERT_OK_AND_ASSIGN(TempDirectory other, co_await TempDirectory::Create(parent));
    EXPECT_NE(other.path(), path);
    kept = other.path();
    std::swap(temp, other);
    temp.Keep();
    CO_ASSERT_OK(co_await temp.Remove());
    EXPECT_TRUE(fs::exists(kept));
    EXPECT_TRUE(fs::exists(path));
  }
  EXPECT_FALSE(fs::exists(path)) << "removed by the destructor";
  EXPECT_TRUE(fs::exists(kept));
  EXPECT_EQ(rmdir(kept.c_str()), 0);
}

TEST_P(TempFileTest, ADirectoryGoesWithItsOwnerAndWhatIsInIt) {
  Run(OneDirectory(directory(), directory()));
  const Environment environment("TMPDIR", directory());
  Run(OneDirectory("", directory()));
  EXPECT_EQ(Entries(), 0);
}

TEST_P(TempFileTest, ARelativeDirectoryIsFoundFromElsewhere) {
  MakeDirectory("d");
  const int before = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ASSERT_EQ(chdir(directory().c_str()), 0);
  std::optional<TempDirectory> temp;
  std::optional<TempFile> named;
  const auto create = [](std::optional<TempDirectory>* temp, std::optional<TempFile>* named) -> Task<> {
    CO_ASSERT_OK_AND_ASSIGN(*temp, co_await TempDirectory::Create("d"));
    CO_ASSERT_OK_AND_ASSIGN(*named, co_await TempFile::Create("d"));
  };
  AlteringKernel kernel(&WithoutNamelessFiles);
  RuntimeOptions options;
  options.kernel = &kernel;
  RunOk(create(&temp, &named), options);
  ASSERT_EQ(fchdir(before), 0);
  close(before);
  ASSERT_TRUE(temp.has_value() && named.has_value());
  EXPECT_TRUE(temp->path().starts_with('/'));
  EXPECT_FALSE(fs::is_empty(Path("d")));
  temp.reset();
  named.reset();
  EXPECT_TRUE(fs::is_empty(Path("d")));
}

// --- Stops

Task<absl::Status> UseBoth(std::string directory) {
  absl::StatusOr<TempFile> file = co_await TempFile::Create(directory);
  if (!file.ok()) co_return file.status();
  absl::StatusOr<TempDirectory> temp = co_await TempDirectory::Create(directory);
  if (!temp.ok()) co_return temp.status();
  absl::Status status = co_await file->LinkTo(temp->path() + "/a");
  if (status.ok()) status = co_await ReplaceFile(temp->path() + "/b", Bytes("x"));
  if (!status.ok()) co_return status;
  co_return co_await temp->Remove();
}

Task<> StopEverywhere(std::string directory) {
  const absl::Status status = co_await StartCancelled(UseBoth(directory));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  const std::function<Task<absl::Status>()> scenario = [directory] { return UseBoth(directory); };
  CO_ASSERT_OK_AND_ASSIGN(const int suspensions, co_await CancelAtEverySuspension(scenario));
  EXPECT_GE(suspensions, 8);
}

TEST_P(TempFileTest, AStopAnywhereLeavesNothingBehind) {
  Run(StopEverywhere(directory()));
  EXPECT_EQ(Entries(), 0);
  RunWithoutNamelessFiles(StopEverywhere(directory()));
  EXPECT_EQ(Entries(), 0);
}

// --- Simulated

Task<> RefusedWhenSimulated() {
  const absl::StatusOr<TempFile> file = co_await TempFile::Create("/tmp");
  EXPECT_TRUE(absl::IsUnimplemented(file.status())) << file.status();
  const absl::StatusOr<TempDirectory> directory = co_await TempDirectory::Create("/tmp");
  EXPECT_TRUE(absl::IsUnimplemented(directory.status())) << directory.status();
  EXPECT_EQ(kevent::StatusErrno(directory.status()), ENOSYS);
}

TEST(TempFileSimulated, ThereAreNone) { RunOk(RefusedWhenSimulated(), CalmMachine()); }

}  // namespace
}  // namespace evring
