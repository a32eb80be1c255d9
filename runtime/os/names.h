// names.h: names in directories: what stands behind one, links, making and removing directories. Renaming and removing
// files: file.h.
//
//   absl::Status status = co_await MakeDirectory("backup");
//   if (!status.ok() && !absl::IsAlreadyExists(status)) co_return status;
//   status = co_await Link("notes", "backup/notes");
//   if (!status.ok()) co_return status;
//   const absl::StatusOr<FileInfo> info = co_await Info("backup/notes");
//
// Await on a worker, which does not wait for a disk. A stop ends what has not begun with kCancelled; what succeeds in
// spite of it is a success. Errors carry their errno and name the call and the paths: kNotFound (ENOENT),
// kAlreadyExists (EEXIST), kPermissionDenied (EACCES, EPERM, EROFS), kInvalidArgument (ENOTDIR, ELOOP, ENAMETOOLONG, a
// NUL in a path), kFailedPrecondition (ENOTEMPTY, EBUSY), kUnimplemented (EXDEV; ENOSYS: on a simulated machine whose
// kernel has no such request), …

#ifndef EVRING_RUNTIME_OS_NAMES_H_
#define EVRING_RUNTIME_OS_NAMES_H_

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/os/file_info.h"
#include "runtime/task.h"

namespace evring {

// Whether a path that ends in a symbolic link is about what the link leads to, or about the link.
enum class Links { kFollow, kTake };

Task<absl::StatusOr<FileInfo>> Info(std::string path, Links links = Links::kFollow);

// As link(2): one more name for the file; a symbolic link is not followed.
Task<absl::Status> Link(std::string from, std::string to);
// As symlink(2): `path` leads to `target`, which need not be there.
Task<absl::Status> SymbolicLink(std::string target, std::string path);
// Where a symbolic link leads to. By a thread of the blocking pool: there is no such request.
Task<absl::StatusOr<std::string>> ReadLink(std::string path);

// As mkdir(2): the mode is less the umask.
Task<absl::Status> MakeDirectory(std::string path, mode_t mode = 0777);
// As rmdir(2): it must be empty. With all that is in it: RemoveTree() of directory.h.
Task<absl::Status> RemoveDirectory(std::string path);

}  // namespace evring

#endif  // EVRING_RUNTIME_OS_NAMES_H_
