// opcodes.h: operations of a ring that liburing 2.3 has no names for.
//
// Those of Linux are from include/uapi/linux/io_uring.h. The last ones no Linux has: there a helper thread makes the
// call (blocking_calls.h). A kernel that is simulated has no thread to spare and serves them as requests: the same call
// with the same answer. Linux numbers from the other end.

#ifndef EVRING_KEVENT_OPCODES_H_
#define EVRING_KEVENT_OPCODES_H_

namespace evring::kevent {

inline constexpr unsigned kOpWaitId = 50;      // these three since 6.7
inline constexpr unsigned kOpFutexWait = 51;   // descriptor: FUTEX2_…; addr: the word; addr2: value; addr3: mask
inline constexpr unsigned kOpFutexWake = 52;   // the same; addr2: how many
inline constexpr unsigned kOpFutexWaitV = 53;  // addr: array of futex_waitv; len: how many
inline constexpr unsigned kOpBind = 56;        // addr, addr2: its size. Since 6.11
inline constexpr unsigned kOpListen = 57;      // len: backlog

inline constexpr unsigned kOpFlock = 240;  // descriptor; len: the operation of flock(2)
inline constexpr unsigned kOpLock = 241;   // descriptor; len: F_OFD_SETLKW or F_SETLKW; addr: a struct flock

inline constexpr unsigned kOps = 256;  // numbers that there may be

// Of FUTEX_WAIT and FUTEX_WAKE, and of each futex_waitv. Source: include/uapi/linux/futex.h.
inline constexpr int kFutexSize32 = 0x02;
inline constexpr int kFutexPrivate = 0x80;

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_OPCODES_H_
