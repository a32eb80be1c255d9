// open_directory.h: one directory, by its descriptor: reading what is in it, and going to what is below and above. All
// relative to the descriptor, so that nobody who renames things meanwhile leads a walk elsewhere.
//
// Blocking calls, for threads of the blocking pool; one thread at a time. Errors are a negative errno.

#ifndef EVRING_RUNTIME_OS_INTERNAL_OPEN_DIRECTORY_H_
#define EVRING_RUNTIME_OS_INTERNAL_OPEN_DIRECTORY_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "kevent/owned_descriptor.h"
#include "runtime/os/file_info.h"

namespace evring::internal {

struct FoundName {
  FoundName(std::string name, FileType type, uint64_t inode) : name(std::move(name)), type(type), inode(inode) {}

  std::string name;
  FileType type;
  uint64_t inode;
};

class OpenDirectory {
 public:
  // Opens the directory `name`, relative to the descriptor `at` or AT_FDCWD. `follow`: also where a symbolic link leads
  // to; else -ENOTDIR answers one. 0.
  int Open(int at, const char* name, bool follow);
  // Opens, from this one, the directory above, which was open in `parent` before. -ESTALE: this one is somewhere else
  // now.
  int OpenParent(OpenDirectory* parent) const;

  // Appends names, without "." and "..", until there are `at_least` more or the end is reached. 1: there are others; 0:
  // the end.
  int Read(size_t at_least, std::vector<FoundName>* names);
  // The next Read() begins anew.
  int Rewind();
  // What `name` is; it may have become another since it was read.
  int TypeOf(const std::string& name, bool follow, FileType* type) const;

  int fd() const { return fd_.get(); }
  bool is_open() const { return fd_.valid(); }
  void Close() { fd_.Close(); }
  // Whether both are, or were, the same directory.
  bool IsSameAs(const OpenDirectory& other) const { return device_ == other.device_ && inode_ == other.inode_; }
  dev_t device() const { return device_; }

 private:
  kevent::OwnedDescriptor fd_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_OS_INTERNAL_OPEN_DIRECTORY_H_
