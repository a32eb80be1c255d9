// inotify.h: a simulated inotify instance: watches of files and directories, and the events that nobody has read yet.
//
// A watch has a number, which is never given again. An event goes into the queue if the watch asks for it; one that is
// the same as the newest in the queue is not added to it. A full queue takes one event more, which says so, and then
// none until something is read. A read takes whole events, as many as there is room for.
//
// Nobody finds out here what has happened: file_events.h tells it.
//
// Source: inotify(7), fs/notify/inotify of Linux, tests/sim/watches_differential_test.cc.

#ifndef EVRING_SIM_INOTIFY_H_
#define EVRING_SIM_INOTIFY_H_

#include <sys/inotify.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>

#include "sim/files.h"
#include "sim/open_file.h"
#include "sim/world.h"

namespace evring::sim {

class FileEvents;

// Of /proc/sys/fs/inotify, as Linux has them where nobody has set them, on a machine of a few gigabytes.
struct InotifyLimits {
  size_t instances = 128;   // EMFILE
  size_t watches = 65'536;  // of all of them: ENOSPC
  size_t events = 16'384;   // in one queue: IN_Q_OVERFLOW
};

// A file, or a directory, which is known by its path.
struct Watched {
  const FileSystem::File* file = nullptr;
  std::string directory;

  bool operator==(const Watched&) const = default;
};

// All that inotify_add_watch(2) takes.
inline constexpr uint32_t kWatchMask = IN_ALL_EVENTS | IN_UNMOUNT | IN_Q_OVERFLOW | IN_IGNORED | IN_ONLYDIR |
                                       IN_DONT_FOLLOW | IN_EXCL_UNLINK | IN_MASK_ADD | IN_MASK_CREATE | IN_ISDIR |
                                       IN_ONESHOT;

class Inotify final : public OpenFile {
 public:
  // `events`: all there are, which outlive it; borrowed. `blocking`: made without IN_NONBLOCK.
  Inotify(World* world, FileEvents* events, bool blocking) : world_(world), events_(events), blocking_(blocking) {}

  // inotify_add_watch(2) of what a path has led to, and inotify_rm_watch(2).
  int Add(const Watched& what, uint32_t mask);
  int Remove(int number);
  bool Watches(const Watched& what) const { return Find(what) != watches_.end(); }
  size_t watches() const { return watches_.size(); }

  // Something has happened; `unlinked`: to a file that has no name any more. False: there was no memory for the event
  // (Fault::kEventLost), and the kernel gives up to tell this instance of it.
  bool Tell(const Watched& what, bool unlinked, uint32_t mask, uint32_t cookie, const std::string& name);
  // What is watched is gone.
  void End(const Watched& what);

  // Of 0 bytes: at once, or, where reads block, when there is an event. -EINVAL: no room for the first one.
  int Read(std::byte* data, size_t size) override;
  int Write(const std::byte* /*data*/, size_t /*size*/) override { return -EBADF; }
  short Poll() const override;
  void Close() override;

 private:
  struct Watch {
    Watched what;
    uint32_t mask;
  };
  struct Event {
    int watch;
    uint32_t mask;
    uint32_t cookie;
    std::string name;
  };
  using ByNumber = std::map<int, Watch>;

  ByNumber::const_iterator Find(const Watched& what) const;
  static size_t Bytes(const Event& event);
  bool Queue(Event event);
  void QueueOverflow();
  void End(int number);

  World* const world_;
  FileEvents* const events_;
  const bool blocking_;
  ByNumber watches_;
  int next_ = 1;
  std::deque<Event> queue_;
  bool overflown_ = false;  // the queue has the event that says so
};

}  // namespace evring::sim

#endif  // EVRING_SIM_INOTIFY_H_
