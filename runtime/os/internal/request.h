// request.h: requests to the kernel of the calling worker that are rare enough to be told as a filled submission entry,
// and what that kernel serves.
//
// A simulated kernel serves some operations on files, its own. What it does not serve must not be done by a system call
// instead, which would be about the machine's files: before that, CheckMachine() is asked (machine.h).
//
// Call on a worker; what they answer holds for this worker's kernel, which is that of all workers of a runtime.

#ifndef EVRING_RUNTIME_OS_INTERNAL_REQUEST_H_
#define EVRING_RUNTIME_OS_INTERNAL_REQUEST_H_

#include <liburing.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "kevent/event.h"
#include "kevent/requests.h"
#include "runtime/task.h"

namespace evring::internal {

// What one request can say of `size` bytes: a read or a write may be of fewer than are asked for.
inline unsigned RequestBytes(size_t size) { return static_cast<unsigned>(std::min<size_t>(size, INT32_MAX)); }

inline constexpr unsigned kOpFtruncate = 55;  // off: the size. Since 6.9

// The result of the request that `sqe` holds, prepared but for its user_data. What it points to is lent until the await
// has ended. -ENOSYS: this kernel does not serve it. -ECANCELED: a stop.
Task<int32_t> Perform(kevent::EventType type, io_uring_sqe sqe);

const kevent::Opcodes& ServedOpcodes();
bool Serves(unsigned opcode);

// kInvalidArgument: a NUL in it, behind which the kernel would not look.
absl::Status CheckPath(const std::string& path);

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_OS_INTERNAL_REQUEST_H_
