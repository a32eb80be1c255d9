// await_site.h: where a task waits, and for what, written by the task at each co_await that suspends and read by others
// at any time.
//
// A co_await that suspends leaves its place in the source, the type of what is awaited and, from requests to the
// kernel, the event's type and descriptor: three stores to memory that the wait writes anyway. An await of another Task
// leaves nothing, as it does not suspend by itself; so what stands here is the innermost await.
//
// A reader (task_dump.h) sees each of the fields as it was at some time, not all of them at the same.

#ifndef EVRING_RUNTIME_AWAIT_SITE_H_
#define EVRING_RUNTIME_AWAIT_SITE_H_

#include <atomic>
#include <cstdint>
#include <source_location>
#include <type_traits>

#include "kevent/event.h"

namespace evring::internal {

// Gives the name of an awaited type, in the compiler's words and between others of its words.
using AwaitedName = const char* (*)();

template <class A>
const char* NameOfAwaited() {
  return __PRETTY_FUNCTION__;
}

// A wrapper says in AwaitedAs what it stands for.
template <class A>
struct AwaitedAs {
  using Type = A;
};
template <class A>
  requires requires { typename A::AwaitedAs; }
struct AwaitedAs<A> {
  using Type = typename A::AwaitedAs;
};

class AwaitSite {
 public:
  // Of a task that was made at this place and has not waited yet.
  explicit AwaitSite(std::source_location where) : where_(where) {}

  // It was made here. Before the task can run.
  void SetMadeAt(std::source_location where) { where_.store(where, std::memory_order_relaxed); }
  // The task awaits an A. By the task.
  template <class A>
  void Await(std::source_location where) {
    where_.store(where, std::memory_order_relaxed);
    name_.store(&NameOfAwaited<typename AwaitedAs<std::remove_cvref_t<A>>::Type>, std::memory_order_relaxed);
    subject_.store(kNoSubject, std::memory_order_relaxed);
  }
  // What is awaited is an event of this type, of this descriptor or -1. By the task, before it suspends.
  void SetSubject(kevent::EventType type, int descriptor) {
    subject_.store(uint64_t{static_cast<uint32_t>(descriptor)} << 32 | static_cast<uint32_t>(type),
                   std::memory_order_relaxed);
  }

  // Any thread.
  // Where the task waits, or did last, or was made.
  std::source_location where() const { return where_.load(std::memory_order_relaxed); }
  // nullptr: it has not waited yet.
  AwaitedName name() const { return name_.load(std::memory_order_relaxed); }
  kevent::EventType type() const {
    return static_cast<kevent::EventType>(static_cast<uint32_t>(subject_.load(std::memory_order_relaxed)));
  }
  int descriptor() const { return static_cast<int>(subject_.load(std::memory_order_relaxed) >> 32); }

 private:
  static constexpr uint64_t kNoSubject = uint64_t{UINT32_MAX} << 32 | static_cast<uint32_t>(kevent::EventType::kNone);

  // A pointer in all but name.
  std::atomic<std::source_location> where_;
  static_assert(std::atomic<std::source_location>::is_always_lock_free);
  std::atomic<AwaitedName> name_{nullptr};
  std::atomic<uint64_t> subject_{kNoSubject};
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_AWAIT_SITE_H_
