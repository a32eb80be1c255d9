// mapped_sync.h: what was written to mapped memory comes onto the disk.
//
//   std::memcpy(mapping.data() + at, record.data(), record.size());
//   absl::Status status = co_await SyncMemory(mapping.subspan(at, record.size()));

#ifndef EVRING_RUNTIME_OS_MAPPED_SYNC_H_
#define EVRING_RUNTIME_OS_MAPPED_SYNC_H_

#include <cstddef>
#include <span>

#include "absl/status/status.h"
#include "runtime/task.h"

namespace evring {

// What was written to `memory`, part of a shared mapping of a file, before this is on the disk when it ends; of whole
// pages, so of what lies beside it as well. Await on a worker, which is not held up (msync(2) by a helper thread). The
// mapping outlives the await.
// kCancelled: a stop came before it had begun; one that has begun is waited out, and a success is a success.
// kResourceExhausted (ENOMEM): not all of it is mapped. kDataLoss (EIO): the disk has not taken it: write all of it
//   again. kUnavailable (EAGAIN): no helper thread. kUnimplemented: in a simulation.
Task<absl::Status> SyncMemory(std::span<const std::byte> memory);

}  // namespace evring

#endif  // EVRING_RUNTIME_OS_MAPPED_SYNC_H_
