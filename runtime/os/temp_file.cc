#include "runtime/os/temp_file.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sys/random.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <new>

#include "absl/strings/str_cat.h"
#include "kevent/errors.h"
#include "kevent/kernel.h"
#include "runtime/blocking_pool.h"
#include "runtime/os/directory.h"
#include "runtime/os/internal/machine.h"
#include "runtime/os/internal/request.h"
#include "runtime/os/names.h"
#include "runtime/scheduler.h"
#include "runtime/worker.h"

namespace evring {
namespace {

using internal::Perform;
using kevent::ErrnoToStatus;
using kevent::EventType;
using kevent::StatusErrno;

constexpr int kNamesTried = 100;
constexpr unsigned kRenameNoReplace = 1;  // RENAME_NOREPLACE (include/uapi/linux/fs.h)

std::string DirectoryOr(std::string directory) {
  if (!directory.empty()) return directory;
  const char* const named = std::getenv("TMPDIR");
  return named != nullptr && *named != '\0' ? named : "/tmp";
}

// A name in `directory` that nobody guesses.
absl::StatusOr<std::string> FreshName(const std::string& directory) {
  uint64_t number[2];
  if (getrandom(number, sizeof(number), 0) != static_cast<ssize_t>(sizeof(number))) {
    return ErrnoToStatus(errno, "getrandom");
  }
  return absl::StrCat(directory, "/.evring-", absl::Hex(number[0], absl::kZeroPad16),
                      absl::Hex(number[1], absl::kZeroPad16));
}

absl::StatusOr<std::string> Absolute(std::string path) {
  if (path.starts_with('/')) return path;
  char* const current = getcwd(nullptr, 0);
  if (current == nullptr) return ErrnoToStatus(errno, "getcwd");
  std::string absolute = absl::StrCat(current, "/", path);
  std::free(current);
  return absolute;
}

// Removes a file that nobody waits to be removed.
class Removal final : private BlockingJob {
 public:
  // On a thread of the blocking pool, so that no worker waits for a disk: its runtime waits for it before it ends. By
  // the calling thread, where there is no worker, no thread or no memory.
  static void Start(std::string name) {
    auto* const removal = new (std::nothrow) Removal(std::move(name));
    if (removal == nullptr) {
      static_cast<void>(kevent::Kernel::Current()->Remove(name.c_str()));  // it has not been moved
      return;
    }
    Worker* const worker = Worker::Current();
    if (worker == nullptr || !worker->scheduler()->blocking_pool()->Submit(removal)) removal->RunJob();
  }

 private:
  explicit Removal(std::string name) : name_(std::move(name)) {}

  void RunJob() noexcept override {
    static_cast<void>(kernel_->Remove(name_.c_str()));
    delete this;
  }

  const std::string name_;
  kevent::Kernel* const kernel_ = kevent::Kernel::Current();  // the worker's
};

bool HasNoNamelessFiles(int error) { return error == EOPNOTSUPP || error == EISDIR; }

}  // namespace

Task<absl::StatusOr<TempFile>> TempFile::Create(std::string directory) {
  if (absl::Status status = internal::CheckMachine("a temporary file"); !status.ok()) co_return status;
  directory = DirectoryOr(std::move(directory));
  absl::StatusOr<File> nameless = co_await File::Open(directory, O_TMPFILE | O_RDWR, 0600);
  if (nameless.ok()) co_return TempFile(*std::move(nameless), "");
  if (!HasNoNamelessFiles(StatusErrno(nameless.status()))) co_return nameless.status();
  absl::StatusOr<std::string> parent = Absolute(std::move(directory));
  if (!parent.ok()) co_return parent.status();
  for (int i = 0;; ++i) {
    absl::StatusOr<std::string> name = FreshName(*parent);
    if (!name.ok()) co_return name.status();
    absl::StatusOr<File> file = co_await File::Open(*name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (file.ok()) co_return TempFile(*std::move(file), *std::move(name));
    if (StatusErrno(file.status()) != EEXIST || i == kNamesTried) co_return file.status();
  }
}

TempFile::~TempFile() {
  if (!name_.empty()) Removal::Start(std::move(name_));
}

Task<absl::Status> TempFile::LinkTo(std::string path) {
  if (absl::Status status = internal::CheckPath(path); !status.ok()) co_return status;
  const std::string doing = absl::StrCat("link of a temporary file to ", path);
  io_uring_sqe sqe = {};
  if (name_.empty()) {
    const std::string self = absl::StrCat("/proc/self/fd/", file_.fd());
    io_uring_prep_linkat(&sqe, AT_FDCWD, self.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW);
    const int32_t rc = co_await Perform(EventType::kLink, sqe);
    co_return ErrnoToStatus(rc, doing);
  }
  io_uring_prep_renameat(&sqe, AT_FDCWD, name_.c_str(), AT_FDCWD, path.c_str(), kRenameNoReplace);
  const int32_t rc = co_await Perform(EventType::kRename, sqe);
  if (rc == -EINVAL) {
    // Not by this file system; the first name goes with this object.
    co_return co_await Link(name_, path);
  }
  if (rc == 0) name_.clear();
  co_return ErrnoToStatus(rc, doing);
}

Task<absl::StatusOr<TempDirectory>> TempDirectory::Create(std::string directory) {
  if (absl::Status status = internal::CheckMachine("a temporary directory"); !status.ok()) co_return status;
  absl::StatusOr<std::string> parent = Absolute(DirectoryOr(std::move(directory)));
  if (!parent.ok()) co_return parent.status();
  for (int i = 0;; ++i) {
    absl::StatusOr<std::string> name = FreshName(*parent);
    if (!name.ok()) co_return name.status();
    const absl::Status made = co_await MakeDirectory(*name, 0700);
    if (made.ok()) co_return TempDirectory(*std::move(name));
    if (StatusErrno(made) != EEXIST || i == kNamesTried) co_return made;
  }
}

TempDirectory::~TempDirectory() {
  if (!path_.empty()) static_cast<void>(RemoveTreeBlocking(path_));
}

Task<absl::Status> TempDirectory::Remove() {
  if (path_.empty()) co_return absl::OkStatus();
  absl::Status status = co_await RemoveTree(path_);
  if (status.ok()) path_.clear();
  co_return status;
}

}  // namespace evring
