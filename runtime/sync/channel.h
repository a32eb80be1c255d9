// channel.h: a bounded queue of values between tasks, with any number of senders and receivers.
//
//   Channel<Job> jobs(64);
//   absl::Status status = co_await jobs.Send(std::move(job));       waits while 64 are under way
//   absl::StatusOr<Job> job = co_await jobs.Receive();              waits while there is none
//
// Values come out in the order in which they got in, each once, to receivers in the order of their coming. None is
// lost:
//   - A value that is not sent stays with the caller: Send takes it only when it succeeds, whether it is closed,
//     cancelled or full.
//   - A receiver that was given a value delivers it, though a stop be requested before the task runs again.
//   - Close lets what is in the channel out first.
//
// A capacity of 0: a sender waits until a receiver takes the value from its hands.
//
// T moves without throwing, and its move uses no channel: values are moved under the channel's lock. They live in the
// channel (in an array made by the constructor), or in the frames of who waits; no operation allocates.

#ifndef EVRING_RUNTIME_SYNC_CHANNEL_H_
#define EVRING_RUNTIME_SYNC_CHANNEL_H_

#include <cstddef>
#include <type_traits>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kevent/check.h"
#include "runtime/sync/internal/awaiter.h"
#include "runtime/sync/internal/channel_core.h"
#include "runtime/sync/internal/errors.h"
#include "runtime/sync/internal/receive_awaiter.h"

namespace evring {

template <class T>
class SendAwaiter;
template <class T>
using ReceiveAwaiter = internal::ReceiveAwaiter<T, internal::FixedStore<T>>;

template <class T>
class Channel {
  using Core = internal::ChannelCore<T, internal::RuntimeHost>;
  static constexpr bool kCopies = std::is_trivially_copyable_v<T>;

 public:
  // Room for `capacity` values. std::bad_alloc if there is no memory for them.
  explicit Channel(size_t capacity) : core_(capacity) {}
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  // With no Send() or Receive() going on; that is checked. Destroys what nobody received. Whoever has received the last
  // value that will be sent, or was told of Close(), may destroy the channel at once.
  ~Channel() { EVRING_CHECK(core_.idle(), "a channel is destroyed while a task waits for it"); }

  // Suspends until there is room for `value`, or a receiver for it, and nobody who came before waits. Await on a
  // worker, in the expression that makes `value` if it is a temporary: it is not taken before there is room.
  // absl::Status; but for OK, `value` is as it was. kFailedPrecondition: the channel is closed, or was closed while
  // this waited. kCancelled: a stop was requested first; if before the call, at once, though there may be room.
  [[nodiscard]] SendAwaiter<T> Send(T&& value ABSL_ATTRIBUTE_LIFETIME_BOUND) { return {&core_, &value}; }
  [[nodiscard]] SendAwaiter<T> Send(const T& value ABSL_ATTRIBUTE_LIFETIME_BOUND)
    requires kCopies
  {
    return {&core_, &value};
  }

  // Suspends until there is a value that nobody takes who came before. Await on a worker.
  // absl::StatusOr<T>. kOutOfRange: the channel is closed, and everything that got in has come out. kCancelled: a stop
  // was requested before a value was there; if before the call, at once, and no value is taken.
  [[nodiscard]] ReceiveAwaiter<T> Receive() { return ReceiveAwaiter<T>(&core_); }

  // As Send(), but does not wait: kUnavailable if there is no room. Any thread.
  absl::Status TrySend(T&& value) { return Told(core_.TrySend(&value)); }
  absl::Status TrySend(const T& value)
    requires kCopies
  {
    return Told(core_.TrySend(&value));
  }

  // As Receive(), but does not wait: kUnavailable if there is no value. Any thread.
  absl::StatusOr<T> TryReceive() { return internal::TryReceiveFrom(&core_); }

  // No value gets in from here on: senders, also those that wait, keep theirs. Receivers get what has got in, then are
  // told. Any thread, any number of times.
  void Close() { core_.Close(); }

  size_t capacity() const { return core_.store().capacity(); }

 private:
  friend class SendAwaiter<T>;

  static absl::Status Told(typename Core::Answer answer) {
    switch (answer) {
      case Core::Answer::kDone:
        return absl::OkStatus();
      case Core::Answer::kClosed:
        return internal::SendClosed();
      case Core::Answer::kWait:
        break;
    }
    return internal::ChannelFull();
  }

  Core core_;
};

template <class T>
class [[nodiscard]] SendAwaiter final
    : public internal::Awaiter<typename Channel<T>::Core, typename Channel<T>::Core::SendNode> {
  using Core = typename Channel<T>::Core;
  using Base = internal::Awaiter<Core, typename Core::SendNode>;

 public:
  [[nodiscard]] absl::Status await_resume() const {
    if (this->granted()) [[likely]]
      return absl::OkStatus();
    return this->cancelled() ? internal::SendCancelled() : internal::SendClosed();
  }

 private:
  friend class Channel<T>;
  SendAwaiter(Core* core, typename Core::Source* source) : Base(core, source) {}
};

}  // namespace evring

#endif  // EVRING_RUNTIME_SYNC_CHANNEL_H_
