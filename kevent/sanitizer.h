// sanitizer.h: which sanitizer this build has, and the hand-over edges that it cannot see.
//
// ThreadSanitizer knows nothing of what travels through an io_uring: memory written before a submission and read
// after its completion needs an edge said by hand (HandOverRelease before the submit, HandOverAcquire after the CQE).

#ifndef EVRING_KEVENT_SANITIZER_H_
#define EVRING_KEVENT_SANITIZER_H_

#if defined(__SANITIZE_ADDRESS__)
#define EVRING_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EVRING_ASAN 1
#endif
#endif

#if defined(__SANITIZE_THREAD__)
#define EVRING_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define EVRING_TSAN 1
#endif
#endif

#ifdef EVRING_TSAN
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#endif

// For a function in which a thread may be cancelled between any two of its instructions: the instrumentation of
// ThreadSanitizer would give it something to clean up, at calls only.
#if defined(EVRING_TSAN) && defined(__clang__)
#define EVRING_UNINSTRUMENTED __attribute__((disable_sanitizer_instrumentation))
#else
#define EVRING_UNINSTRUMENTED
#endif

namespace evring::kevent {

// Whether each step costs many times as much as in a plain build.
#if defined(EVRING_ASAN) || defined(EVRING_TSAN)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

inline void HandOverRelease([[maybe_unused]] void* address) {
#ifdef EVRING_TSAN
  __tsan_release(address);
#endif
}

inline void HandOverAcquire([[maybe_unused]] void* address) {
#ifdef EVRING_TSAN
  __tsan_acquire(address);
#endif
}

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_SANITIZER_H_
