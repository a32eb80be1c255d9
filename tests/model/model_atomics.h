// model_atomics.h: the atomics, locks and variables whose accesses the explorer schedules. To be given to code under
// test in the place of StdAtomics (kevent/atomics.h).

#ifndef EVRING_TESTS_MODEL_MODEL_ATOMICS_H_
#define EVRING_TESTS_MODEL_MODEL_ATOMICS_H_

#include <atomic>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#include "tests/model/explorer.h"

namespace evring::model {

// std::atomic, except that every access names its order.
template <class T>
class ModelAtomic {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(uint64_t));
  using Where = std::source_location;

 public:
  ModelAtomic() : ModelAtomic(T{}) {}
  // Converts, as std::atomic does.
  ModelAtomic(T value) : location_(internal::NewLocation(Bits(value), this)) {}  // NOLINT(google-explicit-constructor)
  ModelAtomic(const ModelAtomic&) = delete;
  ModelAtomic& operator=(const ModelAtomic&) = delete;

  T load(std::memory_order order, Where where = Where::current()) const {
    return Value(internal::Perform({.op = Op::kLoad, .location = location_, .order = order, .where = where}).value);
  }
  void store(T value, std::memory_order order, Where where = Where::current()) {
    internal::Perform(
        {.op = Op::kStore, .location = location_, .order = order, .operand = Bits(value), .where = where});
  }
  T exchange(T value, std::memory_order order, Where where = Where::current()) {
    return Modify(value, order, where, [](uint64_t, uint64_t operand) { return operand; });
  }
  T fetch_add(T value, std::memory_order order, Where where = Where::current()) {
    return Modify(value, order, where, [](uint64_t old, uint64_t v) { return Bits(T(Value(old) + Value(v))); });
  }
  T fetch_sub(T value, std::memory_order order, Where where = Where::current()) {
    return Modify(value, order, where, [](uint64_t old, uint64_t v) { return Bits(T(Value(old) - Value(v))); });
  }
  T fetch_or(T value, std::memory_order order, Where where = Where::current()) {
    return Modify(value, order, where, [](uint64_t old, uint64_t v) { return old | v; });
  }
  T fetch_and(T value, std::memory_order order, Where where = Where::current()) {
    return Modify(value, order, where, [](uint64_t old, uint64_t v) { return old & v; });
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order success, std::memory_order failure,
                               Where where = Where::current()) {
    return CompareExchange(expected, desired, success, failure, false, where);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order success, std::memory_order failure,
                             Where where = Where::current()) {
    return CompareExchange(expected, desired, success, failure, true, where);
  }

 private:
  static uint64_t Bits(T value) {
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    return bits;
  }
  static T Value(uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof(T));
    return value;
  }
  T Modify(T value, std::memory_order order, Where where, uint64_t (*compute)(uint64_t, uint64_t)) {
    return Value(internal::Perform({.op = Op::kReadModifyWrite,
                                    .location = location_,
                                    .order = order,
                                    .operand = Bits(value),
                                    .compute = compute,
                                    .where = where})
                     .value);
  }
  bool CompareExchange(T& expected, T desired, std::memory_order success, std::memory_order failure, bool weak,
                       Where where) {
    const internal::Reply reply = internal::Perform({.op = Op::kCompareExchange,
                                                     .location = location_,
                                                     .order = success,
                                                     .failure = failure,
                                                     .operand = Bits(desired),
                                                     .expected = Bits(expected),
                                                     .weak = weak,
                                                     .where = where});
    if (!reply.done) expected = Value(reply.value);
    return reply.done;
  }

  const int location_;
};

// std::mutex.
class ModelMutex {
  using Where = std::source_location;

 public:
  ModelMutex() : location_(internal::NewLocation(0, this)) {}
  void lock(Where where = Where::current()) {
    internal::Perform({.op = Op::kLock, .location = location_, .where = where});
  }
  void unlock(Where where = Where::current()) {
    internal::Perform({.op = Op::kUnlock, .location = location_, .where = where});
  }

 private:
  const int location_;
};

struct ModelAtomics {
  template <class T>
  using Atomic = ModelAtomic<T>;
  using Mutex = ModelMutex;
};

// A message that is stored until somebody waits for it, such as a completion in a ring: what was done before Post is
// visible after Wait. Posts that nobody has waited for yet are one.
class Event {
  using Where = std::source_location;

 public:
  Event() : location_(internal::NewLocation(0, this)) {}
  void Post(Where where = Where::current()) {
    internal::Perform({.op = Op::kPost, .location = location_, .where = where});
  }
  // One thread at a time. False: the scenario has ended (Execution::WhenAllBlocked).
  [[nodiscard]] bool Wait(Where where = Where::current()) {
    return internal::Perform({.op = Op::kWait, .location = location_, .where = where}).done;
  }

 private:
  const int location_;
};

// A variable that is no atomic. Accesses of two threads, one of them a write, without a happens-before edge fail the
// schedule.
template <class T>
class Plain {
  using Where = std::source_location;

 public:
  Plain() = default;
  explicit Plain(T value) : value_(value) {}
  T Get(Where where = Where::current()) const {
    internal::PlainAccess(&state_, false, where);
    return value_;
  }
  void Set(T value, Where where = Where::current()) {
    internal::PlainAccess(&state_, true, where);
    value_ = value;
  }

 private:
  T value_{};
  mutable internal::PlainState state_;
};

}  // namespace evring::model

#endif  // EVRING_TESTS_MODEL_MODEL_ATOMICS_H_
