// event.h: the record in which a completion is reported, and the types of events there are.
//
// A record is what Drepper asked for in 2006: a fixed size, the type of the event, the descriptor, a 64-bit cookie that
// comes back unchanged, and room for more: the result, flags and a payload, so that no second call is needed to learn
// what happened. A completion queue entry carries only result and flags; the rest comes from the handle it names.

#ifndef EVRING_KEVENT_EVENT_H_
#define EVRING_KEVENT_EVENT_H_

#include <cstddef>
#include <cstdint>

namespace evring::kevent {

// The same identifier at registration and in the report.
enum class EventType : int32_t {
  kNone = 0,
  kMessage = 1,  // sent to a ring from outside it; no handle stands behind it
  kNop = 2,
  kAccept = 3,
  kConnect = 4,
  kReceive = 5,
  kSend = 6,
  kPoll = 7,
  kTimeout = 8,
  kFileRead = 9,
  kFileWrite = 10,
  kOpen = 11,
  kSync = 12,
  kRename = 13,
  kUnlink = 14,
  // Those that no Queue knows: what a runtime asks of files and names.
  kFileInfo = 15,
  kTruncate = 16,
  kAllocate = 17,
  kLink = 18,
  kSymbolicLink = 19,
  kMakeDirectory = 20,
  kRemoveDirectory = 21,
  // Those that only a Queue knows; kevent.h says what they are.
  kUser = 32,
  kTimer = 33,
  kSignal = 34,
  kProcess = 35,
  kFutex = 36,
  kFutexV = 37,
  kMq = 38,
  kSysvMsg = 39,
  kSysvSem = 40,
  kBind = 41,
  kListen = 42,
  kFlock = 43,
  kLock = 44,
  kDataSync = 45,
  kMsync = 46,
  kInotify = 47,
  kEventFd = 48,
  kSigevent = 49,
};

// "accept", "receive", …; used in error messages.
const char* EventTypeName(EventType type);

struct Event {
  // More records of the same request follow (a multishot that is still armed).
  static constexpr uint32_t kMore = 1u << 1;
  // A provided buffer was used; its id stands in the upper 16 bits of `flags`.
  static constexpr uint32_t kBuffer = 1u << 0;
  static constexpr uint32_t kBufferShift = 16;
  // When this was received, more lay in the socket.
  static constexpr uint32_t kSocketNonEmpty = 1u << 2;

  EventType type = EventType::kNone;
  int32_t descriptor = -1;
  uint64_t cookie = 0;
  int32_t result = 0;    // what the system call would have returned; a negative errno on failure
  uint32_t flags = 0;    // kMore, kBuffer, kSocketNonEmpty
  uint64_t payload = 0;  // kMessage: the sender's word; otherwise the number of the handle

  bool last() const { return (flags & kMore) == 0; }
  bool has_buffer() const { return (flags & kBuffer) != 0; }
  uint16_t buffer_id() const { return static_cast<uint16_t>(flags >> kBufferShift); }
};

static_assert(sizeof(Event) == 32, "Drepper's record: type, descriptor, cookie and room for more");
static_assert(offsetof(Event, cookie) == 8 && offsetof(Event, result) == 16 && offsetof(Event, payload) == 24,
              "the same layout for 32-bit and 64-bit users");

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_EVENT_H_
