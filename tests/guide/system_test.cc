// The code of docs/guide/system.md, word for word (tests/house/guide_test.sh), and that it does what is said there.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <fstream>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "kevent/event.h"
#include "runtime/blocking.h"
#include "runtime/generator.h"
#include "runtime/os/directory.h"
#include "runtime/os/event_wait.h"
#include "runtime/os/file.h"
#include "runtime/os/file_info.h"
#include "runtime/os/file_lock.h"
#include "runtime/os/pipe.h"
#include "runtime/os/process_options.h"
#include "runtime/os/run_process.h"
#include "runtime/os/signals.h"
#include "runtime/os/temp_file.h"
#include "runtime/runtime.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring::guide {
namespace {

Task<absl::StatusOr<std::string>> WriteAndRead(std::string path) {
  const absl::StatusOr<File> file = co_await File::Open(path, O_RDWR | O_CREAT | O_TRUNC);
  if (!file.ok()) co_return file.status();
  const std::string text = "what was written";
  absl::Status status = co_await file->WriteAt(std::as_bytes(std::span(text)), /*offset=*/0);
  if (status.ok()) status = co_await file->SyncToDisk();
  if (!status.ok()) co_return status;

  std::array<std::byte, 100> buffer;
  const absl::StatusOr<size_t> bytes = co_await file->ReadAt(buffer, /*offset=*/5);
  if (!bytes.ok()) co_return bytes.status();
  co_return std::string(reinterpret_cast<const char*>(buffer.data()), *bytes);
}

TEST(TheSystem, AFileHoldsWhatWasWritten) {
  EXPECT_EQ(*evring::Run(WriteAndRead(::testing::TempDir() + "guide_file")), "was written");
}

Task<absl::StatusOr<File>> OpenWhatIsNotThere() { co_return co_await File::Open("/nowhere/at/all", O_RDONLY); }

TEST(TheSystem, AnErrorKeepsItsErrno) {
  const absl::Status status = evring::Run(OpenWhatIsNotThere()).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_EQ(kevent::StatusErrno(status), ENOENT);
}

Task<absl::Status> AddSetting(std::string path, std::string line) {
  absl::StatusOr<std::string> settings = co_await ReadFile(path, /*limit=*/1 << 20);
  if (!settings.ok() && !absl::IsNotFound(settings.status())) co_return settings.status();
  const std::string text = settings.ok() ? *settings + line : line;
  co_return co_await ReplaceFile(path, std::as_bytes(std::span(text)));
}

Task<absl::StatusOr<int>> CountWords(std::string path) {
  auto count = [path]() -> absl::StatusOr<int> {
    std::ifstream in(path);
    if (!in) return absl::NotFoundError(path);
    int words = 0;
    for (std::string word; in >> word;) ++words;
    return words;
  };
  co_return co_await RunBlocking(std::move(count));
}

Task<absl::StatusOr<int>> CountFiles(std::string directory) {
  int files = 0;
  AsyncGenerator<TreeEntry, absl::Status> tree = WalkTree(directory);
  for (;;) {
    const TreeEntry* entry = co_await tree.Next();
    if (entry == nullptr) break;
    if (!entry->status.ok()) co_return entry->status;
    if (entry->type == FileType::kRegular) ++files;
  }
  if (!tree.status().ok()) co_return tree.status();
  co_return files;
}

Task<absl::StatusOr<int>> WriteAndCount() {
  absl::StatusOr<TempDirectory> scratch = co_await TempDirectory::Create();
  if (!scratch.ok()) co_return scratch.status();
  const std::string path = scratch->path() + "/settings";
  absl::Status status = co_await AddSetting(path, "colour = dark blue\n");
  if (status.ok()) status = co_await AddSetting(path, "sound = off\n");
  if (!status.ok()) co_return status;

  const absl::StatusOr<int> files = co_await CountFiles(scratch->path());
  status = co_await scratch->Remove();  // the destructor would do it too, and block
  if (!status.ok()) co_return status;
  co_return files;
}

TEST(TheSystem, FilesAreReplacedCountedAndRemoved) { EXPECT_EQ(*evring::Run(WriteAndCount()), 1); }

TEST(TheSystem, ABlockingCallReadsWhatWasAdded) {
  const std::string path = ::testing::TempDir() + "guide_settings";
  unlink(path.c_str());  // of an earlier run
  EXPECT_TRUE(evring::Run(AddSetting(path, "colour = dark blue\n")).ok());
  EXPECT_TRUE(evring::Run(AddSetting(path, "sound = off\n")).ok());
  EXPECT_EQ(*evring::Run(CountWords(path)), 7);
}

Task<absl::Status> Say(PipeWriter* writer, std::string text) {
  absl::Status status = co_await writer->Write(std::as_bytes(std::span(text)));
  writer->Close();  // the reader finds the end
  co_return status;
}

Task<absl::StatusOr<std::string>> ThroughAPipe() {
  absl::StatusOr<Pipe> pipe = Pipe::Create();
  if (!pipe.ok()) co_return pipe.status();
  JoinHandle<absl::Status> writer = co_await Spawn(Say(&pipe->writer, "some text"));
  absl::StatusOr<std::string> text = co_await pipe->reader.ReadAll(/*limit=*/1000);
  const absl::Status said = co_await std::move(writer);
  if (!said.ok()) co_return said;
  co_return text;
}

TEST(TheSystem, APipeCarriesText) { EXPECT_EQ(*evring::Run(ThroughAPipe()), "some text"); }

Task<absl::StatusOr<int>> UntilASignal(const SignalSet* signals) { co_return co_await signals->Next(); }

TEST(TheSystem, ASignalIsAnEvent) {
  absl::StatusOr<SignalSet> signals = SignalSet::Block({SIGUSR1, SIGTERM});  // before any thread is made
  ASSERT_TRUE(signals.ok()) << signals.status();
  kill(getpid(), SIGTERM);
  EXPECT_EQ(*evring::Run(UntilASignal(&*signals)), SIGTERM);
}

Task<absl::Status> WithTheFileLocked(std::string path) {
  const absl::StatusOr<File> file = co_await File::Open(path, O_RDWR | O_CREAT);
  if (!file.ok()) co_return file.status();
  const absl::StatusOr<FileLock> lock = co_await FileLock::Lock(*file, FileLock::Kind::kExclusive);
  co_return lock.status();  // nobody else has it until the end of the scope
}

TEST(TheSystem, AFileIsLocked) {
  EXPECT_TRUE(evring::Run(WithTheFileLocked(::testing::TempDir() + "guide_lock")).ok());
}

Task<absl::StatusOr<std::string>> SortNumbers(std::string lines) {
  const ProcessOptions sort = ProcessOptions::Command("sort", "-n");
  RunProcessOptions options(std::move(lines));
  options.timeout = absl::Minutes(2);
  const absl::StatusOr<ProcessResult> result = co_await RunProcess(sort, std::move(options));
  if (!result.ok()) co_return result.status();
  if (!result->status.ok()) co_return absl::InternalError(result->error);
  co_return result->output;
}

TEST(TheSystem, AProgramIsRun) { EXPECT_EQ(*evring::Run(SortNumbers("10\n9\n")), "9\n10\n"); }

Task<absl::StatusOr<int>> ExitCode(pid_t child) {
  kevent::Event event;
  event.type = kevent::EventType::kProcess;
  event.descriptor = child;
  const absl::StatusOr<kevent::Event> ended = co_await WaitForEvent(event);
  if (!ended.ok()) co_return ended.status();
  co_return ended->result;
}

TEST(TheSystem, AChildIsWaitedFor) {
  std::string shell = "sh", option = "-c", command = "exit 7";
  char* const arguments[] = {shell.data(), option.data(), command.data(), nullptr};
  pid_t child = 0;
  ASSERT_EQ(posix_spawn(&child, "/bin/sh", nullptr, nullptr, arguments, environ), 0);
  EXPECT_EQ(*evring::Run(ExitCode(child)), 7);
}

}  // namespace
}  // namespace evring::guide
