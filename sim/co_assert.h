// co_assert.h: GoogleTest's fatal assertions for tests whose body is a coroutine, a Task<void>.
//
//   Task<> Greets(net::Stream* stream) {
//     CO_ASSERT_OK(co_await stream->Write(kGreeting));
//     CO_ASSERT_OK_AND_ASSIGN(net::ReceivedBuffer answer, co_await stream->Receive());
//     CO_ASSERT_EQ(answer.size(), 5u) << "a whole answer in one piece";
//   }
//
// ASSERT_… hide a `return`, which does not compile in a coroutine; these hide a `co_return`. It ends the coroutine that
// it stands in and no other, as a fatal assertion ends its function only. What is compared is evaluated once, and may
// await. EXPECT_… hide nothing and serve in coroutines as they are.
//
// Threads: those of GoogleTest, where pthreads are: any.

#ifndef EVRING_SIM_CO_ASSERT_H_
#define EVRING_SIM_CO_ASSERT_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"

namespace evring::sim::internal {

template <class Holds, class A, class B>
::testing::AssertionResult Compare(const char* a_text, const char* sign, const char* b_text, const A& a, const B& b) {
  if (Holds()(a, b)) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "Expected: (" << a_text << ") " << sign << " (" << b_text
                                       << ")\n  Actual: " << ::testing::PrintToString(a) << " and "
                                       << ::testing::PrintToString(b);
}

inline ::testing::AssertionResult Is(bool wanted, const char* text, bool value) {
  if (value == wanted) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << text << " is " << (value ? "true" : "false");
}

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <class T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}
template <class Result>
::testing::AssertionResult IsOk(const char* text, const Result& result) {
  const absl::Status& status = StatusOf(result);
  if (status.ok()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << text << " is " << status.ToString();
}

}  // namespace evring::sim::internal

// A loop that is left in its first round, if it is entered at all: an `if` would take an `else` behind the macro for
// its own.
#define EVRING_CO_ASSERT_(result)                                                        \
  for (const ::testing::AssertionResult co_assert_result = (result); !co_assert_result;) \
  co_return ADD_FAILURE() << co_assert_result.message() << ' '

#define EVRING_CO_COMPARE_(holds, sign, a, b) \
  EVRING_CO_ASSERT_((::evring::sim::internal::Compare<holds>(#a, sign, #b, a, b)))

#define CO_ASSERT_TRUE(condition) \
  EVRING_CO_ASSERT_(::evring::sim::internal::Is(true, #condition, static_cast<bool>(condition)))
#define CO_ASSERT_FALSE(condition) \
  EVRING_CO_ASSERT_(::evring::sim::internal::Is(false, #condition, static_cast<bool>(condition)))
#define CO_ASSERT_EQ(a, b) EVRING_CO_COMPARE_(::std::equal_to<>, "==", a, b)
#define CO_ASSERT_NE(a, b) EVRING_CO_COMPARE_(::std::not_equal_to<>, "!=", a, b)
#define CO_ASSERT_LT(a, b) EVRING_CO_COMPARE_(::std::less<>, "<", a, b)
#define CO_ASSERT_LE(a, b) EVRING_CO_COMPARE_(::std::less_equal<>, "<=", a, b)
#define CO_ASSERT_GT(a, b) EVRING_CO_COMPARE_(::std::greater<>, ">", a, b)
#define CO_ASSERT_GE(a, b) EVRING_CO_COMPARE_(::std::greater_equal<>, ">=", a, b)

// Of an absl::Status or an absl::StatusOr.
#define CO_ASSERT_OK(expression) EVRING_CO_ASSERT_(::evring::sim::internal::IsOk(#expression, expression))

// Declares or assigns `target` from an absl::StatusOr. Two statements: not the only one behind an `if`.
#define CO_ASSERT_OK_AND_ASSIGN(target, expression) \
  EVRING_CO_ASSIGN_(EVRING_CO_NAME_(co_assert_result_, __LINE__), target, expression)
#define EVRING_CO_ASSIGN_(name, target, expression)                    \
  auto name = (expression);                                            \
  EVRING_CO_ASSERT_(::evring::sim::internal::IsOk(#expression, name)); \
  target = *::std::move(name)
#define EVRING_CO_NAME_(a, b) EVRING_CO_JOIN_(a, b)
#define EVRING_CO_JOIN_(a, b) a##b

#endif  // EVRING_SIM_CO_ASSERT_H_
