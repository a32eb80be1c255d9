#include "runtime/os/internal/tree_remover.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "kevent/errors.h"

namespace evring::internal {
namespace {

constexpr size_t kNamesAtOnce = 256;
// At a directory that others fill again: descents into it, how often it is read from its beginning to its end, and
// after how many parts it is read from the beginning though there are more.
constexpr int kAttemptsMax = 100;
constexpr int kRoundsMax = 100;
constexpr int kPartsMax = 40'000;

int UnlinkAt(int at, const std::string& name, int flags) { return unlinkat(at, name.c_str(), flags) == 0 ? 0 : -errno; }

}  // namespace

absl::StatusOr<bool> TreeRemover::Step(int names_max) {
  for (int i = 0; i < names_max && !done_; ++i) {
    absl::Status status;
    if (!begun_) {
      status = Begin();
    } else if (Level& level = levels_.back(); level.next < level.names.size()) {
      status = RemoveNext();
    } else {
      status = ReadOn();
    }
    if (!status.ok()) return status;
  }
  return done_;
}

absl::Status TreeRemover::Begin() {
  begun_ = true;
  int rc = UnlinkAt(AT_FDCWD, path_, 0);
  if (rc == -EISDIR || rc == -EPERM) {  // Linux says the one of a directory, POSIX the other
    const int of_directory = UnlinkAt(AT_FDCWD, path_, AT_REMOVEDIR);
    if (of_directory == -ENOTEMPTY || of_directory == -EEXIST) {
      Level root;
      root.name = path_;
      const int opened = root.directory.Open(AT_FDCWD, path_.c_str(), /*follow=*/false);
      if (opened != 0) return Failed(opened, "open directory ");
      levels_.push_back(std::move(root));
      return absl::OkStatus();
    }
    if (of_directory != -ENOTDIR) rc = of_directory;
  }
  done_ = rc == 0 || rc == -ENOENT;
  return done_ ? absl::OkStatus() : Failed(rc, "remove ");
}

absl::Status TreeRemover::RemoveNext() {
  Level& level = levels_.back();
  const FoundName& found = level.names[level.next];
  int rc = found.type == FileType::kDirectory ? -EISDIR : UnlinkAt(fd(), found.name, 0);
  if (rc == -EISDIR || rc == -EPERM) {
    const int of_directory = UnlinkAt(fd(), found.name, AT_REMOVEDIR);
    if (of_directory == -ENOTEMPTY || of_directory == -EEXIST) {
      if (++level.attempts > kAttemptsMax) return Failed(of_directory, "rmdir ", found.name);
      return Descend(found.name);
    }
    // ENOTDIR: no directory, or not any more.
    if (of_directory != -ENOTDIR) {
      rc = of_directory;
    } else if (rc == -EISDIR) {
      rc = UnlinkAt(fd(), found.name, 0);
    }
  }
  if (rc != 0 && rc != -ENOENT) return Failed(rc, "remove ", found.name);
  ++level.next;
  level.attempts = 0;
  return absl::OkStatus();
}

absl::Status TreeRemover::Descend(const std::string& name) {
  Level below;
  below.name = name;
  const int rc = below.directory.Open(fd(), name.c_str(), /*follow=*/false);
  if (rc == -ENOENT || rc == -ENOTDIR) return absl::OkStatus();  // looked at once more
  if (rc != 0) return Failed(rc, "open directory ", name);
  // Something else is mounted there: its content is not this tree's.
  if (below.directory.device() != levels_.back().directory.device()) return Failed(-EBUSY, "remove ", name);
  if (levels_.size() >= kOpenMax) levels_[levels_.size() - kOpenMax].directory.Close();
  levels_.push_back(std::move(below));
  return absl::OkStatus();
}

absl::Status TreeRemover::ReadOn() {
  Level& level = levels_.back();
  level.names.clear();
  level.next = 0;
  int rc = 0;
  if (level.at_end) {
    if (++level.rounds > kRoundsMax) return Failed(-ENOTEMPTY, "rmdir ");
    rc = level.directory.Rewind();
    level.found = false;
    level.parts = 0;
  }
  if (rc == 0) rc = level.directory.Read(kNamesAtOnce, &level.names);
  if (rc < 0) return Failed(rc, "read directory ");
  // Where names that others add come last, who adds as fast would keep the end away for ever.
  level.at_end = rc == 0 || ++level.parts == kPartsMax;
  level.found |= !level.names.empty();
  return level.at_end && !level.found ? Ascend() : absl::OkStatus();
}

// The last level is empty. Its removal is the next thing to be done in the one above.
absl::Status TreeRemover::Ascend() {
  if (levels_.size() == 1) {
    const int rc = UnlinkAt(AT_FDCWD, path_, AT_REMOVEDIR);
    if (rc == -ENOTEMPTY || rc == -EEXIST) return absl::OkStatus();  // read once more
    if (rc != 0 && rc != -ENOENT) return Failed(rc, "rmdir ");
    levels_.clear();
    done_ = true;
    return absl::OkStatus();
  }
  Level& above = levels_[levels_.size() - 2];
  if (!above.directory.is_open()) {
    if (const int rc = levels_.back().directory.OpenParent(&above.directory); rc != 0) return Failed(rc, "open .. of ");
  }
  levels_.pop_back();
  return absl::OkStatus();
}

// Of `name` in the last level, or of that level.
absl::Status TreeRemover::Failed(int rc, const char* call, const std::string& name) const {
  std::string path = levels_.empty() ? path_ : levels_.front().name;
  for (size_t i = 1; i < levels_.size(); ++i) absl::StrAppend(&path, "/", levels_[i].name);
  if (!name.empty()) absl::StrAppend(&path, "/", name);
  return kevent::ErrnoToStatus(rc, absl::StrCat(call, path));
}

}  // namespace evring::internal
