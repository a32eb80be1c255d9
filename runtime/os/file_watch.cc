#include "runtime/os/file_watch.h"

#include <array>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kevent/errors.h"
#include "kevent/event.h"
#include "kevent/kernel.h"
#include "kevent/kevent.h"
#include "runtime/blocking.h"
#include "runtime/cancellation.h"
#include "runtime/os/event_wait.h"
#include "runtime/os/internal/machine.h"
#include "runtime/os/internal/request.h"
#include "runtime/os/internal/sole_use.h"
#include "runtime/sync/mutex.h"

namespace evring {
namespace {

// Some hundred events with names of common length. inotify(7): one at least needs sizeof + NAME_MAX + 1.
constexpr size_t kBufferBytes = 16 * 1024;

}  // namespace

namespace internal {

absl::StatusOr<FileEvent> TakeFileEvent(std::span<const std::byte>* bytes) {
  inotify_event header;
  const std::span<const std::byte> all = std::exchange(*bytes, std::span<const std::byte>());
  if (all.size() < sizeof(header)) return absl::DataLossError("inotify: an event is cut off");
  std::memcpy(&header, all.data(), sizeof(header));
  if (header.len > all.size() - sizeof(header)) return absl::DataLossError("inotify: the name of an event is cut off");
  FileEvent event;
  event.watch = header.wd;
  event.mask = header.mask;
  event.cookie = header.cookie;
  if (header.len > 0) {
    // Filled up with NULs, at least one.
    const auto* const name = reinterpret_cast<const char*>(all.data() + sizeof(header));
    const size_t length = strnlen(name, header.len);
    if (length == header.len) return absl::DataLossError("inotify: the name of an event does not end");
    event.name.assign(name, length);
  }
  *bytes = all.subspan(sizeof(header) + header.len);
  return event;
}

}  // namespace internal

class FileWatch::State {
 public:
  State(kevent::Kernel* kernel, int fd) : kernel_(kernel), fd_(fd) {}

  static Task<absl::StatusOr<int>> Add(State* self, std::string path, uint32_t mask) {
    const absl::StatusOr<MutexGuard> adding = co_await self->adding_.Lock();
    if (!adding.ok()) co_return adding.status();
    kevent::Kernel* const kernel = self->kernel_;
    const int fd = self->fd_.get();
    const char* const name = path.c_str();
    const auto add = [kernel, fd, name, mask]() -> absl::StatusOr<int> {
      const int number = kernel->InotifyAddWatch(fd, name, mask);
      if (number < 0) return kevent::ErrnoToStatus(number, absl::StrCat("watch ", name));
      return number;
    };
    absl::StatusOr<int> number = absl::CancelledError("watch: cancelled");
    if (internal::CheckMachine("watch").ok()) {
      number = co_await RunBlocking(add);
    } else {
      // A simulated disk is not slow, and another thread would come when it likes.
      const bool stopped = co_await StopRequested();
      if (!stopped) number = add();
    }
    if (!number.ok()) co_return number.status();
    const std::lock_guard lock(self->mutex_);
    self->paths_[*number] = std::move(path);
    co_return *number;
  }

  absl::Status Remove(int watch) {
    return kevent::ErrnoToStatus(kernel_->InotifyRmWatch(fd_.get(), watch), absl::StrCat("end of watch ", watch));
  }

  static Task<absl::StatusOr<FileEvent>> Next(State* self) {
    const internal::SoleUse::Scope waiting(&self->waiting_, "one task at a time waits for the events of a FileWatch");
    const bool stopped = co_await StopRequested();
    if (stopped) co_return absl::CancelledError("watch: cancelled");
    if (self->unread_.empty()) {
      kevent_io io = {};
      io.buffer = self->buffer_.data();
      io.size = self->buffer_.size();
      kevent::Event event;
      event.type = kevent::EventType::kInotify;
      event.descriptor = self->fd_.get();
      event.payload = reinterpret_cast<uintptr_t>(&io);
      const absl::StatusOr<kevent::Event> read = co_await WaitForEvent(event);
      if (!read.ok()) co_return read.status();
      self->unread_ = std::span<const std::byte>(self->buffer_).first(static_cast<size_t>(read->result));
    }
    std::span<const std::byte> rest = self->unread_;
    absl::StatusOr<FileEvent> next = internal::TakeFileEvent(&rest);
    if (next.ok() && !next->overflow() && !self->FindPath(&*next)) {
      // Of a watch whose Add() has not come back: it says the path.
      const absl::StatusOr<MutexGuard> added = co_await self->adding_.Lock();
      if (!added.ok()) co_return added.status();
      self->FindPath(&*next);
    }
    self->unread_ = rest;
    co_return next;
  }

 private:
  // False: it is not known, yet.
  bool FindPath(FileEvent* event) {
    const std::lock_guard lock(mutex_);
    const auto found = paths_.find(event->watch);
    if (found == paths_.end()) return false;
    event->path = found->second;
    if (event->ended()) paths_.erase(found);
    return true;
  }

  kevent::Kernel* const kernel_;  // which has made the descriptor
  const kevent::OwnedDescriptor fd_;
  internal::SoleUse waiting_;
  alignas(inotify_event) std::array<std::byte, kBufferBytes> buffer_;
  std::span<const std::byte> unread_;  // of the buffer

  Mutex adding_;  // from the call that adds a watch until its path is in place
  std::mutex mutex_;
  std::map<int, std::string> paths_;  // by number; under mutex_
};

FileWatch::FileWatch(std::unique_ptr<State> state) : state_(std::move(state)) {}
FileWatch::FileWatch(FileWatch&&) noexcept = default;
FileWatch& FileWatch::operator=(FileWatch&&) noexcept = default;
FileWatch::~FileWatch() = default;

absl::StatusOr<FileWatch> FileWatch::Create() {
  kevent::Kernel* const kernel = kevent::Kernel::Current();
  const int fd = kernel->InotifyInit1(IN_CLOEXEC);
  if (fd < 0) return kevent::ErrnoToStatus(fd, "inotify_init1");
  return FileWatch(std::make_unique<State>(kernel, fd));
}

Task<absl::StatusOr<int>> FileWatch::Add(std::string path, uint32_t mask) {
  if (absl::Status status = internal::CheckPath(path); !status.ok()) co_return status;
  co_return co_await State::Add(state_.get(), std::move(path), mask);
}

absl::Status FileWatch::Remove(int watch) { return state_->Remove(watch); }

Task<absl::StatusOr<FileEvent>> FileWatch::Next() { return State::Next(state_.get()); }

}  // namespace evring
