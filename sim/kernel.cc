#include "sim/kernel.h"

#include <errno.h>
#include <time.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kevent/check.h"
#include "kevent/opcodes.h"

namespace evring::sim {

namespace {

constexpr int kFirstRing = 900'000;
constexpr uint64_t kDiskBytes = uint64_t{1} << 30;
constexpr int64_t kJumpMinNs = 1'000'000;
constexpr uint64_t kJumpDoublings = 18;  // up to 131 s
constexpr int64_t kLookNs = 50;          // about what a look at the clock takes: who waits by looking sees it move
constexpr int64_t kCallNs = 1'000;       // about what a call of the kernel takes

constexpr int64_t kDayNs = 86'400'000'000'000;
constexpr int64_t kClockOffsetNs = 20'454 * kDayNs;  // the machine was started on the first of January 2026
constexpr int64_t kClockStepNs = 10'000'000'000;     // by which CLOCK_REALTIME is set, at most

}  // namespace

Kernel::Kernel(const KernelOptions& options)
    : options_(options),
      world_(options.seed, options.faults, options.choice, options.log_lines, options.journal),
      network_(&world_, options.socket_buffer_bytes),
      files_(options.files != nullptr ? options.files : std::make_shared<FileSystem>(kDiskBytes)),
      file_requests_(&world_, files_.get(), options.inotify),
      clock_offset_ns_(kClockOffsetNs),
      turns_(&world_, options.workers, options.calls_max, [this](const std::string& why) { Fail(why); }) {}

Kernel::~Kernel() { EVRING_CHECK(rings_.empty(), "the runtime ends before its kernel"); }

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
  if (++calls_ > options_.calls_max && turns_.taken()) Fail("it goes on for ever");
  world_.Pass(kCallNs);
  if (!world_.paused() && world_.Happens(Fault::kClockJump)) {
    // From a millisecond to some minutes, each doubling as likely. What was to happen meanwhile happens afterwards.
    const int64_t ns = kJumpMinNs << world_.faults.Below(kJumpDoublings);
    world_.Say(absl::StrCat("the clock jumps by ", ns / kJumpMinNs, " ms"));
    world_.Pass(ns);
  }
  if (!timed_by_clock_.empty() && !world_.paused() && world_.Happens(Fault::kClockSet)) {
    MoveClock(static_cast<int64_t>(world_.faults.Below(2 * kClockStepNs)) - kClockStepNs);
  }
  if (calls_ == options_.crash_at_call) {
    world_.Say(options_.crash == Crash::kPower ? "power is lost" : "the process crashes");
    after_crash_ = AfterCrash();
  }
}

std::unique_ptr<FileSystem> Kernel::AfterCrash() const {
  if (options_.crash == Crash::kProcess) return files_->AfterProcessCrash();
  Random random(options_.seed, /*stream=*/5);
  return files_->AfterCrash(&random);
}

std::unique_ptr<FileSystem> Kernel::TakeAfterCrash() {
  Lock lock(mutex_);
  return after_crash_ != nullptr ? std::move(after_crash_) : AfterCrash();
}

// --- Turns

void Kernel::Begin(io_uring* ring) {
  Lock lock(mutex_);
  turns_.Begin(&lock, RingOf(ring)->thread);
}

void Kernel::Start() {
  Lock lock(mutex_);
  world_.faults.Start();
  turns_.Start(&lock);
}

void Kernel::Finish() {
  Lock lock(mutex_);
  world_.faults.Stop();
  for (const auto& [number, ring] : rings_) {
    for (const auto& [id, request] : ring->requests) request->asked.reset();  // no stop takes it back any more
  }
  world_.LetGo();
  turns_.Finish();
}

void Kernel::LetTimePass() {
  Lock lock(mutex_);
  turns_.LetTimePass();
}

void Kernel::Yield() {
  Turns::Thread* self = Turns::Current();
  if (self == nullptr) return;
  Lock lock(mutex_);
  Count();
  world_.MoveTo(world_.now());
  turns_.MaybeYield(&lock, self);
}

int64_t Kernel::NowNs() {
  Lock lock(mutex_);
  if (turns_.taken()) world_.Pass(kLookNs);  // else several threads look, in no order of the seed's
  // Who waits by looking does so for ever while time is paused.
  looks_ = world_.now() == looked_at_ns_ ? looks_ + 1 : 0;
  looked_at_ns_ = world_.now();
  if (world_.paused() && looks_ > options_.calls_max) Fail("it looks at the time for ever, which is paused");
  return world_.now();
}

int64_t Kernel::ClockNs(int clock) {
  const int64_t now = NowNs();
  Lock lock(mutex_);
  return clock == CLOCK_REALTIME ? now + clock_offset_ns_ : now;
}

void Kernel::SetClock(int64_t ns) {
  Lock lock(mutex_);
  MoveClock(ns - clock_offset_ns_ - world_.now());
}

// --- Rings

absl::Status Kernel::Setup(const kevent::RingOptions& options, io_uring* ring, kevent::Features* features) {
  if (absl::Status status = kevent::CheckRingOptions(options); !status.ok()) return status;
  Lock lock(mutex_);
  if (options.owner < 0 || options.owner >= options_.workers) {
    return absl::InvalidArgumentError(absl::StrCat("the simulation was made for ", options_.workers, " workers"));
  }
  int number = kFirstRing + options.owner;
  if (options.shared) {
    for (number = kFirstRing + options_.workers; rings_.contains(number);) ++number;
  } else if (rings_.contains(number)) {
    return absl::InvalidArgumentError("a worker has one simulated ring");
  }
  auto made = std::make_unique<Ring>(std::bit_ceil(std::min(options.sq_entries, 32768u)),
                                     std::bit_ceil(std::min(options.cq_entries, 65536u)), number);
  made->shared = options.shared;
  made->thread = turns_.thread(options.owner);
  if (!made->shared) made->thread->has_work = [ring = made.get()] { return ring->has_work(); };
  made->memory.Map(ring);
  rings_[number] = std::move(made);
  // Messages replace the eventfd, which would be a real one.
  *features = (kevent::Features::All().Without(kevent::Feature::kRegisteredRing) & options.allowed)
                  .With(kevent::Feature::kSyncMessage);
  return absl::OkStatus();
}

void Kernel::Teardown(io_uring* ring) {
  Lock lock(mutex_);
  Ring* const gone = RingOf(ring);
  if (!gone->shared) gone->thread->has_work = nullptr;
  for (const auto& [number, request] : gone->requests) {
    futexes_.Remove(request.get());
    std::erase(timed_by_clock_, request.get());
  }
  rings_.erase(ring->ring_fd);
}

Ring* Kernel::RingOf(const io_uring* ring) {
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
    case IORING_REGISTER_PROBE: {
      auto* const probe = static_cast<io_uring_probe*>(arg);
      probe->ops_len = static_cast<uint8_t>(std::min<unsigned>(nr_args, kevent::kOps - 1));
      for (unsigned op = 0; op < probe->ops_len; ++op) {
        probe->ops[op].op = static_cast<uint8_t>(op);
        probe->ops[op].flags = ServesOp(op) ? IO_URING_OP_SUPPORTED : 0;
      }
      return 0;
    }
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
  if (!world_.paused() && world_.Happens(Fault::kLateWake)) {
    const uint64_t message = next_message_++;
    late_messages_[message] = {target_fd, user_data};
    world_.After(world_.network.Between(1'000, 1'000'000), [this, message] { CompleteLate(message); });
  } else {
    Complete(ring, user_data, 0);
  }
  if (Turns::Thread* self = Turns::Current(); self != nullptr) turns_.MaybeYield(&lock, self);
  return 0;
}

int Kernel::Enter(io_uring* view, kevent::Features, unsigned to_submit, unsigned min_complete, unsigned flags,
                  const kevent::WaitArgs& wait) {
  Lock lock(mutex_);
  Ring* ring = RingOf(view);
  if (ring->shared && Turns::Current() != nullptr) ring->thread = Turns::Current();
  Turns::Thread* self = ring->thread;
  Count();
  turns_.MaybeYield(&lock, self);
  world_.MoveTo(world_.now());
  if (to_submit != 0 && world_.Happens(Fault::kEnterRefused)) {
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
      if (world_.Happens(Fault::kInterrupted)) {
        rc = -EINTR;
        break;
      }
      WaitOn(&lock, ring, wait.deadline_ns);
      RunTasks(ring);
      ring->memory.Flush();
    }
  }
  ring->memory.ShowFlags(!ring->tasks.empty());
  return taken != 0 ? static_cast<int>(taken) : rc;
}

void Kernel::WaitOn(Lock* lock, Ring* ring, int64_t deadline_ns) {
  Turns::Thread* const self = ring->thread;
  if (!ring->shared) return turns_.Wait(lock, self, deadline_ns);
  auto own = std::exchange(self->has_work, [ring] { return ring->has_work(); });
  turns_.Wait(lock, self, deadline_ns);
  self->has_work = std::move(own);
}

void Kernel::Complete(Ring* ring, uint64_t user_data, int32_t result) {
  Post(ring, Completion{user_data, result, 0});
  CountCompletion(ring);
}

void Kernel::CompleteLate(uint64_t message) {
  const auto late = late_messages_.extract(message);
  if (late.empty()) return;
  const auto still = rings_.find(late.mapped().ring);
  if (still != rings_.end()) Complete(still->second.get(), late.mapped().user_data, 0);
}

void Kernel::Post(Ring* ring, const Completion& completion) {
  ring->memory.Post(completion);
  ring->memory.ShowFlags(!ring->tasks.empty());
  turns_.Wake(ring->thread);
}

}  // namespace evring::sim
