#include "sim/event_fd.h"

#include <errno.h>
#include <poll.h>

#include <cstring>
#include <limits>

namespace evring::sim {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max() - 1;  // what a counter counts to

}  // namespace

int EventFd::Read(std::byte* data, size_t size) {
  if (size < sizeof(count_)) return -EINVAL;
  if (count_ == 0) return -EAGAIN;
  const uint64_t taken = semaphore_ ? 1 : count_;
  count_ -= taken;
  std::memcpy(data, &taken, sizeof(taken));
  notify(POLLOUT);
  return sizeof(taken);
}

int EventFd::Write(const std::byte* data, size_t size) {
  if (size == 0) return 0;
  if (size != sizeof(count_)) return -EINVAL;
  uint64_t more;
  std::memcpy(&more, data, sizeof(more));
  if (more > kMax) return -EINVAL;
  if (more > kMax - count_) return -EAGAIN;
  count_ += more;
  notify(POLLIN);
  return sizeof(more);
}

short EventFd::Poll() const {
  short events = 0;
  if (count_ > 0) events |= POLLIN;
  if (count_ < kMax) events |= POLLOUT;
  return events;
}

}  // namespace evring::sim
