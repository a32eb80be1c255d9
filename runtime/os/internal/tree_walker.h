// tree_walker.h: the steps of a walk through a tree of directories (directory.h): which need a thread that may block,
// and which do not.
//
//   Next() --kEntry--> the entry is given out --> Next() …
//          --kBlock--> Block(), on a thread of the blocking pool --> Next() …
//          --kEnd---->
//
// A walk is a stack of levels, each a directory that was found in the one before it. The last is open; of those before,
// the last kOpenMax. Who closes a level has all its names; who comes back to it opens it again from below, by "..", and
// looks whether it is the same. That cannot be done from where a link has led to: the level before stays open.
//
// One thread at a time.

#ifndef EVRING_RUNTIME_OS_INTERNAL_TREE_WALKER_H_
#define EVRING_RUNTIME_OS_INTERNAL_TREE_WALKER_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "runtime/os/directory.h"
#include "runtime/os/internal/open_directory.h"

namespace evring::internal {

class TreeWalker {
 public:
  static constexpr size_t kOpenMax = 64;

  TreeWalker(std::string path, WalkOptions options) : options_(options), path_(std::move(path)) {}

  enum class Move { kEntry, kBlock, kEnd };
  // Does not block. kEntry: `entry` is the next one.
  Move Next(TreeEntry* entry);
  // May block. An error ends the walk.
  absl::Status Block();
  // Whether what is below the entry that Next() gave is wanted.
  void Descend(bool wanted) { descend_ = wanted; }

 private:
  struct Level {
    std::string path;
    OpenDirectory directory;
    bool by_link = false;
    std::vector<FoundName> names;
    size_t next = 0;      // of them, to be given
    bool ended = false;   // there are no others
    absl::Status failed;  // why it has ended early
  };
  enum class Look { kNot, kVanished, kDone };

  bool NeedsLook(const FoundName& found) const;
  bool TakeNext(Level* top, TreeEntry* entry);
  void Leave();
  absl::Status OpenRoot();
  void LookAt(Level* level, FoundName* found);
  void OpenChild(Level* level, const FoundName& found, bool by_link);
  void ReadMore(Level* level, size_t at_least);
  void CloseFarLevels();
  std::string PathOf(const Level& level, const std::string& name) const;

  const WalkOptions options_;
  const std::string path_;
  bool begun_ = false;
  std::vector<Level> levels_;
  // Of the name that is next in the last level:
  Look look_ = Look::kNot;
  absl::Status looked_;  // what is wrong with it
  bool has_child_ = false;
  Level child_;  // it, opened
  bool descend_ = false;
  OpenDirectory left_;  // the last level that ended, from where the one before is opened again
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_OS_INTERNAL_TREE_WALKER_H_
