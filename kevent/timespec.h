// timespec.h: the times of the system's calls as nanoseconds, in which the project counts, and back.

#ifndef EVRING_KEVENT_TIMESPEC_H_
#define EVRING_KEVENT_TIMESPEC_H_

#include <time.h>

#include <cstdint>

namespace evring::kevent {

inline constexpr int64_t kSecondNs = 1'000'000'000;

// Far beyond every clock, and far from the ends of int64_t.
inline constexpr int64_t kFarthestS = int64_t{1} << 32;

// Whether a call of the system takes it for a time: not negative, and less than a second of nanoseconds.
inline bool IsTime(const timespec& t) { return t.tv_sec >= 0 && t.tv_nsec >= 0 && t.tv_nsec < kSecondNs; }

// Of a time; what is farther than kFarthestS counts as that.
inline int64_t ToNs(const timespec& t) {
  return (t.tv_sec < kFarthestS ? t.tv_sec : kFarthestS) * kSecondNs + t.tv_nsec;
}

// `ns` is not negative.
inline timespec ToTimespec(int64_t ns) {
  timespec t;
  t.tv_sec = ns / kSecondNs;
  t.tv_nsec = ns % kSecondNs;
  return t;
}

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_TIMESPEC_H_
