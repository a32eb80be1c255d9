// handle.h: Kevent, one request to the kernel and the place where its completions arrive.
//
// The memory of a handle, and of whatever its request points to, belongs to the kernel from Start() until the last
// completion has been consumed: it cannot move, and destroying it then is a failed check.
//
//   states      kIdle -> kInFlight -> kDone            (a handle that is done may be started again)
//                           |   ^ a multishot stays here until the record without Event::kMore
//                           v
//                        kCancelling -> kDone          (the request still ends with its own completion)
//
// Threads: Start() and PrepareCancel() on the thread that owns the ring; the handler on the thread that consumes the
// records, which is the owner or, for completions rescued from a busy owner, one other thread at a time (ring.h).

#ifndef EVRING_KEVENT_HANDLE_H_
#define EVRING_KEVENT_HANDLE_H_

#include <liburing.h>

#include <cstdint>

#include "kevent/check.h"
#include "kevent/event.h"
#include "kevent/sanitizer.h"

namespace evring::kevent {

// Values of `user_data` that are no handle: a handle's address is a multiple of 8 and above them.
inline constexpr uint64_t kUserDataIgnore = 1;   // the answer to a cancel
inline constexpr uint64_t kUserDataWake = 2;     // a message that only wakes
inline constexpr uint64_t kUserDataEventFd = 3;  // the read on the eventfd that stands in for messages
inline constexpr uint64_t kUserDataLast = 7;

class Kevent {
 public:
  enum class State : uint8_t { kIdle, kInFlight, kCancelling, kDone };

  // Called once per record; for the last one the state is kDone already and the handler may free the handle.
  // Must not throw and must not consume from the ring.
  using Handler = void (*)(Kevent* kevent, const Event& event);

  Kevent(EventType type, int descriptor, uint64_t cookie, Handler handler)
      : handler_(handler), cookie_(cookie), type_(type), descriptor_(descriptor) {}
  Kevent(const Kevent&) = delete;
  Kevent& operator=(const Kevent&) = delete;
  ~Kevent() { EVRING_CHECK(!in_flight(), "a request belongs to the kernel until its last completion"); }

  EventType type() const { return type_; }
  int descriptor() const { return descriptor_; }
  uint64_t cookie() const { return cookie_; }
  State state() const { return state_; }
  bool in_flight() const { return state_ == State::kInFlight || state_ == State::kCancelling; }

  void set_descriptor(int descriptor) {
    EVRING_CHECK(!in_flight(), "the descriptor of a running request is fixed");
    descriptor_ = descriptor;
  }

  // Ties a prepared submission entry to this handle. From here on the handle is the kernel's.
  void Start(io_uring_sqe* sqe) {
    EVRING_CHECK(!in_flight(), "started twice");
    sqe->user_data = number();
    state_ = State::kInFlight;
    HandOverRelease(this);
  }

  // Fills `sqe` with the request to cancel this one. The handle still ends with its own completion: with -ECANCELED if
  // the cancel won, with its result if it lost. The cancel's own answer is not reported.
  void PrepareCancel(io_uring_sqe* sqe) {
    EVRING_CHECK(in_flight(), "only a running request can be cancelled");
    PrepareCancel(sqe, number());
    state_ = State::kCancelling;
  }

  // The same for a handle that is known by its number only; nothing of it is read.
  static void PrepareCancel(io_uring_sqe* sqe, uint64_t number) {
    io_uring_prep_cancel64(sqe, number, 0);
    sqe->user_data = kUserDataIgnore;
  }

  // The number by which the kernel knows the handle.
  uint64_t number() const { return reinterpret_cast<uintptr_t>(this); }

  // The record for a completion of this handle; the state moves on if it is the last one.
  Event Complete(int32_t result, uint32_t flags) {
    HandOverAcquire(this);
    EVRING_CHECK(in_flight(), "a completion for a request that is not running");
    if ((flags & Event::kMore) == 0) state_ = State::kDone;
    Event event;
    event.type = type_;
    event.descriptor = descriptor_;
    event.cookie = cookie_;
    event.result = result;
    event.flags = flags;
    event.payload = number();
    return event;
  }

  void Deliver(const Event& event) { handler_(this, event); }

 private:
  const Handler handler_;
  const uint64_t cookie_;
  const EventType type_;
  int descriptor_;
  State state_ = State::kIdle;
};

static_assert(Event::kMore == IORING_CQE_F_MORE && Event::kBuffer == IORING_CQE_F_BUFFER &&
                  Event::kBufferShift == IORING_CQE_BUFFER_SHIFT &&
                  Event::kSocketNonEmpty == IORING_CQE_F_SOCK_NONEMPTY,
              "records carry the kernel's flags unchanged");

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_HANDLE_H_
