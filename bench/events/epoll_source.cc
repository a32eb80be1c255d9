// epoll_source.cc: epoll, level-triggered; and for several threads one epoll with an eventfd.

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "bench/events/sources.h"
#include "kevent/check.h"

namespace evring::bench {
namespace {

void Add(int epoll, int fd) {
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.fd = fd;
  EVRING_CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "registered");
}

class EpollSource final : public ReadinessSource {
 public:
  EpollSource() : epoll_(epoll_create1(EPOLL_CLOEXEC)) { EVRING_CHECK(epoll_ >= 0, "an epoll"); }
  ~EpollSource() override { close(epoll_); }

  void Watch(int fd) override { Add(epoll_, fd); }

  size_t Wait(std::span<int> ready) override {
    std::array<epoll_event, 64> events;
    const int max = static_cast<int>(std::min(ready.size(), events.size()));
    const int n = epoll_wait(epoll_, events.data(), max, -1);
    EVRING_CHECK(n > 0, "events");
    for (int i = 0; i < n; ++i) ready[static_cast<size_t>(i)] = events[static_cast<size_t>(i)].data.fd;
    return static_cast<size_t>(n);
  }

 private:
  const int epoll_;
};

class SharedEpoll final : public SharedSource {
 public:
  SharedEpoll()
      : epoll_(epoll_create1(EPOLL_CLOEXEC)), events_(eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC)) {
    Add(epoll_, events_);
  }
  ~SharedEpoll() override {
    close(epoll_);
    close(events_);
  }

  void Post() override {
    const uint64_t one = 1;
    EVRING_CHECK(write(events_, &one, sizeof(one)) == sizeof(one), "posted");
  }

  bool WaitAndTake() override {
    epoll_event event;
    if (epoll_wait(epoll_, &event, 1, -1) != 1 || stop_.load()) return false;
    uint64_t value;
    return read(events_, &value, sizeof(value)) == sizeof(value);
  }

  void Stop() override {
    stop_.store(true);
    Post();
  }

 private:
  const int epoll_;
  const int events_;
  std::atomic<bool> stop_{false};
};

}  // namespace

std::unique_ptr<ReadinessSource> MakeEpollSource() { return std::make_unique<EpollSource>(); }
std::unique_ptr<SharedSource> MakeSharedEpoll() { return std::make_unique<SharedEpoll>(); }

}  // namespace evring::bench
