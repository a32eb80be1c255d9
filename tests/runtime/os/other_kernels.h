// other_kernels.h: this machine's kernel, made to look like one that can do less, or does otherwise.

#ifndef EVRING_TESTS_RUNTIME_OS_OTHER_KERNELS_H_
#define EVRING_TESTS_RUNTIME_OS_OTHER_KERNELS_H_

#include <liburing.h>

#include <functional>
#include <utility>
#include <vector>

#include "tests/support/forwarding_kernel.h"

namespace evring::testing {

// This machine's kernel, but for some operations, which it says that it has not.
class LesserKernel : public kevent::ForwardingKernel {
 public:
  explicit LesserKernel(std::vector<unsigned> without) : without_(std::move(without)) {}

  int Register(io_uring* ring, unsigned opcode, void* arg, unsigned nr_args) override {
    const int rc = ForwardingKernel::Register(ring, opcode, arg, nr_args);
    if (opcode != IORING_REGISTER_PROBE || rc != 0) return rc;
    auto* const probe = static_cast<io_uring_probe*>(arg);
    for (const unsigned op : without_) {
      if (op < probe->ops_len) probe->ops[op].flags = 0;
    }
    return rc;
  }

 private:
  const std::vector<unsigned> without_;
};

// Requests go to it with other arguments. `alter` is called for each on the thread that submits it; of several workers
// on several at the same time.
class AlteringKernel : public kevent::ForwardingKernel {
 public:
  explicit AlteringKernel(std::function<void(io_uring_sqe* sqe)> alter) : alter_(std::move(alter)) {}

  int Enter(io_uring* ring, kevent::Features features, unsigned to_submit, unsigned min_complete, unsigned flags,
            const kevent::WaitArgs& wait) override {
    // Relaxed: the tail is this thread's to move.
    const unsigned tail = __atomic_load_n(ring->sq.ktail, __ATOMIC_RELAXED);
    for (unsigned i = tail - to_submit; i != tail; ++i) {
      alter_(&ring->sq.sqes[ring->sq.array[i & *ring->sq.kring_mask]]);
    }
    return ForwardingKernel::Enter(ring, features, to_submit, min_complete, flags, wait);
  }

 private:
  const std::function<void(io_uring_sqe* sqe)> alter_;
};

}  // namespace evring::testing

#endif  // EVRING_TESTS_RUNTIME_OS_OTHER_KERNELS_H_
