#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kevent/opcodes.h"
#include "sim/kernel.h"

namespace evring::sim {

namespace {

constexpr unsigned kTasksMax = 20;  // deferred completions that one enter brings in, as Linux does

// nullptr: it is not served, or is no request that takes time.
const char* OpName(unsigned op) {
  switch (op) {
    case IORING_OP_RECV:
      return "recv";
    case IORING_OP_SEND:
      return "send";
    case IORING_OP_SENDMSG:
      return "sendmsg";
    case IORING_OP_ACCEPT:
      return "accept";
    case IORING_OP_CONNECT:
      return "connect";
    case IORING_OP_POLL_ADD:
      return "poll";
    case IORING_OP_TIMEOUT:
      return "timeout";
    case IORING_OP_READ:
      return "read";
    case IORING_OP_WRITE:
      return "write";
    case IORING_OP_OPENAT:
      return "open";
    case IORING_OP_FSYNC:
      return "sync";
    case IORING_OP_RENAMEAT:
      return "rename";
    case IORING_OP_UNLINKAT:
      return "unlink";
    case kevent::kOpBind:
      return "bind";
    case kevent::kOpListen:
      return "listen";
    case kevent::kOpFutexWait:
      return "futex-wait";
    case kevent::kOpFutexWake:
      return "futex-wake";
    case kevent::kOpFutexWaitV:
      return "futex-waitv";
    case kevent::kOpFlock:
      return "flock";
    case kevent::kOpLock:
      return "lock";
    case kOpAdvance:
      return "advance";
    default:
      return nullptr;
  }
}

bool IsPoll(const Request& request) { return request.sqe.opcode == IORING_OP_POLL_ADD; }

// What io_uring does at once whatever else is under way: the values of futexes are those at the submission.
bool MayBeDeferred(const Request& request) { return request.futexes.empty(); }

}  // namespace

bool Kernel::ServesOp(unsigned op) {
  switch (op) {
    case IORING_OP_NOP:
    case IORING_OP_ASYNC_CANCEL:
    case IORING_OP_POLL_REMOVE:
    case IORING_OP_TIMEOUT_REMOVE:
      return true;
    default:
      return OpName(op) != nullptr;
  }
}

unsigned Kernel::Submit(Ring* ring, unsigned n) {
  unsigned taken = 0;
  for (; taken < n && ring->memory.submitted() != 0; ++taken) Issue(ring, ring->memory.Take());
  return taken;
}

void Kernel::Issue(Ring* ring, const io_uring_sqe& sqe) {
  switch (sqe.opcode) {
    case IORING_OP_NOP:
      return Complete(ring, sqe.user_data, 0);
    case IORING_OP_ASYNC_CANCEL: {
      const int rc = Cancel(ring, sqe);
      if (rc >= 0 && (sqe.flags & IOSQE_CQE_SKIP_SUCCESS) != 0) return;
      return Complete(ring, sqe.user_data, rc);
    }
    case IORING_OP_POLL_REMOVE:
      return Complete(ring, sqe.user_data, CancelPoll(ring, sqe));
    case IORING_OP_TIMEOUT_REMOVE:
      return Complete(ring, sqe.user_data, CancelTimeout(ring, sqe));
    default:
      break;
  }
  auto made = std::make_unique<Request>();
  Request* request = made.get();
  request->ring = ring;
  request->number = next_request_;
  request->sqe = sqe;
  if (const int rc = Prepare(request); rc < 0) return Complete(ring, sqe.user_data, rc);
  ++next_request_;
  ring->requests.emplace(request->number, std::move(made));
  world_.Say(absl::StrCat("ring ", ring->thread->index, " ", OpName(sqe.opcode), request->multishot ? " multishot" : "",
                          " fd ", sqe.fd, " is request ", request->number));
  if (MayBeDeferred(*request) && world_.Happens(Fault::kDeferred))
    return QueueAfter(*request, world_.network.Between(0, 100'000));
  if (IsPoll(*request) && request->multishot) {
    // What is there already it tells as if it had come now, when its ring is entered.
    Await(request);
    request->woken_by = static_cast<short>(request->file->Poll() & WaitedFor(*request));
    if (request->woken_by != 0) Queue(request);
    return;
  }
  Try(request);
}

int Kernel::Prepare(Request* request) {
  const io_uring_sqe& sqe = request->sqe;
  switch (sqe.opcode) {
    case IORING_OP_OPENAT:
    case IORING_OP_RENAMEAT:
    case IORING_OP_UNLINKAT:
      return 0;
    case kevent::kOpFutexWait:
    case kevent::kOpFutexWake:
    case kevent::kOpFutexWaitV:
      return PrepareFutex(request);
    case kevent::kOpBind:
      // As io_bind_prep() of Linux, and io_listen_prep().
      if (sqe.len != 0 || sqe.buf_index != 0 || sqe.rw_flags != 0 || sqe.file_index != 0) return -EINVAL;
      if (sqe.addr2 > sizeof(sockaddr_storage)) return -EINVAL;
      break;
    case kevent::kOpListen:
      if (sqe.addr != 0 || sqe.addr2 != 0 || sqe.buf_index != 0 || sqe.rw_flags != 0 || sqe.file_index != 0) {
        return -EINVAL;
      }
      break;
    case IORING_OP_TIMEOUT:
      return PrepareTimeout(request);
    case kOpAdvance:
      return PrepareAdvance(request);
    case IORING_OP_POLL_ADD:
      // As io_poll_add_prep() of Linux: level-triggered polls are not for users of the ring.
      if (sqe.buf_index != 0 || sqe.off != 0 || sqe.addr != 0) return -EINVAL;
      if ((sqe.len & ~IORING_POLL_ADD_MULTI) != 0) return -EINVAL;
      request->multishot = sqe.len != 0;
      break;
    case IORING_OP_RECV:
      request->multishot = (sqe.ioprio & IORING_RECV_MULTISHOT) != 0;
      break;
    case IORING_OP_ACCEPT:
      request->multishot = (sqe.ioprio & IORING_ACCEPT_MULTISHOT) != 0;
      break;
    case IORING_OP_SEND:
    case IORING_OP_WRITE:
      request->pieces.push_back({reinterpret_cast<void*>(static_cast<uintptr_t>(sqe.addr)), sqe.len});
      break;
    case IORING_OP_SENDMSG: {
      const auto* message = reinterpret_cast<const msghdr*>(static_cast<uintptr_t>(sqe.addr));
      request->pieces.assign(message->msg_iov, message->msg_iov + message->msg_iovlen);
      break;
    }
    case IORING_OP_READ:
      if (sqe.fd < kFirstDescriptor) return 0;  // a regular file of the machine
      break;
    case IORING_OP_CONNECT:
    case IORING_OP_FSYNC:
    case kevent::kOpFlock:
    case kevent::kOpLock:
      break;
    default:
      return -EINVAL;
  }
  request->file = Find(sqe.fd);
  if (request->file == nullptr) return -EBADF;
  request->socket = dynamic_cast<sim::Socket*>(request->file.get());
  switch (sqe.opcode) {
    case IORING_OP_READ:
    case IORING_OP_WRITE:
    case IORING_OP_POLL_ADD:
      return 0;
    case IORING_OP_FSYNC:
    case kevent::kOpFlock:
    case kevent::kOpLock:
      if (!FileRequests::Serves(sqe)) return -EINVAL;
      Watch(request->file.get());
      return 0;
    default:
      return request->socket == nullptr ? -ENOTSOCK : 0;
  }
}

void Kernel::Queue(Request* request) {
  if (request->queued) return;
  request->queued = true;
  request->ring->tasks.push_back(request);
  request->ring->memory.ShowFlags(true);
  turns_.Wake(request->ring->thread);
}

Request* Kernel::FindRequest(int ring, uint64_t number) {
  const auto still = rings_.find(ring);
  if (still == rings_.end()) return nullptr;
  const auto found = still->second->requests.find(number);
  return found == still->second->requests.end() ? nullptr : found->second.get();
}

void Kernel::QueueAfter(const Request& request, int64_t ns) {
  // By numbers: the request, or its ring, may be gone by then.
  world_.After(ns, [this, fd = request.ring->number, number = request.number] {
    if (Request* still = FindRequest(fd, number); still != nullptr) Queue(still);
  });
}

void Kernel::RunTasks(Ring* ring) {
  for (unsigned n = 0; n < kTasksMax && !ring->tasks.empty(); ++n) {
    const size_t i = ring->tasks.size() == 1 ? 0 : world_.random.Below(ring->tasks.size());
    Request* request = ring->tasks[i];
    ring->tasks.erase(ring->tasks.begin() + static_cast<std::ptrdiff_t>(i));
    request->queued = false;
    Try(request);
  }
}

void Kernel::Try(Request* request) {
  Ring* ring = request->ring;
  for (;;) {
    Answer answer;
    if (request->cancelled) {
      answer = {.complete = true, .result = request->done != 0 ? static_cast<int32_t>(request->done) : -ECANCELED};
      if (request->woken >= 0) answer.result = request->woken;
    } else if (request->multishot && request->waits && !request->cancelled_late && !IsPoll(*request) &&
               (request->file->Poll() & WaitedFor(*request)) == 0) {
      return;  // woken for nothing: a multishot looks before it tries, others just try
    } else {
      answer = Attempt(request);
      // A cancel that loses, loses to this attempt and to no other: what waits on, and a multishot, it ends.
      request->cancelled = request->cancelled_late;
      if (!answer.complete && request->cancelled) continue;
    }
    if (!answer.complete) return Await(request);
    const bool more = answer.again && !ring->memory.full() && !world_.Happens(Fault::kMultishotEnds);
    world_.Say(absl::StrCat("request ", request->number, " ", OpName(request->sqe.opcode), " answers ", answer.result,
                            more ? ", more follow" : ""));
    Post(ring, Completion{request->sqe.user_data, answer.result, answer.flags | (more ? IORING_CQE_F_MORE : 0u)});
    // What ends a timeout by itself is no completion that others count.
    const bool counts = request->sqe.opcode != IORING_OP_TIMEOUT || answer.result == -ECANCELED;
    if (request->sqe.opcode == IORING_OP_TIMEOUT) StopTimeout(request);
    if (WaitsForFutex(*request)) futexes_.Remove(request);
    if (counts) CountCompletion(ring);
    if (!more) {
      const std::shared_ptr<OpenFile> file = request->file;
      ring->Forget(request);
      CloseUnused(file);
      return;
    }
    if (answer.wait && !request->cancelled) {
      // A receive that left no bytes behind goes back to waiting, so it asks for no buffer in vain; an end that is
      // there already is found from there. A poll tells of what changes from here on.
      Await(request);
      if (!IsPoll(*request) && (request->file->Poll() & WaitedFor(*request)) != 0) Queue(request);
      return;
    }
  }
}

void Kernel::Await(Request* request) {
  if (request->file == nullptr || std::exchange(request->waits, true)) return;
  request->ring->waiting[request->file.get()].push_back(request);
}

short Kernel::WaitedFor(const Request& request) {
  switch (request.sqe.opcode) {
    case IORING_OP_CONNECT:
    case IORING_OP_SEND:
    case IORING_OP_SENDMSG:
    case IORING_OP_WRITE:
      return POLLOUT | POLLERR | POLLHUP;
    case IORING_OP_POLL_ADD:
      // The last three are told of whether they were asked for or not.
      return static_cast<short>(request.sqe.poll32_events | POLLERR | POLLHUP | POLLRDHUP);
    default:
      return POLLIN | POLLERR | POLLHUP;
  }
}

int Kernel::Cancel(Ring* ring, const io_uring_sqe& sqe) {
  const unsigned flags = sqe.cancel_flags;
  const bool any = (flags & IORING_ASYNC_CANCEL_ANY) != 0;
  const bool all = any || (flags & IORING_ASYNC_CANCEL_ALL) != 0;
  const bool by_fd = !any && (flags & IORING_ASYNC_CANCEL_FD) != 0;
  const std::shared_ptr<OpenFile> file = by_fd ? Find(sqe.fd) : nullptr;
  if (by_fd && file == nullptr) return -EBADF;
  int found = 0;
  bool found_futex = false;
  for (const auto& [number, request] : ring->requests) {
    if (request->hidden) continue;
    if (!any && (by_fd ? request->file != file : request->sqe.user_data != sqe.addr)) continue;
    if (!request->cancelled && request->queued && world_.Happens(Fault::kCancelLoses)) {
      request->cancelled_late = true;
      if (!all) return -EALREADY;
      continue;
    }
    // One that was cancelled before and has not ended yet is found once more, if it is no wait for a futex.
    Cancel(request.get());
    // Of those, a cancel tells how many it has found, or counts all together as one.
    const bool futex = WaitsForFutex(*request);
    if (!all) return futex ? 1 : 0;
    if (!futex || !std::exchange(found_futex, true)) ++found;
  }
  return all ? found : -ENOENT;
}

void Kernel::Cancel(Request* request) {
  request->cancelled = true;
  if (request->sqe.opcode == IORING_OP_TIMEOUT) StopTimeout(request);
  StopAdvance(request);
  if (WaitsForFutex(*request)) request->hidden = true;
  if (request->sqe.opcode == kevent::kOpFutexWait) futexes_.Remove(request);
  world_.Say(absl::StrCat("request ", request->number, " is cancelled"));
  Queue(request);
}

int Kernel::CancelPoll(Ring* ring, const io_uring_sqe& sqe) {
  // To change a poll (IORING_POLL_UPDATE_EVENTS) is not served.
  if (sqe.len != 0 || sqe.buf_index != 0 || sqe.off != 0) return -EINVAL;
  for (const auto& [number, request] : ring->requests) {
    if (!IsPoll(*request) || request->sqe.user_data != sqe.addr || request->hidden) continue;
    if (request->queued) return -EALREADY;  // it has been woken
    request->hidden = true;
    Cancel(request.get());
    return 0;
  }
  return -ENOENT;
}

}  // namespace evring::sim
