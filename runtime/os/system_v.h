// system_v.h: messages and semaphores of System V, sysvipc(7): shared between processes by a key.
//
//   absl::StatusOr<SystemVMessages> queue = SystemVMessages::Open(key, IPC_CREAT | 0600);
//   if (!queue.ok()) co_return queue.status();
//   absl::Status sent = co_await queue->Send(7, hello);
//   if (!sent.ok()) co_return sent;
//   absl::StatusOr<SystemVMessage> message = co_await queue->Receive(7, buffer);
//   if (!message.ok()) co_return message.status();
//   absl::StatusOr<SystemVSemaphores> semaphores = SystemVSemaphores::Open(key, 1, IPC_CREAT | 0600);
//   if (!semaphores.ok()) co_return semaphores.status();
//   absl::Status taken = co_await semaphores->Change(0, -1);  // waits until it is 1 at least
//
// The kernel has neither a descriptor nor a request for them: what has to wait is called by a helper thread, which a
// stop interrupts (up to 256 wait at a time, kevent/blocking_calls.h); what need not wait is done at once.
//
// The objects have no owner: they stay until Remove(), or the machine stops. A handle is a number, copied at will.
//
// Errors of all calls: kAborted (EIDRM): it was removed meanwhile. kInvalidArgument (EINVAL): no such object, or what
// is said below. kPermissionDenied: EACCES. kUnavailable (EAGAIN): no helper thread. kUnimplemented (ENOSYS): in a
// simulation.

#ifndef EVRING_RUNTIME_OS_SYSTEM_V_H_
#define EVRING_RUNTIME_OS_SYSTEM_V_H_

#include <sys/ipc.h>
#include <sys/sem.h>

#include <cstddef>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/task.h"

namespace evring {

struct SystemVMessage {
  size_t bytes = 0;  // of the buffer
  long type = 0;
};

// A queue of messages, each with a type.
class SystemVMessages {
 public:
  // As msgget(2): `flags` are IPC_CREAT, IPC_EXCL and a mode. On a worker.
  // kNotFound: ENOENT. kAlreadyExists: EEXIST. kResourceExhausted: ENOMEM, ENOSPC.
  static absl::StatusOr<SystemVMessages> Open(key_t key, int flags);
  int id() const { return id_; }
  // Ends it for all: who waits has EIDRM. kPermissionDenied: EPERM, another's.
  absl::Status Remove();

  // Waits for room, and sends a copy of `data` (taken before this returns). `type` is 1 or more. Await on a worker.
  // kCancelled: a stop came first, nothing was sent. EINVAL: the type, or more data than a message may have.
  Task<absl::Status> Send(long type, std::span<const std::byte> data);
  // Waits for a message of `type`, 0: of any, less than 0: of the lowest up to -type, and takes it; `buffer` is
  // borrowed until the await has ended. Await on a worker. kCancelled: a stop came first, no message was taken; one
  // that was taken in spite of it is a success. kInvalidArgument (E2BIG): it is longer than the buffer, and stays.
  Task<absl::StatusOr<SystemVMessage>> Receive(long type, std::span<std::byte> buffer);

 private:
  explicit SystemVMessages(int id) : id_(id) {}

  int id_;
};

// A set of semaphores: numbers that are changed together, and waited for.
class SystemVSemaphores {
 public:
  // As semget(2): of `count` semaphores, 0 for a set that exists. A new one's are 0. On a worker.
  // kNotFound: ENOENT. kAlreadyExists: EEXIST. kResourceExhausted: ENOMEM, ENOSPC.
  static absl::StatusOr<SystemVSemaphores> Open(key_t key, int count, int flags);
  int id() const { return id_; }
  // Ends it for all: who waits has EIDRM. kPermissionDenied: EPERM, another's.
  absl::Status Remove();

  // Adds `by` to semaphore `index`: waits until the sum is not negative; with `by` 0, until it is 0. With `undo` the
  // kernel takes the change back when the process ends. Await on a worker.
  // kCancelled: a stop came first, nothing was changed; a change in spite of it is a success. kOutOfRange (ERANGE): the
  // sum is too big. kResourceExhausted: EFBIG, no such semaphore in the set; ENOSPC, ENOMEM, for `undo`.
  Task<absl::Status> Change(unsigned short index, short by, bool undo = false);
  // All of `operations`, semop(2), at once, as soon as all are possible. IPC_NOWAIT in one: kUnavailable (EAGAIN)
  // instead of waiting. kInvalidArgument: E2BIG, too many.
  Task<absl::Status> Change(std::vector<sembuf> operations);

  absl::StatusOr<int> Value(unsigned short index) const;
  // kOutOfRange: ERANGE.
  absl::Status SetValue(unsigned short index, int value);

 private:
  explicit SystemVSemaphores(int id) : id_(id) {}

  int id_;
};

}  // namespace evring

#endif  // EVRING_RUNTIME_OS_SYSTEM_V_H_
