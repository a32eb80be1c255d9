// kernel_futexes.cc: IORING_OP_FUTEX_WAIT, FUTEX_WAKE and FUTEX_WAITV: requests that wait for a word in the memory of
// the program, and those that wake them.
//
//   F1  The values are compared when the request is submitted, never later.
//   F2  A wake-up takes a waiter out of its line, which settles what its request answers: a cancel that comes now does
//       not find it any more (ENOENT), late as the completion may be.
//   F3  A cancelled FUTEX_WAIT leaves its line at once. A cancelled FUTEX_WAITV leaves them when it ends: a wake-up in
//       between still counts, and its index is the answer.
//   F4  A wait may end without a wake-up (Fault::kSpuriousWake), which futex(2) tells its users to expect.
//
// A wake-up by futex(2) itself, which no ring sees, wakes nobody here: a program that is simulated wakes by a request,
// or by Descriptors::FutexWake().
//
// Source: futex(2), futex2 in include/uapi/linux/futex.h, io_uring/futex.c of Linux.

#include <errno.h>
#include <linux/futex.h>

#include <limits>
#include <utility>

#include "kevent/opcodes.h"
#include "sim/kernel.h"

namespace evring::sim {

namespace {

// Of futex_waitv(2) and the requests. Left out: EFAULT, EINVAL and EAGAIN, which this kernel finds by itself; EINTR and
// ETIMEDOUT, which no request meets.
constexpr int kFutexErrors[] = {ENOMEM};

constexpr int64_t kSpuriousAfterNs = 1'000'000;  // at most

// Words of 32 bits, as they are all today; where memory lies (FUTEX2_NUMA) is not simulated.
bool KnowsFlags(uint64_t flags) { return (flags & ~uint64_t{kevent::kFutexPrivate}) == kevent::kFutexSize32; }

bool IsWord(uint64_t value) { return value <= std::numeric_limits<uint32_t>::max(); }

uint32_t Load(uint64_t address) {
  return __atomic_load_n(reinterpret_cast<const uint32_t*>(static_cast<uintptr_t>(address)), __ATOMIC_SEQ_CST);
}

Futexes::Word WordOf(const futex_waitv& futex) { return {futex.uaddr, (futex.flags & kevent::kFutexPrivate) != 0}; }

}  // namespace

bool Kernel::WaitsForFutex(const Request& request) {
  return request.sqe.opcode == kevent::kOpFutexWait || request.sqe.opcode == kevent::kOpFutexWaitV;
}

int Kernel::PrepareFutex(Request* request) {
  const io_uring_sqe& sqe = request->sqe;
  if (sqe.buf_index != 0 || sqe.rw_flags != 0 || sqe.file_index != 0) return -EINVAL;
  if (sqe.opcode == kevent::kOpFutexWaitV) {
    if (sqe.fd != 0 || sqe.addr2 != 0 || sqe.addr3 != 0) return -EINVAL;
    if (sqe.len == 0 || sqe.len > FUTEX_WAITV_MAX) return -EINVAL;
    const auto* futexes = reinterpret_cast<const futex_waitv*>(static_cast<uintptr_t>(sqe.addr));
    request->futexes.assign(futexes, futexes + sqe.len);
  } else {
    if (sqe.len != 0 || !IsWord(sqe.addr3)) return -EINVAL;
    futex_waitv futex = {};
    futex.uaddr = sqe.addr;
    futex.val = sqe.addr2;
    futex.flags = static_cast<uint32_t>(sqe.fd);
    request->futexes.push_back(futex);
    request->futex_mask = static_cast<uint32_t>(sqe.addr3);
  }
  for (const futex_waitv& futex : request->futexes) {
    if (!KnowsFlags(futex.flags) || futex.__reserved != 0 || !IsWord(futex.val)) return -EINVAL;
  }
  return 0;
}

Answer Kernel::AttemptFutex(Request* request) {
  if (std::exchange(request->begun, true)) return {.complete = request->woken >= 0, .result = request->woken};
  if (request->futex_mask == 0) return {.complete = true, .result = -EINVAL};
  for (const futex_waitv& futex : request->futexes) {
    if (futex.uaddr % sizeof(uint32_t) != 0) return {.complete = true, .result = -EINVAL};
  }
  if (request->sqe.opcode == kevent::kOpFutexWake) {
    const futex_waitv& futex = request->futexes.front();
    // The number is an int there, of which 0 wakes nobody, and less than that one.
    const auto count = static_cast<int32_t>(futex.val);
    return {.complete = true, .result = count == 0 ? 0 : Wake(WordOf(futex), count, request->futex_mask)};
  }
  if (world_.Happens(Fault::kFutexError)) return {.complete = true, .result = -world_.faults.OneOf(kFutexErrors)};
  int index = 0;
  for (const futex_waitv& futex : request->futexes) {
    if (Load(futex.uaddr) != futex.val) {
      futexes_.Remove(request);
      return {.complete = true, .result = -EAGAIN};
    }
    futexes_.Add(request, index++, WordOf(futex), request->futex_mask);
  }
  if (world_.Happens(Fault::kSpuriousWake)) {
    const auto which = static_cast<int>(world_.faults.Below(request->futexes.size()));
    const int64_t ns = world_.network.Between(0, kSpuriousAfterNs);
    world_.After(ns, [this, fd = request->ring->number, number = request->number, which] {
      Request* const still = FindRequest(fd, number);
      if (still == nullptr || still->hidden) return;
      futexes_.Remove(still, which);
      WakeOne(still, which);
    });
  }
  return {};
}

int Kernel::Wake(const Futexes::Word& word, int count, uint32_t mask) {
  int woken = 0;
  do {
    int index = 0;
    Request* const request = futexes_.Take(word, mask, &index);
    if (request == nullptr) break;
    WakeOne(request, index);
    ++woken;
  } while (woken < count);
  return woken;
}

void Kernel::WakeOne(Request* request, int index) {
  // Of several the last one is told; of one that is queued, whatever for, the answer changes.
  const int answer = request->sqe.opcode == kevent::kOpFutexWaitV ? index : 0;
  request->woken = std::max(request->woken, answer);
  if (std::exchange(request->hidden, true)) return;
  if (world_.Happens(Fault::kLateWake)) return QueueAfter(*request, world_.network.Between(1'000, 1'000'000));
  Queue(request);
}

int Kernel::FutexWake(const uint32_t* word, int count, bool is_private) {
  Lock lock(mutex_);
  Count();
  const auto address = reinterpret_cast<uintptr_t>(word);
  if (address % sizeof(*word) != 0) return -EINVAL;
  const int woken = Wake({address, is_private}, count, FUTEX_BITSET_MATCH_ANY);
  if (Turns::Thread* self = Turns::Current(); self != nullptr) turns_.MaybeYield(&lock, self);
  return woken;
}

}  // namespace evring::sim
