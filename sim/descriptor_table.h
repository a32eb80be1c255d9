// descriptor_table.h: what the numbers of descriptors stand for: a new one gets the lowest that is free, as the system
// gives them out.

#ifndef EVRING_SIM_DESCRIPTOR_TABLE_H_
#define EVRING_SIM_DESCRIPTOR_TABLE_H_

#include <algorithm>
#include <map>
#include <utility>

namespace evring::sim {

// Numbers of simulated descriptors begin here, so that none is taken for a real one: those of sockets and pipes, and
// those of files.
inline constexpr int kFirstDescriptor = 1'000'000;
inline constexpr int kFirstFile = 2'000'000;

// One thread at a time.
template <class T>
class DescriptorTable {
 public:
  explicit DescriptorTable(int first) : first_(first) {}

  int Add(T what) {
    int fd = first_;
    for (const auto& [used, other] : open_) {
      if (used != fd) break;
      ++fd;
    }
    open_.emplace(fd, std::move(what));
    return fd;
  }
  // nullptr: there is none of that number. Borrowed until it is removed.
  T* Find(int fd) {
    const auto found = open_.find(fd);
    return found == open_.end() ? nullptr : &found->second;
  }
  bool Has(const T& what) const {
    return std::ranges::any_of(open_, [&what](const auto& each) { return each.second == what; });
  }
  bool Remove(int fd) { return open_.erase(fd) == 1; }
  int size() const { return static_cast<int>(open_.size()); }

 private:
  const int first_;
  std::map<int, T> open_;
};

}  // namespace evring::sim

#endif  // EVRING_SIM_DESCRIPTOR_TABLE_H_
