// file_locks.h: the locks of simulated files: whole files (flock(2)), and ranges of bytes by open descriptions
// (F_OFD_SETLKW) and by the process (F_SETLKW).
//
// Whole files and ranges know nothing of each other; ranges of a description and of the process exclude each other.
// Who cannot have a lock is told when one of the file is given up, and asks again: of several, who asks first. As in
// Linux, flock() gives up the lock that the description has before it looks for another kind: a change may have to
// wait, or be refused, and then the old one is gone; a change of a range is one step.
//
// Source: flock(2), fcntl_locking(2), fs/locks.c of Linux. For one thread at a time.

#ifndef EVRING_SIM_FILE_LOCKS_H_
#define EVRING_SIM_FILE_LOCKS_H_

#include <cstdint>
#include <map>
#include <vector>

#include "sim/open_file.h"

namespace evring::sim {

class FileLocks {
 public:
  // The file itself, whatever description it is open by.
  using File = const void*;

  // [start, end] of a file; `owner`: the description, nullptr: the process.
  struct Range {
    const OpenFile* owner;
    int64_t start;
    int64_t end;
    bool exclusive;
  };

  // LOCK_SH, LOCK_EX or LOCK_UN with or without LOCK_NB; else -EINVAL. 0; -EAGAIN: another description's is in the way;
  // `by` is told when to ask again.
  int Flock(File file, OpenFile* by, int operation);
  // Makes the range its owner's, or nobody's. 0, or -EAGAIN as above; `by`: nullptr: nobody asks again.
  int Lock(File file, OpenFile* by, const Range& range);
  int Unlock(File file, const Range& range);
  // A descriptor of the file has been closed: the locks of the process go, whichever it has them by.
  void Close(File file);
  // A description of the file is there no more: its locks go.
  void Forget(File file, OpenFile* description);

 private:
  struct Whole {
    const OpenFile* owner;
    bool exclusive;
  };
  struct Locks {
    std::vector<Whole> whole;
    std::vector<Range> ranges;  // those of one owner do not overlap
    std::vector<OpenFile*> waiting;
  };

  // What is left of the ranges of an owner without [start, end].
  static void Cut(Locks* locks, const Range& range);
  static int Wait(Locks* locks, OpenFile* by);
  static void Tell(Locks* locks);
  void Drop(File file, const OpenFile* owner);
  void DropUnused(File file);

  std::map<File, Locks> locks_;
};

}  // namespace evring::sim

#endif  // EVRING_SIM_FILE_LOCKS_H_
