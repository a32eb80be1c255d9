// registration.h: what a queue knows about one thing that is waited for, and the memory of all of them.
//
//   kFree --Take()--> kStanding --armed--> kArmed --its completion is consumed--> returned --> kFree, or
//                         ^                                                          |         kStanding again
//                         +----------------------------------------------------------+
//   kStanding   stands in line to be given to the kernel
//   kArmed      a request of the kernel or the call of a helper thread stands for it, or its completion is in the ring
//   returned    whoever consumed the completion has put it on the queue's stack (return_stack.h); the next holder of
//               the queue's lock sees what becomes of it. For the others it is kArmed still
//
// One completion for each time it is armed: multishots are not used, so a registration has at most one place in the
// ring, and belongs to whoever has consumed its completion, until that thread has put it on the stack.
//
// A registration's number is told to the program; it holds a generation, so that an old one is not taken for a new one.
//
// Threads: under the queue's lock; what the completion says is written, and the fields but `state`, `cancelled` and
// `generation` are read, by its consumer without.

#ifndef EVRING_KEVENT_REGISTRATION_H_
#define EVRING_KEVENT_REGISTRATION_H_

#include <fcntl.h>
#include <linux/time_types.h>
#include <signal.h>
#include <sys/signalfd.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "kevent/blocking_calls.h"
#include "kevent/event.h"
#include "kevent/kevent.h"

namespace evring::kevent {

class Queue;
struct Registration;

// The call of a helper thread for a registration, which owns it.
class HelperCall final : public BlockingCalls::Call {
 public:
  HelperCall(Queue* queue, Registration* registration) : queue_(queue), registration_(registration) {}

 private:
  int32_t Run() noexcept override;
  void Done(int32_t result) noexcept override;

  Queue* const queue_;
  Registration* const registration_;
};

struct Registration {
  enum class State : uint8_t { kFree, kStanding, kArmed };

  Registration() = default;
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;
  ~Registration() { CloseOwn(); }

  EventType type = EventType::kNone;
  int32_t descriptor = -1;
  uint64_t cookie = 0;
  State state = State::kFree;
  bool goes_on = false;                // reports again and again
  bool again = false;                  // the consumer's word: it is to stand in line once more
  bool ending = false;                 // what is armed only carries the last record
  bool posted = false;                 // the record is `event`, as it is
  bool helped = false;                 // a helper thread waits for it
  bool called = false;                 // and its call has not ended
  bool later = false;                  // need not reach the kernel at once
  std::atomic<bool> cancelled{false};  // by the program. Relaxed: it is set before the request that cancels
  int own_fd = -1;                     // opened for this registration: a signalfd, a pidfd
  int32_t argument = 0;                // Event::result as submitted
  uint64_t pointer = 0;                // Event::payload as submitted
  uint32_t index = 0;                  // where it stands
  uint32_t generation = 0;
  Registration* next = nullptr;  // free, in line, or on the stack
  int64_t due_ns = 0;            // of a timer, by its clock
  int64_t period_ns = 0;         // 0: once
  Event event;                   // of a posted one
  std::unique_ptr<HelperCall> call;
  int32_t call_result = 0;

  // What the kernel reads or writes; copied from the program's arguments.
  union Memory {
    Memory() {}
    kevent_io io;
    kevent_timer timer;
    kevent_msg msg;
    kevent_sem sem;
    kevent_memory memory;
    struct flock lock;
    __kernel_timespec timespec;
    signalfd_siginfo signal;
    siginfo_t process;
    uint64_t counter;
  } memory;

  // Closes `own_fd`, if there is one.
  void CloseOwn();
  uint64_t number() const { return uint64_t{generation} << 32 | index; }
  // As the kernel knows it.
  uint64_t user_data() const { return reinterpret_cast<uintptr_t>(this); }
};

// All registrations of a queue. Under its lock.
class Registrations {
 public:
  // A free one, in state kStanding, its fields as of a new one but for `index` and `generation`. nullptr: no memory.
  Registration* Take();
  void Free(Registration* registration);
  // The one with this number; nullptr if it has ended.
  Registration* Find(uint64_t number);
  uint32_t in_use() const { return in_use_; }

 private:
  static constexpr uint32_t kChunk = 256;

  std::vector<std::unique_ptr<Registration[]>> chunks_;
  Registration* free_ = nullptr;
  uint32_t in_use_ = 0;
};

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_REGISTRATION_H_
