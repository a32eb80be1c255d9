// program.h: random programs of calls and requests, to be run on two kernels (machine.h) and compared.
//
// A program is a list of steps. Descriptors are known by slots, which a step fills or uses; requests by the number of
// the step that made them. So a step can be dropped, and the others keep their meaning: on a slot that nobody filled
// they are calls on a bad descriptor.

#ifndef EVRING_TESTS_SIM_PROGRAM_H_
#define EVRING_TESTS_SIM_PROGRAM_H_

#include <cstdint>
#include <string>
#include <vector>

namespace evring::sim {

struct Step {
  // When a timeout comes: as soon as it is asked for or not before the program has ended, as a time from then on or as
  // one of the clock; or it is no time.
  enum class Time { kNow, kLater, kNowOfClock, kLaterOfClock, kNegative };

  enum class Kind {
    // Making sockets.
    kPair,      // `slot` and `other`: the ends of a Unix socket pair
    kPipe,      // `slot` and `other`: the ends of a pipe, for reading and for writing; `how`: 1: not blocking
    kSocket,    // `slot`
    kBind,      // `slot` gets a name of its own
    kListen,    // `slot`
    kListener,  // all three
    kEventFd,   // `slot`, with the count `size`; `how`: 1: a semaphore, 2: not blocking
    kLinger,    // SO_LINGER with 0 seconds: a close resets
    // Requests.
    kConnect,           // `slot` to the name of `other`
    kAccept,            // on `slot`, into `other`
    kAcceptMultishot,   // on `slot`, into `other` and the slots after it
    kReceive,           // on `slot`, `size` bytes
    kReceiveBuffer,     // the same into a buffer of `group`; `size` 0: as large as it is
    kReceiveMultishot,  // the same again and again
    kPoll,              // `slot`, for `events`
    kPollMultishot,     // the same again and again
    kPollRemove,        // the poll of step `other`
    kTimeout,           // at `time`, or after `size` completions if that is not 0
    kTimeoutRemove,     // the timeout of step `other`
    kRead,              // on `slot`, `size` bytes, as of a file
    kSend,              // `size` bytes
    kWrite,             // the same as to a file
    kSendPieces,        // the same in three pieces, one of them empty
    kFlood,             // more than the socket takes
    kBindRequest,       // as kBind; `how`: 1: another address than its family has, 2: one that is too short
    kListenRequest,     // as kListen
    kFutexWait,         // for word `other` to be woken, if it is `size`; with `mask`; `how`: flags of futex2
    kFutexWaitMany,     // for any of the words from `other` on, `group` of them, if each is `size`
    kFutexWake,         // up to `size` of those that wait for word `other`
    kCancel,            // the request of step `other`, which may be done, or not be a request
    kCancelSlot,        // all requests of `slot`
    kCancelAll,         // all there are
    // Calls.
    kShutdown,       // `slot`, `how`
    kClose,          // `slot`
    kTakeError,      // SO_ERROR of `slot`
    kReturnBuffers,  // all that were received into
    kSetWord,        // word `other` to `size`
    kWakeWord,       // as kFutexWake, by a call
  };

  Kind kind;
  int number = 0;  // of the step in its program, kept when others are dropped
  int slot = -1;
  int other = -1;
  bool tcp = false;  // of the family of the socket; for kConnect of the name
  int size = 0;
  int group = 0;   // see machine.h
  int how = 0;     // kShutdown
  int events = 0;  // of poll(2)
  uint32_t mask = ~0u;
  Time time = Time::kNow;
  bool wait_all = false;  // MSG_WAITALL
  bool submit = true;     // false: goes to the kernel together with the next step

  std::string ToString() const;
};

using Program = std::vector<Step>;

// The same for the same seed, on every machine. `multishot_receive`: with such requests.
Program RandomProgram(uint64_t seed, bool multishot_receive);

inline constexpr int kSlots = 40;         // numbers that a program uses
inline constexpr int kAcceptedSlots = 3;  // that a multishot accept fills; what comes after is closed
inline constexpr int kWords = 3;          // of memory, that a program waits for; the number after them is no address

}  // namespace evring::sim

#endif  // EVRING_TESTS_SIM_PROGRAM_H_
