// file_watch.h: what happens to files and in directories, by inotify(7).
//
//   absl::StatusOr<FileWatch> watch = FileWatch::Create();
//   if (!watch.ok()) co_return watch.status();
//   absl::StatusOr<int> number = co_await watch->Add(directory, IN_CLOSE_WRITE | IN_MOVED_TO);
//   if (!number.ok()) co_return number.status();
//   for (;;) {
//     absl::StatusOr<FileEvent> event = co_await watch->Next();
//     if (!event.ok()) co_return event.status();
//     reload(event->overflow() ? directory : event->path + "/" + event->name);
//   }
//
// The kernel keeps the events in order until they are read, up to a limit (fs.inotify.max_queued_events): beyond it
// they are lost, and an event says so. A watch of a directory does not reach into the directories below it. What a
// remote machine does to a network file system is not seen.

#ifndef EVRING_RUNTIME_OS_FILE_WATCH_H_
#define EVRING_RUNTIME_OS_FILE_WATCH_H_

#include <sys/inotify.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kevent/owned_descriptor.h"
#include "runtime/task.h"

namespace evring {

struct FileEvent {
  FileEvent() {}

  int watch = -1;       // the number that Add() gave; -1: overflow
  std::string path;     // as it was given to Add(), last for this number
  uint32_t mask = 0;    // IN_…: what has happened; beside that IN_ISDIR, and those below
  uint32_t cookie = 0;  // the same for IN_MOVED_FROM and IN_MOVED_TO of one rename, else 0
  std::string name;     // within a watched directory; empty: it is the watched thing itself

  // Events were lost before this one.
  bool overflow() const { return (mask & IN_Q_OVERFLOW) != 0; }
  // The watch is gone, by Remove(), IN_ONESHOT, or since what was watched is gone: the last event of this number.
  bool ended() const { return (mask & IN_IGNORED) != 0; }
};

// Movable. One task at a time, but for Add() and Remove() while another waits in Next().
class FileWatch {
 public:
  // kResourceExhausted: EMFILE, no descriptor, or too many of these of this user; ENFILE, ENOMEM. On a worker: the
  // kernel of its ring is the one that watches, in a simulation the simulated files.
  static absl::StatusOr<FileWatch> Create();

  FileWatch(FileWatch&&) noexcept;
  FileWatch& operator=(FileWatch&&) noexcept;
  ~FileWatch();

  // Watches the file or directory `path` for the events of `mask` (IN_… of inotify(7)); gives its number. What is
  // watched already, by whatever path, keeps its number and gets the new mask and path. Await on a worker, which is not
  // held up by a slow disk.
  // kNotFound: ENOENT. kPermissionDenied: EACCES. kInvalidArgument: no event in `mask`, a NUL in `path`, ENAMETOOLONG,
  //   ENOTDIR (with IN_ONLYDIR). kAlreadyExists: EEXIST (with IN_MASK_CREATE). kResourceExhausted: ENOSPC, too many
  //   watches of this user; ENOMEM. kCancelled: a stop came before it had begun.
  Task<absl::StatusOr<int>> Add(std::string path, uint32_t mask);
  // Ends a watch: events that were there before come, then one that says ended(). Any thread; never blocks.
  // kInvalidArgument (EINVAL): no number of a watch.
  absl::Status Remove(int watch);

  // Waits for the next event. Await on a worker. Many are read at a time, and handed out in order.
  // kCancelled: a stop came first; the events stay for the next call.
  Task<absl::StatusOr<FileEvent>> Next();

 private:
  class State;

  explicit FileWatch(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

namespace internal {

// Takes the first event from the front of what a read of an inotify descriptor gave; without its path.
// kDataLoss: it is cut off, or its name does not end: the kernel does not do that. `bytes` is then empty.
absl::StatusOr<FileEvent> TakeFileEvent(std::span<const std::byte>* bytes);

}  // namespace internal
}  // namespace evring

#endif  // EVRING_RUNTIME_OS_FILE_WATCH_H_
