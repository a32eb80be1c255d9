// file_requests.h: the requests of a simulated kernel that are about files: served from a simulated file system
// (files.h), by whatever path. Among them are locks, which Linux has no requests for (kevent/opcodes.h). Who watches a
// file or a directory is told (file_events.h).
//
// Descriptors have numbers of their own, from kFirstFile on: a regular file of the machine that the program has opened
// by itself keeps its own, and is read as it is.

#ifndef EVRING_SIM_FILE_REQUESTS_H_
#define EVRING_SIM_FILE_REQUESTS_H_

#include <fcntl.h>
#include <liburing.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "sim/descriptor_table.h"
#include "sim/file_events.h"
#include "sim/file_locks.h"
#include "sim/files.h"
#include "sim/inotify.h"
#include "sim/open_file.h"
#include "sim/world.h"

namespace evring::sim {

class FileRequests;

// What a descriptor of a file stands for.
class FileDescription final : public OpenFile {
 public:
  // `file`: nullptr: a directory, of that path. `inode`: by what it is known to those that lock it.
  FileDescription(FileSystem::Handle file, std::string directory, FileLocks::File inode, int flags,
                  FileRequests* requests)
      : file(std::move(file)), directory(std::move(directory)), inode(inode), flags(flags), requests_(requests) {}

  short Poll() const override;
  void Close() override;

  Watched watched() const { return {.file = file.get(), .directory = directory}; }

  const FileSystem::Handle file;
  const std::string directory;
  const FileLocks::File inode;
  const int flags;
  uint64_t position = 0;
  int numbers = 1;  // so many descriptors stand for it

 private:
  FileRequests* const requests_;
};

class FileRequests {
 public:
  // `files`: what is on the disk at the start; borrowed.
  FileRequests(World* world, FileSystem* files, const InotifyLimits& inotify)
      : world_(world), files_(files), events_(inotify) {}

  // Whether a request is about a file of ours.
  static bool Serves(const io_uring_sqe& sqe);
  // Whether it is about one that is open.
  static bool NeedsDescription(const io_uring_sqe& sqe) { return !NeedsPath(sqe); }
  // Its result; nullopt: a lock that others have, ask `again` when the description is told. Faults, where they are not
  // stopped: short counts, the errors of the system calls. `open`: if it needs a description. `lock`: the bytes that a
  // lock is about, noted when it is asked for first; its own of each request.
  std::optional<int32_t> Perform(const io_uring_sqe& sqe, FileDescription* open, std::optional<FileLocks::Range>* lock);

  // nullptr: there is none of that number.
  std::shared_ptr<FileDescription> Find(int fd);
  // The number stands for nothing any more; the description is closed by whoever has it, when no number stands for it.
  void Remove(int fd);
  // By its description, which nothing refers to any more.
  void Close(FileDescription* open);
  // Another number for what `fd` stands for. -EBADF.
  int Dup(int fd);
  // Descriptors::Flock() and SetLock(), which do not wait and are no requests: without faults.
  int FlockNow(int fd, int operation);
  int LockNow(int fd, const struct flock& lock);
  // Not by a request, and without faults.
  int Remove(const char* path) { return Unlink(path); }
  // Of inotify: an instance, and a watch of what is at `path`. A path is that of a directory if there is, or was, a
  // file below it, if it has been opened as one, or where it says so itself: with a slash at its end, or IN_ONLYDIR.
  int MakeInotify(bool blocking, std::shared_ptr<Inotify>* made);
  int AddWatch(Inotify* inotify, const char* path, uint32_t mask);
  FileEvents* events() { return &events_; }
  int open_descriptors() const { return open_.size(); }

 private:
  static bool NeedsPath(const io_uring_sqe& sqe);
  int OpenAt(const io_uring_sqe& sqe);
  int RenameAt(const io_uring_sqe& sqe);
  int UnlinkAt(const io_uring_sqe& sqe);
  int Unlink(const std::string& path);
  int ReadFrom(FileDescription* open, const io_uring_sqe& sqe);
  int WriteTo(FileDescription* open, const io_uring_sqe& sqe);
  int Sync(const FileDescription& open, const io_uring_sqe& sqe);
  std::optional<int32_t> Flock(FileDescription* open, const io_uring_sqe& sqe, std::optional<FileLocks::Range>* lock);
  // What is asked for: the bytes, whose, and how. -EINVAL, -EOVERFLOW, -EBADF: it is not open for that.
  static int RangeToLock(const struct flock& asked, const FileDescription& open, bool by_description,
                         FileLocks::Range* range);
  // F_OFD_SETLKW and F_SETLKW.
  std::optional<int32_t> Lock(FileDescription* open, const io_uring_sqe& sqe, std::optional<FileLocks::Range>* lock);

  // An errno that happens now, negative, or 0.
  int Failure(std::span<const int> errors);
  std::span<const int> OpenErrors(const io_uring_sqe& sqe) const;
  bool IsOpen(const FileSystem::File& file) const { return descriptions_.contains(&file); }
  // nullptr: nothing has that name.
  FileSystem::Handle Named(const std::string& path) const;
  // What a watch of `path` is one of.
  int Resolve(const std::string& path, bool directory, Watched* what) const;
  bool IsDirectory(const std::string& path) const;

  World* const world_;
  FileSystem* const files_;
  FileLocks locks_;
  FileEvents events_;
  std::map<std::string, char> directories_;                 // that have been opened, by path; an element is one's inode
  std::map<const FileSystem::File*, size_t> descriptions_;  // how many are open of a file
  DescriptorTable<std::shared_ptr<FileDescription>> open_{kFirstFile};
};

}  // namespace evring::sim

#endif  // EVRING_SIM_FILE_REQUESTS_H_
