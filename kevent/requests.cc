#include "kevent/requests.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "kevent/check.h"
#include "kevent/errors.h"
#include "kevent/kernel.h"
#include "kevent/kevent.h"
#include "kevent/opcodes.h"
#include "kevent/timespec.h"

namespace evring::kevent {
namespace {

// The record is kept as the argument of its type.
template <class T>
int CopyArgument(const Event& event, T* to) {
  if (event.payload == 0) return -EINVAL;
  std::memcpy(to, reinterpret_cast<const void*>(static_cast<uintptr_t>(event.payload)), sizeof(T));
  return 0;
}

template <class T>
T* Pointer(uint64_t address) {
  return reinterpret_cast<T*>(static_cast<uintptr_t>(address));
}

int64_t NowNs(int clock) {
  // By the kernel that serves the ring, which may be a simulated one.
  return Kernel::Current()->ClockNs(clock);
}

int PrepareTimer(const Event& event, Registration* r) {
  if (const int rc = CopyArgument(event, &r->memory.timer); rc < 0) return rc;
  const kevent_timer timer = r->memory.timer;
  if (timer.clock != CLOCK_MONOTONIC && timer.clock != CLOCK_REALTIME && timer.clock != CLOCK_BOOTTIME) return -EINVAL;
  if (!IsTime(timer.first) || !IsTime(timer.interval)) return -EINVAL;
  // What was counted from now does not move when the clock is set, timer_settime(2).
  const bool moves = timer.absolute != 0 || timer.clock != CLOCK_REALTIME;
  r->argument = moves ? timer.clock : CLOCK_MONOTONIC;
  r->due_ns = ToNs(timer.first) + (timer.absolute != 0 ? 0 : NowNs(r->argument));
  r->period_ns = ToNs(timer.interval);
  r->goes_on = r->period_ns > 0;
  return 0;
}

int PrepareDelay(const Event& event, Registration* r) {
  timespec delay;
  if (const int rc = CopyArgument(event, &delay); rc < 0) return rc;
  if (!IsTime(delay)) return -EINVAL;
  r->argument = CLOCK_MONOTONIC;
  r->due_ns = ToNs(delay) + NowNs(CLOCK_MONOTONIC);
  return 0;
}

int PrepareSignal(Registration* r) {
  // A signalfd for these two is made, and never ready.
  if (r->descriptor < 1 || r->descriptor >= NSIG || r->descriptor == SIGKILL || r->descriptor == SIGSTOP) {
    return -EINVAL;
  }
  sigset_t set;
  sigemptyset(&set);
  if (sigaddset(&set, r->descriptor) != 0) return -EINVAL;
  r->own_fd = signalfd(-1, &set, SFD_CLOEXEC);
  return r->own_fd < 0 ? -errno : 0;
}

int PrepareProcess(const Opcodes& opcodes, Registration* r) {
  constexpr int kOptions = WEXITED | WSTOPPED | WCONTINUED | WNOWAIT;
  if (r->descriptor <= 0 || (r->argument & ~kOptions) != 0) return -EINVAL;
  if ((r->argument & ~WNOWAIT) == 0) r->argument |= WEXITED;
  // The same state would be reported without end.
  if (r->goes_on && (r->argument & WNOWAIT) != 0) return -EINVAL;
  if (opcodes.test(kOpWaitId)) return 0;
  const auto pid = static_cast<id_t>(r->descriptor);
  if ((r->argument & (WSTOPPED | WCONTINUED)) != 0) {
    // A descriptor of a process tells its end only, and a helper thread is there for one call.
    r->helped = true;
    return r->goes_on ? -ENOSYS : 0;
  }
  siginfo_t unused;
  if (waitid(P_PID, pid, &unused, WEXITED | WNOHANG | WNOWAIT) != 0) {
    r->helped = true;  // no child of ours: the call says so at once, where a descriptor would wait for its end
    return 0;
  }
  r->own_fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  return r->own_fd < 0 ? -errno : 0;
}

int PrepareIo(const Event& event, Registration* r) {
  if (const int rc = CopyArgument(event, &r->memory.io); rc < 0) return rc;
  const kevent_io& io = r->memory.io;
  if (io.size > 0x7fff'f000) return -EINVAL;  // what one call moves at most, read(2)
  const bool socket = r->type == EventType::kReceive || r->type == EventType::kSend;
  if (!socket && io.flags != 0) return -EINVAL;
  const bool placed = r->type == EventType::kFileRead || r->type == EventType::kFileWrite;
  return placed && io.offset < -1 ? -EINVAL : 0;
}

int PrepareFlock(const Opcodes& opcodes, Registration* r) {
  r->helped = !opcodes.test(kOpFlock);
  const int operation = r->argument & ~LOCK_NB;
  return operation == LOCK_SH || operation == LOCK_EX || operation == LOCK_UN ? 0 : -EINVAL;
}

int PrepareLock(const Event& event, Registration* r) {
  if (r->argument != F_OFD_SETLKW && r->argument != F_SETLKW) return -EINVAL;
  return CopyArgument(event, &r->memory.lock);
}

bool MayGoOn(EventType type) {
  switch (type) {
    case EventType::kAccept:
    case EventType::kSignal:
    case EventType::kProcess:
    case EventType::kInotify:
    case EventType::kEventFd:
    case EventType::kSigevent:
      return true;
    default:
      return false;
  }
}

// The result of waitid(2) that the kernel has left in `process`.
bool ReportProcess(Registration* r, Event* record) {
  const siginfo_t& info = r->memory.process;
  record->result = info.si_status;
  record->payload = uint64_t{static_cast<uint32_t>(info.si_code)} << 32 | static_cast<uint32_t>(info.si_pid);
  return info.si_code == CLD_STOPPED || info.si_code == CLD_CONTINUED || info.si_code == CLD_TRAPPED;
}

void ReportTimer(Registration* r, Event* record) {
  int64_t times = 1;
  if (r->period_ns > 0) {
    // Those that were due meanwhile are told by the number, not by records of their own.
    const int64_t late = NowNs(r->argument) - r->due_ns;
    if (late > 0) times += late / r->period_ns;
    r->due_ns += times * r->period_ns;
  }
  record->result = times < INT32_MAX ? static_cast<int32_t>(times) : INT32_MAX;
}

}  // namespace

absl::StatusOr<Opcodes> ProbeOpcodes(Ring* ring) {
  alignas(io_uring_probe) char memory[sizeof(io_uring_probe) + kOps * sizeof(io_uring_probe_op)] = {};
  auto* const probe = reinterpret_cast<io_uring_probe*>(memory);
  const int rc = ring->Probe(probe, kOps);
  if (rc < 0) return ErrnoToStatus(rc, "io_uring_register(IORING_REGISTER_PROBE)");
  Opcodes opcodes;
  for (unsigned i = 0; i < probe->ops_len; ++i) {
    if ((probe->ops[i].flags & IO_URING_OP_SUPPORTED) != 0) opcodes.set(probe->ops[i].op);
  }
  return opcodes;
}

int Prepare(const Event& event, const Opcodes& opcodes, Registration* r) {
  r->type = event.type;
  r->descriptor = event.descriptor;
  r->cookie = event.cookie;
  r->argument = event.result;
  r->pointer = event.payload;
  const uint32_t flags = event.flags;
  if ((flags & ~(KEVENT_LEVEL | KEVENT_MULTI)) != 0) return -EINVAL;
  const bool polls = r->type == EventType::kPoll || r->type == EventType::kMq;
  if ((flags & KEVENT_LEVEL) != 0 && !polls) return -EINVAL;
  if ((flags & KEVENT_MULTI) != 0 && !MayGoOn(r->type)) return -EINVAL;
  r->goes_on = flags != 0;
  switch (r->type) {
    case EventType::kPoll:
    case EventType::kMq:
      return r->argument == 0 || (r->argument & ~0xffff) != 0 ? -EINVAL : 0;
    case EventType::kAccept:
      return (r->argument & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) != 0 ? -EINVAL : 0;
    case EventType::kSync:
    case EventType::kDataSync:
    case EventType::kSigevent:
      return 0;
    case EventType::kConnect:
    case EventType::kBind:
      if (r->type == EventType::kBind) r->helped = !opcodes.test(kOpBind);
      return r->pointer == 0 || r->argument <= 0 ? -EINVAL : 0;
    case EventType::kListen:
      r->helped = !opcodes.test(kOpListen);
      return 0;
    case EventType::kReceive:
    case EventType::kSend:
    case EventType::kFileRead:
    case EventType::kFileWrite:
    case EventType::kInotify:
      return PrepareIo(event, r);
    case EventType::kEventFd:
      return 0;
    case EventType::kTimer:
      return PrepareTimer(event, r);
    case EventType::kTimeout:
      return PrepareDelay(event, r);
    case EventType::kSignal:
      return PrepareSignal(r);
    case EventType::kProcess:
      return PrepareProcess(opcodes, r);
    case EventType::kFutex:
      r->helped = !opcodes.test(kOpFutexWait);
      if ((r->descriptor & ~KEVENT_FUTEX_PRIVATE) != 0) return -EINVAL;
      return r->pointer == 0 || r->pointer % alignof(uint32_t) != 0 ? -EINVAL : 0;
    case EventType::kFutexV:
      r->helped = !opcodes.test(kOpFutexWaitV);
      return r->pointer == 0 || r->argument <= 0 || r->argument > FUTEX_WAITV_MAX ? -EINVAL : 0;
    case EventType::kSysvMsg:
      r->helped = true;
      return CopyArgument(event, &r->memory.msg);
    case EventType::kSysvSem:
      r->helped = true;
      return CopyArgument(event, &r->memory.sem);
    case EventType::kMsync:
      r->helped = true;
      return CopyArgument(event, &r->memory.memory);
    case EventType::kFlock:
      return PrepareFlock(opcodes, r);
    case EventType::kLock:
      r->helped = !opcodes.test(kOpLock);
      return PrepareLock(event, r);
    case EventType::kUser:
      r->posted = true;
      r->event = event;
      return 0;
    default:
      return -EINVAL;
  }
}

void Arm(Registration* r, io_uring_sqe* sqe) {
  Registration::Memory& memory = r->memory;
  switch (r->type) {
    case EventType::kPoll:
    case EventType::kMq:
      // The kernel adds POLLRDHUP to what is asked for, beside the POLLERR and POLLHUP of poll(2).
      io_uring_prep_poll_add(sqe, r->descriptor, static_cast<unsigned>(r->argument));
      break;
    case EventType::kAccept:
      io_uring_prep_accept(sqe, r->descriptor, nullptr, nullptr, SOCK_CLOEXEC | r->argument);
      break;
    case EventType::kConnect:
      io_uring_prep_connect(sqe, r->descriptor, Pointer<sockaddr>(r->pointer), static_cast<socklen_t>(r->argument));
      break;
    case EventType::kBind:
      io_uring_prep_rw(static_cast<int>(kOpBind), sqe, r->descriptor, Pointer<sockaddr>(r->pointer), 0,
                       static_cast<uint64_t>(r->argument));
      break;
    case EventType::kListen:
      io_uring_prep_rw(static_cast<int>(kOpListen), sqe, r->descriptor, nullptr, static_cast<unsigned>(r->argument), 0);
      break;
    case EventType::kReceive:
      io_uring_prep_recv(sqe, r->descriptor, memory.io.buffer, memory.io.size, memory.io.flags);
      break;
    case EventType::kSend:
      io_uring_prep_send(sqe, r->descriptor, memory.io.buffer, memory.io.size, memory.io.flags | MSG_NOSIGNAL);
      break;
    case EventType::kFileRead:
    case EventType::kInotify:
      io_uring_prep_read(sqe, r->descriptor, memory.io.buffer, static_cast<unsigned>(memory.io.size),
                         r->type == EventType::kInotify ? 0 : static_cast<uint64_t>(memory.io.offset));
      break;
    case EventType::kFileWrite:
      io_uring_prep_write(sqe, r->descriptor, memory.io.buffer, static_cast<unsigned>(memory.io.size),
                          static_cast<uint64_t>(memory.io.offset));
      break;
    case EventType::kSync:
      io_uring_prep_fsync(sqe, r->descriptor, 0);
      break;
    case EventType::kDataSync:
      io_uring_prep_fsync(sqe, r->descriptor, IORING_FSYNC_DATASYNC);
      break;
    case EventType::kTimer:
    case EventType::kTimeout: {
      memory.timespec.tv_sec = r->due_ns / kSecondNs;
      memory.timespec.tv_nsec = r->due_ns % kSecondNs;
      unsigned flags = IORING_TIMEOUT_ABS;
      if (r->argument == CLOCK_REALTIME) flags |= IORING_TIMEOUT_REALTIME;
      if (r->argument == CLOCK_BOOTTIME) flags |= IORING_TIMEOUT_BOOTTIME;
      io_uring_prep_timeout(sqe, &memory.timespec, 0, flags);
      break;
    }
    case EventType::kSignal:
      io_uring_prep_read(sqe, r->own_fd, &memory.signal, sizeof(memory.signal), 0);
      break;
    case EventType::kEventFd:
      io_uring_prep_read(sqe, r->descriptor, &memory.counter, sizeof(memory.counter), 0);
      break;
    case EventType::kProcess:
      if (r->own_fd >= 0) {
        io_uring_prep_poll_add(sqe, r->own_fd, POLLIN);
      } else {
        std::memset(&memory.process, 0, sizeof(memory.process));
        io_uring_prep_rw(static_cast<int>(kOpWaitId), sqe, r->descriptor, nullptr, P_PID, 0);
        sqe->file_index = static_cast<uint32_t>(r->argument);
        sqe->addr2 = reinterpret_cast<uintptr_t>(&memory.process);
      }
      break;
    case EventType::kFutex:
      io_uring_prep_rw(static_cast<int>(kOpFutexWait), sqe, kFutexSize32 | r->descriptor, Pointer<void>(r->pointer), 0,
                       static_cast<uint32_t>(r->argument));
      sqe->addr3 = FUTEX_BITSET_MATCH_ANY;
      break;
    case EventType::kFutexV:
      io_uring_prep_rw(static_cast<int>(kOpFutexWaitV), sqe, 0, Pointer<void>(r->pointer),
                       static_cast<unsigned>(r->argument), 0);
      break;
    case EventType::kFlock:
      io_uring_prep_rw(static_cast<int>(kOpFlock), sqe, r->descriptor, nullptr, static_cast<unsigned>(r->argument), 0);
      break;
    case EventType::kLock:
      io_uring_prep_rw(static_cast<int>(kOpLock), sqe, r->descriptor, &memory.lock, static_cast<unsigned>(r->argument),
                       0);
      break;
    default:
      EVRING_CHECK(false, "no operation of the kernel stands for this type");
  }
}

int32_t CallBlocking(Registration* r) {
  const Registration::Memory& memory = r->memory;
  long rc;
  switch (r->type) {
    case EventType::kSysvMsg:
      rc = memory.msg.send != 0
               ? msgsnd(r->descriptor, memory.msg.message, memory.msg.size, memory.msg.flags)
               : msgrcv(r->descriptor, memory.msg.message, memory.msg.size, memory.msg.type, memory.msg.flags);
      break;
    case EventType::kSysvSem:
      rc = semop(r->descriptor, memory.sem.operations, memory.sem.count);
      break;
    case EventType::kMsync:
      rc = msync(memory.memory.address, memory.memory.size, r->argument != 0 ? r->argument : MS_SYNC);
      break;
    case EventType::kFlock:
      rc = flock(r->descriptor, r->argument);
      break;
    case EventType::kLock:
      rc = fcntl(r->descriptor, r->argument, &r->memory.lock);
      break;
    case EventType::kBind:
      rc = bind(r->descriptor, Pointer<sockaddr>(r->pointer), static_cast<socklen_t>(r->argument));
      break;
    case EventType::kListen:
      rc = listen(r->descriptor, r->argument);
      break;
    case EventType::kFutex:
      rc = syscall(SYS_futex, Pointer<void>(r->pointer),
                   FUTEX_WAIT | ((r->descriptor & KEVENT_FUTEX_PRIVATE) != 0 ? FUTEX_PRIVATE_FLAG : 0), r->argument,
                   nullptr, nullptr, 0);
      break;
    case EventType::kFutexV:
      rc = syscall(SYS_futex_waitv, Pointer<void>(r->pointer), r->argument, 0, nullptr, 0);
      break;
    case EventType::kProcess:
      rc = waitid(P_PID, static_cast<id_t>(r->descriptor), &r->memory.process, r->argument);
      break;
    default:
      EVRING_CHECK(false, "no helper thread waits for this type");
  }
  return rc < 0 ? -errno : static_cast<int32_t>(rc);
}

bool Report(Registration* r, int32_t result, Event* record) {
  record->result = result;
  switch (r->type) {
    case EventType::kTimer:
      if (result != -ETIME) return false;
      ReportTimer(r, record);
      return true;
    case EventType::kTimeout:
      if (result == -ETIME) record->result = 0;
      return false;
    case EventType::kSignal:
      if (result < 0) return false;
      record->result = r->descriptor;
      record->payload = uint64_t{r->memory.signal.ssi_pid} << 32 | static_cast<uint32_t>(r->memory.signal.ssi_int);
      return true;
    case EventType::kEventFd:
      if (result >= 0) record->payload = r->memory.counter;
      return result >= 0;
    case EventType::kProcess:
      if (result < 0) return false;
      if (r->own_fd >= 0) {
        std::memset(&r->memory.process, 0, sizeof(r->memory.process));
        if (waitid(P_PID, static_cast<id_t>(r->descriptor), &r->memory.process, r->argument | WNOHANG) != 0) {
          record->result = -errno;
          return false;
        }
      }
      return ReportProcess(r, record);
    default:
      return result >= 0;
  }
}

void Drop(const Event& record) {
  if (record.type == EventType::kAccept && record.result >= 0) close(record.result);
}

}  // namespace evring::kevent
