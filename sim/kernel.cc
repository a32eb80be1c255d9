#include "sim/kernel.h"

#include <errno.h>
#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <unordered_map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kevent/check.h"
#include "kevent/sanitizer.h"

namespace evring::sim {

namespace {

constexpr int kFirstRing = 900'000;
constexpr uint64_t kDiskBytes = uint64_t{1} << 30;
constexpr int64_t kCallNs = 1'000;  // about what a call of the kernel takes
constexpr unsigned kTasksMax = 20;  // deferred completions that one enter brings in, as Linux does
constexpr uint64_t kYieldOneIn = 4;
constexpr size_t kSegmentMax = 65'536;  // that a send puts on the link at once

constexpr int kReceiveErrors[] = {ECONNRESET, ETIMEDOUT, ENOMEM};
constexpr int kSendErrors[] = {ECONNRESET, EPIPE, ETIMEDOUT, ENOBUFS, ENOMEM};
constexpr int kAcceptErrors[] = {EMFILE, ENFILE, ECONNABORTED, ENOBUFS, ENOMEM};

// The kernel writes where it was told to, whoever else may not touch the memory now.
#if defined(__clang__) || defined(__GNUC__)
__attribute__((no_sanitize("address"), no_sanitize("thread"), noinline))
#endif
void CopyToUser(uint64_t address, const std::byte* data, size_t n) {
  volatile unsigned char* to = reinterpret_cast<unsigned char*>(static_cast<uintptr_t>(address));
  for (size_t i = 0; i < n; ++i) to[i] = static_cast<unsigned char>(data[i]);
}

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

bool IsTransient(int error) { return error == ENOMEM || error == ENOBUFS; }

}  // namespace

struct Kernel::Thread {
  enum class State { kComing, kReady, kWaiting, kRunning };

  int index = 0;
  Ring* ring = nullptr;
  State state = State::kComing;
  int64_t deadline = kNever;
  std::condition_variable turn;
};

struct Kernel::Ring {
  Ring(unsigned sq, unsigned cq, int number) : number(number), memory(sq, cq, number) {}

  const int number;
  RingMemory memory;
  Thread* thread = nullptr;
  std::map<uint64_t, std::unique_ptr<Request>> requests;  // by number
  std::vector<Request*> tasks;
  std::unordered_map<const sim::Socket*, std::vector<Request*>> waiting;

  void Forget(Request* request) {
    if (request->queued) std::erase(tasks, request);
    if (const auto found = waiting.find(request->socket.get()); found != waiting.end()) {
      std::erase(found->second, request);
      if (found->second.empty()) waiting.erase(found);
    }
    requests.erase(request->number);
  }
};

namespace {

thread_local void* this_thread = nullptr;  // Kernel::Thread of a worker, after Begin()

}  // namespace

Kernel::Kernel(const KernelOptions& options)
    : options_(options),
      world_(options.seed, options.faults, options.choice, options.log_lines, options.journal),
      network_(&world_, options.socket_buffer_bytes),
      own_files_(kDiskBytes),
      files_(options.files != nullptr ? options.files : &own_files_),
      file_requests_(&world_, files_) {
  EVRING_CHECK(options.workers > 0, "a simulation has a worker");
  for (int i = 0; i < options.workers; ++i) {
    threads_.push_back(std::make_unique<Thread>());
    threads_.back()->index = i;
  }
}

Kernel::~Kernel() { EVRING_CHECK(rings_.empty(), "the runtime ends before its kernel"); }

// --- Turns
// -------------------------------------------------------------------------------------------------------------

void Kernel::Fail(const std::string& why) {
  std::string injected;
  for (const Injection& injection : world_.faults.injected()) {
    absl::StrAppend(&injected, " ", injection.number, ":", FaultName(injection.fault));
  }
  std::fprintf(stderr, "simulation failed: %s\nseed %llu, %d workers, %llu calls\nfaults:%s\nlog, newest last:\n%s",
               why.c_str(), static_cast<unsigned long long>(options_.seed), options_.workers,
               static_cast<unsigned long long>(calls_), injected.c_str(), world_.log.Newest().c_str());
  std::abort();
}

void Kernel::Count() {
  if (++calls_ > options_.calls_max && phase_ == Phase::kTurns) Fail("it goes on for ever");
  world_.Pass(kCallNs);
  if (calls_ == options_.crash_at_call) {
    world_.Say("power is lost");
    after_crash_ = AfterCrash();
  }
}

std::unique_ptr<FileSystem> Kernel::AfterCrash() const {
  Random random(options_.seed, /*stream=*/5);
  return files_->AfterCrash(&random);
}

std::unique_ptr<FileSystem> Kernel::TakeAfterCrash() {
  Lock lock(mutex_);
  return after_crash_ != nullptr ? std::move(after_crash_) : AfterCrash();
}

void Kernel::CountRound() {
  if (++rounds_ > options_.calls_max) Fail("it goes on for ever");
}

bool Kernel::CanRun(const Thread& thread) const {
  switch (thread.state) {
    case Thread::State::kReady:
      return true;
    case Thread::State::kWaiting:
      return thread.ring->memory.ready() != 0 || thread.ring->memory.overflown() || !thread.ring->tasks.empty() ||
             thread.deadline <= world_.now();
    default:
      return false;
  }
}

Kernel::Thread* Kernel::PickNext() {
  for (;;) {
    std::vector<Thread*> can;
    int64_t next = world_.next();
    for (const auto& thread : threads_) {
      if (CanRun(*thread)) can.push_back(thread.get());
      if (thread->state == Thread::State::kWaiting) next = std::min(next, thread->deadline);
    }
    if (!can.empty()) return can[can.size() == 1 ? 0 : world_.random.Below(can.size())];
    if (next == kNever) Fail("every worker waits, and nothing will ever happen");
    CountRound();
    world_.MoveTo(next);
  }
}

void Kernel::PassTurn(Lock* lock, Thread* self) {
  Thread* next = PickNext();
  next->state = Thread::State::kRunning;
  if (next == self) return;
  world_.Say(absl::StrCat("worker ", next->index, " runs"));
  next->turn.notify_one();
  self->turn.wait(*lock, [&] { return self->state == Thread::State::kRunning; });
}

void Kernel::MaybeYield(Lock* lock, Thread* self) {
  if (phase_ != Phase::kTurns || threads_.size() == 1 || !world_.random.OneIn(kYieldOneIn)) return;
  self->state = Thread::State::kReady;
  PassTurn(lock, self);
}

void Kernel::Wait(Lock* lock, Thread* self, int64_t deadline) {
  if (phase_ == Phase::kTurns) {
    self->state = Thread::State::kWaiting;
    self->deadline = deadline;
    PassTurn(lock, self);
    return;
  }
  if (const int64_t next = std::min(world_.next(), deadline); next != kNever) {
    // Events may follow one another for ever: others must be able to send a message meanwhile.
    lock->unlock();
    std::this_thread::sleep_for(std::chrono::microseconds(20));
    lock->lock();
    if (self->ring->memory.ready() == 0 && self->ring->tasks.empty()) world_.MoveTo(next);
    return;
  }
  Ring* ring = self->ring;
  self->turn.wait(*lock, [ring] { return ring->memory.ready() != 0 || !ring->tasks.empty(); });
}

void Kernel::Begin(io_uring* ring) {
  Lock lock(mutex_);
  Thread* self = RingOf(ring)->thread;
  this_thread = self;
  if (phase_ == Phase::kFree) return;
  self->state = Thread::State::kReady;
  threads_.front()->turn.notify_all();
  for (const auto& thread : threads_) thread->turn.notify_all();
  self->turn.wait(lock, [&] { return self->state == Thread::State::kRunning; });
}

void Kernel::Start() {
  Lock lock(mutex_);
  EVRING_CHECK(phase_ == Phase::kMaking, "a simulation is started once");
  for (const auto& thread : threads_) {
    thread->turn.wait(lock, [&] { return thread->state == Thread::State::kReady; });
  }
  phase_ = Phase::kTurns;
  Thread* first = PickNext();
  first->state = Thread::State::kRunning;
  first->turn.notify_all();
}

void Kernel::Finish() {
  Lock lock(mutex_);
  world_.faults.Stop();
  phase_ = Phase::kFree;
  for (const auto& thread : threads_) {
    thread->state = Thread::State::kRunning;
    thread->turn.notify_all();
  }
}

void Kernel::Yield() {
  auto* self = static_cast<Thread*>(this_thread);
  if (self == nullptr) return;
  Lock lock(mutex_);
  Count();
  world_.MoveTo(world_.now());
  MaybeYield(&lock, self);
}

int64_t Kernel::NowNs() {
  Lock lock(mutex_);
  return world_.now();
}

// --- Rings
// -------------------------------------------------------------------------------------------------------------

absl::Status Kernel::Setup(const kevent::RingOptions& options, io_uring* ring, kevent::Features* features) {
  if (options.sq_entries == 0 || options.cq_entries < options.sq_entries) {
    return absl::InvalidArgumentError(absl::StrCat("RingOptions: sq_entries ", options.sq_entries, ", cq_entries ",
                                                   options.cq_entries, ": 1 <= sq_entries <= cq_entries"));
  }
  Lock lock(mutex_);
  if (options.owner < 0 || options.owner >= options_.workers) {
    return absl::InvalidArgumentError(absl::StrCat("the simulation was made for ", options_.workers, " workers"));
  }
  const int number = kFirstRing + options.owner;
  if (rings_.contains(number)) return absl::InvalidArgumentError("a worker has one simulated ring");
  auto made = std::make_unique<Ring>(std::bit_ceil(std::min(options.sq_entries, 32768u)),
                                     std::bit_ceil(std::min(options.cq_entries, 65536u)), number);
  made->thread = threads_[static_cast<size_t>(options.owner)].get();
  made->thread->ring = made.get();
  made->memory.Map(ring);
  rings_[number] = std::move(made);
  // Messages replace the eventfd, which would be a real one.
  *features = (kevent::Features::All().Without(kevent::Feature::kRegisteredRing) & options.allowed)
                  .With(kevent::Feature::kSyncMessage);
  return absl::OkStatus();
}

void Kernel::Teardown(io_uring* ring) {
  Lock lock(mutex_);
  rings_.erase(ring->ring_fd);
}

Kernel::Ring* Kernel::RingOf(const io_uring* ring) {
  const auto found = rings_.find(ring->ring_fd);
  EVRING_CHECK(found != rings_.end(), "a ring of this simulation");
  return found->second.get();
}

int Kernel::Register(io_uring* ring, unsigned opcode, void* arg, unsigned nr_args) {
  Lock lock(mutex_);
  RingMemory& memory = RingOf(ring)->memory;
  const auto* reg = static_cast<const io_uring_buf_reg*>(arg);
  switch (opcode) {
    case IORING_REGISTER_PBUF_RING:
      if (nr_args != 1 || reg->ring_entries == 0 || !std::has_single_bit(reg->ring_entries)) return -EINVAL;
      if (reg->ring_entries > 32768) return -EINVAL;
      if (memory.buffers.contains(reg->bgid)) return -EEXIST;
      memory.buffers[reg->bgid] = BufferGroup{
          reinterpret_cast<io_uring_buf_ring*>(static_cast<uintptr_t>(reg->ring_addr)), reg->ring_entries, 0};
      return 0;
    case IORING_UNREGISTER_PBUF_RING:
      return memory.buffers.erase(reg->bgid) == 1 ? 0 : -ENOENT;
    default:
      return -EINVAL;
  }
}

std::vector<std::multiset<uint16_t>> Kernel::BuffersHeld() const {
  Lock lock(mutex_);
  std::vector<std::multiset<uint16_t>> held;
  for (const auto& [number, ring] : rings_) {
    std::multiset<uint16_t>& ids = held.emplace_back();
    for (const auto& [id, group] : ring->memory.buffers) {
      const uint16_t tail = io_uring_smp_load_acquire(&group.entries->tail);
      for (uint16_t i = group.head; i != tail; ++i) ids.insert(group.entries->bufs[i & (group.count - 1)].bid);
    }
  }
  return held;
}

int Kernel::Message(int target_fd, uint64_t user_data) {
  Lock lock(mutex_);
  Count();
  const auto found = rings_.find(target_fd);
  if (found == rings_.end()) return -EBADF;
  Ring* ring = found->second.get();
  if (ring->memory.full()) return -EOVERFLOW;
  if (phase_ == Phase::kTurns && world_.Happens(Fault::kLateWake)) {
    world_.After(world_.network.Between(1'000, 1'000'000), [this, target_fd, user_data] {
      const auto still = rings_.find(target_fd);
      if (still != rings_.end()) Post(still->second.get(), user_data, 0, 0);
    });
  } else {
    Post(ring, user_data, 0, 0);
  }
  if (auto* self = static_cast<Thread*>(this_thread); self != nullptr) MaybeYield(&lock, self);
  return 0;
}

int Kernel::Enter(io_uring* view, kevent::Features, unsigned to_submit, unsigned min_complete, unsigned flags,
                  const kevent::WaitArgs& wait) {
  Lock lock(mutex_);
  Ring* ring = RingOf(view);
  Thread* self = ring->thread;
  Count();
  MaybeYield(&lock, self);
  world_.MoveTo(world_.now());
  if (phase_ == Phase::kTurns && to_submit != 0 && world_.Happens(Fault::kEnterRefused)) {
    return world_.faults.Below(2) == 0 ? -EAGAIN : -EBUSY;
  }
  const unsigned taken = Submit(ring, to_submit);
  int rc = 0;
  if ((flags & IORING_ENTER_GETEVENTS) != 0) {
    RunTasks(ring);
    ring->memory.Flush();
    while (ring->memory.ready() < min_complete) {
      if (wait.deadline_ns <= world_.now()) {
        rc = -ETIME;
        break;
      }
      if (phase_ == Phase::kTurns && world_.Happens(Fault::kInterrupted)) {
        rc = -EINTR;
        break;
      }
      Wait(&lock, self, wait.deadline_ns);
      RunTasks(ring);
      ring->memory.Flush();
    }
  }
  ring->memory.ShowFlags(!ring->tasks.empty());
  return taken != 0 ? static_cast<int>(taken) : rc;
}

void Kernel::Post(Ring* ring, uint64_t user_data, int32_t result, uint32_t flags) {
  ring->memory.Post(Completion{user_data, result, flags});
  ring->memory.ShowFlags(!ring->tasks.empty());
  if (phase_ != Phase::kTurns) ring->thread->turn.notify_all();
}

// --- Requests
// ----------------------------------------------------------------------------------------------------------

unsigned Kernel::Submit(Ring* ring, unsigned n) {
  unsigned taken = 0;
  for (; taken < n && ring->memory.submitted() != 0; ++taken) Issue(ring, ring->memory.Take());
  return taken;
}

void Kernel::Issue(Ring* ring, const io_uring_sqe& sqe) {
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
      if (FileRequests::Serves(sqe)) break;
      return Post(ring, sqe.user_data, -EINVAL, 0);
  }
  const bool file = FileRequests::Serves(sqe);
  const bool simulated = !file && sqe.fd >= kFirstDescriptor;
  if (!file && !simulated && sqe.opcode != IORING_OP_READ) return Post(ring, sqe.user_data, -EBADF, 0);
  auto made = std::make_unique<Request>();
  Request* request = made.get();
  request->ring = ring;
  request->number = next_request_++;
  request->sqe = sqe;
  if (simulated) {
    request->socket = Find(sqe.fd);
    if (request->socket == nullptr) return Post(ring, sqe.user_data, -EBADF, 0);
  }
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
  if (phase_ == Phase::kTurns && world_.Happens(Fault::kDeferred)) {
    world_.After(world_.network.Between(0, 100'000), [this, fd = ring->number, number = request->number] {
      const auto still = rings_.find(fd);
      if (still == rings_.end()) return;
      const auto found = still->second->requests.find(number);
      if (found != still->second->requests.end()) Queue(found->second.get());
    });
    return;
  }
  Try(request);
}

void Kernel::Watch(const std::shared_ptr<sim::Socket>& socket) {
  socket->notify = [this, key = socket.get()](short events) {
    for (const auto& [number, ring] : rings_) {
      const auto found = ring->waiting.find(key);
      if (found == ring->waiting.end()) continue;
      for (Request* request : found->second) {
        if (events == 0 || (events & WaitedFor(*request)) != 0) Queue(request);
      }
    }
  };
}

void Kernel::Queue(Request* request) {
  if (request->queued) return;
  request->queued = true;
  request->ring->tasks.push_back(request);
  request->ring->memory.ShowFlags(true);
  if (phase_ != Phase::kTurns) request->ring->thread->turn.notify_all();
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
               (request->socket->Poll() & WaitedFor(*request)) == 0) {
      return;  // woken for nothing: a multishot looks before it tries, others just try
    } else {
      answer = Attempt(request);
      // A cancel that loses, loses to this attempt and to no other: what waits on, and a multishot, it ends.
      request->cancelled = request->cancelled_late;
      if (!answer.complete && request->cancelled) continue;
    }
    if (!answer.complete) return Await(request);
    const bool more =
        answer.again && !ring->memory.full() && !(phase_ == Phase::kTurns && world_.Happens(Fault::kMultishotEnds));
    world_.Say(absl::StrCat("request ", request->number, " ", OpName(request->sqe.opcode), " answers ", answer.result,
                            more ? ", more follow" : ""));
    Post(ring, request->sqe.user_data, answer.result, answer.flags | (more ? IORING_CQE_F_MORE : 0u));
    if (!more) {
      const std::shared_ptr<sim::Socket> socket = request->socket;
      ring->Forget(request);
      CloseUnused(socket);
      return;
    }
    if (answer.wait) {
      // A receive that left no bytes behind goes back to waiting, so it asks for no buffer in vain; an end that is
      // there already is found from there.
      Await(request);
      if ((request->socket->Poll() & WaitedFor(*request)) != 0) Queue(request);
      return;
    }
  }
}

void Kernel::Await(Request* request) {
  if (std::exchange(request->waits, true)) return;
  request->ring->waiting[request->socket.get()].push_back(request);
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

Kernel::Answer Kernel::Attempt(Request* request) {
  if (FileRequests::Serves(request->sqe)) {
    return {.complete = true, .result = file_requests_.Perform(request->sqe)};
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
    default:
      return request->socket != nullptr ? AttemptReceive(request) : AttemptRead(request);
  }
}

Kernel::Answer Kernel::AttemptReceive(Request* request) {
  const io_uring_sqe& sqe = request->sqe;
  sim::Socket* socket = request->socket.get();
  uint64_t address = sqe.addr;
  size_t size = sqe.len;
  BufferGroup* group = nullptr;
  uint16_t buffer = 0;
  if ((sqe.flags & IOSQE_BUFFER_SELECT) != 0) {
    const auto found = request->ring->memory.buffers.find(sqe.buf_group);
    const bool none = found == request->ring->memory.buffers.end() || found->second.empty();
    if (none || (phase_ == Phase::kTurns && world_.Happens(Fault::kNoBuffers))) {
      return {.complete = true, .result = -ENOBUFS};
    }
    group = &found->second;
    address = group->front().addr;
    size = size == 0 ? group->front().len : std::min<size_t>(size, group->front().len);
    buffer = group->front().bid;
  }
  if (phase_ == Phase::kTurns && (socket->Poll() & POLLIN) != 0 && world_.Happens(Fault::kReceiveError)) {
    const int error = world_.faults.OneOf(kReceiveErrors);
    if (!IsTransient(error)) {
      socket->Break(error);
      static_cast<void>(socket->TakeError());
    }
    return {.complete = true, .result = -error};
  }
  std::vector<std::byte> data(size);
  const int n = socket->Receive(data.data(), size, phase_ == Phase::kTurns);
  if (n == -EAGAIN) return {};
  uint32_t flags = socket->has_more() ? IORING_CQE_F_SOCK_NONEMPTY : 0;
  if (sqe.opcode != IORING_OP_RECV || n < 0) flags = 0;
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

Kernel::Answer Kernel::AttemptSend(Request* request) {
  const bool all = (request->sqe.msg_flags & MSG_WAITALL) != 0;
  sim::Socket* socket = request->socket.get();
  if (phase_ == Phase::kTurns && world_.Happens(Fault::kSendError)) {
    const int error = world_.faults.OneOf(kSendErrors);
    if (!IsTransient(error)) {
      socket->Break(error);
      static_cast<void>(socket->TakeError());
    }
    if (request->done != 0) return {.complete = true, .result = static_cast<int32_t>(request->done)};
    return {.complete = true, .result = -error};
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
    const int n = socket->Send(data.data(), data.size(), !all && phase_ == Phase::kTurns);
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

Kernel::Answer Kernel::AttemptAccept(Request* request) {
  sim::Socket* socket = request->socket.get();
  if (socket->accepts_nothing()) {
    // A Unix listener that was shut answers EAGAIN to who does not block: a multishot takes it at its word and sleeps.
    if (socket->state() == sim::Socket::State::kListening && request->multishot) return {};
    return {.complete = true, .result = -EINVAL};
  }
  if (static_cast<int>(descriptors_.size()) >= options_.descriptors_max) return {.complete = true, .result = -EMFILE};
  if (!socket->can_accept()) return {};
  if (phase_ == Phase::kTurns && world_.Happens(Fault::kAcceptError)) {
    const int error = world_.faults.OneOf(kAcceptErrors);
    if (error == ECONNABORTED) {
      const std::shared_ptr<sim::Socket> aborted = socket->Accept();
      aborted->set_resets_on_close(true);
      aborted->Close();
    }
    return {.complete = true, .result = -error};
  }
  const int fd = Open(socket->Accept());
  if (request->sqe.addr != 0 && request->sqe.addr2 != 0) {
    const Address& peer = Find(fd)->peer();
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

Kernel::Answer Kernel::AttemptConnect(Request* request) {
  sim::Socket* socket = request->socket.get();
  if (!request->connecting) {
    const Address address(reinterpret_cast<const sockaddr*>(static_cast<uintptr_t>(request->sqe.addr)),
                          static_cast<socklen_t>(request->sqe.off));
    const int rc = socket->Connect(address);
    if (rc == -EAGAIN) {
      // The backlog is full: a Unix socket waits for a place.
      world_.After(100'000, [this, fd = request->ring->number, number = request->number] {
        const auto still = rings_.find(fd);
        if (still == rings_.end()) return;
        const auto found = still->second->requests.find(number);
        if (found != still->second->requests.end()) Queue(found->second.get());
      });
      return {};
    }
    if (rc < 0) return {.complete = true, .result = rc};
    request->connecting = true;
  }
  const int rc = socket->ConnectResult();
  if (rc == -EAGAIN) return {};
  return {.complete = true, .result = rc};
}

// Regular files are those of the machine: they do not wait, and hold the same bytes in each run.
Kernel::Answer Kernel::AttemptRead(Request* request) {
  const io_uring_sqe& sqe = request->sqe;
  std::vector<std::byte> data(sqe.len);
  const ssize_t n = pread(sqe.fd, data.data(), data.size(), static_cast<off_t>(sqe.off));
  if (n < 0) return {.complete = true, .result = -errno};
  CopyToUser(sqe.addr, data.data(), static_cast<size_t>(n));
  return {.complete = true, .result = static_cast<int32_t>(n)};
}

int Kernel::Cancel(Ring* ring, const io_uring_sqe& sqe) {
  const unsigned flags = sqe.cancel_flags;
  const bool any = (flags & IORING_ASYNC_CANCEL_ANY) != 0;
  const bool all = any || (flags & IORING_ASYNC_CANCEL_ALL) != 0;
  const bool by_fd = !any && (flags & IORING_ASYNC_CANCEL_FD) != 0;
  const std::shared_ptr<sim::Socket> socket = by_fd ? Find(sqe.fd) : nullptr;
  if (by_fd && socket == nullptr) return -EBADF;
  int found = 0;
  for (const auto& [number, request] : ring->requests) {
    if (!any && (by_fd ? request->socket != socket : request->sqe.user_data != sqe.addr)) continue;
    if (!request->cancelled && request->queued && phase_ == Phase::kTurns && world_.Happens(Fault::kCancelLoses)) {
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

// --- Descriptors
// -------------------------------------------------------------------------------------------------------

int Kernel::Open(std::shared_ptr<sim::Socket> socket) {
  if (static_cast<int>(descriptors_.size()) >= options_.descriptors_max) return -EMFILE;
  int fd = kFirstDescriptor;
  for (const auto& [used, other] : descriptors_) {
    if (used != fd) break;
    ++fd;
  }
  Watch(socket);
  descriptors_[fd] = std::move(socket);
  return fd;
}

std::shared_ptr<sim::Socket> Kernel::Find(int fd) const {
  const auto found = descriptors_.find(fd);
  return found == descriptors_.end() ? nullptr : found->second;
}

int Kernel::Socket(int family, int type, int) {
  Lock lock(mutex_);
  if (family != AF_INET && family != AF_INET6 && family != AF_UNIX) return -EAFNOSUPPORT;
  if ((type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) != SOCK_STREAM) return -ESOCKTNOSUPPORT;
  return Open(std::make_shared<sim::Socket>(&network_, family));
}

int Kernel::SocketPair(int family, int type, int, int fds[2]) {
  Lock lock(mutex_);
  if (family != AF_UNIX) return -EOPNOTSUPP;
  if ((type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) != SOCK_STREAM) return -ESOCKTNOSUPPORT;
  auto a = std::make_shared<sim::Socket>(&network_, family);
  auto b = std::make_shared<sim::Socket>(&network_, family);
  sim::Socket::Join(a, b, options_.socket_buffer_bytes);
  fds[0] = Open(a);
  if (fds[0] < 0) return fds[0];
  fds[1] = Open(b);
  if (fds[1] >= 0) return 0;
  descriptors_.erase(fds[0]);
  return fds[1];
}

int Kernel::Close(int fd) {
  if (fd < kFirstDescriptor) return Descriptors::Close(fd);
  Lock lock(mutex_);
  if (fd >= kFirstFile) return file_requests_.Close(fd);
  const auto found = descriptors_.find(fd);
  if (found == descriptors_.end()) return -EBADF;
  const std::shared_ptr<sim::Socket> socket = std::move(found->second);
  descriptors_.erase(found);
  world_.Say(absl::StrCat("fd ", fd, " is closed"));
  // A request that is in flight keeps the file open, as in the kernel.
  if (InUse(socket.get())) {
    closing_.push_back(socket);
  } else {
    socket->Close();
  }
  return 0;
}

void Kernel::CloseUnused(const std::shared_ptr<sim::Socket>& socket) {
  const auto closing = std::find(closing_.begin(), closing_.end(), socket);
  if (closing == closing_.end() || InUse(socket.get())) return;
  closing_.erase(closing);
  socket->Close();
}

bool Kernel::InUse(const sim::Socket* socket) const {
  for (const auto& [number, ring] : rings_) {
    for (const auto& [id, request] : ring->requests) {
      if (request->socket.get() == socket) return true;
    }
  }
  return false;
}

int Kernel::Remove(const char* path) {
  Lock lock(mutex_);
  return file_requests_.Remove(path);
}

int Kernel::Bind(int fd, const sockaddr* address, socklen_t size) {
  Lock lock(mutex_);
  const std::shared_ptr<sim::Socket> socket = Find(fd);
  return socket == nullptr ? -EBADF : socket->Bind(Address(address, size));
}

int Kernel::Listen(int fd, int backlog) {
  Lock lock(mutex_);
  const std::shared_ptr<sim::Socket> socket = Find(fd);
  return socket == nullptr ? -EBADF : socket->Listen(backlog);
}

int Kernel::Shutdown(int fd, int how) {
  Lock lock(mutex_);
  const std::shared_ptr<sim::Socket> socket = Find(fd);
  return socket == nullptr ? -EBADF : socket->Shutdown(how);
}

namespace {

void CopyAddress(const Address& from, int family, sockaddr* to, socklen_t* size) {
  sockaddr unnamed = {};
  unnamed.sa_family = static_cast<sa_family_t>(family);
  const std::string bytes =
      from.empty() ? std::string(reinterpret_cast<const char*>(&unnamed), sizeof(sa_family_t)) : from.bytes();
  std::memcpy(to, bytes.data(), std::min<size_t>(*size, bytes.size()));
  *size = static_cast<socklen_t>(bytes.size());
}

}  // namespace

int Kernel::GetSockName(int fd, sockaddr* address, socklen_t* size) {
  Lock lock(mutex_);
  const std::shared_ptr<sim::Socket> socket = Find(fd);
  if (socket == nullptr) return -EBADF;
  CopyAddress(socket->local(), socket->family(), address, size);
  return 0;
}

int Kernel::GetPeerName(int fd, sockaddr* address, socklen_t* size) {
  Lock lock(mutex_);
  const std::shared_ptr<sim::Socket> socket = Find(fd);
  if (socket == nullptr) return -EBADF;
  if (socket->state() != sim::Socket::State::kConnected) return -ENOTCONN;
  CopyAddress(socket->peer(), socket->family(), address, size);
  return 0;
}

int Kernel::SetSockOpt(int fd, int level, int option, const void* value, socklen_t size) {
  Lock lock(mutex_);
  const std::shared_ptr<sim::Socket> socket = Find(fd);
  if (socket == nullptr) return -EBADF;
  if (level == SOL_SOCKET && option == SO_LINGER) {
    if (size < sizeof(linger)) return -EINVAL;
    const auto* how = static_cast<const linger*>(value);
    socket->set_resets_on_close(how->l_onoff != 0 && how->l_linger == 0);
    return 0;
  }
  if (size < sizeof(int)) return -EINVAL;
  std::memcpy(&socket->options()[{level, option}], value, sizeof(int));
  return 0;
}

int Kernel::GetSockOpt(int fd, int level, int option, void* value, socklen_t* size) {
  Lock lock(mutex_);
  const std::shared_ptr<sim::Socket> socket = Find(fd);
  if (socket == nullptr) return -EBADF;
  if (*size < sizeof(int)) return -EINVAL;
  const int answer =
      level == SOL_SOCKET && option == SO_ERROR ? socket->TakeError() : socket->options()[{level, option}];
  std::memcpy(value, &answer, sizeof(answer));
  *size = sizeof(answer);
  return 0;
}

int Kernel::Undelivered(int fd) {
  Lock lock(mutex_);
  const std::shared_ptr<sim::Socket> socket = Find(fd);
  return socket == nullptr ? -EBADF : static_cast<int>(socket->undelivered());
}

int Kernel::PollNow(int fd, short events) {
  Lock lock(mutex_);
  const std::shared_ptr<sim::Socket> socket = Find(fd);
  if (socket == nullptr) return -EBADF;
  return socket->Poll() & (events | POLLERR | POLLHUP);
}

}  // namespace evring::sim
