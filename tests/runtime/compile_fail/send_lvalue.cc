// What is sent is moved, visibly, unless a copy costs nothing.
// gcc: cannot bind rvalue reference
// clang: no matching member function
#include <memory>

#include "runtime/sync/channel.h"
#include "runtime/task.h"

evring::Task<absl::Status> Sends(evring::Channel<std::unique_ptr<int>>* channel) {
  auto value = std::make_unique<int>(1);
#ifdef WRONG
  co_return co_await channel->Send(value);
#else
  co_return co_await channel->Send(std::move(value));
#endif
}
