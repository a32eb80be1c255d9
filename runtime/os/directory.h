// directory.h: what is in a directory, and in the tree below it; removing a tree.
//
//   AsyncGenerator<TreeEntry, absl::Status> tree = WalkTree("source");
//   while (const TreeEntry* entry = co_await tree.Next()) {
//     if (!entry->status.ok()) co_return entry->status;
//     if (entry->type == FileType::kRegular) paths->push_back(entry->path);
//   }
//   if (!tree.status().ok()) co_return tree.status();
//   co_return co_await RemoveTree("source");
//
// io_uring has no request for reading directories: threads of the blocking pool do it, many names at a time, so no
// worker waits for a disk. Await Next() on a worker. A stop ends the generator with kCancelled, at the next time that
// it needs such a thread; a call that is being made is waited out. On a simulated machine each answers kUnimplemented
// (ENOSYS).
//
// Errors carry their errno and name the call and the path.

#ifndef EVRING_RUNTIME_OS_DIRECTORY_H_
#define EVRING_RUNTIME_OS_DIRECTORY_H_

#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "runtime/generator.h"
#include "runtime/os/file_info.h"
#include "runtime/task.h"

namespace evring {

struct DirectoryEntry {
  DirectoryEntry(std::string name, FileType type, uint64_t inode) : name(std::move(name)), type(type), inode(inode) {}

  std::string name;
  FileType type;  // a link is a link
  uint64_t inode;
};

// The entries of the directory `path`, without "." and "..", in the order of the file system. What comes or goes
// meanwhile may be among them or not; all else is, once.
AsyncGenerator<DirectoryEntry, absl::Status> ReadDirectory(std::string path);

struct WalkOptions {
  WalkOptions() {}

  // 1: what is in the directory; 2: and what is in the directories in it; …
  int depth_max = std::numeric_limits<int>::max();
  // Also what links lead to: an entry has the type of it, and directories are walked. A link that leads nowhere is an
  // entry of its own, kSymbolicLink.
  bool follow_links = false;
  // By name, byte by byte, in each directory; else in the order of the file system. Whole directories are held in
  // memory.
  bool sorted = false;
};

struct TreeEntry {
  TreeEntry() = default;

  std::string path;  // the root's, and the names from there on
  FileType type = FileType::kUnknown;
  int depth = 0;  // 1: in the root
  // Not OK: it is a directory that cannot be read (EACCES, EMFILE, EIO, …), or not to its end: then it was given once
  // without and comes once more, behind what could be read; or with follow_links one that it is below itself (ELOOP),
  // or a link to what cannot be looked at. It is not walked, all else is.
  absl::Status status;
  // For a directory: false set before the next Next() leaves out what is below it.
  bool descend = true;
};

// All that is below the directory `path`: first a directory, then what is in it. What vanishes before it is looked at
// is left out; what is replaced is what it is by then. Everything is opened relative to the directory it was found in,
// without following a link (unless follow_links), so nothing outside of the tree is seen, however it is renamed
// meanwhile.
//
// Ends with an error for `path` itself, when no thread can be made, and with kAborted (ESTALE) when, more than 64
// levels below, a directory was moved away on whose descriptor the way back depended. Descriptors: at most 64 and one
// for each link on the way.
AsyncGenerator<TreeEntry, absl::Status> WalkTree(std::string path, WalkOptions options = WalkOptions());

// Removes `path`, and if it is a directory all that is below it, of whatever depth. Links are removed, not followed.
// OK: there is nothing of that name, or there was nothing. It ends at the first error, the rest is still there:
// kPermissionDenied; kFailedPrecondition (EBUSY: something is mounted there; ENOTEMPTY: others keep on filling a
// directory, which was gone through a hundred times and never found empty); kAborted (ESTALE: a directory was moved
// away meanwhile); … A stop ends it within some hundred names.
Task<absl::Status> RemoveTree(std::string path);

// The same by the calling thread, which may be any: for destructors, and programs that have no task any more.
absl::Status RemoveTreeBlocking(const std::string& path);

}  // namespace evring

#endif  // EVRING_RUNTIME_OS_DIRECTORY_H_
