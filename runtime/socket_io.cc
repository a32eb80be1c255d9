#include "runtime/socket_io.h"

#include <errno.h>

#include "absl/strings/str_cat.h"
#include "kevent/canary.h"

namespace evring::internal {

absl::Status SendResult(int32_t result, size_t size, bool stopped, int fd) {
  if (result < 0) return kevent::ErrnoToStatus(result, "send", fd);
  if (static_cast<size_t>(result) == size || EVRING_CANARY(kShortWriteTakenForWhole)) return absl::OkStatus();
  // The errno of the attempt that failed is used up; a further send would say EPIPE.
  return kevent::ErrnoToStatus(stopped ? ECANCELED : EPIPE, absl::StrCat("send after ", result, " of ", size, " bytes"),
                               fd);
}

}  // namespace evring::internal
