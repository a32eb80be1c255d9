#include "sim/file_events.h"

#include <utility>

namespace evring::sim {
namespace {

Watched File(const FileSystem::File& file) { return {.file = &file, .directory = ""}; }

// Of a path: the directory that it is in, and its name there.
std::pair<Watched, std::string> Place(const std::string& path) {
  const size_t slash = path.rfind('/');
  return {{.file = nullptr, .directory = slash == 0 ? "/" : path.substr(0, slash)}, path.substr(slash + 1)};
}

}  // namespace

size_t FileEvents::watches() const {
  size_t sum = 0;
  for (const Inotify* instance : instances_) sum += instance->watches();
  return sum;
}

void FileEvents::Tell(const Watched& what, uint32_t mask) {
  const bool unlinked = what.file != nullptr && !what.file->has_name();
  const std::string& path = what.file != nullptr ? what.file->path() : what.directory;
  if (what.file == nullptr) mask |= IN_ISDIR;
  const auto [directory, name] = Place(path);
  for (Inotify* instance : instances_) {
    // The root is in no directory.
    if (!name.empty() && !instance->Tell(directory, unlinked, mask, 0, name)) continue;
    instance->Tell(what, unlinked, mask, 0, "");
  }
}

void FileEvents::TellDirectory(const std::string& path, uint32_t mask, uint32_t cookie) {
  const auto [directory, name] = Place(path);
  for (Inotify* instance : instances_) instance->Tell(directory, /*unlinked=*/false, mask, cookie, name);
}

void FileEvents::TellItself(const FileSystem::File& file, uint32_t mask) {
  for (Inotify* instance : instances_) instance->Tell(File(file), /*unlinked=*/false, mask, 0, "");
}

void FileEvents::Opened(const Watched& what) { Tell(what, IN_OPEN); }

void FileEvents::Closed(const Watched& what, bool was_for_writing) {
  Tell(what, was_for_writing ? IN_CLOSE_WRITE : IN_CLOSE_NOWRITE);
}

void FileEvents::Read(const Watched& what) { Tell(what, IN_ACCESS); }

void FileEvents::Modified(const Watched& what) { Tell(what, IN_MODIFY); }

void FileEvents::Created(const FileSystem::File& file) { TellDirectory(file.path(), IN_CREATE); }

void FileEvents::Moved(const std::string& from, const FileSystem::File& file, const FileSystem::File* over, bool open) {
  if (++cookie_ == 0) ++cookie_;  // 0 is that of no rename
  TellDirectory(from, IN_MOVED_FROM, cookie_);
  TellDirectory(file.path(), IN_MOVED_TO, cookie_);
  if (over != nullptr) TellItself(*over, IN_ATTRIB);
  TellItself(file, IN_MOVE_SELF);
  if (over != nullptr && !open) Gone(*over);
}

void FileEvents::Unlinked(const FileSystem::File& file, bool open) {
  TellItself(file, IN_ATTRIB);
  if (!open) Gone(file);
  TellDirectory(file.path(), IN_DELETE);
}

void FileEvents::Gone(const FileSystem::File& file) {
  TellItself(file, IN_DELETE_SELF);
  for (Inotify* instance : instances_) instance->End(File(file));
}

}  // namespace evring::sim
