#include "kevent/owned_descriptor.h"

#include <errno.h>

#include "kevent/check.h"
#include "kevent/kernel.h"

namespace evring::kevent {

void OwnedDescriptor::Close() {
  if (fd_ < 0) return;
  // On Linux the descriptor is gone whatever close() answers; an error can only tell of data that was lost earlier.
  EVRING_CHECK(Kernel::Current()->Close(Release()) != -EBADF, "who owns a descriptor is the only one to close it");
}

}  // namespace evring::kevent
