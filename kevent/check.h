// check.h: the invariants that memory safety rests on. Checked in every build; a failure prints and aborts.
//
// EVRING_CHECK costs one predictable branch. EVRING_DCHECK is for what costs more than O(1) or sits on the hottest
// path; it compiles to nothing under NDEBUG, so its condition has no side effects.

#ifndef EVRING_KEVENT_CHECK_H_
#define EVRING_KEVENT_CHECK_H_

namespace evring::kevent {

// Prints `file:line: check failed: condition: text` to standard error and aborts. Async-signal-safe.
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition, const char* text);

}  // namespace evring::kevent

#define EVRING_CHECK(condition, text)                                      \
  do {                                                                     \
    if (!(condition)) [[unlikely]]                                         \
      ::evring::kevent::CheckFailed(__FILE__, __LINE__, #condition, text); \
  } while (false)

#ifdef NDEBUG
#define EVRING_DCHECK(condition, text) static_cast<void>(0)
#else
#define EVRING_DCHECK(condition, text) EVRING_CHECK(condition, text)
#endif

#endif  // EVRING_KEVENT_CHECK_H_
