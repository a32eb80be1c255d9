#include "runtime/os/internal/tree_walker.h"

#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "kevent/errors.h"

namespace evring::internal {
namespace {

constexpr size_t kNamesAtOnce = 1024;
constexpr size_t kAll = std::numeric_limits<size_t>::max() / 2;

}  // namespace

TreeWalker::Move TreeWalker::Next(TreeEntry* entry) {
  if (!begun_) return Move::kBlock;
  if (has_child_ && look_ == Look::kNot) {
    has_child_ = false;
    if (descend_) {
      levels_.push_back(std::move(child_));
    } else {
      child_ = Level();
    }
  }
  while (!levels_.empty()) {
    Level& top = levels_.back();
    if (!top.directory.is_open()) return Move::kBlock;
    if (top.next < top.names.size()) {
      if (look_ == Look::kNot && NeedsLook(top.names[top.next])) return Move::kBlock;
      if (TakeNext(&top, entry)) return Move::kEntry;
      continue;
    }
    if (!top.ended) return Move::kBlock;
    if (!top.failed.ok()) {
      if (levels_.size() == 1) return Move::kBlock;
      *entry = TreeEntry();
      entry->path = top.path;
      entry->type = FileType::kDirectory;
      entry->depth = static_cast<int>(levels_.size()) - 1;
      entry->status = std::exchange(top.failed, absl::OkStatus());
      return Move::kEntry;
    }
    Leave();
  }
  return Move::kEnd;
}

// Goes on to the next name. False: there is nothing behind it any more.
bool TreeWalker::TakeNext(Level* top, TreeEntry* entry) {
  FoundName& found = top->names[top->next++];
  const bool vanished = std::exchange(look_, Look::kNot) == Look::kVanished;
  if (vanished) return false;
  *entry = TreeEntry();
  entry->path = PathOf(*top, found.name);
  entry->type = found.type;
  entry->depth = static_cast<int>(levels_.size());
  entry->status = std::exchange(looked_, absl::OkStatus());
  descend_ = true;
  return true;
}

void TreeWalker::Leave() {
  left_ = std::move(levels_.back().directory);
  levels_.pop_back();
  if (levels_.empty() || levels_.back().directory.is_open()) left_.Close();
}

bool TreeWalker::NeedsLook(const FoundName& found) const {
  if (found.type == FileType::kSymbolicLink) return options_.follow_links;
  if (found.type == FileType::kUnknown) return true;
  return found.type == FileType::kDirectory && levels_.size() < static_cast<size_t>(options_.depth_max);
}

absl::Status TreeWalker::Block() {
  if (!begun_) return OpenRoot();
  Level& top = levels_.back();
  if (!top.directory.is_open()) {
    const int rc = left_.OpenParent(&top.directory);
    return kevent::ErrnoToStatus(rc, absl::StrCat("walk back to ", top.path));
  }
  if (top.next < top.names.size()) {
    LookAt(&top, &top.names[top.next]);
    return absl::OkStatus();
  }
  if (!top.failed.ok()) return top.failed;
  top.names.clear();
  top.next = 0;
  ReadMore(&top, kNamesAtOnce);
  return absl::OkStatus();
}

absl::Status TreeWalker::OpenRoot() {
  begun_ = true;
  Level root;
  root.path = path_;
  if (const int rc = root.directory.Open(AT_FDCWD, path_.c_str(), /*follow=*/true); rc < 0) {
    return kevent::ErrnoToStatus(rc, absl::StrCat("open directory ", path_));
  }
  ReadMore(&root, kNamesAtOnce);
  levels_.push_back(std::move(root));
  return absl::OkStatus();
}

// Finds out what `found` is by now, and opens it if it is a directory that is to be walked.
void TreeWalker::LookAt(Level* level, FoundName* found) {
  look_ = Look::kDone;
  const bool by_link = found->type == FileType::kSymbolicLink;
  if (by_link || found->type == FileType::kUnknown) {
    int rc = level->directory.TypeOf(found->name, options_.follow_links, &found->type);
    if (rc == -ENOENT && options_.follow_links) {
      // It leads nowhere, or is gone itself.
      rc = level->directory.TypeOf(found->name, /*follow=*/false, &found->type);
    }
    if (rc == -ENOENT) {
      look_ = Look::kVanished;
      return;
    }
    if (rc < 0) {
      looked_ = kevent::ErrnoToStatus(rc, absl::StrCat("stat ", PathOf(*level, found->name)));
      return;
    }
  }
  if (found->type == FileType::kDirectory && levels_.size() < static_cast<size_t>(options_.depth_max)) {
    OpenChild(level, *found, by_link);
  }
}

void TreeWalker::OpenChild(Level* level, const FoundName& found, bool by_link) {
  Level child;
  child.path = PathOf(*level, found.name);
  child.by_link = by_link;
  CloseFarLevels();
  int rc = child.directory.Open(level->directory.fd(), found.name.c_str(), by_link);
  if (rc == 0) {
    for (const Level& above : levels_) {
      if (child.directory.IsSameAs(above.directory)) rc = -ELOOP;
    }
  }
  if (rc == 0) {
    ReadMore(&child, kNamesAtOnce);
    child_ = std::move(child);
    has_child_ = true;
    return;
  }
  if (rc == -ENOENT) {
    look_ = Look::kVanished;
    return;
  }
  if (rc == -ENOTDIR) {
    // It was one when its name was read.
    FileType type = FileType::kUnknown;
    const int now = level->directory.TypeOf(found.name, options_.follow_links, &type);
    if (now == -ENOENT) {
      look_ = Look::kVanished;
      return;
    }
    if (now == 0 && type != FileType::kDirectory) {
      level->names[level->next].type = type;
      return;
    }
  }
  looked_ = kevent::ErrnoToStatus(rc, absl::StrCat("open directory ", child.path));
}

// Reads on; what goes wrong is told when what could be read has been given.
void TreeWalker::ReadMore(Level* level, size_t at_least) {
  const int rc = level->directory.Read(options_.sorted ? kAll : at_least, &level->names);
  level->ended = rc <= 0;
  if (rc < 0) level->failed = kevent::ErrnoToStatus(rc, absl::StrCat("read directory ", level->path));
  if (options_.sorted) {
    std::sort(level->names.begin() + static_cast<std::ptrdiff_t>(level->next), level->names.end(),
              [](const FoundName& a, const FoundName& b) { return a.name < b.name; });
  }
}

// Before one more is opened: of those above, the farthest that is open is closed if there are many.
void TreeWalker::CloseFarLevels() {
  if (levels_.size() < kOpenMax) return;
  const size_t far = levels_.size() - kOpenMax;
  Level& level = levels_[far];
  if (!level.directory.is_open() || levels_[far + 1].by_link) return;
  if (!level.ended) ReadMore(&level, kAll);
  level.directory.Close();
}

std::string TreeWalker::PathOf(const Level& level, const std::string& name) const {
  return absl::StrCat(level.path, level.path.ends_with('/') ? "" : "/", name);
}

}  // namespace evring::internal
