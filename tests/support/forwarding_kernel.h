// forwarding_kernel.h: the system's kernel behind the seam, call by call: a test overrides the one that it counts,
// delays, refuses or answers otherwise, and leaves the rest to Linux.

#ifndef EVRING_TESTS_SUPPORT_FORWARDING_KERNEL_H_
#define EVRING_TESTS_SUPPORT_FORWARDING_KERNEL_H_

#include <liburing.h>

#include <cstdint>

#include "absl/status/status.h"
#include "kevent/kernel.h"

namespace evring::kevent {

class ForwardingKernel : public Kernel {
 public:
  absl::Status Setup(const RingOptions& options, io_uring* ring, Features* features) override {
    return SystemKernel()->Setup(options, ring, features);
  }
  void Teardown(io_uring* ring) override { SystemKernel()->Teardown(ring); }
  int Enter(io_uring* ring, Features features, unsigned to_submit, unsigned min_complete, unsigned flags,
            const WaitArgs& wait) override {
    return SystemKernel()->Enter(ring, features, to_submit, min_complete, flags, wait);
  }
  int Register(io_uring* ring, unsigned opcode, void* arg, unsigned nr_args) override {
    return SystemKernel()->Register(ring, opcode, arg, nr_args);
  }
  int Message(int target_fd, uint64_t user_data) override { return SystemKernel()->Message(target_fd, user_data); }
  int64_t NowNs() override { return SystemKernel()->NowNs(); }
};

}  // namespace evring::kevent

#endif  // EVRING_TESTS_SUPPORT_FORWARDING_KERNEL_H_
