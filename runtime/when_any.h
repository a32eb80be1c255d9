// when_any.h: waiting for the first of several tasks.
//
//   std::variant<absl::StatusOr<TcpStream>, absl::Status> first = co_await WhenAny(listener.Accept(), Sleep1s());
//   if (first.index() == 0) …
//
// The tasks run as children of the calling one. The first that ends, however it ends, is the winner: its result is the
// answer, its exception is rethrown. All others are asked to stop and are waited for: nothing of them is left running.
// What a loser still ends with is destroyed there and then, an accepted connection closed, an exception dropped. A stop
// of the calling task reaches all of them.

#ifndef EVRING_RUNTIME_WHEN_ANY_H_
#define EVRING_RUNTIME_WHEN_ANY_H_

#include <array>
#include <cstddef>
#include <utility>
#include <variant>
#include <vector>

#include "kevent/check.h"
#include "runtime/gather.h"
#include "runtime/task.h"

namespace evring {

// What WhenAny() of a vector answers; of Task<void> the value is a std::monostate.
template <class T>
struct WhenAnyResult {
  WhenAnyResult(size_t index, internal::ValueOf<T> value) : index(index), value(std::move(value)) {}

  size_t index;  // of the winner
  internal::ValueOf<T> value;
};

namespace internal {

template <class... Ts>
class WhenAnyAwaiter final : public TupleGathering<Ts...> {
 public:
  using Result = std::variant<ValueOf<Ts>...>;

  explicit WhenAnyAwaiter(Task<Ts>... tasks)
      : TupleGathering<Ts...>(Gathering::Decisive::kFirstEnd, std::move(tasks)...) {}

  Result await_resume() { return TakeWinner(std::index_sequence_for<Ts...>()); }

 private:
  template <size_t kIndex>
  static Result TakeOne(WhenAnyAwaiter* self) {
    return Result(std::in_place_index<kIndex>, self->template Take<kIndex>());
  }
  template <size_t... kIndex>
  Result TakeWinner(std::index_sequence<kIndex...>) {
    constexpr std::array<Result (*)(WhenAnyAwaiter*), sizeof...(kIndex)> kTake = {&TakeOne<kIndex>...};
    return kTake[this->decisive()](this);
  }
};

template <class T>
class WhenAnyVectorAwaiter final : public VectorGathering<T> {
 public:
  explicit WhenAnyVectorAwaiter(std::vector<Task<T>> tasks)
      : VectorGathering<T>(Gathering::Decisive::kFirstEnd, std::move(tasks)) {
    EVRING_CHECK(!this->await_ready(), "of no tasks none is the first");
  }

  WhenAnyResult<T> await_resume() { return WhenAnyResult<T>(this->decisive(), this->Take(this->decisive())); }
};

}  // namespace internal

// `co_await WhenAny(tasks…)`: a std::variant whose index() says which task was first (std::monostate for void). Await
// on a worker.
template <class... Ts>
  requires(sizeof...(Ts) > 0)
[[nodiscard]] internal::WhenAnyAwaiter<Ts...> WhenAny(Task<Ts>... tasks) {
  return internal::WhenAnyAwaiter<Ts...>(std::move(tasks)...);
}

// The same for any number of tasks but none (checked).
template <class T>
[[nodiscard]] internal::WhenAnyVectorAwaiter<T> WhenAny(std::vector<Task<T>> tasks) {
  return internal::WhenAnyVectorAwaiter<T>(std::move(tasks));
}

}  // namespace evring

#endif  // EVRING_RUNTIME_WHEN_ANY_H_
