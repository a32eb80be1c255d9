// byte_stream.h: what the buffered reader and writer ask of a stream. net::Stream has it; so may a pipe, a TLS session
// or a script in a test.
//
//   co_await stream.Read(std::span<std::byte>)         -> absl::StatusOr<size_t>   some bytes, at least one; 0: the end
//   co_await stream.Write(std::span<const std::byte>)  -> absl::Status             all of them
//   co_await stream.WriteV(std::span<const iovec>)     -> absl::Status             all of them, in order
//
// What a function returns may be a Task or any other awaitable. Memory is borrowed until the await has ended, an array
// of iovec too. Read() that fails or is cancelled has taken nothing out of the stream; after a Write() that fails,
// nobody knows how much of it went out.

#ifndef EVRING_NET_BYTE_STREAM_H_
#define EVRING_NET_BYTE_STREAM_H_

#include <sys/uio.h>

#include <concepts>
#include <cstddef>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace evring::net {
namespace internal {

// The awaiter of an awaitable, as co_await finds it.
template <class Awaitable>
decltype(auto) GetAwaiter(Awaitable&& awaitable) {
  if constexpr (requires { std::forward<Awaitable>(awaitable).operator co_await(); }) {
    return std::forward<Awaitable>(awaitable).operator co_await();
  } else if constexpr (requires { operator co_await(std::forward<Awaitable>(awaitable)); }) {
    return operator co_await(std::forward<Awaitable>(awaitable));
  } else {
    return std::forward<Awaitable>(awaitable);
  }
}

// What `co_await` of a T gives.
template <class T>
using AwaitResult = decltype(GetAwaiter(std::declval<T>()).await_resume());

// An await that is part of another awaiter: passes the awaiting coroutine on, so that it needs no coroutine of its own.
template <class Awaitable>
class Nested {
 public:
  // `make()` returns the awaitable, which may be a type that does not move.
  template <class Make>
  explicit Nested(Make&& make)
      : awaitable_(std::forward<Make>(make)()), awaiter_(GetAwaiter(static_cast<Awaitable&&>(awaitable_))) {}
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;

  auto& awaiter() { return awaiter_; }

 private:
  Awaitable awaitable_;
  decltype(GetAwaiter(std::declval<Awaitable>())) awaiter_;  // a reference where the awaitable is its own awaiter
};

}  // namespace internal

template <class S>
concept ByteSource = requires(S& stream, std::span<std::byte> buffer) {
  requires std::same_as<internal::AwaitResult<decltype(stream.Read(buffer))>, absl::StatusOr<size_t>>;
};

template <class S>
concept ByteSink = requires(S& stream, std::span<const std::byte> data, std::span<const iovec> pieces) {
  requires std::same_as<internal::AwaitResult<decltype(stream.Write(data))>, absl::Status>;
  requires std::same_as<internal::AwaitResult<decltype(stream.WriteV(pieces))>, absl::Status>;
};

}  // namespace evring::net

#endif  // EVRING_NET_BYTE_STREAM_H_
