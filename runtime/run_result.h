// run_result.h: how the result of a task is joined with an error of whoever runs it: one Status, not two nested.

#ifndef EVRING_RUNTIME_RUN_RESULT_H_
#define EVRING_RUNTIME_RUN_RESULT_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace evring::internal {

// void and Status become Status, T and StatusOr<T> become StatusOr<T>.
template <class T>
struct RunResult {
  using type = absl::StatusOr<T>;
  static constexpr bool kIsStatus = false;
};
template <>
struct RunResult<void> {
  using type = absl::Status;
  static constexpr bool kIsStatus = false;
};
template <>
struct RunResult<absl::Status> {
  using type = absl::Status;
  static constexpr bool kIsStatus = true;
};
template <class T>
struct RunResult<absl::StatusOr<T>> {
  using type = absl::StatusOr<T>;
  static constexpr bool kIsStatus = true;
};

template <class T>
using RunResultType = typename RunResult<T>::type;

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_RUN_RESULT_H_
