#include "runtime/os/internal/machine.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "absl/strings/str_cat.h"
#include "kevent/errors.h"
#include "kevent/kernel.h"
#include "kevent/owned_descriptor.h"
#include "runtime/worker.h"

namespace evring::internal {
namespace {

// What the worker knows of the kernel that serves it.
class KernelOfWorker {
 public:
  // A simulated kernel does not know a descriptor that this machine's has made.
  bool IsMachine(kevent::Kernel* kernel) {
    if (known_) return machine_;
    const int fd = eventfd(0, EFD_CLOEXEC);
    if (fd < 0) return true;  // whoever needs a descriptor is told that there is none
    machine_ = kernel->PollNow(fd, POLLIN) >= 0;
    known_ = true;
    kevent::SystemKernel()->Close(fd);
    return machine_;
  }

 private:
  bool known_ = false;
  bool machine_ = true;
};

}  // namespace

absl::Status CheckMachine(absl::string_view doing) {
  kevent::Kernel* const kernel = kevent::Kernel::Current();
  Worker* const worker = Worker::Current();
  if (worker == nullptr || kernel == kevent::SystemKernel()) return absl::OkStatus();
  if (worker->Local<KernelOfWorker>().IsMachine(kernel)) return absl::OkStatus();
  return kevent::StatusWithErrno(ENOSYS, absl::StatusCode::kUnimplemented,
                                 absl::StrCat(doing, ": ENOSYS (a simulated machine does not have it)"));
}

}  // namespace evring::internal
