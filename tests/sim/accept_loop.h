// accept_loop.h: a server on a network that fails: accepts, and goes on after errors that pass.

#ifndef EVRING_TESTS_SIM_ACCEPT_LOOP_H_
#define EVRING_TESTS_SIM_ACCEPT_LOOP_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "net/listener.h"
#include "net/stream.h"
#include "runtime/sleep.h"
#include "runtime/task.h"
#include "runtime/task_group.h"

namespace evring::sim {

// A task of `serve` for each connection, until the listener is shut down or this is stopped; ends when all of them
// have. Errors of accept that pass are slept over.
inline Task<> AcceptLoop(net::Listener* listener, Task<> (*serve)(net::Stream)) {
  TaskGroup connections(TaskGroup::OnError::kGoOn);
  for (;;) {
    absl::StatusOr<net::Stream> stream = co_await listener->Accept();
    if (stream.ok()) {
      co_await connections.Spawn(serve(*std::move(stream)));
      continue;
    }
    if (absl::IsInvalidArgument(stream.status()) || absl::IsCancelled(stream.status())) break;
    static_cast<void>(co_await Sleep(absl::Milliseconds(1)));
  }
  static_cast<void>(co_await connections.Join());
}

}  // namespace evring::sim

#endif  // EVRING_TESTS_SIM_ACCEPT_LOOP_H_
