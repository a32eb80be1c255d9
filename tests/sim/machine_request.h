// machine_request.h: a request of a program that runs on a machine, with the memory that it lends to the kernel.

#ifndef EVRING_TESTS_SIM_MACHINE_REQUEST_H_
#define EVRING_TESTS_SIM_MACHINE_REQUEST_H_

#include <liburing.h>
#include <linux/futex.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <string>
#include <vector>

#include "kevent/event.h"
#include "kevent/handle.h"
#include "tests/sim/machine.h"
#include "tests/sim/program.h"

namespace evring::sim {

inline constexpr int kBacklog = 64;  // more than a program connects: what a full one does is not compared

class Machine::Request : public kevent::Kevent {
 public:
  Request(kevent::EventType type, const Step& step) : Kevent(type, -1, 0, nullptr), step(step) {}

  const Step step;
  std::vector<std::byte> memory;
  iovec pieces[3] = {};
  msghdr message = {};
  sockaddr_storage address = {};
  __kernel_timespec time = {};
  futex_waitv futexes[kWords + 1] = {};
  Slot* slot = nullptr;
  bool tcp = false;
  int accepted = 0;      // connections so far
  std::string observed;  // since the last Observe()
};

}  // namespace evring::sim

#endif  // EVRING_TESTS_SIM_MACHINE_REQUEST_H_
