// test_kernel.h: the system's kernel with a hand on it: calls are counted, and made to fail or to be late on demand.

#ifndef EVRING_TESTS_RUNTIME_TEST_KERNEL_H_
#define EVRING_TESTS_RUNTIME_TEST_KERNEL_H_

#include <liburing.h>

#include <atomic>
#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "kevent/kernel.h"
#include "tests/support/forwarding_kernel.h"

namespace evring::testing {

class TestKernel : public kevent::ForwardingKernel {
 public:
  std::atomic<int> setups{0};
  std::atomic<int> messages{0};
  std::atomic<int> refused_enters{0};

  // What the n-th Setup() answers instead, counted from 0.
  std::function<absl::Status(int n)> on_setup;
  // Before a message is sent; on the thread that sends it.
  std::function<void()> on_message;
  // A negative errno: the call answers that and does nothing. Set before the runtime is made.
  std::function<int(unsigned to_submit, unsigned min_complete)> on_enter;
  // After each enter, for every completion that lies in the ring: may alter it. Those that lie there for long come
  // again. Set before the runtime is made; on the thread of the ring, in its signal handler too.
  std::function<void(io_uring_cqe* cqe)> on_completion;

  absl::Status Setup(const kevent::RingOptions& options, io_uring* ring, kevent::Features* features) override {
    if (const int n = setups++; on_setup) {
      if (absl::Status status = on_setup(n); !status.ok()) return status;
    }
    return ForwardingKernel::Setup(options, ring, features);
  }
  int Enter(io_uring* ring, kevent::Features features, unsigned to_submit, unsigned min_complete, unsigned flags,
            const kevent::WaitArgs& wait) override {
    if (on_enter) {
      if (const int rc = on_enter(to_submit, min_complete); rc < 0) {
        ++refused_enters;
        return rc;
      }
    }
    const int rc = ForwardingKernel::Enter(ring, features, to_submit, min_complete, flags, wait);
    if (on_completion) {
      // Acquire: the kernel's store of the tail comes after it has written the entries.
      const unsigned tail = __atomic_load_n(ring->cq.ktail, __ATOMIC_ACQUIRE);
      for (unsigned i = *ring->cq.khead; i != tail; ++i) on_completion(&ring->cq.cqes[i & *ring->cq.kring_mask]);
    }
    return rc;
  }
  int Message(int target_fd, uint64_t user_data) override {
    ++messages;
    if (on_message) on_message();
    return ForwardingKernel::Message(target_fd, user_data);
  }
};

}  // namespace evring::testing

#endif  // EVRING_TESTS_RUNTIME_TEST_KERNEL_H_
