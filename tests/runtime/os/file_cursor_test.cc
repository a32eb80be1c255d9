// file_cursor_test.cc: reading and writing on from where a cursor is, several in one file, on this machine's kernel and
// on simulated ones, which cut reads and writes short; and what an error or a stop does to the place.

#include "runtime/os/file_cursor.h"

#include <errno.h>
#include <fcntl.h>

#include <array>
#include <cstddef>
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
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/testing.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }
std::string Text(std::span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

class FileCursorTest : public EveryMachine {
 protected:
  FileCursorTest() {
    directory_ = ::testing::TempDir() + "/file_cursor_test.XXXXXX";
    EVRING_CHECK(mkdtemp(directory_.data()) != nullptr, "the test needs a directory");
  }
  ~FileCursorTest() override { EXPECT_EQ(std::system(("rm -rf '" + directory_ + "'").c_str()), 0); }

  std::string Path(const std::string& name) const { return directory_ + "/" + name; }

 private:
  std::string directory_;
};
INSTANTIATE_TEST_SUITE_P(Machines, FileCursorTest, MachinesWithoutErrors({1, 2, 4}), MachineName);

Task<absl::StatusOr<std::string>> SecondWord(std::string path) {
  absl::StatusOr<File> file = co_await File::Open(path, O_RDWR | O_CREAT);
  if (!file.ok()) co_return file.status();
  FileCursor writer(&*file);
  for (const std::string_view part : {"one ", "two ", "three"}) {
    const absl::Status status = co_await writer.Write(std::as_bytes(std::span(part)));
    if (!status.ok()) co_return status;
  }
  FileCursor reader(&*file, /*offset=*/4);
  std::array<std::byte, 3> word;
  const absl::StatusOr<size_t> n = co_await reader.Read(word);
  if (!n.ok()) co_return n.status();
  EXPECT_EQ(writer.offset(), 13u);
  EXPECT_EQ(reader.offset(), 4 + *n);
  co_return Text(std::span(word).first(*n));
}

Task<> SecondWordIsThere(std::string path) {
  const absl::StatusOr<std::string> word = co_await SecondWord(path);
  CO_ASSERT_OK(word);
  EXPECT_EQ(*word, std::string("two").substr(0, word->size()));
  EXPECT_FALSE(word->empty());
}

TEST_P(FileCursorTest, GoesOnFromWhereItIs) { RunOk(SecondWordIsThere(Path("a"))); }

Task<std::string> Rest(FileCursor* cursor, size_t piece) {
  std::string text;
  std::vector<std::byte> buffer(piece);
  for (;;) {
    const absl::StatusOr<size_t> n = co_await cursor->Read(buffer);
    EXPECT_TRUE(n.ok()) << n.status();
    if (n.value_or(0) == 0) co_return text;
    text += Text(std::span(buffer).first(*n));
  }
}

Task<> SeveralCursors(std::string path) {
  CO_ASSERT_OK_AND_ASSIGN(File file, co_await File::Open(path, O_RDWR | O_CREAT));
  std::string content;
  FileCursor writer(&file);
  for (size_t i = 0; i < 40; ++i) {
    const std::string part(i * 211, static_cast<char>('a' + i % 26));
    CO_ASSERT_OK(co_await writer.Write(Bytes(part)));
    content += part;
    CO_ASSERT_EQ(writer.offset(), content.size());
  }
  FileCursor first(&file), middle(&file, 70'000), beyond(&file, content.size() + 5);
  JoinHandle<std::string> from_first = co_await Spawn(Rest(&first, 1'000));
  JoinHandle<std::string> from_middle = co_await Spawn(Rest(&middle, 333));
  JoinHandle<std::string> from_beyond = co_await Spawn(Rest(&beyond, 10));
  EXPECT_TRUE(co_await std::move(from_first) == content);
  EXPECT_TRUE(co_await std::move(from_middle) == content.substr(70'000));
  EXPECT_EQ(co_await std::move(from_beyond), "");
  EXPECT_EQ(first.offset(), content.size());
  first.Seek(content.size() - 2);
  EXPECT_EQ(co_await Rest(&first, 10), content.substr(content.size() - 2));
}

TEST_P(FileCursorTest, SeveralInOneFileDoNotMoveEachOther) { RunOk(SeveralCursors(Path("a"))); }

Task<absl::Status> WriteOnce(FileCursor* cursor) { co_return co_await cursor->Write(Bytes("xyz")); }
Task<absl::Status> ReadOnce(FileCursor* cursor) {
  std::array<std::byte, 3> bytes;
  const absl::StatusOr<size_t> n = co_await cursor->Read(bytes);
  co_return n.status();
}

Task<> ErrorsAndStops(std::string path) {
  CO_ASSERT_OK_AND_ASSIGN(File file, co_await File::Open(path, O_WRONLY | O_CREAT));
  FileCursor cursor(&file, 7);
  const absl::Status refused = co_await ReadOnce(&cursor);
  EXPECT_EQ(kevent::StatusErrno(refused), EBADF) << refused;
  absl::Status status = co_await StartCancelled(WriteOnce(&cursor));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  status = co_await StartCancelled(ReadOnce(&cursor));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_EQ(cursor.offset(), 7u);
  CO_ASSERT_OK(co_await WriteOnce(&cursor));
  EXPECT_EQ(cursor.offset(), 10u);
}

TEST_P(FileCursorTest, AnErrorOrAStopDoesNotMoveIt) { RunOk(ErrorsAndStops(Path("a"))); }

Task<absl::Status> WriteAndReadBack(std::string path) {
  absl::StatusOr<File> file = co_await File::Open(path, O_RDWR | O_CREAT);
  if (!file.ok()) co_return file.status();
  FileCursor cursor(&*file);
  for (int i = 0; i < 3; ++i) {
    const absl::Status status = co_await WriteOnce(&cursor);
    EXPECT_EQ(cursor.offset(), status.ok() ? 3u * static_cast<unsigned>(i + 1) : 3u * static_cast<unsigned>(i));
    if (!status.ok()) co_return status;
  }
  cursor.Seek(0);
  co_return co_await ReadOnce(&cursor);
}

Task<> StopEverywhere(std::string path) {
  const std::function<Task<absl::Status>()> scenario = [path] { return WriteAndReadBack(path); };
  CO_ASSERT_OK(co_await CancelAtEverySuspension(scenario));
}

TEST_P(FileCursorTest, AStopAnywhereLeavesThePlaceKnown) {
  const int before = CountIn("fd");
  RunOk(StopEverywhere(Path("a")));
  EXPECT_EQ(CountIn("fd"), before);
}

Task<> TwoAtOnce(std::string path) {
  CO_ASSERT_OK_AND_ASSIGN(File file, co_await File::Open(path, O_RDWR | O_CREAT));
  FileCursor cursor(&file);
  JoinHandle<absl::Status> other = co_await Spawn(WriteOnce(&cursor));
  static_cast<void>(co_await WriteOnce(&cursor));
  static_cast<void>(co_await std::move(other));
}

TEST(FileCursorDeathTest, TwoTasksAtOnceAreAFailedCheck) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const std::string path = ::testing::TempDir() + "/file_cursor_death_test";
  EXPECT_DEATH(RunOk(TwoAtOnce(path), CalmMachine()), "one task at a time moves a cursor");
}

}  // namespace
}  // namespace evring
