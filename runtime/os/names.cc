#include "runtime/os/names.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "kevent/errors.h"
#include "runtime/blocking.h"
#include "runtime/os/internal/machine.h"
#include "runtime/os/internal/request.h"

namespace evring {
namespace {

using internal::CheckPath;
using internal::Perform;
using kevent::ErrnoToStatus;
using kevent::EventType;

constexpr size_t kLinkMax = 64 << 10;

absl::StatusOr<std::string> ReadLinkBlocking(const std::string& path) {
  // As long as it fits exactly it may be longer.
  for (std::string target(256, '\0');; target.resize(2 * target.size())) {
    const ssize_t n = readlink(path.c_str(), target.data(), target.size());
    if (n < 0) return ErrnoToStatus(errno, absl::StrCat("readlink ", path));
    if (static_cast<size_t>(n) < target.size()) {
      target.resize(static_cast<size_t>(n));
      return target;
    }
    if (target.size() > kLinkMax) return ErrnoToStatus(ENAMETOOLONG, absl::StrCat("readlink ", path));
  }
}

}  // namespace

Task<absl::StatusOr<FileInfo>> Info(std::string path, Links links) {
  if (absl::Status status = CheckPath(path); !status.ok()) co_return status;
  struct statx info;
  io_uring_sqe sqe = {};
  const int flags = links == Links::kFollow ? 0 : AT_SYMLINK_NOFOLLOW;
  io_uring_prep_statx(&sqe, AT_FDCWD, path.c_str(), flags, STATX_BASIC_STATS, &info);
  const int32_t rc = co_await Perform(EventType::kFileInfo, sqe);
  if (rc < 0) co_return ErrnoToStatus(rc, absl::StrCat("statx ", path));
  co_return FileInfo(info);
}

Task<absl::Status> Link(std::string from, std::string to) {
  absl::Status status = CheckPath(from);
  status.Update(CheckPath(to));
  if (!status.ok()) co_return status;
  io_uring_sqe sqe = {};
  io_uring_prep_linkat(&sqe, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), 0);
  const int32_t rc = co_await Perform(EventType::kLink, sqe);
  co_return ErrnoToStatus(rc, absl::StrCat("link ", from, " to ", to));
}

Task<absl::Status> SymbolicLink(std::string target, std::string path) {
  absl::Status status = CheckPath(target);
  status.Update(CheckPath(path));
  if (!status.ok()) co_return status;
  io_uring_sqe sqe = {};
  io_uring_prep_symlinkat(&sqe, target.c_str(), AT_FDCWD, path.c_str());
  const int32_t rc = co_await Perform(EventType::kSymbolicLink, sqe);
  co_return ErrnoToStatus(rc, absl::StrCat("symlink ", path, " to ", target));
}

Task<absl::StatusOr<std::string>> ReadLink(std::string path) {
  absl::Status status = CheckPath(path);
  status.Update(internal::CheckMachine("readlink"));
  if (!status.ok()) co_return status;
  const auto read = [&path] { return ReadLinkBlocking(path); };
  co_return co_await RunBlocking(read);
}

Task<absl::Status> MakeDirectory(std::string path, mode_t mode) {
  if (absl::Status status = CheckPath(path); !status.ok()) co_return status;
  io_uring_sqe sqe = {};
  io_uring_prep_mkdirat(&sqe, AT_FDCWD, path.c_str(), mode);
  const int32_t rc = co_await Perform(EventType::kMakeDirectory, sqe);
  co_return ErrnoToStatus(rc, absl::StrCat("mkdir ", path));
}

Task<absl::Status> RemoveDirectory(std::string path) {
  if (absl::Status status = CheckPath(path); !status.ok()) co_return status;
  // A kernel that makes no directories has none to remove, though it may unlink.
  if (!internal::Serves(IORING_OP_MKDIRAT)) co_return ErrnoToStatus(ENOSYS, absl::StrCat("rmdir ", path));
  io_uring_sqe sqe = {};
  io_uring_prep_unlinkat(&sqe, AT_FDCWD, path.c_str(), AT_REMOVEDIR);
  const int32_t rc = co_await Perform(EventType::kRemoveDirectory, sqe);
  co_return ErrnoToStatus(rc, absl::StrCat("rmdir ", path));
}

}  // namespace evring
