#include "runtime/os/internal/open_directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <memory>

namespace evring::internal {
namespace {

constexpr size_t kReadBytes = size_t{64} << 10;  // of getdents64(2)

FileType TypeOfEntry(unsigned char type) { return FileTypeOfMode(DTTOIF(type)); }

}  // namespace

int OpenDirectory::Open(int at, const char* name, bool follow) {
  const int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW));
  if (fd < 0) return -errno;
  fd_ = kevent::OwnedDescriptor(fd);
  struct stat info;
  if (fstat(fd, &info) != 0) {
    const int error = errno;
    fd_.Close();
    return -error;
  }
  device_ = info.st_dev;
  inode_ = info.st_ino;
  return 0;
}

int OpenDirectory::OpenParent(OpenDirectory* parent) const {
  OpenDirectory above;
  if (const int rc = above.Open(fd(), "..", /*follow=*/false); rc != 0) return rc;
  if (!above.IsSameAs(*parent)) return -ESTALE;
  *parent = std::move(above);
  return 0;
}

int OpenDirectory::Read(size_t at_least, std::vector<FoundName>* names) {
  const auto buffer = std::make_unique<std::byte[]>(kReadBytes);
  const size_t enough = names->size() + at_least;
  while (names->size() < enough) {
    const ssize_t n = getdents64(fd(), buffer.get(), kReadBytes);
    if (n == 0) return 0;
    // The directory itself was removed: there is nothing more in it.
    if (n < 0) return errno == ENOENT ? 0 : -errno;
    for (size_t at = 0; at < static_cast<size_t>(n);) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer.get() + at);
      at += entry->d_reclen;
      const char* const name = entry->d_name;
      if (std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0) continue;
      FileType type = TypeOfEntry(entry->d_type);
      // Some file systems do not tell; what vanishes meanwhile was never there.
      if (type == FileType::kUnknown && TypeOf(name, /*follow=*/false, &type) == -ENOENT) continue;
      names->emplace_back(name, type, entry->d_ino);
    }
  }
  return 1;
}

int OpenDirectory::Rewind() { return lseek(fd(), 0, SEEK_SET) < 0 ? -errno : 0; }

int OpenDirectory::TypeOf(const std::string& name, bool follow, FileType* type) const {
  struct stat info;
  if (fstatat(fd(), name.c_str(), &info, follow ? 0 : AT_SYMLINK_NOFOLLOW) != 0) return -errno;
  *type = FileTypeOfMode(info.st_mode);
  return 0;
}

}  // namespace evring::internal
