// unbounded_channel.h: a queue of values between tasks, with any number of senders and receivers, in which there is
// always room.
//
//   UnboundedChannel<Event> events;
//   absl::Status status = events.Send(std::move(event));          at once, on any thread
//   absl::StatusOr<Event> event = co_await events.Receive();      waits while there is none
//
// For senders that must not wait, such as threads that are no workers, and that something else keeps from sending more
// than is received; nothing here does. Where senders can wait a Channel (channel.h) holds them back.
//
// Values come out in the order in which they got in, each once, to receivers in the order of their coming. A receiver
// that was given a value delivers it, though a stop be requested before the task runs again. Close lets what is in the
// channel out first.
//
// Values live in blocks of about a kilobyte. A block is allocated by a Send() that finds no room, outside of the lock,
// and freed when it has been emptied, but for one: a channel that is drained as fast as it is filled allocates nothing.
//
// T moves without throwing, and its move uses no channel: values are moved under the channel's lock.

#ifndef EVRING_RUNTIME_SYNC_UNBOUNDED_CHANNEL_H_
#define EVRING_RUNTIME_SYNC_UNBOUNDED_CHANNEL_H_

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kevent/check.h"
#include "runtime/sync/internal/awaiter.h"
#include "runtime/sync/internal/channel_core.h"
#include "runtime/sync/internal/errors.h"
#include "runtime/sync/internal/receive_awaiter.h"

namespace evring {

template <class T>
class UnboundedChannel {
  using Store = internal::GrowingStore<T>;
  using Core = internal::ChannelCore<T, internal::RuntimeHost, Store>;
  static constexpr bool kCopies = std::is_trivially_copyable_v<T>;

 public:
  UnboundedChannel() = default;
  UnboundedChannel(const UnboundedChannel&) = delete;
  UnboundedChannel& operator=(const UnboundedChannel&) = delete;
  // With no Receive() going on; that is checked. Destroys what nobody received. Whoever has received the last value
  // that will be sent, or was told of Close(), may destroy the channel at once.
  ~UnboundedChannel() { EVRING_CHECK(core_.idle(), "a channel is destroyed while a task waits for it"); }

  // Puts `value` into the channel, or into the hands of the first receiver that waits. Does not wait. Any thread.
  // absl::Status; but for OK, `value` is as it was. kFailedPrecondition: the channel is closed. kResourceExhausted:
  // there is no memory.
  absl::Status Send(T&& value) { return Put(&value); }
  absl::Status Send(const T& value)
    requires kCopies
  {
    return Put(&value);
  }

  // Suspends until there is a value that nobody takes who came before. Await on a worker.
  // absl::StatusOr<T>. kOutOfRange: the channel is closed, and everything that got in has come out. kCancelled: a stop
  // was requested before a value was there; if before the call, at once, and no value is taken.
  [[nodiscard]] internal::ReceiveAwaiter<T, Store> Receive() { return internal::ReceiveAwaiter<T, Store>(&core_); }

  // As Receive(), but does not wait: kUnavailable if there is no value. Any thread.
  absl::StatusOr<T> TryReceive() { return internal::TryReceiveFrom(&core_); }

  // No value gets in from here on. Receivers get what has got in, then are told. Any thread, any number of times.
  void Close() { core_.Close(); }

  // How many values are inside; an instant later it may be different. Any thread.
  size_t size() {
    return core_.WithStore([](const Store* store) { return store->size(); });
  }

 private:
  absl::Status Put(typename Core::Source* source) {
    for (;;) {
      switch (core_.TrySend(source)) {
        case Core::Answer::kDone:
          return absl::OkStatus();
        case Core::Answer::kClosed:
          return internal::SendClosed();
        case Core::Answer::kWait:
          break;
      }
      std::unique_ptr<typename Store::Block> block;
      try {
        block = std::make_unique<typename Store::Block>();
      } catch (const std::bad_alloc&) {
        return internal::NoMemoryToSend();
      }
      core_.WithStore([&block](Store* store) { store->Add(&block); });
    }
  }

  Core core_;
};

}  // namespace evring

#endif  // EVRING_RUNTIME_SYNC_UNBOUNDED_CHANNEL_H_
