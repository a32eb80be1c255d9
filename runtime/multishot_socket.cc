#include "runtime/multishot_socket.h"

#include <errno.h>
#include <liburing.h>
#include <sys/socket.h>

#include "kevent/buffer_ring.h"
#include "kevent/canary.h"
#include "kevent/check.h"
#include "kevent/kernel.h"

namespace evring {
namespace {

void ReturnBuffer(Worker* owner, uint16_t id) {
  if (owner == Worker::Current()) {
    owner->buffers()->Return(id);
  } else {
    owner->buffers()->ReturnRemote(id);
  }
}

}  // namespace

void ReceivedBuffer::Reset() {
  if (owner_ != nullptr) ReturnBuffer(std::exchange(owner_, nullptr), id_);
  memory_.reset();
  data_ = {};
}

namespace internal {
namespace {

bool HasBuffer(uint32_t flags) { return (flags & kevent::Event::kBuffer) != 0; }
uint16_t BufferId(uint32_t flags) { return static_cast<uint16_t>(flags >> kevent::Event::kBufferShift); }

}  // namespace

void MultishotReceive::Prepare(io_uring_sqe* sqe, Worker* worker) {
  if (use_own_) {
    own_ = std::make_unique<std::byte[]>(kOwnBytes);
    io_uring_prep_recv(sqe, fd(), own_.get(), kOwnBytes, 0);
    return;
  }
  if (worker->features().has(kevent::Feature::kMultishotReceive)) {
    io_uring_prep_recv_multishot(sqe, fd(), nullptr, 0, 0);
  } else {
    io_uring_prep_recv(sqe, fd(), nullptr, 0, 0);
  }
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->buf_group = worker->buffers()->group();
}

bool MultishotReceive::IsPause(int32_t result, Worker* worker) {
  if (result != -ENOBUFS) return false;
  // `worker` is where it is armed next; more buffers there, or else memory of our own.
  use_own_ = !worker->buffers()->Grow();
  return true;
}

void MultishotReceive::Discard(const Record& record) {
  if (HasBuffer(record.flags)) ReturnBuffer(record.from, BufferId(record.flags));
}

absl::StatusOr<ReceivedBuffer> MultishotReceive::Operation::await_resume() {
  if (result_ < 0) return kevent::ErrnoToStatus(result_, "receive", source_->fd());
  const auto size = static_cast<size_t>(result_);
  if (HasBuffer(flags_)) {
    const uint16_t id = BufferId(flags_);
    if (size == 0) ReturnBuffer(from_, id);  // the end of the stream, said with a buffer
    if (size == 0) return ReceivedBuffer();
    const std::span<std::byte> data = from_->buffers()->Take(id, size);
    if (EVRING_CANARY(kBufferReturnedEarly)) return ReturnBuffer(from_, id), ReceivedBuffer(nullptr, id, data);
    return ReceivedBuffer(from_, id, data);
  }
  if (size == 0) return ReceivedBuffer();
  auto* source = static_cast<MultishotReceive*>(source_);
  source->use_own_ = false;
  EVRING_CHECK(source->own_ != nullptr, "data without a buffer was received into our own");
  return ReceivedBuffer(std::move(source->own_), size);
}

void MultishotAccept::Prepare(io_uring_sqe* sqe, Worker*) {
  io_uring_prep_multishot_accept(sqe, fd(), nullptr, nullptr, SOCK_CLOEXEC);
}

void MultishotAccept::Discard(const Record& record) {
  if (record.result >= 0 && !EVRING_CANARY(kLateAcceptKept)) kevent::Kernel::Current()->Close(record.result);
}

}  // namespace internal
}  // namespace evring
