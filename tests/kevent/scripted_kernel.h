// scripted_kernel.h: Linux, but for the answers that a test puts in its place.

#ifndef EVRING_TESTS_KEVENT_SCRIPTED_KERNEL_H_
#define EVRING_TESTS_KEVENT_SCRIPTED_KERNEL_H_

#include <liburing.h>

#include <cstdint>
#include <deque>

#include "kevent/kernel.h"
#include "tests/support/forwarding_kernel.h"

namespace evring::kevent {

class ScriptedKernel final : public ForwardingKernel {
 public:
  // The next Enter() (Message()) answers `error`, a negative errno, and does nothing; `times` of them.
  void FailEnter(int error, int times = 1) { enter_errors_.insert(enter_errors_.end(), times, error); }
  void FailMessage(int error, int times = 1) { message_errors_.insert(message_errors_.end(), times, error); }

  // Calls that reached Linux, and those that did not.
  int enters() const { return enters_; }
  int messages() const { return messages_; }
  bool script_done() const { return enter_errors_.empty() && message_errors_.empty(); }

  int Enter(io_uring* ring, Features features, unsigned to_submit, unsigned min_complete, unsigned flags,
            const WaitArgs& wait) override {
    ++enters_;
    if (!enter_errors_.empty()) return Take(&enter_errors_);
    return ForwardingKernel::Enter(ring, features, to_submit, min_complete, flags, wait);
  }
  int Message(int target_fd, uint64_t user_data) override {
    ++messages_;
    if (!message_errors_.empty()) return Take(&message_errors_);
    return ForwardingKernel::Message(target_fd, user_data);
  }

 private:
  static int Take(std::deque<int>* errors) {
    const int error = errors->front();
    errors->pop_front();
    return error;
  }

  std::deque<int> enter_errors_;
  std::deque<int> message_errors_;
  int enters_ = 0;
  int messages_ = 0;
};

}  // namespace evring::kevent

#endif  // EVRING_TESTS_KEVENT_SCRIPTED_KERNEL_H_
