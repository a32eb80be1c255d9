// system_kernel.cc: the Kernel that is Linux.

#include <errno.h>
#include <fcntl.h>
#include <linux/time_types.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kevent/check.h"
#include "kevent/errors.h"
#include "kevent/features.h"
#include "kevent/kernel.h"
#include "kevent/memory_retry.h"
#include "kevent/multishot_probe.h"
#include "kevent/ring_memory.h"
#include "kevent/sanitizer.h"
#include "kevent/timespec.h"

namespace evring::kevent {
namespace {

// What liburing 2.3 does not name yet (include/uapi/linux/io_uring.h).
constexpr unsigned kEnterAbsTimer = 1u << 5;
constexpr unsigned kEnterNoIowait = 1u << 7;
constexpr unsigned kRegisterSendMsgRing = 31;
constexpr unsigned kFeatMinTimeout = 1u << 15;  // came with the absolute timer, 6.12
constexpr unsigned kFeatNoIowait = 1u << 17;

// The argument of IORING_ENTER_EXT_ARG; the field `pad` of liburing 2.3's is `min_wait_usec` since 6.12.
using GetEventsArg = io_uring_getevents_arg;

int64_t MonotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return ToNs(now);
}

// A kernel that knows the call reads the message and answers EFAULT for this address. One that does not answers EINVAL
// for the number of the call, or EBADF for the descriptor -1.
bool HasSyncMessage() {
  void* const nowhere = reinterpret_cast<void*>(~uintptr_t{0});
  return syscall(__NR_io_uring_register, -1, kRegisterSendMsgRing, nowhere, 1) < 0 && errno == EFAULT;
}

absl::Status SetupError(int error) {
  switch (error) {
    case ENOSYS:
      return StatusWithErrno(error, absl::StatusCode::kUnimplemented,
                             "io_uring_setup: ENOSYS: this kernel has no io_uring; evring needs Linux 6.1");
    case EINVAL:
      return StatusWithErrno(
          error, absl::StatusCode::kUnimplemented,
          "io_uring_setup: EINVAL: this kernel does not know SINGLE_ISSUER | DEFER_TASKRUN; evring needs Linux 6.1");
    case EPERM:
    case EACCES:
      return StatusWithErrno(
          error, absl::StatusCode::kPermissionDenied,
          absl::StrCat("io_uring_setup: ", error == EPERM ? "EPERM" : "EACCES",
                       ": io_uring is switched off here: look at /proc/sys/kernel/io_uring_disabled, and at the "
                       "seccomp profile of the container"));
    case ENOMEM:
      return ErrnoToStatus(error,
                           "io_uring_setup (is RLIMIT_MEMLOCK, `ulimit -l`, too small for the rings of this user?)");
    default:
      return ErrnoToStatus(error, "io_uring_setup");
  }
}

class SystemKernelImpl final : public Kernel {
 public:
  absl::Status Setup(const RingOptions& options, io_uring* ring, Features* features) override {
    if (absl::Status status = CheckRingOptions(options); !status.ok()) return status;
    io_uring_params params;
    std::memset(&params, 0, sizeof(params));
    params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL;
    if (!options.shared) {
      params.flags |= IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    }
    params.cq_entries = options.cq_entries;
    const io_uring_params wanted = params;
    const int rc = RetryWithoutMemory([&] {
      params = wanted;
      return io_uring_queue_init_params(options.sq_entries, ring, &params);
    });
    if (rc < 0) return SetupError(-rc);
    RingMemoryComes();

    // The submission array is the identity for good; a submit is then one store of the tail.
    for (unsigned i = 0; i < ring->sq.ring_entries; ++i) ring->sq.array[i] = i;

    Features found;
    if ((params.features & kFeatMinTimeout) != 0) found = found.With(Feature::kAbsoluteTimer);
    if ((params.features & kFeatNoIowait) != 0) found = found.With(Feature::kNoIowait);
    if (HasSyncMessage()) found = found.With(Feature::kSyncMessage);
    if (!options.shared && options.allowed.has(Feature::kMultishotReceive) && MultishotReceiveSeesTheEnd()) {
      found = found.With(Feature::kMultishotReceive);
    }
    // For one thread: what is registered is known to that thread only.
    if (!options.shared && options.allowed.has(Feature::kRegisteredRing) && io_uring_register_ring_fd(ring) == 1) {
      found = found.With(Feature::kRegisteredRing);  // else EBUSY: a thread has 16 of them at most
    }
    *features = found & options.allowed;
    return absl::OkStatus();
  }

  void Teardown(io_uring* ring) override {
    RingMemoryGoes();
    io_uring_queue_exit(ring);  // takes the registered descriptor back too
  }

  EVRING_UNINSTRUMENTED int Enter(io_uring* ring, Features features, unsigned to_submit, unsigned min_complete,
                                  unsigned flags, const WaitArgs& wait) override {
    unsigned fd = static_cast<unsigned>(ring->ring_fd);
    if (features.has(Feature::kRegisteredRing)) {
      fd = static_cast<unsigned>(ring->enter_ring_fd);
      flags |= IORING_ENTER_REGISTERED_RING;
    }
    if (min_complete == 0 || (wait.deadline_ns == kNoDeadline && wait.sigmask == nullptr)) {
      if (min_complete != 0 && features.has(Feature::kNoIowait)) flags |= kEnterNoIowait;
      return Call(fd, to_submit, min_complete, flags, nullptr, 0);
    }

    GetEventsArg arg;
    std::memset(&arg, 0, sizeof(arg));
    __kernel_timespec ts;
    if (wait.sigmask != nullptr) {
      arg.sigmask = reinterpret_cast<uintptr_t>(wait.sigmask);
      arg.sigmask_sz = _NSIG / 8;
    }
    if (wait.deadline_ns != kNoDeadline) {
      int64_t ns = wait.deadline_ns;
      if (features.has(Feature::kAbsoluteTimer)) {
        flags |= kEnterAbsTimer;
        if (ns < 0) ns = 0;
      } else {
        const int64_t now = MonotonicNs();
        ns = ns > now ? ns - now : 0;
      }
      ts.tv_sec = ns / 1'000'000'000;
      ts.tv_nsec = ns % 1'000'000'000;
      arg.ts = reinterpret_cast<uintptr_t>(&ts);
    }
    if (features.has(Feature::kNoIowait)) flags |= kEnterNoIowait;
    return Call(fd, to_submit, min_complete, flags | IORING_ENTER_EXT_ARG, &arg, sizeof(arg));
  }

  int Register(io_uring* ring, unsigned opcode, void* arg, unsigned nr_args) override {
    const long rc = syscall(__NR_io_uring_register, ring->ring_fd, opcode, arg, nr_args);
    return rc < 0 ? -errno : static_cast<int>(rc);
  }

  int Message(int target_fd, uint64_t user_data) override {
    io_uring_sqe sqe;
    std::memset(&sqe, 0, sizeof(sqe));
    sqe.opcode = IORING_OP_MSG_RING;
    sqe.fd = target_fd;
    sqe.off = user_data;
    sqe.addr = IORING_MSG_DATA;
    const long rc = syscall(__NR_io_uring_register, -1, kRegisterSendMsgRing, &sqe, 1);
    return rc < 0 ? -errno : 0;
  }

  int64_t NowNs() override { return MonotonicNs(); }

 private:
  EVRING_UNINSTRUMENTED static int Call(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags,
                                        const void* arg, size_t size) {
    const long rc = syscall(__NR_io_uring_enter, fd, to_submit, min_complete, flags, arg, size);
    return rc < 0 ? -errno : static_cast<int>(rc);
  }
};

constinit thread_local Kernel* current = nullptr;

}  // namespace

absl::Status CheckRingOptions(const RingOptions& options) {
  if (options.sq_entries != 0 && options.cq_entries >= options.sq_entries) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("RingOptions: sq_entries ", options.sq_entries, ", cq_entries ",
                                                 options.cq_entries, ": 1 <= sq_entries <= cq_entries"));
}

Kernel* Kernel::Current() { return current != nullptr ? current : SystemKernel(); }

void Kernel::SetCurrent(Kernel* kernel) { current = kernel; }

int64_t Kernel::ClockNs(int clock) {
  if (clock == CLOCK_MONOTONIC) return NowNs();
  timespec now;
  EVRING_CHECK(clock_gettime(clock, &now) == 0, "one of the three clocks");
  return ToNs(now);
}

Kernel* SystemKernel() {
  static SystemKernelImpl kernel;
  return &kernel;
}

}  // namespace evring::kevent
