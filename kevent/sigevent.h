// sigevent.h: SIGEV_KEVENT: notifications of POSIX interfaces become records of a queue.
//
// The C library calls a function on a thread of its own (SIGEV_THREAD) and hands it one word. The word is the key of a
// target: which registration of which queue. A notification may come late, when its registration or its queue has gone;
// keys are not used twice, so it finds nothing then, and is dropped.
//
// Threads: any. A child of fork(2) finds nothing of its parent's.

#ifndef EVRING_KEVENT_SIGEVENT_H_
#define EVRING_KEVENT_SIGEVENT_H_

#include <signal.h>

#include <cstdint>

namespace evring::kevent {

// A key for a registration of the queue with this serial number, to be filled in or released. May throw bad_alloc.
uintptr_t ReserveSigevent(uint64_t serial);
void ReleaseSigevent(uintptr_t key);
// Makes `sev` report to the registration `number`.
void FillSigevent(uintptr_t key, int64_t number, sigevent* sev);
// The registration has ended: what comes for it finds nothing.
void ForgetSigevent(uint64_t serial, int64_t number);
// All those of a queue.
void ForgetSigevents(uint64_t serial);

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_SIGEVENT_H_
