#include "sim/file_locks.h"

#include <errno.h>
#include <sys/file.h>

#include <algorithm>
#include <utility>

namespace evring::sim {

int FileLocks::Wait(Locks* locks, OpenFile* by) {
  if (std::ranges::find(locks->waiting, by) == locks->waiting.end()) locks->waiting.push_back(by);
  return -EAGAIN;
}

void FileLocks::Tell(Locks* locks) {
  for (OpenFile* waiting : std::exchange(locks->waiting, {})) waiting->notify(0);
}

void FileLocks::DropUnused(File file) {
  const auto found = locks_.find(file);
  if (found == locks_.end()) return;
  const Locks& locks = found->second;
  if (locks.whole.empty() && locks.ranges.empty() && locks.waiting.empty()) locks_.erase(found);
}

int FileLocks::Flock(File file, OpenFile* by, int operation) {
  const int kind = operation & ~LOCK_NB;
  if (kind != LOCK_SH && kind != LOCK_EX && kind != LOCK_UN) return -EINVAL;
  Locks& locks = locks_[file];
  const auto own = std::ranges::find(locks.whole, by, &Whole::owner);
  if (own != locks.whole.end()) {
    if (kind != LOCK_UN && own->exclusive == (kind == LOCK_EX)) return 0;
    locks.whole.erase(own);
    Tell(&locks);
  }
  int rc = 0;
  if (kind != LOCK_UN) {
    const bool taken =
        std::ranges::any_of(locks.whole, [kind](const Whole& other) { return kind == LOCK_EX || other.exclusive; });
    if (!taken) {
      locks.whole.push_back({by, kind == LOCK_EX});
    } else {
      rc = (operation & LOCK_NB) != 0 ? -EAGAIN : Wait(&locks, by);
    }
  }
  DropUnused(file);
  return rc;
}

void FileLocks::Cut(Locks* locks, const Range& range) {
  std::vector<Range> left;
  for (const Range& old : locks->ranges) {
    if (old.owner != range.owner || old.end < range.start || old.start > range.end) {
      left.push_back(old);
      continue;
    }
    if (old.start < range.start) left.push_back({old.owner, old.start, range.start - 1, old.exclusive});
    if (old.end > range.end) left.push_back({old.owner, range.end + 1, old.end, old.exclusive});
  }
  locks->ranges = std::move(left);
}

int FileLocks::Lock(File file, OpenFile* by, const Range& range) {
  Locks& locks = locks_[file];
  const bool taken = std::ranges::any_of(locks.ranges, [&range](const Range& other) {
    return other.owner != range.owner && other.start <= range.end && range.start <= other.end &&
           (other.exclusive || range.exclusive);
  });
  if (taken) return by == nullptr ? -EAGAIN : Wait(&locks, by);
  Cut(&locks, range);
  locks.ranges.push_back(range);
  Tell(&locks);  // an exclusive one may have become shared
  return 0;
}

int FileLocks::Unlock(File file, const Range& range) {
  Locks& locks = locks_[file];
  Cut(&locks, range);
  Tell(&locks);
  DropUnused(file);
  return 0;
}

void FileLocks::Close(File file) { Drop(file, /*owner=*/nullptr); }

void FileLocks::Forget(File file, OpenFile* description) {
  if (const auto found = locks_.find(file); found != locks_.end()) std::erase(found->second.waiting, description);
  Drop(file, description);
}

void FileLocks::Drop(File file, const OpenFile* owner) {
  const auto found = locks_.find(file);
  if (found == locks_.end()) return;
  Locks& locks = found->second;
  std::erase_if(locks.whole, [owner](const Whole& whole) { return whole.owner == owner; });
  std::erase_if(locks.ranges, [owner](const Range& range) { return range.owner == owner; });
  Tell(&locks);
  DropUnused(file);
}

}  // namespace evring::sim
