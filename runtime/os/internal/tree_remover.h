// tree_remover.h: removing a tree of directories, of any depth, by steps that block.
//
// A level is read, part by part, its names are removed, and it is read again from its beginning: file systems may leave
// out names while others are removed. When nothing is left it is removed from the level above. Everything is done
// relative to descriptors. The last kOpenMax levels are open; who comes back to an earlier one opens it by ".." and
// looks whether it is the same.
//
// One thread at a time.

#ifndef EVRING_RUNTIME_OS_INTERNAL_TREE_REMOVER_H_
#define EVRING_RUNTIME_OS_INTERNAL_TREE_REMOVER_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/os/internal/open_directory.h"

namespace evring::internal {

class TreeRemover {
 public:
  static constexpr size_t kOpenMax = 32;

  explicit TreeRemover(std::string path) : path_(std::move(path)) {}

  // Removes so many names at most. True: there is nothing of that name any more. An error ends it.
  absl::StatusOr<bool> Step(int names_max = 256);

 private:
  struct Level {
    std::string name;  // in the level above; of the first, the path
    OpenDirectory directory;
    std::vector<FoundName> names;
    size_t next = 0;      // of them
    int attempts = 0;     // at removing the directory that is next
    int parts = 0;        // of it, in this round
    int rounds = 0;       // from the beginning to the end, after the first
    bool found = false;   // a name, in this round
    bool at_end = false;  // of this round
  };

  absl::Status Begin();
  absl::Status RemoveNext();
  absl::Status ReadOn();
  absl::Status Descend(const std::string& name);
  absl::Status Ascend();
  absl::Status Failed(int rc, const char* call, const std::string& name = "") const;
  int fd() const { return levels_.back().directory.fd(); }

  const std::string path_;
  bool begun_ = false;
  bool done_ = false;
  std::vector<Level> levels_;
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_OS_INTERNAL_TREE_REMOVER_H_
