#include "runtime/os/file_info.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace evring {
namespace {

absl::Time TimeOf(const statx_timestamp& time) {
  return absl::FromUnixSeconds(time.tv_sec) + absl::Nanoseconds(time.tv_nsec);
}

}  // namespace

const char* FileTypeName(FileType type) {
  switch (type) {
    case FileType::kUnknown:
      return "unknown";
    case FileType::kRegular:
      return "regular";
    case FileType::kDirectory:
      return "directory";
    case FileType::kSymbolicLink:
      return "symbolic link";
    case FileType::kPipe:
      return "pipe";
    case FileType::kSocket:
      return "socket";
    case FileType::kCharacterDevice:
      return "character device";
    case FileType::kBlockDevice:
      return "block device";
  }
  return "unknown";
}

FileType FileTypeOfMode(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return FileType::kRegular;
    case S_IFDIR:
      return FileType::kDirectory;
    case S_IFLNK:
      return FileType::kSymbolicLink;
    case S_IFIFO:
      return FileType::kPipe;
    case S_IFSOCK:
      return FileType::kSocket;
    case S_IFCHR:
      return FileType::kCharacterDevice;
    case S_IFBLK:
      return FileType::kBlockDevice;
    default:
      return FileType::kUnknown;
  }
}

FileInfo::FileInfo(const struct statx& info)
    : type(FileTypeOfMode(info.stx_mode)),
      permissions(info.stx_mode & 07777),
      user(info.stx_uid),
      group(info.stx_gid),
      size(info.stx_size),
      allocated(info.stx_blocks * 512),
      links(info.stx_nlink),
      inode(info.stx_ino),
      device(makedev(info.stx_dev_major, info.stx_dev_minor)),
      accessed(TimeOf(info.stx_atime)),
      modified(TimeOf(info.stx_mtime)),
      changed(TimeOf(info.stx_ctime)) {}

}  // namespace evring
