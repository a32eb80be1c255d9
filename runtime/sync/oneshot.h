// oneshot.h: one value from one side to the other, such as the answer to a request. Each side has its end, and is told
// when the other has let go of its own.
//
//   auto [sender, receiver] = Oneshot<Answer>();
//   … co_await requests.Send(Request(…, std::move(sender))) …
//   absl::StatusOr<Answer> answer = co_await receiver.Receive();
//
// Nobody waits for what will never come: if the sender goes away without having sent, Receive() says so; if the
// receiver goes away, Send() does, and Unwanted() ends for a sender that would rather not go on computing.
//
// What the ends share is one block, allocated by Oneshot() and freed by the end that goes last; no wait allocates.
// The ends may be moved, to other threads too, but not while they are awaited. T moves without throwing.

#ifndef EVRING_RUNTIME_SYNC_ONESHOT_H_
#define EVRING_RUNTIME_SYNC_ONESHOT_H_

#include <memory>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kevent/check.h"
#include "runtime/sync/event.h"
#include "runtime/sync/internal/awaiter.h"
#include "runtime/sync/internal/channel_core.h"
#include "runtime/sync/internal/errors.h"
#include "runtime/sync/internal/receive_awaiter.h"

namespace evring {

namespace internal {

template <class T>
struct OneshotState {
  ChannelCore<T, RuntimeHost, SingleStore<T>> channel;  // closed by whichever end goes first, and by Send()
  Event unwanted;                                       // set when the receiver goes
};

}  // namespace internal

template <class T>
class OneshotSender {
  using State = internal::OneshotState<T>;

 public:
  // An end that is connected to nothing.
  OneshotSender() = default;
  OneshotSender(OneshotSender&&) noexcept = default;
  OneshotSender& operator=(OneshotSender&& other) noexcept {
    if (this != &other) {
      Close();
      state_ = std::move(other.state_);
    }
    return *this;
  }
  // Tells a receiver that waits that nothing comes. With no Unwanted() going on; who goes last checks that.
  ~OneshotSender() { Close(); }

  // Hands `value` over, once. Does not wait. Any thread; one at a time.
  // absl::Status; but for OK, `value` is as it was. kFailedPrecondition: the receiver has gone, or a value was sent
  // before. OK is no promise that the value is looked at: the receiver may go without.
  absl::Status Send(T&& value) { return Put(&value); }
  absl::Status Send(const T& value)
    requires std::is_trivially_copyable_v<T>
  {
    return Put(&value);
  }

  // False: the receiver has gone. Any thread.
  bool wanted() const { return state_ != nullptr && !state_->unwanted.is_set(); }

  // Suspends until the receiver goes. Await on a worker; this must be connected, which is checked, and stay where it
  // is. absl::Status. OK: it has gone. kCancelled: a stop was requested first; if before the call, at once.
  [[nodiscard]] EventAwaiter Unwanted() {
    EVRING_CHECK(state_ != nullptr, "an end of a oneshot channel is used that was moved from");
    return state_->unwanted.Wait();
  }

 private:
  template <class>
  friend struct Oneshot;
  explicit OneshotSender(std::shared_ptr<State> state) : state_(std::move(state)) {}

  absl::Status Put(internal::ValueSource<T>* source) {
    if (state_ == nullptr) return internal::SendClosed();
    using Core = decltype(state_->channel);
    const bool sent = state_->channel.TrySend(source) == Core::Answer::kDone;
    state_->channel.Close();
    return sent ? absl::OkStatus() : internal::SendClosed();
  }
  void Close() {
    if (state_ != nullptr) state_->channel.Close();
    state_.reset();
  }

  std::shared_ptr<State> state_;
};

template <class T>
class OneshotReceiver {
  using State = internal::OneshotState<T>;
  using Store = internal::SingleStore<T>;

 public:
  // An end that is connected to nothing.
  OneshotReceiver() = default;
  OneshotReceiver(OneshotReceiver&&) noexcept = default;
  OneshotReceiver& operator=(OneshotReceiver&& other) noexcept {
    if (this != &other) {
      Close();
      state_ = std::move(other.state_);
    }
    return *this;
  }
  // With no Receive() going on; that is checked. The sender is told; a value that was sent is destroyed.
  ~OneshotReceiver() { Close(); }

  // Suspends until the value is there. Await on a worker; one task. This must be connected, which is checked, and stay
  // where it is.
  // absl::StatusOr<T>. kOutOfRange: the sender has gone without sending, or the value has been received. kCancelled: a
  // stop was requested before the value was there; if before the call, at once. Then it can still be received.
  [[nodiscard]] internal::ReceiveAwaiter<T, Store> Receive() {
    EVRING_CHECK(state_ != nullptr, "an end of a oneshot channel is used that was moved from");
    return internal::ReceiveAwaiter<T, Store>(&state_->channel);
  }

  // As Receive(), but does not wait: kUnavailable if the value is not there yet. Any thread.
  absl::StatusOr<T> TryReceive() {
    EVRING_CHECK(state_ != nullptr, "an end of a oneshot channel is used that was moved from");
    return internal::TryReceiveFrom(&state_->channel);
  }

 private:
  template <class>
  friend struct Oneshot;
  explicit OneshotReceiver(std::shared_ptr<State> state) : state_(std::move(state)) {}

  void Close() {
    if (state_ == nullptr) return;
    auto* channel = &state_->channel;  // the sender may be closing it
    const bool idle = channel->WithStore([channel](const Store*) { return channel->idle(); });
    EVRING_CHECK(idle, "the end of a oneshot channel goes away while a task waits for it");
    state_->channel.Close();
    state_->unwanted.Set();
    state_.reset();
  }

  std::shared_ptr<State> state_;
};

// The two ends.
template <class T>
struct Oneshot {
  OneshotSender<T> sender;
  OneshotReceiver<T> receiver;

  // std::bad_alloc if there is no memory.
  Oneshot() : Oneshot(std::make_shared<internal::OneshotState<T>>()) {}

 private:
  explicit Oneshot(const std::shared_ptr<internal::OneshotState<T>>& state) : sender(state), receiver(state) {}
};

}  // namespace evring

#endif  // EVRING_RUNTIME_SYNC_ONESHOT_H_
