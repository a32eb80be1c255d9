#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "kevent/check.h"
#include "kevent/opcodes.h"
#include "tests/sim/machine.h"
#include "tests/sim/machine_request.h"

namespace evring::sim {

using kevent::EventType;

uint64_t Machine::NumberOf(int step) const {
  const auto found = requests_.find(step);
  return found == requests_.end() ? uint64_t{0x10} : found->second->number();
}

std::string Machine::DoRequest(const Step& step) {
  EventType type = EventType::kNop;
  switch (step.kind) {
    case Step::Kind::kConnect:
      type = EventType::kConnect;
      break;
    case Step::Kind::kAccept:
    case Step::Kind::kAcceptMultishot:
      type = EventType::kAccept;
      break;
    case Step::Kind::kReceive:
    case Step::Kind::kReceiveBuffer:
    case Step::Kind::kReceiveMultishot:
      type = EventType::kReceive;
      break;
    case Step::Kind::kSend:
    case Step::Kind::kSendPieces:
    case Step::Kind::kFlood:
      type = EventType::kSend;
      break;
    case Step::Kind::kRead:
      type = EventType::kFileRead;
      break;
    case Step::Kind::kWrite:
      type = EventType::kFileWrite;
      break;
    case Step::Kind::kPoll:
    case Step::Kind::kPollMultishot:
      type = EventType::kPoll;
      break;
    case Step::Kind::kTimeout:
      type = EventType::kTimeout;
      break;
    case Step::Kind::kBindRequest:
      type = EventType::kBind;
      break;
    case Step::Kind::kListenRequest:
      type = EventType::kListen;
      break;
    case Step::Kind::kFutexWait:
      type = EventType::kFutex;
      break;
    case Step::Kind::kFutexWaitMany:
      type = EventType::kFutexV;
      break;
    default:
      break;
  }
  auto made = std::make_unique<Request>(type, step);
  Request* request = made.get();
  int fd = -1;
  if (step.slot >= 0) {
    request->slot = &slots_[static_cast<size_t>(step.slot)];
    request->tcp = request->slot->tcp;
    fd = request->slot->fd;
    // Of two requests that wait for the same, either may be first.
    const bool sends = type == EventType::kSend || type == EventType::kFileWrite;
    Request*& pending = sends ? request->slot->sending : request->slot->receiving;
    const bool once = type == EventType::kBind || type == EventType::kListen;
    if (type != EventType::kNop && type != EventType::kPoll && !once) {
      if (pending != nullptr) return " busy";
      if (sends && request->slot->flooded) return " full, or nearly";
      pending = request;
    }
  }
  size_t size = static_cast<size_t>(step.size);
  // What is of a pipe's size may be for a socket by now, which takes less before it is full.
  const bool as_of_file = type == EventType::kFileRead || type == EventType::kFileWrite;
  if (as_of_file && (request->slot == nullptr || !request->slot->pipe)) size = std::min<size_t>(size, 300);
  const bool futex = step.kind == Step::Kind::kFutexWait || step.kind == Step::Kind::kFutexWaitMany ||
                     step.kind == Step::Kind::kFutexWake;
  if (futex) size = 0;
  if (step.kind == Step::Kind::kFlood) {
    size = options_.flood_bytes;
    flooded_ = true;
    request->slot->flooded = true;
  }
  request->memory.resize(size);
  if (type == EventType::kSend || type == EventType::kFileWrite) {
    for (size_t i = 0; i < size; ++i)
      request->memory[i] = static_cast<std::byte>(step.number * 31 + static_cast<int>(i));
  }
  // To a counter a small number is written, or one that is none.
  if (type == EventType::kFileWrite && request->slot != nullptr && request->slot->counter) {
    std::fill(request->memory.begin(), request->memory.end(), static_cast<std::byte>(step.group != 0 ? 0xff : 0));
    if (size != 0 && step.group == 0) request->memory[0] = static_cast<std::byte>(step.number % 4);
  }
  const bool tells_of_room = request->slot != nullptr && (request->slot->pipe || request->slot->counter);
  std::byte* memory = request->memory.data();
  const int flags = step.wait_all ? MSG_WAITALL : 0;
  io_uring_sqe* sqe = Entry();
  switch (step.kind) {
    case Step::Kind::kConnect: {
      const Name name = NameOf(step.other, step.tcp);
      std::memcpy(&request->address, name.bytes.data(), name.bytes.size());
      io_uring_prep_connect(sqe, fd, reinterpret_cast<const sockaddr*>(&request->address),
                            static_cast<socklen_t>(name.bytes.size()));
      break;
    }
    case Step::Kind::kBindRequest: {
      const Name name = NameToBind(step.slot, step.how == 1 ? !step.tcp : step.tcp);
      std::memcpy(&request->address, name.bytes.data(), name.bytes.size());
      io_uring_prep_rw(static_cast<int>(kevent::kOpBind), sqe, fd, &request->address, 0,
                       step.how == 2 ? 1 : name.bytes.size());
      break;
    }
    case Step::Kind::kListenRequest:
      io_uring_prep_rw(static_cast<int>(kevent::kOpListen), sqe, fd, nullptr, kBacklog, 0);
      break;
    case Step::Kind::kFutexWait:
    case Step::Kind::kFutexWake:
      io_uring_prep_rw(
          static_cast<int>(step.kind == Step::Kind::kFutexWait ? kevent::kOpFutexWait : kevent::kOpFutexWake), sqe,
          step.how, WordOf(step.other), 0, static_cast<uint32_t>(step.size));
      sqe->addr3 = step.mask;
      break;
    case Step::Kind::kFutexWaitMany:
      for (int i = 0; i < step.group; ++i) {
        futex_waitv& futex = request->futexes[i];
        futex.uaddr = reinterpret_cast<uintptr_t>(WordOf((step.other + i) % (kWords + 1)));
        futex.val = static_cast<uint64_t>(step.size);
        futex.flags = static_cast<uint32_t>(step.how);
      }
      io_uring_prep_rw(static_cast<int>(kevent::kOpFutexWaitV), sqe, 0, request->futexes,
                       static_cast<unsigned>(step.group), 0);
      break;
    case Step::Kind::kAccept:
      io_uring_prep_accept(sqe, fd, nullptr, nullptr, SOCK_CLOEXEC);
      break;
    case Step::Kind::kAcceptMultishot:
      io_uring_prep_multishot_accept(sqe, fd, nullptr, nullptr, SOCK_CLOEXEC);
      break;
    case Step::Kind::kReceive:
      io_uring_prep_recv(sqe, fd, memory, size, 0);
      break;
    case Step::Kind::kReceiveBuffer:
      io_uring_prep_recv(sqe, fd, nullptr, size, 0);
      sqe->flags |= IOSQE_BUFFER_SELECT;
      sqe->buf_group = static_cast<uint16_t>(step.group);
      break;
    case Step::Kind::kReceiveMultishot:
      io_uring_prep_recv_multishot(sqe, fd, nullptr, 0, 0);
      sqe->flags |= IOSQE_BUFFER_SELECT;
      sqe->buf_group = static_cast<uint16_t>(step.group);
      break;
    case Step::Kind::kRead:
      io_uring_prep_read(sqe, fd, memory, static_cast<unsigned>(size), 0);
      break;
    case Step::Kind::kWrite:
      io_uring_prep_write(sqe, fd, memory, static_cast<unsigned>(size), 0);
      break;
    case Step::Kind::kSend:
    case Step::Kind::kFlood:
      io_uring_prep_send(sqe, fd, memory, size, flags);
      break;
    case Step::Kind::kSendPieces:
      request->pieces[0] = {memory, size / 3};
      request->pieces[1] = {memory + size / 3, 0};
      request->pieces[2] = {memory + size / 3, size - size / 3};
      request->message.msg_iov = request->pieces;
      request->message.msg_iovlen = 3;
      io_uring_prep_sendmsg(sqe, fd, &request->message, static_cast<unsigned>(flags));
      break;
    case Step::Kind::kPoll:
      io_uring_prep_poll_add(sqe, fd, static_cast<unsigned>(step.events));
      break;
    case Step::Kind::kPollMultishot:
      // When a socket tells again that there is room is the kernel's affair.
      io_uring_prep_poll_multishot(sqe, fd,
                                   static_cast<unsigned>(tells_of_room ? step.events : step.events & ~POLLOUT));
      break;
    case Step::Kind::kPollRemove:
      io_uring_prep_poll_remove(sqe, NumberOf(step.other));
      break;
    case Step::Kind::kTimeout: {
      const bool of_clock = step.time == Step::Time::kNowOfClock || step.time == Step::Time::kLaterOfClock;
      const int64_t now_ns = of_clock ? options_.kernel->NowNs() : 0;
      if (step.time == Step::Time::kLater || step.time == Step::Time::kLaterOfClock) request->time.tv_sec = 3600;
      request->time.tv_sec += now_ns / 1'000'000'000;
      if (step.time == Step::Time::kNegative) request->time.tv_sec = -1;
      io_uring_prep_timeout(sqe, &request->time, static_cast<unsigned>(step.size), of_clock ? IORING_TIMEOUT_ABS : 0);
      break;
    }
    case Step::Kind::kTimeoutRemove:
      io_uring_prep_timeout_remove(sqe, NumberOf(step.other), 0);
      break;
    case Step::Kind::kCancel:
      io_uring_prep_cancel64(sqe, NumberOf(step.other), 0);
      break;
    case Step::Kind::kCancelSlot:
      io_uring_prep_cancel_fd(sqe, fd, IORING_ASYNC_CANCEL_ALL);
      break;
    case Step::Kind::kCancelAll:
      io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
      break;
    default:
      EVRING_CHECK(false, "a step that is a request");
  }
  ring_->Start(request, sqe);
  requests_[step.number] = std::move(made);
  return "";
}

}  // namespace evring::sim
