// file_test.cc: files on the real file system: each call, each error that its docstring names, stops, and replacing.

#include "runtime/os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "runtime/cancellation.h"
#include "runtime/task.h"
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

}  // namespace
}  // namespace evring
