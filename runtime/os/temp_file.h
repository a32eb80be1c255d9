// temp_file.h: files and directories for a while, which nobody has to remember to remove.
//
//   absl::StatusOr<TempFile> part = co_await TempFile::Create("downloads");
//   if (!part.ok()) co_return part.status();
//   absl::Status status = co_await part->file().WriteAt(content, 0);
//   if (status.ok()) status = co_await part->file().SyncToDisk();
//   if (status.ok()) status = co_await part->LinkTo("downloads/whole");
//   if (!status.ok()) co_return status;
//   absl::StatusOr<TempDirectory> scratch = co_await TempDirectory::Create();
//   if (!scratch.ok()) co_return scratch.status();
//   status = co_await ReplaceFile(scratch->path() + "/notes", content);
//   if (!status.ok()) co_return status;
//   co_return co_await scratch->Remove();
//
// Await on a worker. A stop ends what has not begun with kCancelled; nothing is left behind then. Errors carry their
// errno and name the call and the path: those of open(2), mkdir(2), link(2); kUnimplemented (ENOSYS) on a simulated
// machine.
//
// Where no directory is named it is that of the environment variable TMPDIR, else /tmp. What goes to a name in the end
// is to be made in the file system of that name.

#ifndef EVRING_RUNTIME_OS_TEMP_FILE_H_
#define EVRING_RUNTIME_OS_TEMP_FILE_H_

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/os/file.h"
#include "runtime/task.h"

namespace evring {

// A file without a name, for reading and writing, which only its user may (0600): gone when it is closed, however the
// process ends. Where the file system has no such files (O_TMPFILE: NFS, FAT), it has a name of its own, beginning with
// ".evring-", which a crash does not remove, but the destructor: on a worker it has a thread of the blocking pool do
// it, so it does not wait for a disk; the name is gone soon, at the latest when the runtime is.
class TempFile {
 public:
  static Task<absl::StatusOr<TempFile>> Create(std::string directory = "");

  TempFile(TempFile&& other) noexcept : file_(std::move(other.file_)), name_(std::exchange(other.name_, {})) {}
  TempFile& operator=(TempFile&& other) noexcept {
    std::swap(file_, other.file_);
    std::swap(name_, other.name_);
    return *this;
  }
  ~TempFile();

  File& file() { return file_; }
  const File& file() const { return file_; }
  bool has_name() const { return !name_.empty(); }

  // Gives it the name `path`, in the same file system (else EXDEV), for good. kAlreadyExists: nothing is replaced; for
  // that, LinkTo() another name and Rename(). For the content to outlast a crash, SyncToDisk() comes before, and for
  // the name the same of the directory after it. Once.
  Task<absl::Status> LinkTo(std::string path);

 private:
  TempFile(File file, std::string name) : file_(std::move(file)), name_(std::move(name)) {}

  File file_;
  std::string name_;  // to be removed; empty: it has none, or one for good
};

// A directory with a name of its own, which only its user may enter (0700).
class TempDirectory {
 public:
  static Task<absl::StatusOr<TempDirectory>> Create(std::string directory = "");

  TempDirectory(TempDirectory&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TempDirectory& operator=(TempDirectory&& other) noexcept {
    std::swap(path_, other.path_);
    return *this;
  }
  // What Remove() has not done is done here, by the thread that destroys it, which blocks for so long: the last resort,
  // after a stop or an exception, say. What cannot be removed stays.
  ~TempDirectory();

  // Absolute.
  const std::string& path() const { return path_; }

  // Removes it with all that is in it, by threads of the blocking pool; the errors are those of RemoveTree(), and then
  // the destructor tries again.
  Task<absl::Status> Remove();
  // It stays, whatever happens to this.
  void Keep() { path_.clear(); }

 private:
  explicit TempDirectory(std::string path) : path_(std::move(path)) {}

  std::string path_;  // empty: there is nothing to be removed
};

}  // namespace evring

#endif  // EVRING_RUNTIME_OS_TEMP_FILE_H_
