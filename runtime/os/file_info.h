// file_info.h: what a file system says of a file: its type, its size, whose it is, its times. (statx(2))

#ifndef EVRING_RUNTIME_OS_FILE_INFO_H_
#define EVRING_RUNTIME_OS_FILE_INFO_H_

#include <sys/types.h>

#include <cstdint>

#include "absl/time/time.h"

struct statx;

namespace evring {

enum class FileType : uint8_t {
  kUnknown,
  kRegular,
  kDirectory,
  kSymbolicLink,
  kPipe,
  kSocket,
  kCharacterDevice,
  kBlockDevice,
};

// "regular", "directory", …
const char* FileTypeName(FileType type);
// Of the S_IF… bits of `mode`.
FileType FileTypeOfMode(uint32_t mode);

struct FileInfo {
  FileInfo() = default;
  explicit FileInfo(const struct statx& info);

  FileType type = FileType::kUnknown;
  mode_t permissions = 0;  // with the set-user-id, set-group-id and sticky bits: 07777
  uid_t user = 0;
  gid_t group = 0;
  uint64_t size = 0;       // bytes
  uint64_t allocated = 0;  // bytes on the disk
  uint64_t links = 0;
  uint64_t inode = 0;  // this and the device are one file's for as long as it lives
  uint64_t device = 0;
  absl::Time accessed;
  absl::Time modified;
  absl::Time changed;  // what this says, or the content
};

}  // namespace evring

#endif  // EVRING_RUNTIME_OS_FILE_INFO_H_
