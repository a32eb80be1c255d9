// event_fd.h: a simulated eventfd: a counter that a read empties, or counts down, and a write adds to.
//
// A request waits for it, whatever its flags say about blocking, as io_uring does. Source: eventfd(2), fs/eventfd.c of
// Linux, tests/sim/differential_test.cc.

#ifndef EVRING_SIM_EVENT_FD_H_
#define EVRING_SIM_EVENT_FD_H_

#include <cstddef>
#include <cstdint>

#include "sim/open_file.h"

namespace evring::sim {

class EventFd final : public OpenFile {
 public:
  EventFd(unsigned count, bool semaphore) : semaphore_(semaphore), count_(count) {}

  int Read(std::byte* data, size_t size) override;
  int Write(const std::byte* data, size_t size) override;
  short Poll() const override;
  void Close() override {}

 private:
  const bool semaphore_;
  uint64_t count_;
};

}  // namespace evring::sim

#endif  // EVRING_SIM_EVENT_FD_H_
