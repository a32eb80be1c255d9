// files.h: a simulated file system with a page cache, which a crash loses: what was not synced may be gone, in part.
//
// There are two pictures of everything: what programs see, and what is on the disk.
//
//   data    A write changes the picture that programs see. It reaches the disk by Sync() of the file, or, at a crash,
//           page by page as the seed decides: each dirty page is old, new, or torn at a sector of 512 bytes. Bytes of
//           a file beyond what was synced may be there as zeros.
//   names   Creating, renaming and removing are entries of a journal, which reaches the disk by SyncDirectory(), or by
//           Sync() of a file that was created (with all that comes before it), or at a crash as far as the seed
//           decides: always a beginning of the journal, as with a journalling file system.
//
// So a program that writes a new file, renames it over the old one and does not sync the file in between can find the
// name on the new file and the new file empty: what the real systems do. Source: fsync(2), rename(2), and ext4's
// data=ordered without its repairs for programs that forget (auto_da_alloc).
//
// Paths are absolute, and mean the same with `.`, `..` and more slashes in between; a directory is any prefix that ends
// before a slash: it need not be made. For one thread at a time.

#ifndef EVRING_SIM_FILES_H_
#define EVRING_SIM_FILES_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "sim/random.h"

namespace evring::sim {

// The path without `.`, `..`, and slashes that mean nothing: what files and directories are known by.
std::string NormalPath(const std::string& path);

class FileSystem {
 public:
  static constexpr size_t kPage = 4096;
  static constexpr size_t kSector = 512;

  // A file, whatever its names are; it lives while it has a name or is open.
  class File {
   public:
    uint64_t size() const { return seen_.size(); }
    // Where programs find it, or, if it has no name any more, found it last.
    const std::string& path() const { return path_; }
    bool has_name() const { return has_name_; }

   private:
    friend class FileSystem;
    std::string path_;
    bool has_name_ = false;
    std::vector<std::byte> seen_;
    std::vector<std::byte> synced_;
    std::set<uint64_t> dirty_;                 // pages
    std::optional<uint64_t> created_journal_;  // the entry that made it, until it is on the disk
  };
  using Handle = std::shared_ptr<File>;

  // `size_max`: of all files together, before ENOSPC.
  explicit FileSystem(uint64_t size_max) : size_max_(size_max) {}

  // Each answers as the system call does, a negative errno for an error. Of `flags`: O_CREAT, O_EXCL, O_TRUNC.
  int Open(const std::string& path, int flags, Handle* file);
  int Read(const Handle& file, uint64_t offset, std::span<std::byte> out) const;
  int Write(const Handle& file, uint64_t offset, std::span<const std::byte> data);
  int Truncate(const Handle& file, uint64_t size);
  // fsync(2), and fdatasync(2).
  int Sync(const Handle& file);
  // What an error of fsync(2) may mean: some of the pages have reached the disk, and none of them counts as dirty any
  // more, so that another Sync() does not write them. Programs see the new content until a crash.
  void FailSync(const Handle& file, Random* random);
  // fsync(2) of a directory: all names.
  int SyncDirectory();
  int Rename(const std::string& from, const std::string& to);
  int Unlink(const std::string& path);

  bool Exists(const std::string& path) const { return seen_.contains(NormalPath(path)); }
  // A file is below it, or was, by its normal path. The root is one in any case.
  bool IsDirectory(const std::string& path) const { return path == "/" || directories_.contains(path); }
  // The names in a directory, sorted.
  std::vector<std::string> List(const std::string& directory) const;

  // What a crash of the process at this moment leaves: all that it has written, in the page cache, which a loss of
  // power may still lose. A file without a name is gone with it.
  std::unique_ptr<FileSystem> AfterProcessCrash() const;
  // What a loss of power at this moment may leave on the disk.
  std::unique_ptr<FileSystem> AfterCrash(Random* random) const;

 private:
  // One change of names.
  struct Entry {
    std::string path;
    Handle file;  // nullptr: the name is gone
  };

  static void Apply(const std::vector<Entry>& change, std::map<std::string, Handle>* names);
  // The files of a picture that programs see are told their names in it.
  void NameFiles();
  // Programs find the file there, and that its path goes through directories.
  void Name(File* file, const std::string& path);
  static std::vector<std::byte> DataAfterCrash(const File& file, Random* random);
  // Writes the dirty pages that do reach the disk; none is dirty afterwards.
  static void WriteBack(const Handle& file, const std::function<bool(uint64_t page)>& reaches_disk);
  void Record(std::vector<Entry> change);
  void Commit(uint64_t entries);
  uint64_t used() const;

  const uint64_t size_max_;
  std::map<std::string, Handle> seen_;
  std::map<std::string, Handle> synced_;
  std::set<std::string> directories_;  // those that a name goes or went through, but for the root
  // Changes that are not on the disk yet, each whole or not at all; the first has number journal_begin_.
  std::vector<std::vector<Entry>> journal_;
  uint64_t journal_begin_ = 0;
};

}  // namespace evring::sim

#endif  // EVRING_SIM_FILES_H_
