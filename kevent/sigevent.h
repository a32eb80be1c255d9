// sigevent.h: SIGEV_KEVENT: notifications of POSIX interfaces become records of a queue.
//
// The C library calls a function on a thread of its own (SIGEV_THREAD) and hands it one word. The word is the key of a
// target: which registration of which queue. A notification may come late, when its registration or its queue has gone;
// keys are not used twice, so it finds nothing then, and is dropped.
//
// Threads: any.

#ifndef EVRING_KEVENT_SIGEVENT_H_
#define EVRING_KEVENT_SIGEVENT_H_

#include <signal.h>

#include <cstdint>

namespace evring::kevent {

// Makes `sev` report to the registration `number` of the queue with this serial number.
void FillSigevent(uint64_t serial, int64_t number, sigevent* sev);
void ForgetSigevent(uint64_t serial, int64_t number);
// All those of a queue.
void ForgetSigevents(uint64_t serial);

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_SIGEVENT_H_
