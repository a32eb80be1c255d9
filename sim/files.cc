#include "sim/files.h"

#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <limits>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace evring::sim {
namespace {

// By what a file of that path is known; empty: it is the path of none, as that of the root.
std::string FilePath(const std::string& given) {
  if (given.empty() || given.front() != '/' || given.back() == '/') return "";
  std::string path = NormalPath(given);
  return path == "/" ? "" : path;
}

}  // namespace

std::string NormalPath(const std::string& path) {
  std::vector<std::string> names;
  for (const absl::string_view name : absl::StrSplit(path, '/')) {
    if (name.empty() || name == ".") continue;
    if (name != "..") {
      names.emplace_back(name);
    } else if (!names.empty()) {
      names.pop_back();
    }
  }
  return "/" + absl::StrJoin(names, "/");
}

uint64_t FileSystem::used() const {
  uint64_t sum = 0;
  for (const auto& [path, file] : seen_) sum += file->size();
  return sum;
}

void FileSystem::Apply(const std::vector<Entry>& change, std::map<std::string, Handle>* names) {
  for (const Entry& entry : change) {
    if (entry.file == nullptr) {
      names->erase(entry.path);
    } else {
      (*names)[entry.path] = entry.file;
    }
  }
}

void FileSystem::Record(std::vector<Entry> change) {
  for (const Entry& entry : change) {
    if (const auto had = seen_.find(entry.path); had != seen_.end()) had->second->has_name_ = false;
  }
  for (const Entry& entry : change) {
    if (entry.file != nullptr) Name(entry.file.get(), entry.path);
  }
  Apply(change, &seen_);
  journal_.push_back(std::move(change));
}

void FileSystem::Commit(uint64_t entries) {
  for (uint64_t i = 0; i < entries; ++i) {
    Apply(journal_[i], &synced_);
    for (const Entry& entry : journal_[i]) {
      if (entry.file != nullptr && entry.file->created_journal_ == journal_begin_ + i) {
        entry.file->created_journal_.reset();
      }
    }
  }
  journal_.erase(journal_.begin(), journal_.begin() + static_cast<std::ptrdiff_t>(entries));
  journal_begin_ += entries;
}

int FileSystem::Open(const std::string& given, int flags, Handle* file) {
  const std::string path = FilePath(given);
  if (path.empty()) return given.empty() ? -ENOENT : -EINVAL;
  const auto found = seen_.find(path);
  if (found == seen_.end()) {
    if ((flags & O_CREAT) == 0) return -ENOENT;
    auto made = std::make_shared<File>();
    made->created_journal_ = journal_begin_ + journal_.size();
    Record({Entry{path, made}});
    *file = std::move(made);
    return 0;
  }
  if ((flags & O_CREAT) != 0 && (flags & O_EXCL) != 0) return -EEXIST;
  *file = found->second;
  if ((flags & O_TRUNC) != 0) return Truncate(*file, 0);
  return 0;
}

int FileSystem::Read(const Handle& file, uint64_t offset, std::span<std::byte> out) const {
  if (offset >= file->size()) return 0;
  const size_t n = std::min<uint64_t>(out.size(), file->size() - offset);
  std::copy_n(file->seen_.begin() + static_cast<std::ptrdiff_t>(offset), n, out.begin());
  return static_cast<int>(n);
}

int FileSystem::Write(const Handle& file, uint64_t offset, std::span<const std::byte> data) {
  if (offset > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) - data.size()) return -EFBIG;
  if (data.empty()) return 0;
  const uint64_t end = offset + data.size();
  if (end > file->size()) {
    if (used() + (end - file->size()) > size_max_) return -ENOSPC;
    file->seen_.resize(end);
  }
  std::copy(data.begin(), data.end(), file->seen_.begin() + static_cast<std::ptrdiff_t>(offset));
  for (uint64_t page = offset / kPage; page * kPage < end; ++page) file->dirty_.insert(page);
  return static_cast<int>(data.size());
}

int FileSystem::Truncate(const Handle& file, uint64_t size) {
  if (size > file->size() && used() + (size - file->size()) > size_max_) return -ENOSPC;
  const uint64_t smaller = std::min<uint64_t>(size, file->size());
  file->seen_.resize(size);
  for (uint64_t page = smaller / kPage; page * kPage < std::max<uint64_t>(size, file->synced_.size()); ++page) {
    file->dirty_.insert(page);
  }
  return 0;
}

int FileSystem::Sync(const Handle& file) {
  WriteBack(file, [](uint64_t) { return true; });
  // The name that the file was made under goes along, with what the journal holds before it.
  if (file->created_journal_.has_value()) Commit(*file->created_journal_ + 1 - journal_begin_);
  return 0;
}

void FileSystem::FailSync(const Handle& file, Random* random) {
  WriteBack(file, [random](uint64_t) { return random->OneIn(2); });
}

void FileSystem::WriteBack(const Handle& file, const std::function<bool(uint64_t page)>& reaches_disk) {
  file->synced_.resize(file->seen_.size());
  for (const uint64_t page : file->dirty_) {
    if (!reaches_disk(page)) continue;
    const uint64_t end = std::min<uint64_t>((page + 1) * kPage, file->seen_.size());
    for (uint64_t i = page * kPage; i < end; ++i) file->synced_[i] = file->seen_[i];
  }
  file->dirty_.clear();
}

int FileSystem::SyncDirectory() {
  Commit(journal_.size());
  return 0;
}

int FileSystem::Rename(const std::string& given_from, const std::string& given_to) {
  const std::string from = FilePath(given_from);
  const std::string to = FilePath(given_to);
  if (from.empty() || to.empty()) return -EINVAL;
  const auto found = seen_.find(from);
  if (found == seen_.end()) return -ENOENT;
  if (from == to) return 0;
  const Handle file = found->second;
  Record({Entry{to, file}, Entry{from, nullptr}});
  return 0;
}

int FileSystem::Unlink(const std::string& given) {
  const std::string path = FilePath(given);
  if (path.empty()) return -EINVAL;
  if (!seen_.contains(path)) return -ENOENT;
  Record({Entry{path, nullptr}});
  return 0;
}

std::vector<std::string> FileSystem::List(const std::string& directory) const {
  const std::string prefix = directory.empty() || directory.back() == '/' ? directory : directory + "/";
  std::set<std::string> names;
  for (auto at = seen_.lower_bound(prefix); at != seen_.end() && at->first.starts_with(prefix); ++at) {
    const std::string rest = at->first.substr(prefix.size());
    names.insert(rest.substr(0, rest.find('/')));
  }
  return {names.begin(), names.end()};
}

std::unique_ptr<FileSystem> FileSystem::AfterProcessCrash() const {
  auto after = std::make_unique<FileSystem>(size_max_);
  std::map<const File*, Handle> copies;
  const auto copy = [&copies](const Handle& file) {
    if (file == nullptr) return file;
    Handle& made = copies[file.get()];
    if (made == nullptr) made = std::make_shared<File>(*file);
    return made;
  };
  for (const auto& [path, file] : seen_) after->seen_[path] = copy(file);
  for (const auto& [path, file] : synced_) after->synced_[path] = copy(file);
  for (const std::vector<Entry>& change : journal_) {
    std::vector<Entry>& same = after->journal_.emplace_back();
    for (const Entry& entry : change) same.push_back(Entry{entry.path, copy(entry.file)});
  }
  after->journal_begin_ = journal_begin_;
  after->directories_ = directories_;
  after->NameFiles();
  return after;
}

std::unique_ptr<FileSystem> FileSystem::AfterCrash(Random* random) const {
  std::map<std::string, Handle> names = synced_;
  const uint64_t committed = random->Below(journal_.size() + 1);
  for (uint64_t i = 0; i < committed; ++i) Apply(journal_[i], &names);

  auto after = std::make_unique<FileSystem>(size_max_);
  std::map<const File*, Handle> survivors;
  for (const auto& [path, file] : names) {
    Handle& survivor = survivors[file.get()];
    if (survivor == nullptr) {
      survivor = std::make_shared<File>();
      survivor->seen_ = DataAfterCrash(*file, random);
      survivor->synced_ = survivor->seen_;
    }
    after->seen_[path] = survivor;
  }
  after->NameFiles();
  after->synced_ = after->seen_;
  return after;
}

void FileSystem::NameFiles() {
  for (const auto& [path, file] : seen_) Name(file.get(), path);
}

void FileSystem::Name(File* file, const std::string& path) {
  file->path_ = path;
  file->has_name_ = true;
  for (size_t slash = path.rfind('/'); slash != 0; slash = path.rfind('/', slash - 1)) {
    directories_.insert(path.substr(0, slash));
  }
}

std::vector<std::byte> FileSystem::DataAfterCrash(const File& file, Random* random) {
  std::vector<std::byte> data = file.synced_;
  // The new size may have reached the disk before the new data.
  if (!file.dirty_.empty() && random->OneIn(2)) data.resize(file.seen_.size());
  for (const uint64_t page : file.dirty_) {
    // Old, new, or new up to some sector.
    const uint64_t fate = random->Below(3);
    if (fate == 0) continue;
    const uint64_t begin = page * kPage;
    uint64_t end = begin + kPage;
    if (fate == 1) end = begin + kSector * (1 + random->Below(kPage / kSector - 1));
    end = std::min<uint64_t>({end, data.size(), file.seen_.size()});
    for (uint64_t i = begin; i < end; ++i) data[i] = file.seen_[i];
  }
  return data;
}

}  // namespace evring::sim
