#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "kevent/opcodes.h"
#include "sim/kernel.h"

namespace evring::sim {

namespace {

constexpr int64_t kBacklogRetryNs = 100'000;  // of a Unix socket that waits for a place
constexpr size_t kSegmentMax = 65'536;        // that a send puts on the link at once

// The errors of recv(2), send(2) and accept(2), and what tcp(7) and ip(7) add for a connection. Left out:
// - what the arguments or the state of the socket decide, which this kernel finds by itself: EBADF, EFAULT, EINVAL,
//   ENOTSOCK, ENOTCONN, EISCONN, EALREADY, EDESTADDRREQ, EMSGSIZE, and EOPNOTSUPP but for accept;
// - EACCES of send: of datagrams;
// - EAGAIN and EINTR: a ring waits instead, and no signal interrupts a request.
constexpr int kReceiveErrors[] = {ECONNREFUSED, ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, ENOMEM};
constexpr int kUnixReceiveErrors[] = {ECONNRESET, ENOMEM};
constexpr int kSendErrors[] = {ECONNRESET, EPIPE, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, ENOBUFS, ENOMEM};
constexpr int kUnixSendErrors[] = {ECONNRESET, EPIPE, ENOBUFS, ENOMEM};
// Of the process, or the system: the connection waits on. A Unix listener has no others.
constexpr int kAcceptShortages[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
// Those, and errors of the connection, which is lost.
constexpr int kAcceptErrors[] = {EMFILE,     ENFILE,      ENOBUFS,     ENOMEM,          ECONNABORTED,    EPERM,
                                 EPROTO,     ENETDOWN,    ENOPROTOOPT, EHOSTDOWN,       ENONET,          EHOSTUNREACH,
                                 EOPNOTSUPP, ENETUNREACH, ENOSR,       ESOCKTNOSUPPORT, EPROTONOSUPPORT, ETIMEDOUT};
// Of bind(2), and what ip(7) adds; of Unix names that are paths, of those that are not; of listen(2). Left out: what
// the arguments or the state of the socket decide (EBADF, EFAULT, EINVAL, ENOTSOCK, EOPNOTSUPP), or the directories
// that a path goes through, of which this kernel has none (ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR).
constexpr int kBindErrors[] = {EACCES, EADDRINUSE, EADDRNOTAVAIL, ENOBUFS, ENOMEM};
constexpr int kUnixPathBindErrors[] = {EACCES, EADDRINUSE, ENOMEM, EROFS};
constexpr int kUnixBindErrors[] = {EADDRINUSE, ENOMEM};
constexpr int kListenErrors[] = {EADDRINUSE};

std::span<const int> BindErrorsOfUnix(const Address& address) {
  const bool path = address.bytes().size() > sizeof(sa_family_t) && address.bytes()[sizeof(sa_family_t)] != 0;
  return path ? std::span<const int>(kUnixPathBindErrors) : kUnixBindErrors;
}

// The kernel writes where it was told to, whoever else may not touch the memory now.
__attribute__((no_sanitize("address"), no_sanitize("thread"), noinline)) void CopyToUser(uint64_t address,
                                                                                         const std::byte* data,
                                                                                         size_t n) {
  volatile unsigned char* to = reinterpret_cast<unsigned char*>(static_cast<uintptr_t>(address));
  for (size_t i = 0; i < n; ++i) to[i] = static_cast<unsigned char>(data[i]);
}

bool IsTransient(int error) { return error == ENOMEM || error == ENOBUFS; }
bool IsShortage(int error) { return std::ranges::find(kAcceptShortages, error) != std::end(kAcceptShortages); }

}  // namespace

Answer Kernel::Attempt(Request* request) {
  if (FileRequests::Serves(request->sqe)) {
    const std::optional<int32_t> result =
        file_requests_.Perform(request->sqe, static_cast<FileDescription*>(request->file.get()), &request->lock);
    return {.complete = result.has_value(), .result = result.value_or(0)};
  }
  switch (request->sqe.opcode) {
    case IORING_OP_RECV:
      return AttemptReceive(request);
    case IORING_OP_SEND:
    case IORING_OP_SENDMSG:
      return AttemptSend(request);
    case IORING_OP_ACCEPT:
      return AttemptAccept(request);
    case IORING_OP_CONNECT:
      return AttemptConnect(request);
    case IORING_OP_POLL_ADD:
      return AttemptPoll(request);
    case IORING_OP_TIMEOUT:
    case kOpAdvance:
      return {.complete = request->timed.has_value(), .result = request->timed.value_or(0)};
    case kevent::kOpFutexWait:
    case kevent::kOpFutexWake:
    case kevent::kOpFutexWaitV:
      return AttemptFutex(request);
    case kevent::kOpBind:
    case kevent::kOpListen:
      return AttemptName(request);
    case IORING_OP_WRITE:
      return request->socket == nullptr ? AttemptWrite(request) : AttemptSend(request);
    default:
      return request->file != nullptr ? AttemptReceive(request) : AttemptRead(request);
  }
}

int32_t Kernel::FailWith(sim::Socket* socket, std::span<const int> of_tcp, std::span<const int> of_unix) {
  const int error = world_.faults.OneOf(socket->is_tcp() ? of_tcp : of_unix);
  if (!IsTransient(error)) {
    socket->Break(error);
    static_cast<void>(socket->TakeError());
  }
  return -error;
}

Answer Kernel::AttemptReceive(Request* request) {
  const io_uring_sqe& sqe = request->sqe;
  sim::Socket* socket = request->socket;
  uint64_t address = sqe.addr;
  size_t size = sqe.len;
  BufferGroup* group = nullptr;
  uint16_t buffer = 0;
  if ((sqe.flags & IOSQE_BUFFER_SELECT) != 0) {
    const auto found = request->ring->memory.buffers.find(sqe.buf_group);
    const bool none = found == request->ring->memory.buffers.end() || found->second.empty();
    if (none || world_.Happens(Fault::kNoBuffers)) {
      return {.complete = true, .result = -ENOBUFS};
    }
    group = &found->second;
    address = group->front().addr;
    size = size == 0 ? group->front().len : std::min<size_t>(size, group->front().len);
    buffer = group->front().bid;
  }
  if (socket != nullptr && (socket->Poll() & POLLIN) != 0 && world_.Happens(Fault::kReceiveError)) {
    return {.complete = true, .result = FailWith(socket, kReceiveErrors, kUnixReceiveErrors)};
  }
  // As read(2) of nothing from a socket, whatever its state.
  if (socket != nullptr && sqe.opcode == IORING_OP_READ && size == 0) return {.complete = true};
  std::vector<std::byte> data(size);
  const int n = socket != nullptr ? socket->Receive(data.data(), size) : request->file->Read(data.data(), size);
  if (n == -EAGAIN) return {};
  uint32_t flags = sqe.opcode == IORING_OP_RECV && n >= 0 && socket->has_more() ? IORING_CQE_F_SOCK_NONEMPTY : 0;
  if (n > 0) {
    CopyToUser(address, data.data(), static_cast<size_t>(n));
    if (group != nullptr) {
      ++group->head;
      flags |= IORING_CQE_F_BUFFER | static_cast<uint32_t>(buffer) << IORING_CQE_BUFFER_SHIFT;
    }
  }
  return {.complete = true,
          .result = n,
          .flags = flags,
          .again = request->multishot && n > 0,
          .wait = (flags & IORING_CQE_F_SOCK_NONEMPTY) == 0};
}

Answer Kernel::AttemptSend(Request* request) {
  const bool all = request->sqe.opcode != IORING_OP_WRITE && (request->sqe.msg_flags & MSG_WAITALL) != 0;
  sim::Socket* socket = request->socket;
  if (world_.Happens(Fault::kSendError)) {
    const int32_t failed = FailWith(socket, kSendErrors, kUnixSendErrors);
    return {.complete = true, .result = request->done != 0 ? static_cast<int32_t>(request->done) : failed};
  }
  for (;;) {
    // Read now, not when it was submitted: memory that was given up too early shows.
    std::vector<std::byte> data;
    size_t skip = request->done;
    size_t left = 0;
    for (const iovec& piece : request->pieces) {
      const size_t skipped = std::min(skip, piece.iov_len);
      skip -= skipped;
      const auto* begin = static_cast<const std::byte*>(piece.iov_base) + skipped;
      const size_t n = std::min(piece.iov_len - skipped, kSegmentMax - data.size());
      data.insert(data.end(), begin, begin + n);
      left += piece.iov_len - skipped;
    }
    if (left == 0 && request->done != 0) break;
    const int n = socket->Send(data.data(), data.size(), /*may_be_short=*/!all);
    if (n == -EAGAIN && (all || request->done == 0)) return {};
    if (n <= 0) {
      if (request->done != 0) break;
      return {.complete = true, .result = n};
    }
    request->done += static_cast<size_t>(n);
    if (!all && static_cast<size_t>(n) < data.size()) break;
  }
  return {.complete = true, .result = static_cast<int32_t>(request->done)};
}

Answer Kernel::AttemptWrite(Request* request) {
  const iovec& piece = request->pieces.front();
  const int n = request->file->Write(static_cast<const std::byte*>(piece.iov_base), piece.iov_len);
  if (n == -EAGAIN) return {};
  return {.complete = true, .result = n};
}

Answer Kernel::AttemptAccept(Request* request) {
  sim::Socket* socket = request->socket;
  if (socket->accepts_nothing()) {
    // A Unix listener that was shut answers EAGAIN to who does not block: a multishot takes it at its word and sleeps.
    if (socket->state() == sim::Socket::State::kListening && request->multishot) return {};
    return {.complete = true, .result = -EINVAL};
  }
  if (descriptors_.size() >= options_.descriptors_max) return {.complete = true, .result = -EMFILE};
  if (!socket->can_accept()) return {};
  if (world_.Happens(Fault::kAcceptError)) {
    const int error =
        world_.faults.OneOf(socket->is_tcp() ? std::span<const int>(kAcceptErrors) : std::span(kAcceptShortages));
    if (!IsShortage(error)) {
      const std::shared_ptr<sim::Socket> aborted = socket->Accept();
      aborted->set_resets_on_close(true);
      aborted->Close();
    }
    return {.complete = true, .result = -error};
  }
  const std::shared_ptr<sim::Socket> accepted = socket->Accept();
  const int fd = Open(accepted);
  if (request->sqe.addr != 0 && request->sqe.addr2 != 0) {
    const Address& peer = accepted->peer();
    auto* size = reinterpret_cast<socklen_t*>(static_cast<uintptr_t>(request->sqe.addr2));
    CopyToUser(request->sqe.addr, reinterpret_cast<const std::byte*>(peer.bytes().data()),
               std::min<size_t>(*size, peer.bytes().size()));
    *size = static_cast<socklen_t>(peer.bytes().size());
  }
  return {.complete = true,
          .result = fd,
          .flags = socket->is_tcp() && socket->can_accept() ? IORING_CQE_F_SOCK_NONEMPTY : 0,  // Unix: not told
          .again = request->multishot};
}

Answer Kernel::AttemptName(Request* request) {
  const io_uring_sqe& sqe = request->sqe;
  sim::Socket* socket = request->socket;
  const bool binds = sqe.opcode == kevent::kOpBind;
  Address address;
  if (binds) {
    address =
        Address(reinterpret_cast<const sockaddr*>(static_cast<uintptr_t>(sqe.addr)), static_cast<socklen_t>(sqe.addr2));
  }
  std::span<const int> errors = kListenErrors;
  if (binds) errors = socket->is_tcp() ? std::span<const int>(kBindErrors) : BindErrorsOfUnix(address);
  // A Unix socket has no name of others in the way when it listens.
  if ((binds || socket->is_tcp()) && world_.Happens(Fault::kBindError)) {
    return {.complete = true, .result = -world_.faults.OneOf(errors)};
  }
  return {.complete = true, .result = binds ? socket->Bind(address) : socket->Listen(static_cast<int>(sqe.len))};
}

Answer Kernel::AttemptConnect(Request* request) {
  sim::Socket* socket = request->socket;
  if (!request->connecting) {
    const Address address(reinterpret_cast<const sockaddr*>(static_cast<uintptr_t>(request->sqe.addr)),
                          static_cast<socklen_t>(request->sqe.off));
    const int rc = socket->Connect(address);
    if (rc == -EAGAIN) {
      // The backlog is full: a Unix socket waits for a place.
      QueueAfter(*request, kBacklogRetryNs);
      return {};
    }
    if (rc < 0) return {.complete = true, .result = rc};
    request->connecting = true;
  }
  const int rc = socket->ConnectResult();
  if (rc == -EAGAIN) return {};
  return {.complete = true, .result = rc};
}

// A poll that was woken once tells what woke it, which may be gone by now; else what is there. As Linux does.
Answer Kernel::AttemptPoll(Request* request) {
  const short wanted = WaitedFor(*request);
  auto found = static_cast<short>(std::exchange(request->woken_by, 0) & wanted);
  if (found == 0) found = static_cast<short>(request->file->Poll() & wanted);
  if (found == 0) return {};
  return {.complete = true, .result = found, .again = request->multishot, .wait = true};
}

// Regular files are those of the machine: they do not wait, and hold the same bytes in each run.
Answer Kernel::AttemptRead(Request* request) {
  const io_uring_sqe& sqe = request->sqe;
  std::vector<std::byte> data(sqe.len);
  // -1: from where the file stands. What cannot be sought in might not answer at once, and is not simulated.
  const bool moves = sqe.off == ~uint64_t{0};
  const off_t from = moves ? lseek(sqe.fd, 0, SEEK_CUR) : static_cast<off_t>(sqe.off);
  if (moves && from < 0) return {.complete = true, .result = -errno};
  const ssize_t n = pread(sqe.fd, data.data(), data.size(), from);
  if (n < 0) return {.complete = true, .result = -errno};
  if (moves) lseek(sqe.fd, from + n, SEEK_SET);
  CopyToUser(sqe.addr, data.data(), static_cast<size_t>(n));
  return {.complete = true, .result = static_cast<int32_t>(n)};
}

}  // namespace evring::sim
