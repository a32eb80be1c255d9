#include <errno.h>
#include <poll.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "sim/kernel.h"

namespace evring::sim {

namespace {

constexpr unsigned kTasksMax = 20;  // deferred completions that one enter brings in, as Linux does

const char* OpName(uint8_t op) {
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
    default:
      return "request";
  }
}

}  // namespace

unsigned Kernel::Submit(Ring* ring, unsigned n) {
  unsigned taken = 0;
  for (; taken < n && ring->memory.submitted() != 0; ++taken) Issue(ring, ring->memory.Take());
  return taken;
}

void Kernel::Issue(Ring* ring, const io_uring_sqe& sqe) {
  const bool on_files = FileRequests::Serves(sqe);
  switch (sqe.opcode) {
    case IORING_OP_NOP:
      return Post(ring, sqe.user_data, 0, 0);
    case IORING_OP_ASYNC_CANCEL:
      return Post(ring, sqe.user_data, Cancel(ring, sqe), 0);
    case IORING_OP_RECV:
    case IORING_OP_SEND:
    case IORING_OP_SENDMSG:
    case IORING_OP_ACCEPT:
    case IORING_OP_CONNECT:
    case IORING_OP_READ:
      break;
    default:
      if (on_files) break;
      return Post(ring, sqe.user_data, -EINVAL, 0);
  }
  auto made = std::make_unique<Request>();
  Request* request = made.get();
  request->ring = ring;
  request->number = next_request_;
  request->sqe = sqe;
  // A regular file of the machine can be read as it is.
  if (!on_files && (sqe.fd >= kFirstDescriptor || sqe.opcode != IORING_OP_READ)) {
    request->file = Find(sqe.fd);
    if (request->file == nullptr) return Post(ring, sqe.user_data, -EBADF, 0);
    request->socket = dynamic_cast<sim::Socket*>(request->file.get());
  }
  ++next_request_;
  request->multishot = (sqe.opcode == IORING_OP_RECV && (sqe.ioprio & IORING_RECV_MULTISHOT) != 0) ||
                       (sqe.opcode == IORING_OP_ACCEPT && (sqe.ioprio & IORING_ACCEPT_MULTISHOT) != 0);
  if (sqe.opcode == IORING_OP_SEND) {
    request->pieces.push_back({reinterpret_cast<void*>(static_cast<uintptr_t>(sqe.addr)), sqe.len});
  } else if (sqe.opcode == IORING_OP_SENDMSG) {
    const auto* message = reinterpret_cast<const msghdr*>(static_cast<uintptr_t>(sqe.addr));
    request->pieces.assign(message->msg_iov, message->msg_iov + message->msg_iovlen);
  }
  ring->requests.emplace(request->number, std::move(made));
  world_.Say(absl::StrCat("ring ", ring->thread->index, " ", OpName(sqe.opcode), request->multishot ? " multishot" : "",
                          " fd ", sqe.fd, " is request ", request->number));
  if (world_.Happens(Fault::kDeferred)) return QueueAfter(*request, world_.network.Between(0, 100'000));
  Try(request);
}

void Kernel::Queue(Request* request) {
  if (request->queued) return;
  request->queued = true;
  request->ring->tasks.push_back(request);
  request->ring->memory.ShowFlags(true);
  turns_.Wake(request->ring->thread);
}

void Kernel::QueueAfter(const Request& request, int64_t ns) {
  // By numbers: the request, or its ring, may be gone by then.
  world_.After(ns, [this, fd = request.ring->number, number = request.number] {
    const auto ring = rings_.find(fd);
    if (ring == rings_.end()) return;
    const auto found = ring->second->requests.find(number);
    if (found != ring->second->requests.end()) Queue(found->second.get());
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
    } else if (request->multishot && request->waits && !request->cancelled_late &&
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
    Post(ring, request->sqe.user_data, answer.result, answer.flags | (more ? IORING_CQE_F_MORE : 0u));
    if (!more) {
      const std::shared_ptr<OpenFile> file = request->file;
      ring->Forget(request);
      CloseUnused(file);
      return;
    }
    if (answer.wait) {
      // A receive that left no bytes behind goes back to waiting, so it asks for no buffer in vain; an end that is
      // there already is found from there.
      Await(request);
      if ((request->file->Poll() & WaitedFor(*request)) != 0) Queue(request);
      return;
    }
  }
}

void Kernel::Await(Request* request) {
  if (std::exchange(request->waits, true)) return;
  request->ring->waiting[request->file.get()].push_back(request);
}

short Kernel::WaitedFor(const Request& request) {
  switch (request.sqe.opcode) {
    case IORING_OP_CONNECT:
    case IORING_OP_SEND:
    case IORING_OP_SENDMSG:
      return POLLOUT | POLLERR | POLLHUP;
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
  for (const auto& [number, request] : ring->requests) {
    if (!any && (by_fd ? request->file != file : request->sqe.user_data != sqe.addr)) continue;
    if (!request->cancelled && request->queued && world_.Happens(Fault::kCancelLoses)) {
      request->cancelled_late = true;
      if (!all) return -EALREADY;
      continue;
    }
    // One that was cancelled before and has not ended yet is found once more.
    request->cancelled = true;
    world_.Say(absl::StrCat("request ", number, " is cancelled"));
    Queue(request.get());
    ++found;
    if (!all) return 0;
  }
  return all ? found : -ENOENT;
}

}  // namespace evring::sim
