// broadcast.h: values that every receiver gets, in the order of sending, as long as it keeps up.
//
//   Broadcast<Quote> quotes(1024);
//   BroadcastReceiver<Quote> receiver = quotes.Subscribe();       what is sent from here on
//   … quotes.Send(quote) …                                       at once, on any thread
//   absl::StatusOr<BroadcastValue<Quote>> next = co_await receiver.Receive();
//   if (next.ok() && next->missed != 0) …
//
// The last `capacity` values are kept, received or not, and the sender never waits: a receiver that is further behind
// goes on with the oldest that is there and is told how many it has missed. So a slow receiver holds up nobody.
//
// Values are shared and never change; one stays as long as it is kept or anybody has it. Send() allocates it; no wait
// allocates. A receiver is a place in the order of values and nothing more: to drop it costs nothing, and a copy of it
// receives the same.

#ifndef EVRING_RUNTIME_SYNC_BROADCAST_H_
#define EVRING_RUNTIME_SYNC_BROADCAST_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kevent/check.h"
#include "runtime/sync/internal/awaiter.h"
#include "runtime/sync/internal/errors.h"
#include "runtime/sync/internal/publish_core.h"

namespace evring {

template <class T>
struct BroadcastValue {
  BroadcastValue(std::shared_ptr<const T> v, uint64_t n) : value(std::move(v)), missed(n) {}
  std::shared_ptr<const T> value;  // not null
  uint64_t missed;                 // values that were sent before it and that this receiver does not get any more
};

template <class T>
class BroadcastReceiver;
template <class T>
class BroadcastAwaiter;

template <class T>
class Broadcast {
 public:
  // Keeps `capacity` values, at least one; that is checked. std::bad_alloc if there is no memory.
  explicit Broadcast(size_t capacity) : core_(capacity) {
    EVRING_CHECK(capacity > 0, "a broadcast keeps one value at least");
  }
  Broadcast(const Broadcast&) = delete;
  Broadcast& operator=(const Broadcast&) = delete;
  // With no Receive() going on; that is checked for those that wait. Receivers must not be used afterwards. Whoever was
  // told of the last value or of Close() may destroy it at once if all others have returned.
  ~Broadcast() { EVRING_CHECK(core_.idle(), "a broadcast is destroyed while a task waits for it"); }

  // Gives `value` to all receivers. Does not wait. Any thread. std::bad_alloc if there is no memory, and nothing is
  // sent. absl::Status. kFailedPrecondition: closed.
  absl::Status Send(T value) {
    if (core_.Publish(std::make_shared<const T>(std::move(value)))) return absl::OkStatus();
    return internal::SendClosed();
  }

  // A receiver of what is sent from here on. Any thread.
  BroadcastReceiver<T> Subscribe() { return BroadcastReceiver<T>(&core_, core_.end()); }

  // No value is sent from here on. Receivers get what was sent, then are told. Any thread, any number of times.
  void Close() { core_.Close(); }

 private:
  friend class BroadcastReceiver<T>;
  friend class BroadcastAwaiter<T>;

  using Core = internal::PublishCore<std::shared_ptr<const T>, internal::RuntimeHost>;
  Core core_;
};

// Used by one task or thread at a time, while the broadcast is there. Stays where it is while it is awaited.
template <class T>
class BroadcastReceiver {
 public:
  // Suspends until there is a value that this has not received. Await on a worker.
  // absl::StatusOr<BroadcastValue<T>>. kOutOfRange: closed, and all was received. kCancelled: a stop was requested
  // before there was a value; if before the call, at once. Nothing is lost then.
  [[nodiscard]] BroadcastAwaiter<T> Receive() { return BroadcastAwaiter<T>(this); }

  // As Receive(), but does not wait: kUnavailable if there is no value. Any thread.
  absl::StatusOr<BroadcastValue<T>> TryReceive() {
    typename Core::Taken taken;
    switch (core_->Take(next_, &taken)) {
      case Core::Answer::kThere:
        next_ = taken.next;
        return BroadcastValue<T>(std::move(taken.value), taken.missed);
      case Core::Answer::kClosed:
        return internal::ReceiveClosed();
      case Core::Answer::kWait:
        break;
    }
    return internal::ChannelEmpty();
  }

 private:
  friend class Broadcast<T>;
  friend class BroadcastAwaiter<T>;
  using Core = typename Broadcast<T>::Core;
  BroadcastReceiver(Core* core, uint64_t next) : core_(core), next_(next) {}

  Core* core_;
  uint64_t next_;  // the number of the value to be received
};

template <class T>
class [[nodiscard]] BroadcastAwaiter final
    : public internal::Awaiter<typename Broadcast<T>::Core, typename Broadcast<T>::Core::Node> {
  using Core = typename Broadcast<T>::Core;

 public:
  absl::StatusOr<BroadcastValue<T>> await_resume() {
    if (this->cancelled()) [[unlikely]]
      return internal::ReceiveCancelled();
    return receiver_->TryReceive();
  }

 private:
  friend class BroadcastReceiver<T>;
  explicit BroadcastAwaiter(BroadcastReceiver<T>* receiver)
      : internal::Awaiter<Core, typename Core::Node>(receiver->core_, receiver->next_), receiver_(receiver) {}

  BroadcastReceiver<T>* const receiver_;
};

}  // namespace evring

#endif  // EVRING_RUNTIME_SYNC_BROADCAST_H_
