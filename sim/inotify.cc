#include "sim/inotify.h"

#include <errno.h>
#include <poll.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "sim/file_events.h"

namespace evring::sim {
namespace {

constexpr uint32_t kKept = IN_ALL_EVENTS | IN_EXCL_UNLINK | IN_ONESHOT;  // of the mask that a watch is made with

}  // namespace

Inotify::ByNumber::const_iterator Inotify::Find(const Watched& what) const {
  return std::ranges::find_if(watches_, [&what](const auto& entry) { return entry.second.what == what; });
}

int Inotify::Add(const Watched& what, uint32_t mask) {
  if (const auto found = Find(what); found != watches_.end()) {
    if ((mask & IN_MASK_CREATE) != 0) return -EEXIST;
    uint32_t& kept = watches_.at(found->first).mask;
    kept = ((mask & IN_MASK_ADD) != 0 ? kept : 0) | (mask & kKept);
    return found->first;
  }
  const int number = next_++;
  if (events_->watches() >= events_->limits().watches) return -ENOSPC;
  watches_[number] = Watch{what, mask & kKept};
  return number;
}

int Inotify::Remove(int number) {
  if (!watches_.contains(number)) return -EINVAL;
  End(number);
  return 0;
}

void Inotify::End(const Watched& what) {
  if (const auto found = Find(what); found != watches_.end()) End(found->first);
}

void Inotify::End(int number) {
  watches_.erase(number);
  Queue(Event{number, IN_IGNORED, 0, ""});
}

bool Inotify::Tell(const Watched& what, bool unlinked, uint32_t mask, uint32_t cookie, const std::string& name) {
  const auto found = Find(what);
  if (found == watches_.end()) return true;
  const auto [number, watch] = *found;
  if (unlinked && (watch.mask & IN_EXCL_UNLINK) != 0) return true;
  if ((mask & watch.mask & IN_ALL_EVENTS) == 0) return true;
  if (!Queue(Event{number, mask, cookie, name})) return false;
  if ((watch.mask & IN_ONESHOT) != 0) End(number);
  return true;
}

bool Inotify::Queue(Event event) {
  if (world_->Happens(Fault::kEventLost)) {
    QueueOverflow();
    return false;
  }
  if (queue_.size() >= events_->limits().events) {
    QueueOverflow();
    return true;
  }
  if (!queue_.empty()) {
    // The cookie does not count.
    const Event& newest = queue_.back();
    if (newest.mask == event.mask && newest.watch == event.watch && newest.name == event.name) return true;
  }
  queue_.push_back(std::move(event));
  notify(0);
  return true;
}

void Inotify::QueueOverflow() {
  if (std::exchange(overflown_, true)) return;
  queue_.push_back(Event{-1, IN_Q_OVERFLOW, 0, ""});
  notify(0);
}

size_t Inotify::Bytes(const Event& event) {
  // A name ends with a NUL at least, and with as many as make it whole headers long.
  constexpr size_t kUnit = sizeof(inotify_event);
  if (event.name.empty()) return kUnit;
  return kUnit + (event.name.size() + 1 + kUnit - 1) / kUnit * kUnit;
}

int Inotify::Read(std::byte* data, size_t size) {
  if (size == 0 && !blocking_) return 0;
  if (queue_.empty()) return -EAGAIN;
  if (size == 0) return 0;
  size_t count = queue_.size();
  if (count > 1 && world_->Happens(Fault::kShortFile)) count = 1 + world_->faults.Below(count - 1);
  size_t done = 0;
  for (; count > 0; --count) {
    const Event& event = queue_.front();
    const size_t bytes = Bytes(event);
    if (bytes > size - done) return done != 0 ? static_cast<int>(done) : -EINVAL;
    inotify_event header = {};
    header.wd = event.watch;
    header.mask = event.mask;
    header.cookie = event.cookie;
    header.len = static_cast<uint32_t>(bytes - sizeof(header));
    std::memset(data + done, 0, bytes);
    std::memcpy(data + done, &header, sizeof(header));
    std::memcpy(data + done + sizeof(header), event.name.data(), event.name.size());
    done += bytes;
    if ((event.mask & IN_Q_OVERFLOW) != 0) overflown_ = false;
    queue_.pop_front();
  }
  return static_cast<int>(done);
}

short Inotify::Poll() const { return queue_.empty() ? 0 : POLLIN | POLLRDNORM; }

void Inotify::Close() { events_->Remove(this); }

}  // namespace evring::sim
