// stream_io.h: reading and writing where a descriptor stands: pipes, terminals, and files by their own offset.
//
// SIGPIPE. A write to a pipe or socket that nobody reads raises it in the thread that makes the write, and by default
// it ends the process; io_uring makes no difference (measured, Linux 6.18). So each write says RWF_NOSIGNAL, which
// Linux knows since 6.18. Where it answers EOPNOTSUPP to that, writes are made by the kernel's own threads
// (IOSQE_ASYNC), which no signal reaches; that costs a hand-over each. Nothing is changed about the process or its
// descriptors: ignoring the signal would be inherited by the programs that it starts.
//
// Descriptors that others share are taken as they are, O_NONBLOCK or not: where a request answers EAGAIN, a poll is
// awaited.
//
// Await on a worker. A stop ends the wait with kCancelled. Errors name `doing` and the descriptor.

#ifndef EVRING_RUNTIME_OS_INTERNAL_STREAM_IO_H_
#define EVRING_RUNTIME_OS_INTERNAL_STREAM_IO_H_

#include <cstddef>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/task.h"

namespace evring::internal {

// Some bytes, at most buffer.size(); 0: the end, or an empty buffer.
Task<absl::StatusOr<size_t>> ReadStream(int fd, std::span<std::byte> buffer, const char* doing);
// Up to the end. kResourceExhausted: there are more than `limit` bytes; those are consumed.
Task<absl::StatusOr<std::string>> ReadStreamToEnd(int fd, size_t limit, const char* doing);
// All of `data`, in as many writes as it takes; after an error some of it may have been written.
Task<absl::Status> WriteStream(int fd, std::span<const std::byte> data, const char* doing);

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_OS_INTERNAL_STREAM_IO_H_
