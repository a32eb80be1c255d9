// message_queue.h: POSIX message queues, mq_overview(7): messages with a priority, between processes, by a name.
//
//   absl::StatusOr<MessageQueue> queue = MessageQueue::Open(name, O_RDWR | O_CREAT);
//   if (!queue.ok()) co_return queue.status();
//   absl::Status sent = co_await queue->Send(job, 5);
//   if (!sent.ok()) co_return sent;
//   std::vector<std::byte> buffer(queue->message_bytes_max());
//   absl::StatusOr<ReceivedMessage> message = co_await queue->Receive(buffer);
//
// Of the messages that are there the one with the highest priority comes first, of these the oldest.

#ifndef EVRING_RUNTIME_OS_MESSAGE_QUEUE_H_
#define EVRING_RUNTIME_OS_MESSAGE_QUEUE_H_

#include <fcntl.h>
#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kevent/owned_descriptor.h"
#include "runtime/task.h"

namespace evring {

struct ReceivedMessage {
  size_t bytes = 0;  // of the buffer
  unsigned priority = 0;
};

// Owns a descriptor of a queue; the queue itself lives until it is unlinked and nobody has it open. Movable. Several
// tasks may send and receive at once.
class MessageQueue {
 public:
  struct Options {
    Options() {}
    mode_t mode = 0600;
    // Of a queue that is made by this: 0 is what the system has as its default (mq_overview(7)).
    long messages_max = 0;
    long message_bytes_max = 0;
  };

  // As mq_open(3): `name` begins with a slash and has no other; `flags` are O_RDONLY, O_WRONLY or O_RDWR, with O_CREAT
  // and O_EXCL. On a worker; does not block.
  // kNotFound: ENOENT. kAlreadyExists: EEXIST. kPermissionDenied: EACCES. kInvalidArgument: EINVAL, a name or sizes
  //   that cannot be, a NUL in the name; ENAMETOOLONG. kResourceExhausted: EMFILE, ENFILE, ENOMEM, ENOSPC.
  //   kUnimplemented: in a simulation.
  static absl::StatusOr<MessageQueue> Open(const std::string& name, int flags, const Options& options = Options());
  // Takes the name away: who has the queue open goes on. kNotFound: ENOENT. kPermissionDenied: EACCES.
  static absl::Status Unlink(const std::string& name);

  // What a buffer to receive into has to hold.
  size_t message_bytes_max() const { return message_bytes_max_; }
  int fd() const { return fd_.get(); }

  // Waits until there is room, and sends a copy of `data`, which is borrowed until the await has ended. Await on a
  // worker. `priority`: 0 to 32767. kCancelled: a stop came first, nothing was sent. kInvalidArgument: EMSGSIZE, EINVAL
  // (priority). kFailedPrecondition (EBADF): not open for writing.
  Task<absl::Status> Send(std::span<const std::byte> data, unsigned priority = 0);
  // Waits for a message, and takes it; `buffer` is borrowed until the await has ended. Await on a worker. kCancelled: a
  // stop came first, no message was taken. kInvalidArgument (EMSGSIZE): the buffer is smaller than message_bytes_max().
  // kFailedPrecondition (EBADF): not open for reading.
  Task<absl::StatusOr<ReceivedMessage>> Receive(std::span<std::byte> buffer);

  // The same at once or not at all. Any thread. kUnavailable (EAGAIN): no room, or no message.
  absl::Status TrySend(std::span<const std::byte> data, unsigned priority = 0);
  absl::StatusOr<ReceivedMessage> TryReceive(std::span<std::byte> buffer);

 private:
  MessageQueue(int fd, size_t message_bytes_max) : fd_(fd), message_bytes_max_(message_bytes_max) {}

  kevent::OwnedDescriptor fd_;  // does not block
  size_t message_bytes_max_;
};

}  // namespace evring

#endif  // EVRING_RUNTIME_OS_MESSAGE_QUEUE_H_
