#include "runtime/os/event_wait.h"

#include <errno.h>
#include <sched.h>

#include <atomic>
#include <coroutine>
#include <cstdint>

#include "absl/status/status.h"
#include "kevent/blocking_calls.h"
#include "kevent/check.h"
#include "kevent/errors.h"
#include "kevent/registration.h"
#include "kevent/requests.h"
#include "runtime/context.h"
#include "runtime/io.h"
#include "runtime/os/internal/helper_threads.h"
#include "runtime/os/internal/machine.h"
#include "runtime/os/internal/request.h"
#include "runtime/worker.h"

namespace evring {
namespace {

using kevent::Registration;

// A request of the worker's ring.
class RingWait final : public IoOperation<RingWait> {
 public:
  explicit RingWait(Registration* registration)
      : IoOperation(registration->type, registration->descriptor), registration_(registration) {}

 private:
  friend IoOperation;
  void Prepare(io_uring_sqe* sqe) { kevent::Arm(registration_, sqe); }
  int32_t Result(int32_t result, uint32_t) { return result; }

  Registration* const registration_;
};

// A call of a helper thread. It ends when it is done and its start has returned, whichever is later: before, whoever
// starts it may not find this gone. A stop waits for the start to return, which does not wait for anybody.
class HelperWait final : private Wait, private kevent::BlockingCalls::Call {
 public:
  explicit HelperWait(Registration* registration) : registration_(registration) {}

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
    context_ = waiting.promise().context();
    context_->site().SetSubject(registration_->type, registration_->descriptor);
    if (!context_->BeginWait(this, waiting)) {
      result_ = -ECANCELED;
      return false;
    }
    TaskContext* const context = context_;
    const absl::StatusOr<kevent::BlockingCalls*> helpers = internal::HelperThreads();
    absl::Status status = helpers.status();
    if (helpers.ok()) {
      helpers_ = *helpers;
      status = helpers_->Start(this);
    }
    uint8_t now = kStarted;
    if (!status.ok()) {
      const int error = kevent::StatusErrno(status);
      result_ = error != 0 ? -error : -EAGAIN;
      // What the call itself may answer is not what no thread means.
      if (registration_->type == kevent::EventType::kFutex || registration_->type == kevent::EventType::kFutexV) {
        result_ = -EBUSY;
      }
      now = kStarted | kDone | kRefused;
    }
    const uint8_t before = phase_.fetch_or(now, std::memory_order_acq_rel);  // pairs with Done() and OnStop()
    if (((before | now) & kDone) != 0) context->Complete(this);
    return true;
  }
  int32_t await_resume() const { return result_; }

 private:
  static constexpr uint8_t kStarted = 1;
  static constexpr uint8_t kDone = 2;
  static constexpr uint8_t kRefused = 4;

  int32_t Run() noexcept override { return kevent::CallBlocking(registration_); }
  void Done(int32_t result) noexcept override {
    result_ = result;
    TaskContext* const context = context_;
    if ((phase_.fetch_or(kDone, std::memory_order_acq_rel) & kStarted) != 0) context->Complete(this);
  }
  void OnStop() noexcept override {
    uint8_t phase;
    while (((phase = phase_.load(std::memory_order_acquire)) & kStarted) == 0) sched_yield();
    if ((phase & kRefused) == 0) helpers_->Cancel(this);
  }

  Registration* const registration_;
  TaskContext* context_ = nullptr;
  kevent::BlockingCalls* helpers_ = nullptr;
  int32_t result_ = 0;
  std::atomic<uint8_t> phase_{0};
};

}  // namespace

Task<absl::StatusOr<kevent::Event>> WaitForEvent(kevent::Event event) {
  const char* const name = kevent::EventTypeName(event.type);
  if (event.flags != 0 || event.type == kevent::EventType::kUser || event.type == kevent::EventType::kSigevent) {
    co_return kevent::ErrnoToStatus(EINVAL, name, event.descriptor);
  }
  Registration registration;
  EVRING_CHECK(Worker::Current() != nullptr, "an event is awaited on a worker");
  const int rc = kevent::Prepare(event, internal::ServedOpcodes(), &registration);
  if (rc < 0) co_return kevent::ErrnoToStatus(rc, name, event.descriptor);
  if (registration.helped || registration.own_fd >= 0) {
    // A helper thread calls this machine, and the descriptor is this machine's.
    const absl::Status machine = internal::CheckMachine(name);
    if (!machine.ok()) co_return machine;
  }
  int32_t result;
  if (registration.helped) {
    HelperWait wait(&registration);
    result = co_await wait;
  } else {
    RingWait wait(&registration);
    result = co_await wait;
  }
  kevent::Event record;
  record.type = event.type;
  record.descriptor = event.descriptor;
  record.cookie = event.cookie;
  kevent::Report(&registration, result, &record);
  if (record.result < 0) co_return kevent::ErrnoToStatus(record.result, name, event.descriptor);
  co_return record;
}

}  // namespace evring
