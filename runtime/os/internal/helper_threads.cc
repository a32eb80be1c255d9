#include "runtime/os/internal/helper_threads.h"

#include <memory>

namespace evring::internal {
namespace {

constexpr int kThreadsMax = 256;

}  // namespace

absl::StatusOr<kevent::BlockingCalls*> HelperThreads() {
  static const auto* helpers = [] {
    kevent::BlockingCalls::Options options;
    options.threads_max = kThreadsMax;
    return new absl::StatusOr<std::unique_ptr<kevent::BlockingCalls>>(kevent::BlockingCalls::Create(options));
  }();
  if (!helpers->ok()) return helpers->status();
  return (*helpers)->get();
}

}  // namespace evring::internal
