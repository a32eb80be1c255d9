#include "kevent/event.h"

namespace evring::kevent {

const char* EventTypeName(EventType type) {
  switch (type) {
    case EventType::kNone:
      return "none";
    case EventType::kMessage:
      return "message";
    case EventType::kNop:
      return "nop";
    case EventType::kAccept:
      return "accept";
    case EventType::kConnect:
      return "connect";
    case EventType::kReceive:
      return "receive";
    case EventType::kSend:
      return "send";
    case EventType::kPoll:
      return "poll";
    case EventType::kTimeout:
      return "timeout";
    case EventType::kFileRead:
      return "read";
    case EventType::kFileWrite:
      return "write";
    case EventType::kOpen:
      return "open";
    case EventType::kSync:
      return "sync";
    case EventType::kRename:
      return "rename";
    case EventType::kUnlink:
      return "unlink";
    case EventType::kFileInfo:
      return "statx";
    case EventType::kTruncate:
      return "truncate";
    case EventType::kAllocate:
      return "allocate";
    case EventType::kLink:
      return "link";
    case EventType::kSymbolicLink:
      return "symlink";
    case EventType::kMakeDirectory:
      return "mkdir";
    case EventType::kRemoveDirectory:
      return "rmdir";
    case EventType::kUser:
      return "user";
    case EventType::kTimer:
      return "timer";
    case EventType::kSignal:
      return "signal";
    case EventType::kProcess:
      return "process";
    case EventType::kFutex:
      return "futex";
    case EventType::kFutexV:
      return "futexv";
    case EventType::kMq:
      return "mq";
    case EventType::kSysvMsg:
      return "sysv message";
    case EventType::kSysvSem:
      return "sysv semaphore";
    case EventType::kBind:
      return "bind";
    case EventType::kListen:
      return "listen";
    case EventType::kFlock:
      return "flock";
    case EventType::kLock:
      return "lock";
    case EventType::kDataSync:
      return "datasync";
    case EventType::kMsync:
      return "msync";
    case EventType::kInotify:
      return "inotify";
    case EventType::kEventFd:
      return "eventfd";
    case EventType::kSigevent:
      return "sigevent";
  }
  return "unknown";
}

}  // namespace evring::kevent
