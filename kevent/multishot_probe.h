// multishot_probe.h: whether a multishot receive of this kernel sees the end of a stream whose last data and end come
// close together.

#ifndef EVRING_KEVENT_MULTISHOT_PROBE_H_
#define EVRING_KEVENT_MULTISHOT_PROBE_H_

namespace evring::kevent {

// Tries it on a ring of its own, once in a process. False: the end may be lost, so that the receive waits for ever; or
// there was no memory to try.
//
// Kernels without the correction of early 2026 consume both wake-ups of the socket with one receive, which takes the
// data, finds nothing behind them and goes back to sleep. TCP says through its hint of what is left that the end comes
// next, but not that a reset does; a Unix socket says neither. Source:
// "Recv Multishot misses EOF with AF_UNIX", reported to liburing in March 2026.
bool MultishotReceiveSeesTheEnd();

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_MULTISHOT_PROBE_H_
