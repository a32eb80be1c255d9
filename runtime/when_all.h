// when_all.h: waiting for several tasks at once.
//
//   auto [size, name] = co_await WhenAll(FileSize(fd), UserName(uid));
//   std::vector<absl::Status> all = co_await WhenAll(std::move(tasks));
//
// The tasks run as children of the calling one. A task fails by an exception, or, where it ends with a Status or
// StatusOr, by an error: the first failure asks all others to stop, and still all are waited for. A stop of the calling
// task reaches all of them.
//
// Once all have ended the results come in the order of the arguments, each as its task gave it, errors too (those of
// the tasks that were stopped are mostly kCancelled); std::monostate stands for void. If a task has thrown, there are
// no results: the exception of the one that failed first is rethrown, or else, where that one failed by a Status, of
// the first in order; other results and exceptions are destroyed.

#ifndef EVRING_RUNTIME_WHEN_ALL_H_
#define EVRING_RUNTIME_WHEN_ALL_H_

#include <cstddef>
#include <tuple>
#include <utility>
#include <vector>

#include "runtime/gather.h"
#include "runtime/task.h"

namespace evring {
namespace internal {

template <class... Ts>
class WhenAllAwaiter final : public TupleGathering<Ts...> {
 public:
  explicit WhenAllAwaiter(Task<Ts>... tasks)
      : TupleGathering<Ts...>(Gathering::Decisive::kFirstFailure, std::move(tasks)...) {}

  std::tuple<ValueOf<Ts>...> await_resume() {
    this->RethrowDecisive();
    return TakeAll(std::index_sequence_for<Ts...>());
  }

 private:
  template <size_t... kIndex>
  std::tuple<ValueOf<Ts>...> TakeAll(std::index_sequence<kIndex...>) {
    return std::tuple<ValueOf<Ts>...>{this->template Take<kIndex>()...};  // in order, as braces are
  }
};

template <class T>
class WhenAllVectorAwaiter final : public VectorGathering<T> {
 public:
  explicit WhenAllVectorAwaiter(std::vector<Task<T>> tasks)
      : VectorGathering<T>(Gathering::Decisive::kFirstFailure, std::move(tasks)) {}

  std::vector<ValueOf<T>> await_resume() {
    this->RethrowDecisive();
    std::vector<ValueOf<T>> results;
    results.reserve(this->size());
    for (size_t i = 0; i < this->size(); ++i) results.push_back(this->Take(i));
    return results;
  }
};

}  // namespace internal

// `co_await WhenAll(tasks…)`: a std::tuple of the results. Await on a worker.
template <class... Ts>
  requires(sizeof...(Ts) > 0)
[[nodiscard]] internal::WhenAllAwaiter<Ts...> WhenAll(Task<Ts>... tasks) {
  return internal::WhenAllAwaiter<Ts...>(std::move(tasks)...);
}

// `co_await WhenAll(std::vector<Task<T>>)`: a std::vector of the results; of none, at once. Await on a worker.
template <class T>
[[nodiscard]] internal::WhenAllVectorAwaiter<T> WhenAll(std::vector<Task<T>> tasks) {
  return internal::WhenAllVectorAwaiter<T>(std::move(tasks));
}

}  // namespace evring

#endif  // EVRING_RUNTIME_WHEN_ALL_H_
