#include "sim/file_requests.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>

#include <algorithm>
#include <climits>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "kevent/opcodes.h"

namespace evring::sim {
namespace {

// The errors of open(2), read(2), write(2), fsync(2), rename(2) and unlink(2) for regular files. Left out:
// - what the arguments or what is on the disk decide, which this kernel finds by itself or does not have: EBADF,
// EEXIST, EFAULT, EINVAL, EISDIR, ELOOP, EMLINK, ENAMETOOLONG, ENOENT, ENOTDIR, ENOTEMPTY, EXDEV, EOVERFLOW;
// - what only devices, pipes, sockets, seals and leases answer: ENODEV, ENXIO, EPIPE, EDESTADDRREQ, EWOULDBLOCK,
//   EOPNOTSUPP (of O_TMPFILE), and EPERM of write; EBUSY of open (block devices) and of rename (directories);
// - EAGAIN and EINTR: a ring waits instead, and no signal interrupts a request.
constexpr int kOpenErrors[] = {EACCES, EMFILE, ENFILE, ENOMEM, EPERM};
constexpr int kOpenToWriteErrors[] = {EACCES, EMFILE, ENFILE, ENOMEM, EPERM, EROFS, ETXTBSY};
constexpr int kCreateErrors[] = {EACCES, EMFILE, ENFILE, ENOMEM, EPERM, EROFS, EDQUOT, ENOSPC};
constexpr int kReadErrors[] = {EIO};
constexpr int kWriteErrors[] = {EDQUOT, EFBIG, EIO, ENOSPC};
constexpr int kSyncErrors[] = {EDQUOT, EIO, ENOSPC};
constexpr int kRenameErrors[] = {EACCES, EDQUOT, ENOMEM, ENOSPC, EPERM, EROFS};
constexpr int kUnlinkErrors[] = {EACCES, EBUSY, EIO, ENOMEM, EPERM, EROFS};
// Of flock(2) and fcntl_locking(2). Left out, besides the above: EACCES and EAGAIN of locks that do not wait, and
// EDEADLK, for which there would have to be another process. To give one up needs no memory, unless it splits a range.
constexpr int kLockErrors[] = {ENOLCK};
// Of inotify_init(2) and inotify_add_watch(2); the first of the latter are all that a change of a watch can meet. Left
// out: what the arguments or what is there decide (EBADF, EEXIST, EFAULT, EINVAL, ENAMETOOLONG, ENOENT, ENOTDIR).
constexpr int kInotifyErrors[] = {EMFILE, ENFILE, ENOMEM};
constexpr int kWatchErrors[] = {EACCES, ENOMEM, ENOSPC};
constexpr int kChangeWatchErrors[] = {EACCES};

constexpr uint64_t kOwnPosition = ~uint64_t{0};  // an offset: read and write where the description stands

const char* Path(uint64_t address) { return reinterpret_cast<const char*>(static_cast<uintptr_t>(address)); }

// The bytes that a lock is about, as flock64_to_posix_lock() of Linux has it. -EINVAL, -EOVERFLOW.
int RangeOf(const struct flock& lock, const FileDescription& open, FileLocks::Range* range) {
  constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();
  int64_t base = 0;
  switch (lock.l_whence) {
    case SEEK_SET:
      break;
    case SEEK_CUR:
      base = static_cast<int64_t>(open.position);
      break;
    case SEEK_END:
      base = open.file == nullptr ? 0 : static_cast<int64_t>(open.file->size());
      break;
    default:
      return -EINVAL;
  }
  if (lock.l_start > kEnd - base) return -EOVERFLOW;
  range->start = base + lock.l_start;
  if (range->start < 0) return -EINVAL;
  range->end = kEnd;
  if (lock.l_len > 0) {
    if (lock.l_len - 1 > kEnd - range->start) return -EOVERFLOW;
    range->end = range->start + lock.l_len - 1;
  } else if (lock.l_len < 0) {
    if (range->start + lock.l_len < 0) return -EINVAL;
    range->end = range->start - 1;
    range->start += lock.l_len;
  }
  return lock.l_type == F_RDLCK || lock.l_type == F_WRLCK || lock.l_type == F_UNLCK ? 0 : -EINVAL;
}

}  // namespace

short FileDescription::Poll() const { return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM; }

void FileDescription::Close() { requests_->Close(this); }

bool FileRequests::NeedsPath(const io_uring_sqe& sqe) {
  return sqe.opcode == IORING_OP_OPENAT || sqe.opcode == IORING_OP_RENAMEAT || sqe.opcode == IORING_OP_UNLINKAT;
}

bool FileRequests::Serves(const io_uring_sqe& sqe) {
  if (NeedsPath(sqe)) return true;
  switch (sqe.opcode) {
    case IORING_OP_READ:
    case IORING_OP_WRITE:
    case IORING_OP_FSYNC:
    case kevent::kOpFlock:
    case kevent::kOpLock:
      return sqe.fd >= kFirstFile;
    default:
      return false;
  }
}

std::shared_ptr<FileDescription> FileRequests::Find(int fd) {
  const std::shared_ptr<FileDescription>* found = open_.Find(fd);
  return found == nullptr ? nullptr : *found;
}

void FileRequests::Remove(int fd) {
  const std::shared_ptr<FileDescription> open = Find(fd);
  open_.Remove(fd);
  --open->numbers;
  locks_.Close(open->inode);
}

int FileRequests::Dup(int fd) {
  const std::shared_ptr<FileDescription> open = Find(fd);
  if (open == nullptr) return -EBADF;
  ++open->numbers;
  return open_.Add(open);
}

int FileRequests::FlockNow(int fd, int operation) {
  const std::shared_ptr<FileDescription> open = Find(fd);
  return open == nullptr ? -EBADF : locks_.Flock(open->inode, open.get(), operation | LOCK_NB);
}

int FileRequests::LockNow(int fd, const struct flock& lock) {
  const std::shared_ptr<FileDescription> open = Find(fd);
  if (open == nullptr) return -EBADF;
  FileLocks::Range range = {};
  if (const int rc = RangeToLock(lock, *open, /*by_description=*/true, &range); rc < 0) return rc;
  if (lock.l_type == F_UNLCK) return locks_.Unlock(open->inode, range);
  return locks_.Lock(open->inode, /*by=*/nullptr, range);
}

std::optional<int32_t> FileRequests::Perform(const io_uring_sqe& sqe, FileDescription* open,
                                             std::optional<FileLocks::Range>* lock) {
  switch (sqe.opcode) {
    case IORING_OP_OPENAT:
      return OpenAt(sqe);
    case IORING_OP_RENAMEAT:
      return RenameAt(sqe);
    case IORING_OP_UNLINKAT:
      return UnlinkAt(sqe);
    default:
      break;
  }
  switch (sqe.opcode) {
    case IORING_OP_READ:
      return ReadFrom(open, sqe);
    case IORING_OP_WRITE:
      return WriteTo(open, sqe);
    case kevent::kOpFlock:
      return Flock(open, sqe, lock);
    case kevent::kOpLock:
      return Lock(open, sqe, lock);
    default:
      return Sync(*open, sqe);
  }
}

int FileRequests::Failure(std::span<const int> errors) {
  return world_->Happens(Fault::kFileError) ? -world_->faults.OneOf(errors) : 0;
}

std::span<const int> FileRequests::OpenErrors(const io_uring_sqe& sqe) const {
  if ((sqe.open_flags & O_CREAT) != 0 && !files_->Exists(Path(sqe.addr))) return kCreateErrors;
  if ((sqe.open_flags & O_ACCMODE) != O_RDONLY) return kOpenToWriteErrors;
  return kOpenErrors;
}

int FileRequests::OpenAt(const io_uring_sqe& sqe) {
  const int flags = static_cast<int>(sqe.open_flags);
  if (const int failed = Failure(OpenErrors(sqe)); failed != 0) return failed;
  FileSystem::Handle file;
  FileLocks::File inode = nullptr;
  const std::string path = Path(sqe.addr);
  const bool was_there = Named(path) != nullptr;
  std::string directory;
  if ((flags & O_DIRECTORY) != 0) {
    if (was_there) return -ENOTDIR;
    directory = NormalPath(path);
    inode = &directories_[directory];
  } else {
    if (const int rc = files_->Open(path, flags, &file); rc != 0) return rc;
    inode = file.get();
    ++descriptions_[file.get()];
    if (!was_there) events_.Created(*file);
  }
  const auto made = std::make_shared<FileDescription>(std::move(file), std::move(directory), inode, flags, this);
  events_.Opened(made->watched());
  if (made->file != nullptr && was_there && (flags & O_TRUNC) != 0) events_.Modified(made->watched());
  return open_.Add(made);
}

void FileRequests::Close(FileDescription* open) {
  locks_.Forget(open->inode, open);
  events_.Closed(open->watched(), (open->flags & O_ACCMODE) != O_RDONLY);
  if (open->file == nullptr) return;
  const auto count = descriptions_.find(open->file.get());
  if (--count->second != 0) return;
  descriptions_.erase(count);
  if (!open->file->has_name()) events_.Gone(*open->file);
}

int FileRequests::RenameAt(const io_uring_sqe& sqe) {
  if (const int failed = Failure(kRenameErrors); failed != 0) return failed;
  const FileSystem::Handle file = Named(Path(sqe.addr));
  const FileSystem::Handle over = Named(Path(sqe.addr2));
  const std::string from = file != nullptr ? file->path() : "";
  if (const int rc = files_->Rename(Path(sqe.addr), Path(sqe.addr2)); rc < 0 || file == over) return rc;
  events_.Moved(from, *file, over.get(), over != nullptr && IsOpen(*over));
  return 0;
}

int FileRequests::UnlinkAt(const io_uring_sqe& sqe) {
  if (const int failed = Failure(kUnlinkErrors); failed != 0) return failed;
  return Unlink(Path(sqe.addr));
}

int FileRequests::Unlink(const std::string& path) {
  const FileSystem::Handle file = Named(path);
  if (const int rc = files_->Unlink(path); rc < 0) return rc;
  events_.Unlinked(*file, IsOpen(*file));
  return 0;
}

int FileRequests::ReadFrom(FileDescription* open, const io_uring_sqe& sqe) {
  if (open->file == nullptr) {
    if (sqe.len != 0) return -EISDIR;
    events_.Read(open->watched());
    return 0;
  }
  if ((open->flags & O_ACCMODE) == O_WRONLY) return -EBADF;
  if (const int failed = Failure(kReadErrors); failed != 0) return failed;
  size_t n = sqe.len;
  if (n > 1 && world_->Happens(Fault::kShortFile)) n = 1 + world_->faults.Below(n - 1);
  auto* out = reinterpret_cast<std::byte*>(static_cast<uintptr_t>(sqe.addr));
  const bool own = sqe.off == kOwnPosition;
  const int rc = files_->Read(open->file, own ? open->position : sqe.off, std::span(out, n));
  events_.Read(open->watched());  // io_uring tells of the end of the file too
  if (own && rc > 0) open->position += static_cast<uint64_t>(rc);
  return rc;
}

int FileRequests::WriteTo(FileDescription* open, const io_uring_sqe& sqe) {
  if (open->file == nullptr || (open->flags & O_ACCMODE) == O_RDONLY) return -EBADF;
  // io_uring tells of a write that has failed as well.
  if (const int failed = Failure(kWriteErrors); failed != 0) {
    events_.Modified(open->watched());
    return failed;
  }
  size_t n = sqe.len;
  if (n > 1 && world_->Happens(Fault::kShortFile)) n = 1 + world_->faults.Below(n - 1);
  const bool own = sqe.off == kOwnPosition;
  uint64_t offset = own ? open->position : sqe.off;
  if ((open->flags & O_APPEND) != 0) offset = open->file->size();
  const auto* data = reinterpret_cast<const std::byte*>(static_cast<uintptr_t>(sqe.addr));
  const int rc = files_->Write(open->file, offset, std::span(data, n));
  events_.Modified(open->watched());
  if (own && rc > 0) open->position = offset + static_cast<uint64_t>(rc);
  return rc;
}

int FileRequests::Sync(const FileDescription& open, const io_uring_sqe& sqe) {
  if ((sqe.fsync_flags & ~IORING_FSYNC_DATASYNC) != 0 || sqe.addr != 0 || sqe.buf_index != 0) return -EINVAL;
  if (const int failed = Failure(kSyncErrors); failed != 0) {
    if (open.file != nullptr) files_->FailSync(open.file, &world_->network);
    return failed;
  }
  return open.file == nullptr ? files_->SyncDirectory() : files_->Sync(open.file);
}

std::optional<int32_t> FileRequests::Flock(FileDescription* open, const io_uring_sqe& sqe,
                                           std::optional<FileLocks::Range>* lock) {
  const auto operation = static_cast<int>(sqe.len);
  if (!lock->has_value() && (operation & LOCK_UN) == 0) {
    if (const int failed = Failure(kLockErrors); failed != 0) return failed;
    lock->emplace();  // all of it
  }
  const int rc = locks_.Flock(open->inode, open, operation);
  if (rc == -EAGAIN && (operation & LOCK_NB) == 0) return std::nullopt;
  return rc;
}

int FileRequests::RangeToLock(const struct flock& asked, const FileDescription& open, bool by_description,
                              FileLocks::Range* range) {
  if (const int rc = RangeOf(asked, open, range); rc < 0) return rc;
  const int mode = open.flags & O_ACCMODE;
  if ((asked.l_type == F_RDLCK && mode == O_WRONLY) || (asked.l_type == F_WRLCK && mode == O_RDONLY)) return -EBADF;
  if (by_description && asked.l_pid != 0) return -EINVAL;
  range->owner = by_description ? &open : nullptr;
  range->exclusive = asked.l_type == F_WRLCK;
  return 0;
}

std::optional<int32_t> FileRequests::Lock(FileDescription* open, const io_uring_sqe& sqe,
                                          std::optional<FileLocks::Range>* lock) {
  const auto& asked = *reinterpret_cast<const struct flock*>(static_cast<uintptr_t>(sqe.addr));
  const bool by_description = sqe.len == F_OFD_SETLKW;
  if (!by_description && sqe.len != F_SETLKW) return -EINVAL;
  if (!lock->has_value()) {
    FileLocks::Range range = {};
    if (const int rc = RangeToLock(asked, *open, by_description, &range); rc < 0) return rc;
    const int failed = asked.l_type == F_UNLCK ? 0 : Failure(kLockErrors);
    if (failed != 0) return failed;
    *lock = range;
  }
  const FileLocks::Range& range = **lock;
  if (asked.l_type == F_UNLCK) return locks_.Unlock(open->inode, range);
  const int rc = locks_.Lock(open->inode, open, range);
  if (rc == -EAGAIN) return std::nullopt;
  if (!by_description && open->numbers == 0) {
    // It came too late: the process has closed the descriptor, and with it given up its locks.
    locks_.Unlock(open->inode, range);
    return -EBADF;
  }
  return rc;
}

// --- Watches

FileSystem::Handle FileRequests::Named(const std::string& path) const {
  FileSystem::Handle file;
  return files_->Open(path, /*flags=*/0, &file) == 0 ? file : nullptr;
}

bool FileRequests::IsDirectory(const std::string& path) const {
  return directories_.contains(path) || files_->IsDirectory(path);
}

int FileRequests::Resolve(const std::string& path, bool directory, Watched* what) const {
  if (path.empty()) return -ENOENT;
  if (path.front() != '/') return -EINVAL;
  if (path.size() >= PATH_MAX) return -ENAMETOOLONG;
  const std::string last = path.substr(path.rfind('/') + 1);
  directory = directory || last.empty() || last == "." || last == "..";
  const std::string known = NormalPath(path);
  if (const FileSystem::Handle file = Named(known); file != nullptr) {
    what->file = file.get();
    return directory ? -ENOTDIR : 0;
  }
  // One name after the other that it goes through.
  for (size_t slash = 0; slash != std::string::npos;) {
    const size_t end = known.find('/', slash + 1);
    if (std::min(end, known.size()) - slash - 1 > NAME_MAX) return -ENAMETOOLONG;
    const std::string through = known.substr(0, end);
    if (end != std::string::npos && Named(through) != nullptr) return -ENOTDIR;
    if (end != std::string::npos && !directory && !IsDirectory(through)) return -ENOENT;
    slash = end;
  }
  what->directory = known;
  return directory || IsDirectory(known) ? 0 : -ENOENT;
}

int FileRequests::MakeInotify(bool blocking, std::shared_ptr<Inotify>* made) {
  if (events_.instances() >= events_.limits().instances) return -EMFILE;
  if (const int failed = Failure(kInotifyErrors); failed != 0) return failed;
  *made = std::make_shared<Inotify>(world_, &events_, blocking);
  return 0;
}

int FileRequests::AddWatch(Inotify* inotify, const char* path, uint32_t mask) {
  Watched what;
  if (const int rc = Resolve(path, (mask & IN_ONLYDIR) != 0, &what); rc < 0) return rc;
  const std::span<const int> errors =
      inotify->Watches(what) ? std::span<const int>(kChangeWatchErrors) : std::span<const int>(kWatchErrors);
  if (const int failed = Failure(errors); failed != 0) return failed;
  return inotify->Add(what, mask);
}

}  // namespace evring::sim
