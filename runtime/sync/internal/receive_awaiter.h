// receive_awaiter.h: the co_await of a receiver at any channel that is a ChannelCore.

#ifndef EVRING_RUNTIME_SYNC_INTERNAL_RECEIVE_AWAITER_H_
#define EVRING_RUNTIME_SYNC_INTERNAL_RECEIVE_AWAITER_H_

#include <utility>

#include "absl/status/statusor.h"
#include "runtime/sync/internal/awaiter.h"
#include "runtime/sync/internal/channel_core.h"
#include "runtime/sync/internal/errors.h"

namespace evring::internal {

template <class T, class Store>
class [[nodiscard]] ReceiveAwaiter final
    : public Awaiter<ChannelCore<T, RuntimeHost, Store>, typename ChannelCore<T, RuntimeHost, Store>::ReceiveNode> {
  using Core = ChannelCore<T, RuntimeHost, Store>;

 public:
  explicit ReceiveAwaiter(Core* core) : Awaiter<Core, typename Core::ReceiveNode>(core) {}

  absl::StatusOr<T> await_resume() {
    if (this->granted()) [[likely]]
      return std::move(this->value);
    return this->cancelled() ? ReceiveCancelled() : ReceiveClosed();
  }
};

// Without waiting. kUnavailable: there is no value.
template <class T, class Store>
absl::StatusOr<T> TryReceiveFrom(ChannelCore<T, RuntimeHost, Store>* core) {
  using Core = ChannelCore<T, RuntimeHost, Store>;
  typename Core::Room room;
  switch (core->TryReceive(&room)) {
    case Core::Answer::kDone:
      return std::move(room.value);
    case Core::Answer::kClosed:
      return ReceiveClosed();
    case Core::Answer::kWait:
      break;
  }
  return ChannelEmpty();
}

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_SYNC_INTERNAL_RECEIVE_AWAITER_H_
