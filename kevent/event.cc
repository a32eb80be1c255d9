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
  }
  return "unknown";
}

}  // namespace evring::kevent
