// names_test.cc: names on the real file system: each call, what it says of files, each error that the docstrings name,
// stops, and kernels that lack an operation.

#include "runtime/os/names.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "kevent/owned_descriptor.h"
#include "runtime/os/file.h"
#include "runtime/os/internal/request.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/task_dump.h"
#include "runtime/testing.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/os/other_kernels.h"
#include "tests/runtime/os/scratch_directory.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

class NamesTest : public EveryMachineWithDirectory {};
INSTANTIATE_TEST_SUITE_P(Workers, NamesTest, RealMachines({1, 2, 4}), MachineName);

Task<absl::StatusOr<FileInfo>> LinkABackup() {
  absl::Status status = co_await MakeDirectory("backup");
  if (!status.ok() && !absl::IsAlreadyExists(status)) co_return status;
  status = co_await Link("notes", "backup/notes");
  if (!status.ok()) co_return status;
  const absl::StatusOr<FileInfo> info = co_await Info("backup/notes");
  co_return info;
}

Task<> LinksABackup() {
  CO_ASSERT_OK_AND_ASSIGN(const FileInfo info, co_await LinkABackup());
  EXPECT_EQ(info.type, FileType::kRegular);
  EXPECT_EQ(info.size, 5u);
  EXPECT_EQ(info.links, 2u);
}

// The working directory, for as long as it lives.
class WorkingDirectory {
 public:
  explicit WorkingDirectory(const std::string& path) : before_(open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    EXPECT_EQ(chdir(path.c_str()), 0);
  }
  ~WorkingDirectory() {
    EXPECT_EQ(fchdir(before_), 0);
    close(before_);
  }

 private:
  const int before_;
};

TEST_P(NamesTest, AFileIsLinkedToASecondName) {
  Make("notes", "12345");
  const WorkingDirectory here(directory());
  Run(LinksABackup());
  EXPECT_TRUE(Exists("backup/notes"));
}

Task<> SaysWhatIsThere(std::string path, const struct stat* expected) {
  const absl::Time now = absl::Now();
  CO_ASSERT_OK_AND_ASSIGN(const FileInfo info, co_await Info(path));
  EXPECT_EQ(info.inode, expected->st_ino);
  EXPECT_EQ(info.device, expected->st_dev);
  EXPECT_EQ(info.permissions, expected->st_mode & 07777);
  EXPECT_EQ(info.user, expected->st_uid);
  EXPECT_EQ(info.group, expected->st_gid);
  EXPECT_EQ(info.size, static_cast<uint64_t>(expected->st_size));
  EXPECT_EQ(info.allocated, static_cast<uint64_t>(expected->st_blocks) * 512);
  EXPECT_EQ(info.links, expected->st_nlink);
  EXPECT_EQ(info.modified, absl::TimeFromTimespec(expected->st_mtim));
  EXPECT_EQ(info.changed, absl::TimeFromTimespec(expected->st_ctim));
  EXPECT_LE(info.accessed, now + absl::Minutes(1));
  CO_ASSERT_OK_AND_ASSIGN(const File file, co_await File::Open(path, O_RDONLY));
  CO_ASSERT_OK_AND_ASSIGN(const FileInfo open, co_await file.Info());
  EXPECT_EQ(open.inode, info.inode);
  EXPECT_EQ(open.size, info.size);
  EXPECT_EQ(open.type, FileType::kRegular);
}

TEST_P(NamesTest, InfoIsWhatTheSystemSays) {
  Make("a", std::string(12'345, 'a'));
  ASSERT_EQ(chmod(Path("a").c_str(), 04751), 0);
  struct stat expected;
  ASSERT_EQ(stat(Path("a").c_str(), &expected), 0);
  Run(SaysWhatIsThere(Path("a"), &expected));
}

Task<> Types(std::string directory) {
  const struct {
    std::string path;
    FileType type;
  } cases[] = {{directory, FileType::kDirectory},
               {directory + "/file", FileType::kRegular},
               {directory + "/fifo", FileType::kPipe},
               {directory + "/link", FileType::kRegular},
               {"/dev/null", FileType::kCharacterDevice}};
  for (const auto& [path, type] : cases) {
    CO_ASSERT_OK_AND_ASSIGN(const FileInfo info, co_await Info(path));
    EXPECT_STREQ(FileTypeName(info.type), FileTypeName(type)) << path;
  }
  CO_ASSERT_OK_AND_ASSIGN(const FileInfo link, co_await Info(directory + "/link", Links::kTake));
  EXPECT_EQ(link.type, FileType::kSymbolicLink);
  EXPECT_EQ(FileTypeOfMode(S_IFSOCK), FileType::kSocket);
  EXPECT_EQ(FileTypeOfMode(S_IFBLK), FileType::kBlockDevice);
  EXPECT_EQ(FileTypeOfMode(0), FileType::kUnknown);
}

TEST_P(NamesTest, TypesAreTold) {
  Make("file");
  ASSERT_EQ(mkfifo(Path("fifo").c_str(), 0600), 0);
  ASSERT_EQ(symlink("file", Path("link").c_str()), 0);
  Run(Types(directory()));
}

Task<> SymbolicLinks(std::string directory) {
  // Longer than a first guess, and than most.
  for (const size_t size : {1, 255, 256, 257, 1'000, 4'000}) {
    const std::string target(size, 't');
    CO_ASSERT_OK(co_await SymbolicLink(target, directory + "/link"));
    CO_ASSERT_OK_AND_ASSIGN(const std::string read, co_await ReadLink(directory + "/link"));
    EXPECT_EQ(read, target);
    CO_ASSERT_OK(co_await Unlink(directory + "/link"));
  }
  CO_ASSERT_OK(co_await SymbolicLink("target", directory + "/link"));
  CO_ASSERT_OK(co_await Link(directory + "/link", directory + "/other"));
  CO_ASSERT_OK_AND_ASSIGN(const std::string other, co_await ReadLink(directory + "/other"));
  EXPECT_EQ(other, "target") << "the link itself was linked";
}

TEST_P(NamesTest, SymbolicLinksLeadWhereTheyWereMadeTo) { Run(SymbolicLinks(directory())); }

Task<> Directories(std::string directory) {
  const std::string path = directory + "/d";
  CO_ASSERT_OK(co_await MakeDirectory(path, 0710));
  CO_ASSERT_OK_AND_ASSIGN(const FileInfo info, co_await Info(path));
  EXPECT_EQ(info.permissions, 0710u);
  absl::Status status = co_await MakeDirectory(path);
  EXPECT_TRUE(absl::IsAlreadyExists(status)) << status;
  CO_ASSERT_OK(co_await ReplaceFile(path + "/file", {}));
  status = co_await RemoveDirectory(path);
  EXPECT_EQ(kevent::StatusErrno(status), ENOTEMPTY) << status;
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  CO_ASSERT_OK(co_await Unlink(path + "/file"));
  CO_ASSERT_OK(co_await RemoveDirectory(path));
  status = co_await RemoveDirectory(path);
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
}

TEST_P(NamesTest, DirectoriesAreMadeAndRemoved) { Run(Directories(directory())); }

Task<> Errors(std::string directory) {
  const std::string none = directory + "/none";
  const std::string file = directory + "/file";
  const std::string nul("a\0b", 3);
  const absl::StatusOr<FileInfo> info = co_await Info(none);
  EXPECT_TRUE(absl::IsNotFound(info.status())) << info.status();
  EXPECT_NE(std::string(info.status().message()).find("statx " + none), std::string::npos) << info.status();
  const absl::StatusOr<std::string> target = co_await ReadLink(file);
  EXPECT_EQ(kevent::StatusErrno(target.status()), EINVAL) << target.status();
  absl::Status status = co_await Link(none, directory + "/to");
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  status = co_await Link(file, file);
  EXPECT_TRUE(absl::IsAlreadyExists(status)) << status;
  status = co_await SymbolicLink("x", file);
  EXPECT_TRUE(absl::IsAlreadyExists(status)) << status;
  status = co_await SymbolicLink("", none);
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  status = co_await MakeDirectory(file + "/below");
  EXPECT_EQ(kevent::StatusErrno(status), ENOTDIR) << status;
  status = co_await MakeDirectory("/proc/none");
  EXPECT_TRUE(absl::IsNotFound(status) || absl::IsPermissionDenied(status)) << status;
  status = co_await RemoveDirectory(file);
  EXPECT_EQ(kevent::StatusErrno(status), ENOTDIR) << status;
  const absl::StatusOr<FileInfo> info_nul = co_await Info(nul);
  EXPECT_TRUE(absl::IsInvalidArgument(info_nul.status())) << info_nul.status();
  const absl::StatusOr<std::string> target_nul = co_await ReadLink(nul);
  EXPECT_TRUE(absl::IsInvalidArgument(target_nul.status())) << target_nul.status();
  status = co_await Link(nul, none);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  status = co_await Link(file, nul);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  status = co_await SymbolicLink(nul, none);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  status = co_await SymbolicLink(file, nul);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  status = co_await MakeDirectory(nul);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  status = co_await RemoveDirectory(nul);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
}

TEST_P(NamesTest, ErrorsAreTheSystems) {
  Make("file");
  Run(Errors(directory()));
}

Task<absl::Status> Everything(std::string directory) {
  absl::Status status = co_await MakeDirectory(directory + "/d");
  if (!status.ok() && !absl::IsAlreadyExists(status)) co_return status;
  status = co_await SymbolicLink("x", directory + "/d/link");
  if (!status.ok() && !absl::IsAlreadyExists(status)) co_return status;
  const absl::StatusOr<std::string> target = co_await ReadLink(directory + "/d/link");
  if (!target.ok()) co_return target.status();
  status = co_await Link(directory + "/d/link", directory + "/d/other");
  if (!status.ok() && !absl::IsAlreadyExists(status)) co_return status;
  const absl::StatusOr<FileInfo> info = co_await Info(directory + "/d");
  if (!info.ok()) co_return info.status();
  for (const char* name : {"/d/link", "/d/other"}) {
    status = co_await Unlink(directory + name);
    if (!status.ok()) co_return status;
  }
  co_return co_await RemoveDirectory(directory + "/d");
}

Task<> StopEverywhere(std::string directory) {
  const absl::Status status = co_await StartCancelled(Everything(directory));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  const std::function<Task<absl::Status>()> scenario = [directory] { return Everything(directory); };
  CO_ASSERT_OK_AND_ASSIGN(const int suspensions, co_await CancelAtEverySuspension(scenario));
  EXPECT_GE(suspensions, 8);
}

TEST_P(NamesTest, AStopAnywhereEndsThem) { Run(StopEverywhere(directory())); }

Task<> Lacking(std::string directory) {
  const absl::StatusOr<FileInfo> info = co_await Info(directory);
  EXPECT_TRUE(absl::IsUnimplemented(info.status())) << info.status();
  EXPECT_EQ(kevent::StatusErrno(info.status()), ENOSYS);
  absl::Status status = co_await Link(directory + "/a", directory + "/b");
  EXPECT_EQ(kevent::StatusErrno(status), ENOSYS) << status;
  status = co_await SymbolicLink("a", directory + "/b");
  EXPECT_EQ(kevent::StatusErrno(status), ENOSYS) << status;
  status = co_await MakeDirectory(directory + "/b");
  EXPECT_EQ(kevent::StatusErrno(status), ENOSYS) << status;
  status = co_await RemoveDirectory(directory + "/d");
  EXPECT_EQ(kevent::StatusErrno(status), ENOSYS) << status;
}

TEST_P(NamesTest, WhatAKernelDoesNotServeIsRefusedAndDoesNothing) {
  Make("a");
  MakeDirectory("d");
  LesserKernel kernel({IORING_OP_STATX, IORING_OP_LINKAT, IORING_OP_SYMLINKAT, IORING_OP_MKDIRAT});
  RuntimeOptions options;
  options.kernel = &kernel;
  Run(Lacking(directory()), options);
  EXPECT_FALSE(Exists("b"));
  EXPECT_TRUE(Exists("d"));
}

// A poll that does not end instead of what is asked of files and names.
class NeverAnswers {
 public:
  void operator()(io_uring_sqe* sqe) const {
    switch (sqe->opcode) {
      case IORING_OP_STATX:
      case IORING_OP_LINKAT:
      case IORING_OP_SYMLINKAT:
      case IORING_OP_MKDIRAT:
      case IORING_OP_UNLINKAT:
      case IORING_OP_RENAMEAT:
      case IORING_OP_FSYNC:
      case IORING_OP_FALLOCATE:
      case internal::kOpFtruncate: {
        const uint64_t user_data = sqe->user_data;
        io_uring_prep_poll_add(sqe, never_.get(), POLLIN);
        sqe->user_data = user_data;
      }
    }
  }

 private:
  const kevent::OwnedDescriptor never_{eventfd(0, EFD_CLOEXEC)};
};

Task<absl::Status> OnlyStatus(Task<absl::StatusOr<FileInfo>> info) {
  const absl::StatusOr<FileInfo> result = co_await std::move(info);
  co_return result.status();
}

Task<> WaitForEach(std::string path) {
  CO_ASSERT_OK_AND_ASSIGN(const File file, co_await File::Open(path, O_RDWR | O_CREAT));
  struct Asked {
    Asked(Task<absl::Status> task, const char* name, bool of_file)
        : task(std::move(task)), name(name), of_file(of_file) {}
    Task<absl::Status> task;
    const char* name;
    bool of_file;
  };
  std::vector<Asked> all;
  all.emplace_back(OnlyStatus(Info(path)), "statx", false);
  all.emplace_back(OnlyStatus(file.Info()), "statx", true);
  // Elsewhere a thread does it.
  if (internal::Serves(internal::kOpFtruncate)) all.emplace_back(file.Truncate(1), "truncate", true);
  all.emplace_back(file.Allocate(0, 1), "allocate", true);
  all.emplace_back(file.SyncToDisk(), "sync", true);
  all.emplace_back(Rename(path, path), "rename", false);
  all.emplace_back(Unlink(path), "unlink", false);
  all.emplace_back(Link(path, path), "link", false);
  all.emplace_back(SymbolicLink(path, path), "symlink", false);
  all.emplace_back(MakeDirectory(path), "mkdir", false);
  all.emplace_back(RemoveDirectory(path), "rmdir", false);
  for (Asked& asked : all) {
    JoinHandle<absl::Status> waits = co_await Spawn(std::move(asked.task));
    const std::string expected =
        absl::StrCat("waits: ", asked.name, asked.of_file ? absl::StrCat(" ", file.fd()) : "", ", in ");
    const bool found = co_await EventuallyInTask([&] { return DumpTasks().find(expected) != std::string::npos; });
    EXPECT_TRUE(found) << expected << "\n" << DumpTasks();
    waits.RequestStop();
    const absl::Status status = co_await std::move(waits);
    EXPECT_TRUE(absl::IsCancelled(status)) << status;
  }
}

TEST_P(NamesTest, ATaskThatWaitsIsShownByWhatItAsked) {
  NeverAnswers never;
  AlteringKernel kernel(std::ref(never));
  RuntimeOptions options;
  options.kernel = &kernel;
  Run(WaitForEach(Path("a")), options);
}

Task<> NoThreadWhenSimulated() {
  // A link of the machine, which a simulated one does not see.
  const absl::StatusOr<std::string> target = co_await ReadLink("/proc/self/exe");
  EXPECT_TRUE(absl::IsUnimplemented(target.status())) << target.status();
  EXPECT_EQ(kevent::StatusErrno(target.status()), ENOSYS);
}

TEST(NamesSimulated, ThreadsAreNotAskedAboutTheMachinesFiles) { RunOk(NoThreadWhenSimulated(), CalmMachine()); }

}  // namespace
}  // namespace evring
