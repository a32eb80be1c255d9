// coroutine_lambda.h: coroutines that are lambdas with captures are refused, by the compiler.
//
//   Task<> Later(int n) {
//     co_await Spawn([n]() -> Task<> { co_await Work(n); }());         refused
//     co_await Spawn([](int m) -> Task<> { co_await Work(m); }(n));    a parameter is copied into the coroutine's frame
//   }
//
// A captured value lives in the closure, and the coroutine has only the closure's address: it goes away with the full
// expression, while the coroutine waits. What is passed as a parameter by value stays as long as the frame.
//
// How it is found. The compiler asks std::coroutine_traits for the promise of a coroutine, with the closure's type as
// the first argument if it is a lambda. There the type is not complete yet, so whether it has captures cannot be asked;
// but the body of a function template is compiled when all that stands around it is, so the question is asked in one.
//
// Refused as well: a coroutine whose first parameter is an lvalue reference to a closure with captures, for the same
// reason. Not found: a function object of a named class, whose life is for whoever named it to see to.
//
// Checked by: tests/runtime/compile_fail.

#ifndef EVRING_RUNTIME_COROUTINE_LAMBDA_H_
#define EVRING_RUNTIME_COROUTINE_LAMBDA_H_

#include <coroutine>
#include <string_view>
#include <type_traits>

namespace evring {

template <class T>
class Task;

namespace internal {

// By the name that the compiler gives it: nothing else tells a closure from other classes.
template <class C>
consteval bool IsClosure() {
  const std::string_view name = __PRETTY_FUNCTION__;
#if defined(__clang__)
  return name.find("[C = (lambda at ") != std::string_view::npos;
#else
  const size_t at = name.rfind("<lambda(");
  return at != std::string_view::npos && name.ends_with(">]") && name.find(">::", at) == std::string_view::npos;
#endif
}

template <class C>
void CheckCaptures() {
  static_assert(std::is_empty_v<C> || !IsClosure<C>(),
                "a coroutine lambda has no captures, they die with the lambda: pass them as parameters");
}

// Names a function, so that its body is compiled.
template <void (*)()>
struct CompileBodyOf {};

// What std::coroutine_traits has for a coroutine called on an object, or with a reference, of class C.
template <class Coroutine, class C>
struct LambdaCheckedTraits {
  using promise_type = typename Coroutine::promise_type;
  using CapturesChecked = CompileBodyOf<&CheckCaptures<std::remove_cv_t<C>>>;
};

}  // namespace internal
}  // namespace evring

template <class T, class C, class... Args>
  requires std::is_class_v<C>
struct std::coroutine_traits<evring::Task<T>, C&, Args...> : evring::internal::LambdaCheckedTraits<evring::Task<T>, C> {
};

#endif  // EVRING_RUNTIME_COROUTINE_LAMBDA_H_
