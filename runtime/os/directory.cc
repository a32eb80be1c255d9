#include "runtime/os/directory.h"

#include <fcntl.h>

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "kevent/errors.h"
#include "runtime/blocking.h"
#include "runtime/os/internal/machine.h"
#include "runtime/os/internal/open_directory.h"
#include "runtime/os/internal/request.h"
#include "runtime/os/internal/tree_remover.h"
#include "runtime/os/internal/tree_walker.h"

namespace evring {
namespace {

constexpr size_t kNamesAtOnce = 1024;

absl::Status Check(const std::string& path, const char* doing) {
  absl::Status status = internal::CheckPath(path);
  status.Update(internal::CheckMachine(doing));
  return status;
}

}  // namespace

AsyncGenerator<DirectoryEntry, absl::Status> ReadDirectory(std::string path) {
  if (absl::Status status = Check(path, "read directory"); !status.ok()) co_return status;
  internal::OpenDirectory directory;
  std::vector<internal::FoundName> names;
  const auto open = [&] {
    const int rc = directory.Open(AT_FDCWD, path.c_str(), /*follow=*/true);
    return kevent::ErrnoToStatus(rc, absl::StrCat("open directory ", path));
  };
  absl::Status status = co_await RunBlocking(open);
  for (bool more = status.ok(); more;) {
    names.clear();
    int rc = 0;
    const auto read = [&] { rc = directory.Read(kNamesAtOnce, &names); };
    status = co_await RunBlocking(read);
    if (!status.ok()) break;
    for (internal::FoundName& found : names) {
      DirectoryEntry entry(std::move(found.name), found.type, found.inode);
      co_yield std::move(entry);
    }
    status = kevent::ErrnoToStatus(rc < 0 ? rc : 0, absl::StrCat("read directory ", path));
    more = rc > 0;
  }
  co_return status;
}

AsyncGenerator<TreeEntry, absl::Status> WalkTree(std::string path, WalkOptions options) {
  if (absl::Status status = Check(path, "walk"); !status.ok()) co_return status;
  internal::TreeWalker walker(path, options);
  TreeEntry entry;
  for (;;) {
    switch (walker.Next(&entry)) {
      case internal::TreeWalker::Move::kEnd:
        co_return absl::OkStatus();
      case internal::TreeWalker::Move::kEntry:
        co_yield std::move(entry);
        walker.Descend(entry.descend);
        break;
      case internal::TreeWalker::Move::kBlock: {
        const auto block = [&walker] { return walker.Block(); };
        const absl::Status status = co_await RunBlocking(block);
        if (!status.ok()) co_return status;
        break;
      }
    }
  }
}

Task<absl::Status> RemoveTree(std::string path) {
  if (absl::Status status = Check(path, "remove a tree"); !status.ok()) co_return status;
  internal::TreeRemover remover(path);
  for (;;) {
    const auto step = [&remover] { return remover.Step(); };
    const absl::StatusOr<bool> done = co_await RunBlocking(step);
    if (!done.ok()) co_return done.status();
    if (*done) co_return absl::OkStatus();
  }
}

absl::Status RemoveTreeBlocking(const std::string& path) {
  if (absl::Status status = Check(path, "remove a tree"); !status.ok()) return status;
  internal::TreeRemover remover(path);
  for (;;) {
    const absl::StatusOr<bool> done = remover.Step();
    if (!done.ok()) return done.status();
    if (*done) return absl::OkStatus();
  }
}

}  // namespace evring
