// file_requests.h: the requests of a simulated kernel that are about files: served from a simulated file system
// (files.h), by whatever path.
//
// Descriptors have numbers of their own, from kFirstFile on: a regular file of the machine that the program has opened
// by itself keeps its own, and is read as it is.

#ifndef EVRING_SIM_FILE_REQUESTS_H_
#define EVRING_SIM_FILE_REQUESTS_H_

#include <liburing.h>

#include <cstdint>
#include <memory>
#include <span>

#include "sim/descriptor_table.h"
#include "sim/files.h"
#include "sim/world.h"

namespace evring::sim {

class FileRequests {
 public:
  // `files`: what is on the disk at the start; borrowed.
  FileRequests(World* world, FileSystem* files) : world_(world), files_(files) {}

  // Whether a request is about a file of ours.
  static bool Serves(const io_uring_sqe& sqe);
  // Its result. Faults, where they are not stopped: short counts, the errors of the system calls.
  int Perform(const io_uring_sqe& sqe);

  int Close(int fd) { return open_.Remove(fd) ? 0 : -EBADF; }
  // Not by a request, and without faults.
  int Remove(const char* path) { return files_->Unlink(path); }
  int open_descriptors() const { return open_.size(); }

 private:
  struct Open {
    FileSystem::Handle file;  // nullptr: a directory
    int flags;
  };

  int OpenAt(const io_uring_sqe& sqe);
  int RenameAt(const io_uring_sqe& sqe);
  int UnlinkAt(const io_uring_sqe& sqe);
  int ReadFrom(const Open& open, const io_uring_sqe& sqe);
  int WriteTo(const Open& open, const io_uring_sqe& sqe);
  int Sync(const Open& open);

  // An errno that happens now, negative, or 0.
  int Failure(std::span<const int> errors);
  std::span<const int> OpenErrors(const io_uring_sqe& sqe) const;

  World* const world_;
  FileSystem* const files_;
  DescriptorTable<Open> open_{kFirstFile};
};

}  // namespace evring::sim

#endif  // EVRING_SIM_FILE_REQUESTS_H_
