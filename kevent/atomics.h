// atomics.h: where the lock-free parts take their atomics and locks from.
//
// They are templates over a class such as StdAtomics, so that the explorer of tests/model runs this very code over
// atomics of its own, which switch threads before every access and let a load see each value that its memory order
// permits. In production the names below are aliases, and nothing is left of the seam.
// Code written for it names the memory order of every access (the explorer's atomics have no default for it) and uses
// no standalone fence.

#ifndef EVRING_KEVENT_ATOMICS_H_
#define EVRING_KEVENT_ATOMICS_H_

#include <atomic>
#include <cstddef>
#include <mutex>

namespace evring {

// What two threads write is kept this far apart.
inline constexpr size_t kCacheLine = 64;

struct StdAtomics {
  template <class T>
  using Atomic = std::atomic<T>;
  using Mutex = std::mutex;
};

}  // namespace evring

#endif  // EVRING_KEVENT_ATOMICS_H_
