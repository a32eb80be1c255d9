// ring_memory.h: an edge for ThreadSanitizer between the end of one ring and the beginning of the next.
//
// liburing unmaps a ring's memory by a system call that the sanitizer does not see: where the next ring is mapped to
// the same address, by another thread, what was written before looks like a race.
//
// Threads: any.

#ifndef EVRING_KEVENT_RING_MEMORY_H_
#define EVRING_KEVENT_RING_MEMORY_H_

#include "kevent/sanitizer.h"

namespace evring::kevent {

inline char ring_memory;  // its address only

// The memory of a ring is about to be unmapped.
inline void RingMemoryGoes() { HandOverRelease(&ring_memory); }
// The memory of a ring has been mapped.
inline void RingMemoryComes() { HandOverAcquire(&ring_memory); }

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_RING_MEMORY_H_
