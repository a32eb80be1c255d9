// libevent_source.cc: libevent, as Debian has it, with its epoll backend; persistent events are level-triggered.

#include <event2/event.h>

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "bench/events/sources.h"
#include "kevent/check.h"

namespace evring::bench {
namespace {

class LibeventSource final : public ReadinessSource {
 public:
  LibeventSource() : base_(event_base_new()) { EVRING_CHECK(base_ != nullptr, "an event base"); }
  ~LibeventSource() override {
    for (event* e : events_) event_free(e);
    event_base_free(base_);
  }

  void Watch(int fd) override {
    event* const e = event_new(
        base_, fd, EV_READ | EV_PERSIST,
        [](evutil_socket_t ready, short, void* self) { static_cast<LibeventSource*>(self)->Report(ready); }, this);
    EVRING_CHECK(e != nullptr && event_add(e, nullptr) == 0, "registered");
    events_.push_back(e);
  }

  // Its loop reports all that is ready: `ready` has room for every descriptor.
  size_t Wait(std::span<int> ready) override {
    ready_ = ready;
    count_ = 0;
    EVRING_CHECK(event_base_loop(base_, EVLOOP_ONCE) == 0 && count_ > 0, "events");
    return count_;
  }

 private:
  void Report(int fd) {
    EVRING_CHECK(count_ < ready_.size(), "room for every descriptor");
    ready_[count_++] = fd;
  }

  event_base* const base_;
  std::vector<event*> events_;
  std::span<int> ready_;
  size_t count_ = 0;
};

}  // namespace

std::unique_ptr<ReadinessSource> MakeLibeventSource() { return std::make_unique<LibeventSource>(); }

}  // namespace evring::bench
