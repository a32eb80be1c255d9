#include "runtime/os/message_queue.h"

#include <errno.h>
#include <mqueue.h>
#include <poll.h>

#include "absl/strings/str_cat.h"
#include "kevent/errors.h"
#include "kevent/event.h"
#include "runtime/cancellation.h"
#include "runtime/os/event_wait.h"
#include "runtime/os/internal/machine.h"

namespace evring {
namespace {

absl::Status CheckName(const std::string& name) {
  if (name.find('\0') == std::string::npos) return absl::OkStatus();
  return absl::InvalidArgumentError("the name of a message queue has a NUL in it");
}

// Until there may be a message, or room for one. OK, or why that is not waited for.
Task<absl::Status> UntilReady(int fd, short events) {
  kevent::Event event;
  event.type = kevent::EventType::kMq;
  event.descriptor = fd;
  event.result = events;
  const absl::StatusOr<kevent::Event> ready = co_await WaitForEvent(event);
  co_return ready.status();
}

bool MustWait(const absl::Status& status) { return kevent::StatusErrno(status) == EAGAIN; }

}  // namespace

absl::StatusOr<MessageQueue> MessageQueue::Open(const std::string& name, int flags, const Options& options) {
  const std::string doing = absl::StrCat("open of message queue ", name);
  if (absl::Status machine = internal::CheckMachine(doing); !machine.ok()) return machine;
  if (absl::Status status = CheckName(name); !status.ok()) return status;
  flags |= O_CLOEXEC | O_NONBLOCK;
  mq_attr attributes = {};
  attributes.mq_maxmsg = options.messages_max;
  attributes.mq_msgsize = options.message_bytes_max;
  if ((options.messages_max == 0) != (options.message_bytes_max == 0)) {
    return absl::InvalidArgumentError(absl::StrCat(doing, ": the default is for both sizes or for none"));
  }
  const mqd_t fd = mq_open(name.c_str(), flags, options.mode, options.messages_max == 0 ? nullptr : &attributes);
  if (fd < 0) return kevent::ErrnoToStatus(errno, doing);
  MessageQueue queue(fd, 0);
  if (mq_getattr(fd, &attributes) != 0) return kevent::ErrnoToStatus(errno, doing);
  queue.message_bytes_max_ = static_cast<size_t>(attributes.mq_msgsize);
  return queue;
}

absl::Status MessageQueue::Unlink(const std::string& name) {
  if (absl::Status status = CheckName(name); !status.ok()) return status;
  if (mq_unlink(name.c_str()) == 0) return absl::OkStatus();
  return kevent::ErrnoToStatus(errno, absl::StrCat("unlink of message queue ", name));
}

absl::Status MessageQueue::TrySend(std::span<const std::byte> data, unsigned priority) {
  // Of no bytes too it is not to be null.
  const char* const bytes = data.empty() ? "" : reinterpret_cast<const char*>(data.data());
  if (mq_send(fd(), bytes, data.size(), priority) == 0) return absl::OkStatus();
  return kevent::ErrnoToStatus(errno, "mq_send", fd());
}

absl::StatusOr<ReceivedMessage> MessageQueue::TryReceive(std::span<std::byte> buffer) {
  ReceivedMessage message;
  char none;
  char* const into = buffer.empty() ? &none : reinterpret_cast<char*>(buffer.data());
  const ssize_t bytes = mq_receive(fd(), into, buffer.size(), &message.priority);
  if (bytes < 0) return kevent::ErrnoToStatus(errno, "mq_receive", fd());
  message.bytes = static_cast<size_t>(bytes);
  return message;
}

Task<absl::Status> MessageQueue::Send(std::span<const std::byte> data, unsigned priority) {
  for (;;) {
    const bool stopped = co_await StopRequested();
    if (stopped) co_return absl::CancelledError("mq_send: cancelled");
    const absl::Status sent = TrySend(data, priority);
    if (!MustWait(sent)) co_return sent;
    const absl::Status ready = co_await UntilReady(fd(), POLLOUT);
    if (!ready.ok()) co_return ready;
  }
}

Task<absl::StatusOr<ReceivedMessage>> MessageQueue::Receive(std::span<std::byte> buffer) {
  for (;;) {
    const bool stopped = co_await StopRequested();
    if (stopped) co_return absl::CancelledError("mq_receive: cancelled");
    const absl::StatusOr<ReceivedMessage> received = TryReceive(buffer);
    if (received.ok() || !MustWait(received.status())) co_return received;
    const absl::Status ready = co_await UntilReady(fd(), POLLIN);
    if (!ready.ok()) co_return ready;
  }
}

}  // namespace evring
