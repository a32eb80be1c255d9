// request.h: what a simulated kernel knows of a request, from its submission to its last completion, and of a ring.

#ifndef EVRING_SIM_REQUEST_H_
#define EVRING_SIM_REQUEST_H_

#include <liburing.h>
#include <linux/futex.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "kevent/opcodes.h"
#include "sim/file_locks.h"
#include "sim/open_file.h"
#include "sim/ring_memory.h"
#include "sim/socket.h"
#include "sim/turns.h"
#include "sim/world.h"

namespace evring::sim {

// A request that only a simulated kernel has (clock.h): it ends when time has gone on by so many nanoseconds. off:
// they.
inline constexpr unsigned kOpAdvance = 250;
static_assert(kOpAdvance > kevent::kOpLock && kOpAdvance < kevent::kOps, "a number that no other operation has");

struct Ring;

struct Request {
  Ring* ring = nullptr;
  uint64_t number = 0;  // in order of submission
  io_uring_sqe sqe = {};
  std::shared_ptr<OpenFile> file;                 // nullptr: not about a descriptor
  Socket* socket = nullptr;                       // `file`, if it is one
  std::vector<iovec> pieces;                      // of a send or a write
  size_t done = 0;                                // bytes of it
  std::optional<World::Events::iterator> expiry;  // of a timeout, until it comes
  int64_t expires_ns = 0;                         // the same: when, by its clock
  uint64_t completions_left = 0;                  // the same: those after which it ends; 0: they do not matter
  std::optional<World::Events::iterator> asked;   // of an advance of the clock, until it has come
  std::optional<int32_t> timed;                   // of both: what it has come to
  std::vector<futex_waitv> futexes;               // those that it waits for, or wakes
  uint32_t futex_mask = FUTEX_BITSET_MATCH_ANY;   // the same
  int woken = -1;                                 // the same: what it answers, once it has been woken
  std::optional<FileLocks::Range> lock;           // of a file, that it has asked for
  short woken_by = 0;                             // of a poll: the events of its only wake-up; 0: it is to look
  bool multishot = false;
  bool connecting = false;
  bool begun = false;           // of a wait for futexes: it has been tried
  bool waits = false;           // for something about its file to change
  bool queued = false;          // to be tried when its ring is entered
  bool cancelled = false;       // when it is tried next
  bool hidden = false;          // from cancels: it is over, though its completion may still be on its way
  bool cancelled_late = false;  // when it has been tried once more
};

// What an attempt at a request has come to.
struct Answer {
  bool complete = false;  // no more of it, but for `again`
  int32_t result = 0;
  uint32_t flags = 0;
  bool again = false;  // a multishot: it stays armed
  bool wait = false;   // and waits, before it is tried again
};

struct Ring {
  Ring(unsigned sq, unsigned cq, int number) : number(number), memory(sq, cq, number) {}

  const int number;
  RingMemory memory;
  Turns::Thread* thread = nullptr;  // its owner; of a shared one, who entered it last
  bool shared = false;
  std::map<uint64_t, std::unique_ptr<Request>> requests;  // by number
  std::vector<Request*> tasks;
  std::unordered_map<const OpenFile*, std::vector<Request*>> waiting;
  std::vector<Request*> counting;  // timeouts that end after so many completions

  // The owner of it has something to do.
  bool has_work() const { return memory.ready() != 0 || memory.overflown() || !tasks.empty(); }

  void Forget(Request* request) {
    if (request->queued) std::erase(tasks, request);
    if (const auto found = waiting.find(request->file.get()); found != waiting.end()) {
      std::erase(found->second, request);
      if (found->second.empty()) waiting.erase(found);
    }
    requests.erase(request->number);
  }
};

}  // namespace evring::sim

#endif  // EVRING_SIM_REQUEST_H_
