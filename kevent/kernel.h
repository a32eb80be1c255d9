// kernel.h: who serves a ring. The rings in memory (io_uring's layout, liburing's `struct io_uring`) are the interface;
// only this is pluggable, at one indirect call per batch of requests.
//
// The consuming code (ring.h) is the same whoever serves: the system calls in production, a simulator in a test.
// Every function answers errors as a negative errno, as the system calls do.

#ifndef EVRING_KEVENT_KERNEL_H_
#define EVRING_KEVENT_KERNEL_H_

#include <liburing.h>
#include <signal.h>

#include <cstdint>
#include <limits>

#include "absl/status/status.h"
#include "kevent/descriptors.h"
#include "kevent/features.h"

namespace evring::kevent {

inline constexpr int64_t kNoDeadline = std::numeric_limits<int64_t>::max();

struct RingOptions {
  RingOptions() = default;
  // Requests that fit between two enters. Rounded up to a power of two by the kernel; above 32768 it takes 32768.
  uint32_t sq_entries = 512;
  // Completions that fit before the overflow path (about four times as dear) takes over. At least sq_entries; rounded
  // up likewise, above 65536 to 65536.
  uint32_t cq_entries = 4096;
  // Whose ring it is, counted from 0: for a kernel that tells its threads apart.
  int owner = 0;
  // Any thread may submit to the ring and wait on it (ring.h, Shared rings).
  bool shared = false;
  // Features to use if the kernel has them.
  Features allowed = Features::All();
};

// kInvalidArgument: 1 <= sq_entries <= cq_entries does not hold. The system's kernel answers EINVAL to that, as an old
// one does to flags that it does not know.
absl::Status CheckRingOptions(const RingOptions& options);

struct WaitArgs {
  int64_t deadline_ns = kNoDeadline;  // CLOCK_MONOTONIC, absolute
  const sigset_t* sigmask = nullptr;  // set for the time of the wait only, atomically; nullptr: unchanged
};

class Kernel : public Descriptors {
 public:
  // The kernel of the worker that the calling thread is; on other threads the system's.
  static Kernel* Current();
  // Says whose thread this is; nullptr: nobody's any more.
  static void SetCurrent(Kernel* kernel);

  // Makes a ring that only the calling thread may submit to and wait on (SINGLE_ISSUER | DEFER_TASKRUN), or one that
  // all threads share, whose completions show up while its threads compute. Maps it into `ring` and reports the
  // features in use. Errors: kInvalidArgument for the options, kUnimplemented on a kernel before 6.1, kPermissionDenied
  // where io_uring is switched off or filtered, kResourceExhausted for memory or descriptors.
  virtual absl::Status Setup(const RingOptions& options, io_uring* ring, Features* features) = 0;

  // Closes the ring. Requests still in flight are cancelled without a trace: drain first. On the thread that set it up,
  // from which it takes back the registered descriptor.
  virtual void Teardown(io_uring* ring) = 0;

  // io_uring_enter(2) of the owner: submits `to_submit`, then runs what the kernel has deferred and waits for
  // `min_complete` completions if `flags` has IORING_ENTER_GETEVENTS. The number submitted, or -errno.
  // Async-signal-safe with `min_complete` 0.
  virtual int Enter(io_uring* ring, Features features, unsigned to_submit, unsigned min_complete, unsigned flags,
                    const WaitArgs& wait) = 0;

  // io_uring_register(2). 0 or more, or -errno.
  virtual int Register(io_uring* ring, unsigned opcode, void* arg, unsigned nr_args) = 0;

  // Puts a completion with this `user_data` into the ring with the descriptor `target_fd`; any thread, no ring of its
  // own needed. 0 or -errno. Only where Feature::kSyncMessage is in use.
  virtual int Message(int target_fd, uint64_t user_data) = 0;

  // CLOCK_MONOTONIC in nanoseconds, as the deadlines of Enter() count. Any thread.
  virtual int64_t NowNs() = 0;
  // CLOCK_MONOTONIC, CLOCK_REALTIME or CLOCK_BOOTTIME in nanoseconds, by which absolute timeouts of a ring count. Any
  // thread. The default asks the system; the first of them is NowNs().
  virtual int64_t ClockNs(int clock);

  // For a kernel that decides which of its threads runs: the owner of `ring` begins its loop, and may be held here.
  virtual void Begin(io_uring* /*ring*/) {}
  // The same: another thread may run now. Called where workers meet: before they look at what others have.
  virtual void Yield() {}
};

// The system calls. Stateless; lives for the whole process.
Kernel* SystemKernel();

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_KERNEL_H_
