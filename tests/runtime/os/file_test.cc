// file_test.cc: files on the real file system: each call, each error that its docstring names, stops, and replacing.
// What a simulated kernel serves of it: tests/sim/files_test.cc and crash_test.cc.

#include "runtime/os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "runtime/cancellation.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/testing.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/os/other_kernels.h"
#include "tests/runtime/os/scratch_directory.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using testing::CountIn;
using testing::RunOk;

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

class FileTest : public ::testing::Test {
 protected:
  FileTest() {
    std::string pattern = ::testing::TempDir() + "/file_test.XXXXXX";
    EVRING_CHECK(mkdtemp(pattern.data()) != nullptr, "the test needs a directory");
    directory_ = pattern;
  }
  ~FileTest() override { EXPECT_EQ(std::system(("rm -rf '" + directory_ + "'").c_str()), 0); }

  std::string Path(const std::string& name) const { return directory_ + "/" + name; }
  void Run(Task<> task) {
    const int before = CountIn("fd");
    RunOk(std::move(task), testing::WithWorkers(2));
    EXPECT_EQ(CountIn("fd"), before);
  }

  std::string directory_;
};

Task<absl::StatusOr<std::string>> Content(std::string path) {
  absl::StatusOr<File> file = co_await File::Open(path, O_RDONLY);
  if (!file.ok()) co_return file.status();
  std::string text;
  std::array<std::byte, 1000> buffer;
  for (;;) {
    const absl::StatusOr<size_t> n = co_await file->ReadAt(buffer, text.size());
    if (!n.ok()) co_return n.status();
    if (*n == 0) co_return text;
    text.append(reinterpret_cast<const char*>(buffer.data()), *n);
  }
}

Task<> WriteAndRead(std::string path) {
  const std::string text(100'000, 'x');
  {
    absl::StatusOr<File> file = co_await File::Open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    CO_ASSERT_OK(file.status());
    EXPECT_EQ(fcntl(file->fd(), F_GETFD), FD_CLOEXEC);
    CO_ASSERT_OK(co_await file->WriteAt(Bytes(text), 0));
    CO_ASSERT_OK(co_await file->WriteAt(Bytes("yz"), 99'999));
    CO_ASSERT_OK(co_await file->WriteAt({}, 5));
    CO_ASSERT_OK(co_await file->SyncToDisk());
    CO_ASSERT_OK(co_await file->SyncToDisk(File::Sync::kData));
  }
  const absl::StatusOr<std::string> content = co_await Content(path);
  CO_ASSERT_OK(content.status());
  EXPECT_EQ(*content, text.substr(1) + "yz");
  struct stat info;
  EXPECT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(FileTest, HoldsWhatIsWritten) { Run(WriteAndRead(Path("a"))); }

Task<> Errors(std::string path) {
  absl::StatusOr<File> file = co_await File::Open(path, O_RDONLY);
  EXPECT_TRUE(absl::IsNotFound(file.status())) << file.status();
  file = co_await File::Open(std::string("/tmp\0x", 6), O_RDONLY);
  EXPECT_TRUE(absl::IsInvalidArgument(file.status())) << file.status();
  file = co_await File::Open(path, O_WRONLY | O_CREAT);
  CO_ASSERT_OK(file.status());
  const absl::StatusOr<File> again = co_await File::Open(path, O_WRONLY | O_CREAT | O_EXCL);
  EXPECT_TRUE(absl::IsAlreadyExists(again.status())) << again.status();
  std::array<std::byte, 1> byte;
  const absl::StatusOr<size_t> n = co_await file->ReadAt(byte, 0);
  EXPECT_EQ(kevent::StatusErrno(n.status()), EBADF) << "not open for reading";
  absl::Status status = co_await Rename(path + ".none", path);
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  status = co_await Rename(path, std::string("a\0b", 3));
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  status = co_await Unlink(path + ".none");
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  const absl::StatusOr<File> full = co_await File::Open("/dev/full", O_WRONLY);
  CO_ASSERT_OK(full.status());
  status = co_await full->WriteAt(Bytes("x"), 0);
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
}

TEST_F(FileTest, ErrorsAreTheSystems) { Run(Errors(Path("a"))); }

Task<> Names(std::string a, std::string b) {
  {
    const absl::StatusOr<File> file = co_await File::Open(a, O_WRONLY | O_CREAT);
    CO_ASSERT_OK(file.status());
  }
  CO_ASSERT_OK(co_await Rename(a, b));
  EXPECT_NE(access(a.c_str(), F_OK), 0);
  CO_ASSERT_OK(co_await Unlink(b));
  EXPECT_NE(access(b.c_str(), F_OK), 0);
}

TEST_F(FileTest, NamesAreMovedAndRemoved) { Run(Names(Path("a"), Path("b"))); }

Task<> Replace(std::string path) {
  const std::vector<std::string> texts = {"first", std::string(300'000, 's'), ""};
  for (const std::string& text : texts) {
    CO_ASSERT_OK(co_await ReplaceFile(path, Bytes(text), 0640));
    const absl::StatusOr<std::string> content = co_await Content(path);
    CO_ASSERT_OK(content.status());
    EXPECT_EQ(*content, text);
    EXPECT_NE(access((path + ".new").c_str(), F_OK), 0);
  }
}

TEST_F(FileTest, AFileIsReplacedWhole) { Run(Replace(Path("a"))); }

Task<> ReplaceInVain(std::string directory) {
  absl::Status status = co_await ReplaceFile(directory + "/none/a", Bytes("x"));
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  // A directory cannot be replaced by a file; the new file does not stay.
  const std::string occupied = directory + "/d";
  EXPECT_EQ(mkdir(occupied.c_str(), 0755), 0);
  status = co_await ReplaceFile(occupied, Bytes("x"));
  EXPECT_EQ(kevent::StatusErrno(status), EISDIR) << status;
  EXPECT_NE(access((occupied + ".new").c_str(), F_OK), 0);
}

TEST_F(FileTest, AnErrorOfAReplacementLeavesNothingBehind) { Run(ReplaceInVain(directory_)); }

Task<> ReplaceOverLeftovers(std::string directory) {
  const std::string path = directory + "/a";
  const std::string victim = directory + "/victim";
  CO_ASSERT_OK(co_await ReplaceFile(victim, Bytes("untouched")));
  absl::Status status = co_await ReplaceFile(victim + std::string("\0x", 2), Bytes("x"));
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  // A link that was left there is not followed, and its mode is not taken over.
  EXPECT_EQ(symlink(victim.c_str(), (path + ".new").c_str()), 0);
  CO_ASSERT_OK(co_await ReplaceFile(path, Bytes("secret"), 0600));
  struct stat info;
  EXPECT_EQ(lstat(path.c_str(), &info), 0);
  EXPECT_TRUE(S_ISREG(info.st_mode));
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  const absl::StatusOr<std::string> content = co_await Content(victim);
  CO_ASSERT_OK(content.status());
  EXPECT_EQ(*content, "untouched");
}

TEST_F(FileTest, AReplacementTouchesNoOtherFile) { Run(ReplaceOverLeftovers(directory_)); }

Task<absl::Status> ReplaceStopped(std::string path) { co_return co_await ReplaceFile(path, Bytes("new")); }

Task<> StopBefore(std::string path) {
  CO_ASSERT_OK(co_await ReplaceFile(path, Bytes("old")));
  CancelSource source;
  source.RequestStop();
  const absl::Status status = co_await WithCancellation(source.token(), ReplaceStopped(path));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  const absl::StatusOr<std::string> content = co_await Content(path);
  CO_ASSERT_OK(content.status());
  EXPECT_EQ(*content, "old");
  EXPECT_NE(access((path + ".new").c_str(), F_OK), 0);
}

TEST_F(FileTest, AStopLeavesTheOldContent) { Run(StopBefore(Path("a"))); }

Task<absl::Status> ReplaceAndLook(std::string path) {
  const absl::Status status = co_await ReplaceFile(path, Bytes("new"));
  EXPECT_NE(access((path + ".new").c_str(), F_OK), 0) << status;
  co_return status;
}

Task<> StopAReplacementAnywhere(std::string path) {
  const std::function<Task<absl::Status>()> scenario = [path] { return ReplaceAndLook(path); };
  CO_ASSERT_OK_AND_ASSIGN(const int suspensions, co_await testing::CancelAtEverySuspension(scenario));
  EXPECT_GE(suspensions, 7);
}

TEST_F(FileTest, AStopAnywhereLeavesNoNewFileBehind) { Run(StopAReplacementAnywhere(Path("a"))); }

// --- What is done with a file as a whole

class WholeFileTest : public testing::EveryMachineWithDirectory {};
INSTANTIATE_TEST_SUITE_P(Workers, WholeFileTest, testing::RealMachines({1, 2, 4}), testing::MachineName);

Task<absl::StatusOr<std::string>> OneMoreNote() {
  absl::StatusOr<File> file = co_await File::Open("notes", O_RDWR | O_CREAT);
  if (!file.ok()) co_return file.status();
  const std::string_view text = "one more note\n";
  absl::Status status = co_await file->Append(std::as_bytes(std::span(text)));
  if (status.ok()) status = co_await file->SyncToDisk(File::Sync::kData);
  if (!status.ok()) co_return status;
  const absl::StatusOr<std::string> notes = co_await ReadFile("notes", /*limit=*/1 << 20);
  co_return notes;
}

Task<> TwoNotes(std::string directory) {
  const int before = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  EXPECT_EQ(chdir(directory.c_str()), 0);
  const absl::StatusOr<std::string> one = co_await OneMoreNote();
  const absl::StatusOr<std::string> two = co_await OneMoreNote();
  EXPECT_EQ(fchdir(before), 0);
  close(before);
  CO_ASSERT_OK(two);
  EXPECT_EQ(*one, "one more note\n");
  EXPECT_EQ(*two, *one + *one);
}

TEST_P(WholeFileTest, NotesAreAppended) { Run(TwoNotes(directory())); }

Task<absl::Status> AppendOften(std::string path, char letter) {
  const absl::StatusOr<File> file = co_await File::Open(path, O_WRONLY);
  if (!file.ok()) co_return file.status();
  const std::string line = std::string(99, letter) + "\n";
  for (int i = 0; i < 50; ++i) {
    const absl::Status status = co_await file->Append(Bytes(line));
    if (!status.ok()) co_return status;
  }
  co_return absl::OkStatus();
}

Task<> AppendTogether(std::string path) {
  CO_ASSERT_OK(co_await ReplaceFile(path, {}));
  std::vector<JoinHandle<absl::Status>> all;
  for (const char letter : {'a', 'b', 'c', 'd'}) {
    JoinHandle<absl::Status> one = co_await Spawn(AppendOften(path, letter));
    all.push_back(std::move(one));
  }
  for (JoinHandle<absl::Status>& one : all) CO_ASSERT_OK(co_await std::move(one));
  CO_ASSERT_OK_AND_ASSIGN(const std::string content, co_await ReadFile(path, 20'000));
  CO_ASSERT_EQ(content.size(), 20'000u);
  for (size_t i = 0; i < content.size(); i += 100) {
    EXPECT_EQ(content.substr(i, 100), std::string(99, content[i]) + "\n");
  }
}

TEST_P(WholeFileTest, WhatSeveralAppendIsNeitherMixedNorLost) { Run(AppendTogether(Path("a"))); }

Task<> Sizes(std::string path) {
  CO_ASSERT_OK_AND_ASSIGN(const File file, co_await File::Open(path, O_RDWR | O_CREAT));
  CO_ASSERT_OK(co_await file.WriteAt(Bytes("123456789"), 0));
  CO_ASSERT_OK(co_await file.Truncate(5));
  CO_ASSERT_OK(co_await file.Truncate(7));
  CO_ASSERT_OK_AND_ASSIGN(const std::string content, co_await ReadFile(path, 100));
  EXPECT_EQ(content, std::string("12345\0\0", 7));
  CO_ASSERT_OK(co_await file.Allocate(0, 100'000));
  CO_ASSERT_OK_AND_ASSIGN(const FileInfo info, co_await file.Info());
  EXPECT_EQ(info.size, 100'000u);
  EXPECT_GE(info.allocated, 100'000u);
  CO_ASSERT_OK_AND_ASSIGN(const File read_only, co_await File::Open(path, O_RDONLY));
  absl::Status status = co_await read_only.Truncate(5);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_NE(std::string(status.message()).find("ftruncate fd="), std::string::npos) << status;
  status = co_await read_only.Allocate(0, 5);
  EXPECT_EQ(kevent::StatusErrno(status), EBADF) << status;
  status = co_await read_only.Append(Bytes("x"));
  EXPECT_EQ(kevent::StatusErrno(status), EBADF) << status;
  const absl::StatusOr<FileInfo> none = co_await File().Info();
  EXPECT_EQ(kevent::StatusErrno(none.status()), EBADF) << none.status();
}

TEST_P(WholeFileTest, SizesAreChanged) { Run(Sizes(Path("a"))); }

TEST_P(WholeFileTest, SizesAreChangedByAThreadWhereLinuxHasNoRequestForIt) {
  constexpr unsigned kFtruncate = 55;
  testing::LesserKernel kernel({kFtruncate});
  RuntimeOptions options;
  options.kernel = &kernel;
  Run(Sizes(Path("a")), options);
}

Task<> Limits(std::string directory) {
  for (const size_t size : {0, 1, 16'383, 16'384, 16'385, 3'000'000}) {
    const std::string path = directory + "/a";
    const std::string text(size, 't');
    CO_ASSERT_OK(co_await ReplaceFile(path, Bytes(text)));
    CO_ASSERT_OK_AND_ASSIGN(const std::string exact, co_await ReadFile(path, size));
    EXPECT_TRUE(exact == text) << size;
    CO_ASSERT_OK_AND_ASSIGN(const std::string roomy, co_await ReadFile(path, SIZE_MAX));
    EXPECT_TRUE(roomy == text) << size;
    if (size == 0) continue;
    const absl::StatusOr<std::string> more = co_await ReadFile(path, size - 1);
    EXPECT_TRUE(absl::IsResourceExhausted(more.status())) << more.status();
  }
  CO_ASSERT_OK_AND_ASSIGN(const std::string status_file, co_await ReadFile("/proc/self/status", 1 << 20));
  EXPECT_NE(status_file.find("Threads:"), std::string::npos) << "a file that says it is empty";
  absl::StatusOr<std::string> none = co_await ReadFile(directory + "/none", 5);
  EXPECT_TRUE(absl::IsNotFound(none.status())) << none.status();
  none = co_await ReadFile(directory, 5);
  EXPECT_EQ(kevent::StatusErrno(none.status()), EISDIR) << none.status();
  EXPECT_NE(std::string(none.status().message()).find("read " + directory), std::string::npos) << none.status();
}

TEST_P(WholeFileTest, AFileIsReadWholeWithinItsLimit) { Run(Limits(directory())); }

Task<absl::Status> EachOnce(std::string path) {
  const absl::StatusOr<File> file = co_await File::Open(path, O_RDWR | O_CREAT);
  if (!file.ok()) co_return file.status();
  absl::Status status = co_await file->Append(Bytes("abc"));
  if (status.ok()) status = co_await file->Truncate(2);
  if (status.ok()) status = co_await file->Allocate(0, 10);
  if (!status.ok()) co_return status;
  const absl::StatusOr<FileInfo> info = co_await file->Info();
  if (!info.ok()) co_return info.status();
  const absl::StatusOr<std::string> content = co_await ReadFile(path, 1'000);
  co_return content.status();
}

Task<> StopEverywhere(std::string path) {
  const absl::Status status = co_await testing::StartCancelled(EachOnce(path));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  const std::function<Task<absl::Status>()> scenario = [path] { return EachOnce(path); };
  CO_ASSERT_OK_AND_ASSIGN(const int suspensions, co_await testing::CancelAtEverySuspension(scenario));
  EXPECT_GE(suspensions, 7);
}

TEST_P(WholeFileTest, AStopAnywhereEndsThem) { Run(StopEverywhere(Path("a"))); }

Task<> AppendSimulated() {
  CO_ASSERT_OK_AND_ASSIGN(const File file, co_await File::Open("/a", O_RDWR | O_CREAT));
  CO_ASSERT_OK(co_await file.WriteAt(Bytes("12345"), 0));
  const absl::Status status = co_await file.Append(Bytes("67"));
  EXPECT_EQ(kevent::StatusErrno(status), ENOSYS) << status;
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
  CO_ASSERT_OK_AND_ASSIGN(const File appends, co_await File::Open("/a", O_WRONLY | O_APPEND));
  CO_ASSERT_OK(co_await appends.Append(Bytes("89")));
  CO_ASSERT_OK_AND_ASSIGN(const std::string content, co_await ReadFile("/a", 100));
  EXPECT_EQ(content, "1234589");
}

TEST(WholeFileSimulated, IsAppendedToByItsFlagOnly) { testing::RunOk(AppendSimulated(), testing::CalmMachine()); }

}  // namespace
}  // namespace evring
