// transfer.h: how one coroutine goes on in another without growing the stack, in every build.
//
// Symmetric transfer (await_suspend returns the next handle) is a jump where the compiler makes it one: clang always,
// gcc only when it optimises without sanitizers. Elsewhere each transfer would nest a call, and a few ten thousand
// awaits would overflow the stack. There a trampoline takes its place: the next handle is put aside, the coroutine
// returns, and the loop in ResumeAll() picks it up.
//
// gcc at -O1 needs -foptimize-sibling-calls (this repository's Bazel settings pass it); code that is compiled without
// can define EVRING_TRAMPOLINE=1 for all of the program.

#ifndef EVRING_RUNTIME_TRANSFER_H_
#define EVRING_RUNTIME_TRANSFER_H_

#include <coroutine>
#include <utility>

#include "kevent/sanitizer.h"

#ifndef EVRING_TRAMPOLINE
#if defined(__GNUC__) && !defined(__clang__) && \
    (!defined(__OPTIMIZE__) || defined(EVRING_ASAN) || defined(EVRING_TSAN) || defined(__SANITIZE_UNDEFINED__))
#define EVRING_TRAMPOLINE 1
#else
#define EVRING_TRAMPOLINE 0
#endif
#endif

namespace evring {

#if EVRING_TRAMPOLINE

namespace internal {
inline constinit thread_local std::coroutine_handle<> next_to_resume{};
}  // namespace internal

// What await_suspend returns to go on in `next`.
inline std::coroutine_handle<> Transfer(std::coroutine_handle<> next) {
  internal::next_to_resume = next;
  return std::noop_coroutine();
}

// Resumes `handle` and all it transfers to, until one of them suspends for good.
inline void ResumeAll(std::coroutine_handle<> handle) {
  do {
    internal::next_to_resume = nullptr;
    handle.resume();
    handle = std::exchange(internal::next_to_resume, nullptr);
  } while (handle);
}

#else

inline std::coroutine_handle<> Transfer(std::coroutine_handle<> next) { return next; }
inline void ResumeAll(std::coroutine_handle<> handle) { handle.resume(); }

#endif

}  // namespace evring

#endif  // EVRING_RUNTIME_TRANSFER_H_
