// file_events.h: what each operation on simulated files tells the inotify instances, and in which order.
//
// An operation on a file that has, or had, a name is told to the watch of its directory, with the name, then to that of
// the file: opening, reading, writing, closing. What only changes names is told to the directories; that a link to a
// file is gone, that it was moved or is gone altogether, to the file only. The order is that of Linux:
//
//   a file is made      IN_CREATE, then IN_OPEN
//   it is truncated     IN_OPEN, then IN_MODIFY
//   a rename            IN_MOVED_FROM, IN_MOVED_TO; IN_ATTRIB of what had the name; IN_MOVE_SELF; what had the name is
//                       gone, unless it is open
//   a name is removed   IN_ATTRIB; the file is gone, unless it is open; IN_DELETE
//   a file is closed    IN_CLOSE_WRITE or IN_CLOSE_NOWRITE; the file is gone, if that was its last
//   a file is gone      IN_DELETE_SELF, IN_IGNORED
//
// Of directories it is told that they are opened and closed. No more happens to them: this file system neither makes
// nor removes them (files.h).
//
// Source: include/linux/fsnotify.h, vfs_unlink(), vfs_rename() and d_delete() of Linux,
// tests/sim/watches_differential_test.cc. For one thread at a time.

#ifndef EVRING_SIM_FILE_EVENTS_H_
#define EVRING_SIM_FILE_EVENTS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "sim/files.h"
#include "sim/inotify.h"

namespace evring::sim {

class FileEvents {
 public:
  explicit FileEvents(const InotifyLimits& limits) : limits_(limits) {}

  // An instance is told from here on; from there on not any more. Borrowed until then.
  void Add(Inotify* instance) { instances_.push_back(instance); }
  void Remove(Inotify* instance) { std::erase(instances_, instance); }
  size_t instances() const { return instances_.size(); }
  size_t watches() const;  // of all of them
  const InotifyLimits& limits() const { return limits_; }

  // `what`: a file, or a directory.
  void Opened(const Watched& what);
  void Closed(const Watched& what, bool was_for_writing);
  void Read(const Watched& what);
  void Modified(const Watched& what);
  // It has a name now.
  void Created(const FileSystem::File& file);
  // `from`: its path before. `over`: what had its name before; nullptr: nothing had. `open`: that is still open.
  void Moved(const std::string& from, const FileSystem::File& file, const FileSystem::File* over, bool open);
  // It has no name any more. `open`: it is still open.
  void Unlinked(const FileSystem::File& file, bool open);
  // It has neither a name nor a descriptor any more.
  void Gone(const FileSystem::File& file);

 private:
  // To the directory of it, and to itself.
  void Tell(const Watched& what, uint32_t mask);
  void TellDirectory(const std::string& path, uint32_t mask, uint32_t cookie = 0);
  void TellItself(const FileSystem::File& file, uint32_t mask);

  const InotifyLimits limits_;
  std::vector<Inotify*> instances_;  // in the order in which they were made
  uint32_t cookie_ = 0;              // of the newest rename
};

}  // namespace evring::sim

#endif  // EVRING_SIM_FILE_EVENTS_H_
